//! postcard's serializer, but values that it would write as something else are refused.
//!
//! postcard writes no names and no types. A struct whose `skip_serializing_if` leaves a
//! field out has the bytes of another value, which the reader then gets, without an
//! error; so [`encode`] puts an own `serde::Serializer` in front of postcard's, which
//! refuses that. It also keeps the words of a `Serialize` implementation that fails,
//! which postcard's error has no room for.

use std::cell::{Cell, RefCell};
use std::fmt;

use serde::ser::{self, Error as _, Serialize, Serializer};

use super::attached::{self, Attached};
use super::payload::EncodeError;

/// Encodes `value` with postcard into `flavor`; what it takes along is added to `attached`.
#[inline]
pub(super) fn encode<T: Serialize + ?Sized, F: postcard::ser_flavors::Flavor<Output = ()>>(
    value: &T,
    flavor: F,
    attached: &mut Vec<Attached>,
) -> Result<(), EncodeError> {
    let words = Words {
        reason: Cell::new(None),
        before: if attached.is_empty() { (0, 0) } else { counts(attached) },
        attached: RefCell::default(),
    };
    let done = postcard::serialize_with_flavor(&Checked { value, words: &words }, flavor)
        .map_err(|e| EncodeError::Refused(words.reason.take().unwrap_or_else(|| e.to_string())));
    let more = words.attached.into_inner();
    if !more.is_empty() {
        attached.extend(more);
    }
    done
}

/// What goes past postcard: the reason of a refusal, and what is not bytes.
struct Words {
    reason: Cell<Option<String>>,
    /// Handles and objects of the values before in the same message.
    before: (usize, usize),
    attached: RefCell<Vec<Attached>>,
}

/// Handles, and objects.
fn counts(attached: &[Attached]) -> (usize, usize) {
    let handles = attached.iter().filter(|a| matches!(a, Attached::Handle(_))).count();
    (handles, attached.len() - handles)
}

impl Words {
    #[cold]
    fn attach<S: Serializer>(&self, inner: S) -> Result<S::Ok, Refusal<S::Error>> {
        let Some(offered) = attached::offered() else {
            return Err(Refusal::Own(format!(
                "only procpool itself may use the name {}",
                attached::NAME
            )));
        };
        let mut all = self.attached.borrow_mut();
        let (handles, objects) = counts(&all);
        let full = match &offered {
            Attached::Handle(_) => self.before.0 + handles == attached::MAX_HANDLES,
            Attached::Object(..) => self.before.1 + objects == attached::MAX_OBJECTS,
        };
        if full {
            return Err(Refusal::Own(format!(
                "one message carries at most {} descriptors and {} queues and the like",
                attached::MAX_HANDLES,
                attached::MAX_OBJECTS
            )));
        }
        let written = match &offered {
            Attached::Handle(_) => inner.serialize_u8(attached::HANDLE),
            Attached::Object(name, _) => {
                inner.serialize_newtype_struct(attached::NAME, &(attached::OBJECT, name))
            }
        };
        all.push(offered);
        written.map_err(Refusal::Inner)
    }
}

/// A value, or a part of one, to be serialized by way of [`Strict`].
struct Checked<'a, T: ?Sized> {
    value: &'a T,
    words: &'a Words,
}

impl<T: Serialize + ?Sized> Serialize for Checked<'_, T> {
    #[inline]
    fn serialize<S: Serializer>(&self, inner: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(Strict { inner, words: self.words }).map_err(|refusal| match refusal {
            Refusal::Inner(error) => error,
            Refusal::Own(words) => {
                self.words.reason.set(Some(words));
                S::Error::custom("")
            }
        })
    }
}

/// Why a value is not serialized: the reason of the serializer behind, or ours or the
/// value's own.
#[derive(Debug)]
enum Refusal<E> {
    Inner(E),
    Own(String),
}

impl<E: fmt::Display> fmt::Display for Refusal<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Inner(error) => error.fmt(f),
            Refusal::Own(words) => f.write_str(words),
        }
    }
}

impl<E: ser::Error> std::error::Error for Refusal<E> {}

impl<E: ser::Error> ser::Error for Refusal<E> {
    #[cold]
    fn custom<T: fmt::Display>(words: T) -> Self {
        Refusal::Own(format!("its Serialize implementation returned an error: {words}"))
    }
}

/// A serializer, or one of its compound parts, in front of another.
struct Strict<'a, S> {
    inner: S,
    words: &'a Words,
}

macro_rules! scalars {
    ($($method:ident($type:ty),)*) => {
        $(
            #[inline]
            fn $method(self, value: $type) -> Result<S::Ok, Self::Error> {
                self.inner.$method(value).map_err(Refusal::Inner)
            }
        )*
    };
}

