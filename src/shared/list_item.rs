//! What a shared list holds.

/// An item of a [`SharedList`](crate::SharedList).
///
/// # Examples
/// ```
/// use procpool::ListItem;
///
/// assert_eq!(ListItem::from("text"), ListItem::Str("text".to_owned()));
/// assert_eq!(ListItem::from(7u8), ListItem::Int(7));
/// assert_eq!(ListItem::from(None::<f64>), ListItem::None);
/// ```
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub enum ListItem {
    /// Nothing.
    #[default]
    None,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// Text.
    Str(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

macro_rules! from {
    ($($type:ty => $variant:ident,)*) => {$(
        impl From<$type> for ListItem {
            fn from(value: $type) -> Self {
                ListItem::$variant(value.into())
            }
        }
    )*};
}

from! {
    bool => Bool,
    i8 => Int,
    i16 => Int,
    i32 => Int,
    i64 => Int,
    u8 => Int,
    u16 => Int,
    u32 => Int,
    f32 => Float,
    f64 => Float,
    &str => Str,
    String => Str,
    &[u8] => Bytes,
    Vec<u8> => Bytes,
}

impl<const N: usize> From<&[u8; N]> for ListItem {
    fn from(bytes: &[u8; N]) -> Self {
        ListItem::Bytes(bytes.to_vec())
    }
}

impl From<()> for ListItem {
    fn from((): ()) -> Self {
        ListItem::None
    }
}

impl<T: Into<ListItem>> From<Option<T>> for ListItem {
    fn from(value: Option<T>) -> Self {
        value.map_or(ListItem::None, Into::into)
    }
}

const NONE: u8 = 0;
const BOOL: u8 = 1;
const INT: u8 = 2;
const FLOAT: u8 = 3;
const STR: u8 = 4;
const BYTES: u8 = 5;

impl ListItem {
    /// What it is in memory: a number for its kind, and bytes.
    pub(super) fn with_bytes<R>(&self, f: impl FnOnce(u8, &[u8]) -> R) -> R {
        match self {
            ListItem::None => f(NONE, &[]),
            ListItem::Bool(value) => f(BOOL, &u64::from(*value).to_ne_bytes()),
            ListItem::Int(value) => f(INT, &value.to_ne_bytes()),
            ListItem::Float(value) => f(FLOAT, &value.to_ne_bytes()),
            ListItem::Str(text) => f(STR, text.as_bytes()),
            ListItem::Bytes(bytes) => f(BYTES, bytes),
        }
    }

    /// The item of these. What nobody can have written in order is nothing.
    pub(super) fn from_bytes(kind: u8, bytes: Vec<u8>) -> Self {
        let word = || bytes.first_chunk::<8>().copied();
        let item = match kind {
            BOOL => word().map(|word| ListItem::Bool(u64::from_ne_bytes(word) != 0)),
            INT => word().map(|word| ListItem::Int(i64::from_ne_bytes(word))),
            FLOAT => word().map(|word| ListItem::Float(f64::from_ne_bytes(word))),
            STR => Some(ListItem::Str(match String::from_utf8(bytes) {
                Ok(text) => text,
                Err(e) => String::from_utf8_lossy(e.as_bytes()).into_owned(),
            })),
            BYTES => Some(ListItem::Bytes(bytes)),
            _ => None,
        };
        item.unwrap_or_default()
    }
}