impl<'a, S: Serializer> Serializer for Strict<'a, S> {
    type Ok = S::Ok;
    type Error = Refusal<S::Error>;
    type SerializeSeq = Strict<'a, S::SerializeSeq>;
    type SerializeTuple = Strict<'a, S::SerializeTuple>;
    type SerializeTupleStruct = Strict<'a, S::SerializeTupleStruct>;
    type SerializeTupleVariant = Strict<'a, S::SerializeTupleVariant>;
    type SerializeMap = Strict<'a, S::SerializeMap>;
    type SerializeStruct = Strict<'a, S::SerializeStruct>;
    type SerializeStructVariant = Strict<'a, S::SerializeStructVariant>;

    scalars! {
        serialize_bool(bool), serialize_char(char), serialize_str(&str), serialize_bytes(&[u8]),
        serialize_i8(i8), serialize_i16(i16), serialize_i32(i32), serialize_i64(i64),
        serialize_i128(i128), serialize_u8(u8), serialize_u16(u16), serialize_u32(u32),
        serialize_u64(u64), serialize_u128(u128), serialize_f32(f32), serialize_f64(f64),
        serialize_unit_struct(&'static str),
    }

    #[inline]
    fn serialize_none(self) -> Result<S::Ok, Self::Error> {
        self.inner.serialize_none().map_err(Refusal::Inner)
    }

    #[inline]
    fn serialize_unit(self) -> Result<S::Ok, Self::Error> {
        self.inner.serialize_unit().map_err(Refusal::Inner)
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, Self::Error> {
        let value = Checked { value, words: self.words };
        self.inner.serialize_some(&value).map_err(Refusal::Inner)
    }

    #[inline]
    fn serialize_unit_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<S::Ok, Self::Error> {
        self.inner.serialize_unit_variant(name, index, variant).map_err(Refusal::Inner)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, Self::Error> {
        if name == attached::NAME {
            return self.words.attach(self.inner);
        }
        let value = Checked { value, words: self.words };
        self.inner.serialize_newtype_struct(name, &value).map_err(Refusal::Inner)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, Self::Error> {
        let value = Checked { value, words: self.words };
        self.inner.serialize_newtype_variant(name, index, variant, &value).map_err(Refusal::Inner)
    }

    #[inline]
    fn serialize_seq(self, len: Option<usize>) -> Result<Self::SerializeSeq, Self::Error> {
        if len.is_none() {
            let words = "it holds a sequence of unknown length; collect it first";
            return Err(Refusal::Own(words.to_owned()));
        }
        let words = self.words;
        self.inner.serialize_seq(len).map(|inner| Strict { inner, words }).map_err(Refusal::Inner)
    }

    #[inline]
    fn serialize_tuple(self, len: usize) -> Result<Self::SerializeTuple, Self::Error> {
        let words = self.words;
        self.inner.serialize_tuple(len).map(|inner| Strict { inner, words }).map_err(Refusal::Inner)
    }

    #[inline]
    fn serialize_tuple_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleStruct, Self::Error> {
        let words = self.words;
        let inner = self.inner.serialize_tuple_struct(name, len);
        inner.map(|inner| Strict { inner, words }).map_err(Refusal::Inner)
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleVariant, Self::Error> {
        let words = self.words;
        let inner = self.inner.serialize_tuple_variant(name, index, variant, len);
        inner.map(|inner| Strict { inner, words }).map_err(Refusal::Inner)
    }

    #[inline]
    fn serialize_map(self, len: Option<usize>) -> Result<Self::SerializeMap, Self::Error> {
        if len.is_none() {
            let words = "it holds a map of unknown length, as `#[serde(flatten)]` makes one; the encoding needs the length first";
            return Err(Refusal::Own(words.to_owned()));
        }
        let words = self.words;
        self.inner.serialize_map(len).map(|inner| Strict { inner, words }).map_err(Refusal::Inner)
    }

    #[inline]
    fn serialize_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStruct, Self::Error> {
        let words = self.words;
        let inner = self.inner.serialize_struct(name, len);
        inner.map(|inner| Strict { inner, words }).map_err(Refusal::Inner)
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStructVariant, Self::Error> {
        let words = self.words;
        let inner = self.inner.serialize_struct_variant(name, index, variant, len);
        inner.map(|inner| Strict { inner, words }).map_err(Refusal::Inner)
    }

    #[inline]
    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Result<S::Ok, Self::Error> {
        self.inner.collect_str(value).map_err(Refusal::Inner)
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

/// The compound parts whose elements have no names.
macro_rules! elements {
    ($($trait:ident::$method:ident,)*) => {
        $(
            impl<S: ser::$trait> ser::$trait for Strict<'_, S> {
                type Ok = S::Ok;
                type Error = Refusal<S::Error>;

                #[inline]
                fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Self::Error> {
                    let value = Checked { value, words: self.words };
                    self.inner.$method(&value).map_err(Refusal::Inner)
                }

                #[inline]
                fn end(self) -> Result<S::Ok, Self::Error> {
                    self.inner.end().map_err(Refusal::Inner)
                }
            }
        )*
    };
}

elements! {
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field,
}

impl<S: ser::SerializeMap> ser::SerializeMap for Strict<'_, S> {
    type Ok = S::Ok;
    type Error = Refusal<S::Error>;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Self::Error> {
        let key = Checked { value: key, words: self.words };
        self.inner.serialize_key(&key).map_err(Refusal::Inner)
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Self::Error> {
        let value = Checked { value, words: self.words };
        self.inner.serialize_value(&value).map_err(Refusal::Inner)
    }

    #[inline]
    fn end(self) -> Result<S::Ok, Self::Error> {
        self.inner.end().map_err(Refusal::Inner)
    }
}

/// The compound parts with named fields, of which none may be missing.
macro_rules! fields {
    ($($trait:ident,)*) => {
        $(
            impl<S: ser::$trait> ser::$trait for Strict<'_, S> {
                type Ok = S::Ok;
                type Error = Refusal<S::Error>;

                #[inline]
                fn serialize_field<T: Serialize + ?Sized>(
                    &mut self,
                    key: &'static str,
                    value: &T,
                ) -> Result<(), Self::Error> {
                    let value = Checked { value, words: self.words };
                    self.inner.serialize_field(key, &value).map_err(Refusal::Inner)
                }

                #[cold]
                fn skip_field(&mut self, key: &'static str) -> Result<(), Self::Error> {
                    Err(Refusal::Own(format!(
                        "its field `{key}` is left out (`skip_serializing_if`), for which the encoding has no form"
                    )))
                }

                #[inline]
                fn end(self) -> Result<S::Ok, Self::Error> {
                    self.inner.end().map_err(Refusal::Inner)
                }
            }
        )*
    };
}

fields! { SerializeStruct, SerializeStructVariant, }

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::wire::small::SmallBuf;

    fn bytes<T: Serialize>(value: &T) -> Result<Vec<u8>, String> {
        let mut out = SmallBuf::default();
        super::super::payload::encode_into(value, &mut out, &mut Vec::new())
            .map_err(|e| e.to_string())?;
        Ok(out.as_slice().to_vec())
    }

    #[derive(serde::Serialize)]
    enum Kind {
        Unit,
        New(Option<u8>),
        Tuple(i128, char),
        Struct { a: f32, b: Vec<String> },
    }

    #[derive(serde::Serialize)]
    struct Everything<'a> {
        kinds: Vec<Kind>,
        map: BTreeMap<&'a str, (i64, u128)>,
        unit: (),
        new: std::num::Wrapping<i16>,
        address: std::net::Ipv6Addr,
        ok: Result<bool, char>,
    }

    #[test]
    fn what_is_written_is_what_postcard_writes() {
        let value = Everything {
            kinds: vec![
                Kind::Unit,
                Kind::New(Some(1)),
                Kind::New(None),
                Kind::Tuple(-5, 'x'),
                Kind::Struct { a: 1.5, b: vec!["b".into()] },
            ],
            map: [("one", (1, 1)), ("two", (-2, u128::MAX))].into(),
            unit: (),
            new: std::num::Wrapping(-3),
            address: std::net::Ipv6Addr::LOCALHOST,
            ok: Ok(true),
        };
        assert_eq!(bytes(&value).unwrap(), postcard::to_allocvec(&value).unwrap());
    }

    #[test]
    fn a_field_left_out_is_refused_wherever_it_is() {
        #[derive(serde::Serialize)]
        struct Sparse {
            #[serde(skip_serializing_if = "Option::is_none")]
            a: Option<u8>,
            b: u32,
        }
        #[derive(serde::Serialize)]
        enum Deep {
            In {
                #[serde(skip_serializing_if = "Vec::is_empty")]
                list: Vec<Sparse>,
            },
        }
        assert!(bytes(&Sparse { a: Some(1), b: 2 }).is_ok());
        let error = bytes(&Sparse { a: None, b: 2 }).unwrap_err();
        assert!(error.contains("`a`") && error.contains("skip_serializing_if"), "{error}");
        assert!(bytes(&Deep::In { list: Vec::new() }).unwrap_err().contains("`list`"));
        let deep = Some(vec![(0, Deep::In { list: vec![Sparse { a: None, b: 1 }] })]);
        assert!(bytes(&deep).unwrap_err().contains("`a`"));
    }

    #[test]
    fn the_words_of_a_failing_implementation_arrive() {
        struct Fails;
        impl Serialize for Fails {
            fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(S::Error::custom("the cat is on the keyboard"))
            }
        }
        let mut out = SmallBuf::default();
        out.push(7);
        let error =
            super::super::payload::encode_into(&[Some((1, Fails))], &mut out, &mut Vec::new())
                .unwrap_err();
        assert!(error.to_string().ends_with("an error: the cat is on the keyboard"), "{error}");
        assert_eq!(out.as_slice(), [7], "what was there stays");
    }
}
