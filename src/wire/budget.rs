//! Decoding of postcard bytes from a peer that is not trusted.
//!
//! postcard checks that every byte of a value is well formed, but not what the value costs to
//! build. Measured with postcard 1.1:
//!
//! * a frame of 8 MiB inflates to 1,098 MiB, as a `Vec<Option<[u64; 16]>>` of nothing but `None`,
//!   since an element of one byte on the wire takes 136 bytes in memory;
//! * about 10 KB of a recursive type (`enum Tree { Leaf, Node(Box<Tree>) }`) overflow the stack of
//!   a debug build, which aborts the whole process and cannot be caught;
//! * a `Vec<()>` of 2^32 elements is five bytes on the wire, is accepted, and keeps a core busy for
//!   more than 20 s in a debug build.
//!
//! So [`decode_from`] puts an own `serde::Deserializer` in front of postcard's and spends a
//! [`Budget`] of levels, elements and bytes while it decodes; whatever runs out first ends the
//! decoding with an error that names it. The encoding stays postcard's: every scalar, length and
//! string is read by postcard. Only the containers are walked here, because postcard's own access
//! objects keep the claimed length of a sequence to themselves when it exceeds the bytes that are
//! left, which is just the case that matters.
//!
//! What is charged:
//!
//! * **depth**: one level for each sequence, map, tuple, array, struct, newtype struct, option
//!   and enum around a value;
//! * **elements**: the claimed length of each sequence and map, before its first element is read.
//!   The fields of tuples and structs are free, since the type fixes their number;
//! * **memory**: claimed length times `size_of` the element (key plus value in a map), when the
//!   first element is asked for, the length of each string and byte string, borrowed or not, and
//!   the size of each value that does not fit in the place it is decoded for, which is how a `Box`
//!   shows. The value that [`decode_from`] returns is itself free. Spare capacity and the
//!   allocator's own overhead are not counted, nor the pointee of a `Box` that is no larger than
//!   the `Box`, so the process may hold a small multiple of the budget.

use std::cell::Cell;
use std::fmt;

use postcard::de_flavors::Slice;
use serde::Deserialize;
use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

/// What one message of a peer may cost to decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DecodeLimits {
    /// How many containers, options, newtypes and enums may be nested in one another.
    /// Default: 128.
    pub depth: u32,
    /// How many elements all sequences and maps may hold together. Default: 67,108,864 (64 Mi).
    pub elements: u64,
    /// How many bytes the decoded values may take in memory. A message larger than a quarter of
    /// this gets four times its own length instead. Default: 268,435,456 (256 MiB).
    pub memory: u64,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        DecodeLimits { depth: 128, elements: 1 << 26, memory: 256 << 20 }
    }
}

/// What is left to spend on one message; several values may be decoded from it in turn.
#[derive(Debug, Clone)]
pub struct Budget {
    limits: DecodeLimits,
    elements: u64,
    memory: u64,
}

impl Budget {
    /// The full budget for a message of `encoded_len` bytes.
    ///
    /// The memory is `limits.memory` or four times `encoded_len`, whichever is more, so that a
    /// large message that was let in at all is not refused for its size alone.
    #[inline]
    pub fn new(limits: &DecodeLimits, encoded_len: usize) -> Budget {
        let memory = limits.memory.max((encoded_len as u64).saturating_mul(4));
        Budget { limits: DecodeLimits { memory, ..*limits }, elements: limits.elements, memory }
    }
}

/// Which budget a message would have overdrawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BudgetExceeded {
    /// Values are nested in one another more deeply than allowed.
    #[error("depth budget exceeded: nested deeper than the {limit} levels allowed")]
    Depth {
        /// The number of levels allowed.
        limit: u32,
    },
    /// A sequence or map claims more elements than are left.
    #[error(
        "element budget exceeded: {needed} more elements claimed with {left} left of the {limit} allowed"
    )]
    Elements {
        /// The number of elements claimed.
        needed: u64,
        /// How many were left to claim.
        left: u64,
        /// How many were allowed for the whole message.
        limit: u64,
    },
    /// A part of the message takes more memory than is left.
    #[error(
        "memory budget exceeded: {needed} more bytes needed with {left} left of the {limit} allowed"
    )]
    Memory {
        /// The number of bytes needed.
        needed: u64,
        /// How many were left.
        left: u64,
        /// How many were allowed for the whole message.
        limit: u64,
    },
}

/// Why a message could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The message costs more to decode than allowed.
    #[error(transparent)]
    Budget(#[from] BudgetExceeded),
    /// The bytes are no valid postcard encoding of the type.
    #[error("malformed message: {}", describe(.0))]
    Malformed(postcard::Error),
    /// The bytes are well formed, but the type refused the value; at most about 200 bytes of its
    /// reason are kept.
    #[error("message refused by its type: {0}")]
    Invalid(String),
}

impl From<postcard::Error> for DecodeError {
    fn from(error: postcard::Error) -> Self {
        DecodeError::Malformed(error)
    }
}

fn describe(error: &postcard::Error) -> &'static str {
    match error {
        postcard::Error::DeserializeUnexpectedEnd => "the input ends before the value does",
        postcard::Error::DeserializeBadVarint => "an integer is out of the range of its type",
        postcard::Error::DeserializeBadBool => "a bool is neither 0 nor 1",
        postcard::Error::DeserializeBadChar => "a char is not one unicode scalar value",
        postcard::Error::DeserializeBadUtf8 => "a string is not utf-8",
        postcard::Error::DeserializeBadOption => "the tag of an option is neither 0 nor 1",
        postcard::Error::WontImplement => "the type needs a self-describing encoding",
        _ => "a value is not well encoded",
    }
}

/// Decodes one value from the front of `input` and advances `input` past it.
///
/// What the value cost is taken off `budget`. The depth is the exception: it bounds each value by
/// itself, and is whole again for the next one. Strings and byte strings may borrow from the
/// input, as with postcard alone.
///
/// # Errors
///
/// If the bytes are no valid encoding of `T`, or if the value costs more than is left of `budget`.
/// `input` has not moved then; what was spent so far stays spent.
#[inline]
pub fn decode_from<'de, T: Deserialize<'de>>(
    input: &mut &'de [u8],
    budget: &mut Budget,
) -> Result<T, DecodeError> {
    let mut source = Source {
        wire: postcard::Deserializer::from_bytes(input),
        elements: budget.elements,
        memory: budget.memory,
        needed: 0,
    };
    let result = T::deserialize(Reader {
        depth: budget.limits.depth,
        room: size_of::<T>(),
        source: &mut source,
    });
    budget.elements = source.elements;
    budget.memory = source.memory;
    match result {
        Ok(value) => {
            *input = source.wire.finalize()?;
            Ok(value)
        }
        Err(fail) => Err(fail.explain(budget, source.needed)),
    }
}

/// A [`DecodeError`] on its way up. Each `Result` of the hot path carries one, so it is one byte
/// and has nothing to drop; a boxed error made a `Vec<Option<u32>>` 2.7 times as slow. What else
/// there is to say is kept aside, in [`Source::needed`] and [`REASON`].
#[derive(Debug)]
enum Fail {
    Depth,
    Elements,
    Memory,
    Malformed(postcard::Error),
    Invalid,
}

type Outcome<T> = Result<T, Fail>;
type Name = &'static str;
type Names = &'static [&'static str];

thread_local! {
    /// Why a type of this thread last refused a value. `custom` has nothing else to keep it in.
    static REASON: Cell<String> = const { Cell::new(String::new()) };
}

impl Fail {
    #[cold]
    fn explain(self, budget: &Budget, needed: u64) -> DecodeError {
        DecodeError::Budget(match self {
            Fail::Depth => BudgetExceeded::Depth { limit: budget.limits.depth },
            Fail::Elements => BudgetExceeded::Elements {
                needed,
                left: budget.elements,
                limit: budget.limits.elements,
            },
            Fail::Memory => {
                BudgetExceeded::Memory { needed, left: budget.memory, limit: budget.limits.memory }
            }
            Fail::Malformed(error) => return DecodeError::Malformed(error),
            Fail::Invalid => return DecodeError::Invalid(REASON.take()),
        })
    }
}

impl fmt::Display for Fail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fail::Depth => "depth budget exceeded",
            Fail::Elements => "element budget exceeded",
            Fail::Memory => "memory budget exceeded",
            Fail::Malformed(error) => describe(error),
            Fail::Invalid => "invalid value",
        })
    }
}

impl std::error::Error for Fail {}

impl From<postcard::Error> for Fail {
    #[inline]
    fn from(error: postcard::Error) -> Self {
        Fail::Malformed(error)
    }
}

impl de::Error for Fail {
    #[cold]
    fn custom<M: fmt::Display>(message: M) -> Self {
        let mut text = Excerpt(String::new());
        // Fails only when the excerpt is full, or when the message itself does: what there is of
        // it is good either way.
        let _ = fmt::write(&mut text, format_args!("{message}"));
        REASON.set(text.0);
        Fail::Invalid
    }
}

/// The front of a message, which may quote a string of the peer of any length.
struct Excerpt(String);

impl fmt::Write for Excerpt {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        const MOST: usize = 200;
        let mut end = MOST.saturating_sub(self.0.len()).min(piece.len());
        while !piece.is_char_boundary(end) {
            end -= 1;
        }
        self.0.push_str(&piece[..end]);
        if end < piece.len() {
            self.0.push('…');
            return Err(fmt::Error);
        }
        Ok(())
    }
}

/// The input and what is left of the budget: a copy, not a reference to it, so that a loop into
/// which everything is inlined keeps it in registers.
struct Source<'de> {
    wire: postcard::Deserializer<'de, Slice<'de>>,
    elements: u64,
    memory: u64,
    /// What the last budget that was exceeded was asked for.
    needed: u64,
}

impl<'de> Source<'de> {
    #[inline]
    fn spend_elements(&mut self, needed: u64) -> Outcome<()> {
        if needed > self.elements {
            self.needed = needed;
            return Err(Fail::Elements);
        }
        self.elements -= needed;
        Ok(())
    }

    #[inline]
    fn spend_memory(&mut self, needed: u64) -> Outcome<()> {
        if needed > self.memory {
            self.needed = needed;
            return Err(Fail::Memory);
        }
        self.memory -= needed;
        Ok(())
    }

    #[inline]
    fn read<T: Deserialize<'de>>(&mut self) -> Outcome<T> {
        Ok(T::deserialize(&mut self.wire)?)
    }

    /// Reads the length of a sequence or map and pays for that many elements. Says too whether
    /// that many bytes are left, which is when postcard gives a size hint.
    #[inline]
    fn read_len(&mut self) -> Outcome<(usize, bool)> {
        let len = self.read::<usize>()?;
        self.spend_elements(len as u64)?;
        Ok((len, self.wire.deserialize_tuple(len, HasHint)?))
    }
}

/// Reads nothing, only asks postcard for its size hint.
struct HasHint;

impl<'de> Visitor<'de> for HasHint {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    #[inline]
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        Ok(seq.size_hint().is_some())
    }
}

/// Decodes one value. Seeds at every level get this very type, so recursive types stay finite.
struct Reader<'r, 'de> {
    source: &'r mut Source<'de>,
    /// How many more levels may be entered.
    depth: u32,
    /// The size of the place the value is meant for, which has been paid for.
    room: usize,
}

impl<'r, 'de> Reader<'r, 'de> {
    /// Pays for a value that does not fit in its place, as the pointee of a `Box` may not.
    #[inline]
    fn settle<T>(&mut self) -> Outcome<()> {
        if size_of::<T>() > self.room {
            self.source.spend_memory(size_of::<T>() as u64)?;
        }
        Ok(())
    }

    /// Pays for a value of type `T` and enters it, as one level: what it contains has room in it.
    #[inline]
    fn enter<T>(mut self) -> Outcome<Self> {
        self.settle::<T>()?;
        match self.depth.checked_sub(1) {
            Some(depth) => self.depth = depth,
            None => return Err(Fail::Depth),
        }
        self.room = size_of::<T>();
        Ok(self)
    }

    #[inline]
    fn level(self, hinted: bool) -> Level<'r, 'de> {
        Level { source: self.source, depth: self.depth, hinted, paid_item: 0, paid_value: 0 }
    }

    #[inline]
    fn visit_fields<V: Visitor<'de>>(self, left: usize, visitor: V) -> Outcome<V::Value> {
        let level = &mut self.level(true);
        visitor.visit_seq(Items::<false> { level, left })
    }
}

macro_rules! scalars {
    ($($method:ident $visit:ident $type:ty,)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(mut self, visitor: V) -> Outcome<V::Value> {
            self.settle::<V::Value>()?;
            visitor.$visit(self.source.read::<$type>()?)
        }
    )*};
}

macro_rules! unsupported {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, _: V) -> Outcome<V::Value> {
            Err(Fail::Malformed(postcard::Error::WontImplement))
        }
    )*};
}

macro_rules! texts {
    ($($method:ident $visit:ident $type:ty,)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(mut self, visitor: V) -> Outcome<V::Value> {
            self.settle::<V::Value>()?;
            let text = self.source.read::<$type>()?;
            self.source.spend_memory(text.len() as u64)?;
            visitor.$visit(text)
        }
    )*};
}

impl<'de> Deserializer<'de> for Reader<'_, 'de> {
    type Error = Fail;

    #[inline]
    fn is_human_readable(&self) -> bool {
        false
    }

    scalars! {
        deserialize_bool visit_bool bool,
        deserialize_i8 visit_i8 i8,
        deserialize_i16 visit_i16 i16,
        deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64,
        deserialize_i128 visit_i128 i128,
        deserialize_u8 visit_u8 u8,
        deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64,
        deserialize_u128 visit_u128 u128,
        deserialize_f32 visit_f32 f32,
        deserialize_f64 visit_f64 f64,
        deserialize_char visit_char char,
    }

    texts! {
        deserialize_str visit_borrowed_str &'de str,
        deserialize_string visit_str &'de str,
        deserialize_bytes visit_borrowed_bytes &'de [u8],
        deserialize_byte_buf visit_bytes &'de [u8],
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Outcome<V::Value> {
        let inner = self.enter::<V::Value>()?;
        match inner.source.read::<u8>()? {
            0 => visitor.visit_none(),
            1 => visitor.visit_some(inner),
            _ => Err(Fail::from(postcard::Error::DeserializeBadOption)),
        }
    }

    #[inline]
    fn deserialize_unit<V: Visitor<'de>>(mut self, visitor: V) -> Outcome<V::Value> {
        self.settle::<V::Value>()?;
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: Name, visitor: V) -> Outcome<V::Value> {
        self.deserialize_unit(visitor)
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: Name, visitor: V) -> Outcome<V::Value> {
        visitor.visit_newtype_struct(self.enter::<V::Value>()?)
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Outcome<V::Value> {
        let inner = self.enter::<V::Value>()?;
        let (left, hinted) = inner.source.read_len()?;
        let level = &mut inner.level(hinted);
        visitor.visit_seq(Items::<true> { level, left })
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Outcome<V::Value> {
        self.enter::<V::Value>()?.visit_fields(len, visitor)
    }

    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: Name,
        len: usize,
        visitor: V,
    ) -> Outcome<V::Value> {
        self.deserialize_tuple(len, visitor)
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Outcome<V::Value> {
        let inner = self.enter::<V::Value>()?;
        let (left, hinted) = inner.source.read_len()?;
        let level = &mut inner.level(hinted);
        visitor.visit_map(Items::<true> { level, left })
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: Name,
        fields: Names,
        visitor: V,
    ) -> Outcome<V::Value> {
        self.deserialize_tuple(fields.len(), visitor)
    }

    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(self, _: Name, _: Names, visitor: V) -> Outcome<V::Value> {
        visitor.visit_enum(self.enter::<V::Value>()?)
    }

    // postcard writes neither types nor names, so it cannot read any either.

    unsupported!(deserialize_any deserialize_identifier deserialize_ignored_any);
}

impl<'de> EnumAccess<'de> for Reader<'_, 'de> {
    type Error = Fail;
    type Variant = Self;

    #[inline]
    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Outcome<(S::Value, Self)> {
        let variant = self.source.read::<u32>()?;
        let value = seed.deserialize(IntoDeserializer::<Fail>::into_deserializer(variant))?;
        Ok((value, self))
    }
}

impl<'de> VariantAccess<'de> for Reader<'_, 'de> {
    type Error = Fail;

    #[inline]
    fn unit_variant(self) -> Outcome<()> {
        Ok(())
    }

    #[inline]
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(mut self, seed: S) -> Outcome<S::Value> {
        self.settle::<S::Value>()?;
        self.room = size_of::<S::Value>();
        seed.deserialize(self)
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Outcome<V::Value> {
        self.visit_fields(len, visitor)
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(self, fields: Names, visitor: V) -> Outcome<V::Value> {
        self.visit_fields(fields.len(), visitor)
    }
}

/// What the elements of one container share.
struct Level<'r, 'de> {
    source: &'r mut Source<'de>,
    depth: u32,
    /// Whether the bytes that were left at the start could hold the length claimed, at one byte
    /// each. Collections must not reserve memory for it otherwise.
    hinted: bool,
    /// How many bytes have been paid for each element, or key, that is left.
    paid_item: usize,
    /// How many bytes have been paid for the value of each entry of a map.
    paid_value: usize,
}

impl<'de> Level<'_, 'de> {
    #[inline]
    fn decode<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Outcome<S::Value> {
        seed.deserialize(Reader {
            source: &mut *self.source,
            depth: self.depth,
            room: size_of::<S::Value>(),
        })
    }
}

/// The rest of a sequence or map. With `CLAIMED`, its length was read from the wire, and the memory
/// of all its elements is paid for when the first one is asked for, which is when their size shows.
/// Otherwise the type fixes the length, and the elements lie within a value paid for before.
///
/// Two words, so that it is passed and kept in registers.
struct Items<'l, 'r, 'de, const CLAIMED: bool> {
    level: &'l mut Level<'r, 'de>,
    left: usize,
}

impl<'de, const CLAIMED: bool> Items<'_, '_, 'de, CLAIMED> {
    #[inline]
    fn next<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Outcome<Option<S::Value>> {
        if self.left == 0 {
            return Ok(None);
        }
        let size = size_of::<S::Value>();
        let level = &mut *self.level;
        if CLAIMED && size > level.paid_item {
            let more = ((size - level.paid_item) as u64).saturating_mul(self.left as u64);
            level.source.spend_memory(more)?;
            level.paid_item = size;
        }
        self.left -= 1;
        level.decode(seed).map(Some)
    }

    #[inline]
    fn hint(&self) -> Option<usize> {
        self.level.hinted.then_some(self.left)
    }
}

impl<'de, const CLAIMED: bool> SeqAccess<'de> for Items<'_, '_, 'de, CLAIMED> {
    type Error = Fail;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Outcome<Option<S::Value>> {
        self.next(seed)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.hint()
    }
}

impl<'de> MapAccess<'de> for Items<'_, '_, 'de, true> {
    type Error = Fail;

    #[inline]
    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Outcome<Option<S::Value>> {
        self.next(seed)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.hint()
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Outcome<S::Value> {
        let size = size_of::<S::Value>();
        let level = &mut *self.level;
        if size > level.paid_value {
            // The entry this value belongs to is no longer counted in `left`.
            let more = ((size - level.paid_value) as u64).saturating_mul(self.left as u64 + 1);
            level.source.spend_memory(more)?;
            level.paid_value = size;
        }
        level.decode(seed)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet, HashMap};
    use std::fmt::Debug;

    use serde::{Deserialize, Serialize, de::DeserializeOwned};

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Tree {
        Leaf,
        Node(Box<Tree>),
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct List {
        next: Option<Box<List>>,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Nest(Vec<Nest>);

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    enum Json {
        Null,
        Number(f64),
        Text(String),
        Pair(Box<Json>, Box<Json>),
        Array(Vec<Json>),
        Object(BTreeMap<String, Json>),
        Tagged { tag: u8, inner: Option<Box<Json>> },
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Unit;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Meters(f32);

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Shapes {
        signed: (i8, i16, i32, i64, i128, isize),
        unsigned: (u8, u16, u32, u64, u128, usize),
        other: (bool, char, f64, Meters, Unit, ()),
        text: String,
        options: (Option<u8>, Option<Option<Option<u16>>>),
        array: [[u16; 3]; 2],
        rows: Vec<(u32, Vec<String>)>,
        map: BTreeMap<(u8, i16), Option<String>>,
        set: BTreeSet<char>,
        enums: Vec<Json>,
        boxed: Box<[u8]>,
        list: List,
        nest: Nest,
    }

    fn shapes() -> Shapes {
        let pair = Json::Pair(Box::new(Json::Null), Box::new(Json::Number(-1.5)));
        let tagged = Json::Tagged { tag: 9, inner: Some(Box::new(Json::Text("déjà".into()))) };
        let object = [("a".into(), Json::Array(vec![Json::Null, pair]))];
        Shapes {
            signed: (-128, i16::MIN, -1, i64::MAX, i128::MIN, -70_000),
            unsigned: (255, 128, u32::MAX, 1 << 40, u128::MAX - 1, 300),
            other: (true, '\u{1f980}', 0.1, Meters(2.5), Unit, ()),
            text: "some text".repeat(20),
            options: (None, Some(Some(None))),
            array: [[1, 2, 3], [400, 500, 60_000]],
            rows: vec![(1, vec![]), (200, vec!["x".into(), String::new()])],
            map: BTreeMap::from([((1, -1), None), ((2, 300), Some("v".into()))]),
            set: BTreeSet::from(['a', 'é']),
            enums: vec![Json::Object(object.into()), tagged],
            boxed: Box::new([1, 2, 3]),
            list: List { next: Some(Box::new(List { next: None })) },
            nest: Nest(vec![Nest(vec![]), Nest(vec![Nest(vec![])])]),
        }
    }

    fn limits(depth: u32, elements: u64, memory: u64) -> DecodeLimits {
        DecodeLimits { depth, elements, memory }
    }

    fn encode<T: Serialize>(value: &T) -> Vec<u8> {
        postcard::to_allocvec(value).unwrap()
    }

    fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
        let mut budget = Budget::new(&DecodeLimits::default(), bytes.len());
        decode_from(&mut { bytes }, &mut budget)
    }

    fn within<T: DeserializeOwned>(bytes: &[u8], limits: DecodeLimits) -> Result<T, DecodeError> {
        decode_from(&mut { bytes }, &mut Budget::new(&limits, 0))
    }

    #[track_caller]
    fn round_trip<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T) {
        let mut bytes = encode(&value);
        let len = bytes.len();
        bytes.extend([0xab; 3]);
        let mut input = &bytes[..];
        let mut budget = Budget::new(&DecodeLimits::default(), len);
        assert_eq!(decode_from::<T>(&mut input, &mut budget).unwrap(), value);
        assert_eq!(input, [0xab; 3]);
    }

    #[track_caller]
    fn budget_error<T: Debug>(result: Result<T, DecodeError>) -> BudgetExceeded {
        match result {
            Err(DecodeError::Budget(exceeded)) => exceeded,
            other => panic!("not a budget error: {other:?}"),
        }
    }

    /// `value` costs just these amounts: they suffice, and none of them can be one less.
    #[track_caller]
    fn costs<T: Serialize + DeserializeOwned + PartialEq + Debug>(
        value: T,
        (depth, elements, memory): (u32, u64, u64),
    ) {
        let bytes = encode(&value);
        let enough = within::<T>(&bytes, limits(depth, elements, memory));
        assert_eq!(enough.as_ref(), Ok(&value));
        if depth > 0 {
            let short = within::<T>(&bytes, limits(depth - 1, elements, memory));
            assert_eq!(budget_error(short), BudgetExceeded::Depth { limit: depth - 1 });
        }
        if elements > 0 {
            let error = budget_error(within::<T>(&bytes, limits(depth, elements - 1, memory)));
            assert!(matches!(error, BudgetExceeded::Elements { needed, left, limit }
                if needed == left + 1 && limit == elements - 1));
        }
        if memory > 0 {
            let error = budget_error(within::<T>(&bytes, limits(depth, elements, memory - 1)));
            assert!(matches!(error, BudgetExceeded::Memory { needed, left, limit }
                if needed == left + 1 && limit == memory - 1));
        }
    }

    #[test]
    fn values_survive_the_round_trip() {
        round_trip(shapes());
        round_trip(());
        round_trip(u64::MAX);
        round_trip(u128::MAX);
        round_trip(i128::MIN);
        round_trip('\0');
        round_trip(Some(Some(())));
        round_trip(vec![(); 1000]);
        round_trip([Some(1u8), None]);
        round_trip((1u8, (2i64, "three".to_string()), [4.0f32; 5]));
        round_trip(vec![vec![vec![u16::MAX; 3]; 2]; 300]);
        round_trip(HashMap::from([(1u8, "a".to_string()), (2, "b".to_string())]));
        round_trip((0..100_000u64).collect::<Vec<_>>());
        round_trip(std::time::Duration::new(5, 6));
        round_trip(Ok::<u8, String>(7));
        round_trip(std::num::NonZeroU32::MIN);
        round_trip(Tree::Node(Box::new(Tree::Node(Box::new(Tree::Leaf)))));
    }

    #[test]
    fn one_budget_covers_several_values() {
        let bytes = [encode(&vec![1u8, 2]), encode(&vec![3u8, 4])].concat();
        let mut budget = Budget::new(&limits(1, 3, 100), bytes.len());
        let mut input = &bytes[..];
        assert_eq!(decode_from(&mut input, &mut budget), Ok(vec![1u8, 2]));
        let rest = input;
        assert_eq!(
            budget_error(decode_from::<Vec<u8>>(&mut input, &mut budget)),
            BudgetExceeded::Elements { needed: 2, left: 1, limit: 3 }
        );
        assert_eq!(input, rest, "an error leaves the input where it was");
    }

    #[test]
    fn borrowed_values_point_into_the_input() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Borrowed<'a> {
            text: &'a str,
            #[serde(borrow)]
            list: Vec<Option<&'a str>>,
            bytes: &'a [u8],
        }
        let value = Borrowed { text: "one", list: vec![None, Some("two")], bytes: &[7, 8, 9] };
        let bytes = encode(&value);
        let mut budget = Budget::new(&DecodeLimits::default(), bytes.len());
        let decoded: Borrowed = decode_from(&mut &bytes[..], &mut budget).unwrap();
        assert_eq!(decoded, value);
        let offset = |p: *const u8| p as usize - bytes.as_ptr() as usize;
        assert_eq!(offset(decoded.text.as_ptr()), 1);
        assert_eq!(offset(decoded.list[1].unwrap().as_ptr()), 8);
        assert_eq!(offset(decoded.bytes.as_ptr()), 12);
    }

    #[test]
    fn a_budget_just_met_passes_and_one_less_fails() {
        let text = size_of::<String>() as u64;
        costs(7u64, (0, 0, 0));
        costs((1u8, 2u64), (1, 0, 0));
        costs("abcd".to_string(), (0, 0, 4));
        costs((0..10).collect::<Vec<u64>>(), (1, 10, 80));
        costs(vec![(); 5], (1, 5, 0));
        costs(vec![[1u16; 3]; 4], (2, 4, 24));
        costs(vec![Some(1u32), None], (2, 2, 16));
        costs(vec!["abc".to_string(), "de".into()], (1, 2, 2 * text + 5));
        costs(vec![vec![1u8; 3], vec![2; 4]], (2, 9, 2 * text + 7));
        costs(BTreeMap::from([(1u8, 2u32), (3, 4), (5, 6)]), (1, 3, 15));
        costs(Box::new([1u64; 4]), (1, 0, 32));
        costs(vec![Box::new([1u64; 4]); 3], (2, 3, 3 * (8 + 32)));
        costs(Meters(1.0), (1, 0, 0));
        costs(Json::Number(1.0), (1, 0, 0));
        costs(List { next: None }, (2, 0, 0));
        let json = size_of::<Json>() as u64;
        let pair = Json::Pair(Box::new(Json::Null), Box::new(Json::Text("ab".into())));
        costs(pair, (2, 0, 2 * json + 2));
        costs(Json::Array(vec![Json::Null; 3]), (3, 3, 3 * json));
    }

    #[test]
    fn memory_grows_with_the_message() {
        let bytes = encode(&vec![7u8; 1000]);
        let mut budget = Budget::new(&limits(1, 1000, 10), bytes.len());
        assert!(decode_from::<Vec<u8>>(&mut &bytes[..], &mut budget).is_ok());
        assert_eq!(Budget::new(&limits(1, 1, 10), 3).limits.memory, 12);
        assert_eq!(Budget::new(&limits(1, 1, 0), usize::MAX).limits.memory, u64::MAX);
    }

    /// A sequence of `len` elements that are one zero byte each.
    fn zeros(len: usize) -> Vec<u8> {
        let mut bytes = encode(&len);
        bytes.resize(bytes.len() + len, 0);
        bytes
    }

    #[test]
    fn inflating_elements_are_refused() {
        type Big = Option<[u64; 16]>;
        let bytes = zeros(8 << 20);
        let needed = (8 << 20) * size_of::<Big>() as u64;
        let memory = BudgetExceeded::Memory { needed, left: 256 << 20, limit: 256 << 20 };
        assert_eq!(budget_error(decode::<Vec<Big>>(&bytes)), memory);
        assert_eq!(
            memory.to_string(),
            "memory budget exceeded: 1140850688 more bytes needed with 268435456 left of the \
             268435456 allowed"
        );
        // The size does not hide behind a pointer, nor in the keys and values of a map.
        let error = budget_error(decode::<Vec<Box<Big>>>(&bytes));
        assert!(matches!(error, BudgetExceeded::Memory { needed: 136, .. }));
        let error = budget_error(decode::<HashMap<u8, Big>>(&bytes));
        assert!(matches!(error, BudgetExceeded::Memory { .. }));
        let error = budget_error(decode::<BTreeMap<Big, ()>>(&bytes));
        assert!(matches!(error, BudgetExceeded::Memory { .. }));
        // Elements that take no byte on the wire, of a length whose size overflows.
        #[derive(Debug, Deserialize)]
        struct Skipped {
            #[serde(skip)]
            _free: [u64; 16],
        }
        let most = limits(128, u64::MAX, 256 << 20);
        let error = budget_error(within::<Vec<Skipped>>(&encode(&u64::MAX), most));
        assert!(matches!(error, BudgetExceeded::Memory { .. }));
    }

    #[test]
    fn recursion_is_refused_before_the_stack_ends() {
        fn refused<T: DeserializeOwned + Debug>(byte: u8) {
            let bytes = vec![byte; 100_000];
            let error = budget_error(decode::<T>(&bytes));
            assert_eq!(error, BudgetExceeded::Depth { limit: 128 });
        }
        let run = || {
            refused::<Tree>(1);
            refused::<List>(1);
            refused::<Nest>(1);
            refused::<Json>(3);
            refused::<Json>(4);
            // A map of one entry whose key is one byte long.
            let bytes = [5u8, 1, 1, b'k'].repeat(25_000);
            let error = budget_error(decode::<Json>(&bytes));
            assert_eq!(error, BudgetExceeded::Depth { limit: 128 });
            // `Tagged` with a tag of 1 and some inner value.
            let bytes = [6u8, 1, 1].repeat(33_334);
            let error = budget_error(decode::<Json>(&bytes));
            assert_eq!(
                error.to_string(),
                "depth budget exceeded: nested deeper than the 128 levels allowed"
            );
            // As deep as allowed: 127 nodes and the leaf.
            let mut bytes = vec![1; 127];
            bytes.push(0);
            assert!(decode::<Tree>(&bytes).is_ok());
        };
        let thread = std::thread::Builder::new().stack_size(2 << 20);
        thread.spawn(run).unwrap().join().unwrap();
    }

    #[test]
    fn endless_units_are_refused() {
        let bytes = encode(&(1u64 << 32));
        assert_eq!(bytes.len(), 5);
        let exceeded = BudgetExceeded::Elements { needed: 1 << 32, left: 1 << 26, limit: 1 << 26 };
        assert_eq!(budget_error(decode::<Vec<()>>(&bytes)), exceeded);
        assert_eq!(budget_error(decode::<BTreeMap<(), ()>>(&bytes)), exceeded);
        assert_eq!(
            exceeded.to_string(),
            "element budget exceeded: 4294967296 more elements claimed with 67108864 left of the \
             67108864 allowed"
        );
        // Each of the inner lengths is within the budget, but not their sum.
        let inner = encode(&(1u64 << 16));
        let bytes = [encode(&2000u64), inner.repeat(2000)].concat();
        let few = limits(128, 100_000, 1 << 20);
        let error = budget_error(within::<Vec<Vec<()>>>(&bytes, few));
        assert!(matches!(error, BudgetExceeded::Elements { .. }));
    }

    #[test]
    fn every_truncation_is_an_error() {
        let bytes = encode(&shapes());
        assert!(decode::<Shapes>(&bytes).is_ok());
        for end in 0..bytes.len() {
            assert_eq!(
                decode::<Shapes>(&bytes[..end]),
                Err(DecodeError::Malformed(postcard::Error::DeserializeUnexpectedEnd)),
                "at {end}"
            );
        }
    }

    #[test]
    fn errors_say_what_is_wrong() {
        fn says<T: DeserializeOwned + Debug>(bytes: &[u8], text: &str) {
            assert_eq!(decode::<T>(bytes).unwrap_err().to_string(), text);
        }
        says::<u8>(&[], "malformed message: the input ends before the value does");
        says::<bool>(&[2], "malformed message: a bool is neither 0 nor 1");
        says::<String>(&[1, 0xff], "malformed message: a string is not utf-8");
        says::<Option<u8>>(&[2], "malformed message: the tag of an option is neither 0 nor 1");
        says::<Tree>(
            &[2],
            "message refused by its type: invalid value: integer `2`, expected variant index 0 <= i < 2",
        );
        says::<serde::de::IgnoredAny>(
            &[2],
            "malformed message: the type needs a self-describing encoding",
        );
        #[derive(Debug)]
        struct Picky;
        impl<'de> Deserialize<'de> for Picky {
            fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                assert!(!input.is_human_readable());
                let text = String::deserialize(input)?;
                Err(de::Error::custom(format_args!("no {text}")))
            }
        }
        // The reason quotes the peer, but not at any length.
        match decode::<Picky>(&encode(&"é".repeat(1000))).unwrap_err() {
            DecodeError::Invalid(reason) => {
                assert!(reason.starts_with("no éé") && reason.ends_with("é…"));
                assert!((190..=203).contains(&reason.len()));
            }
            other => panic!("{other}"),
        }
        fn is_an_error<E: std::error::Error + Send + Sync + Clone + PartialEq + 'static>() {}
        is_an_error::<DecodeError>();
        is_an_error::<BudgetExceeded>();
    }

    /// Garbage never panics, and decodes as with postcard alone, unless it costs too much.
    #[test]
    fn garbage_is_judged_as_postcard_does() {
        fn judge<T: DeserializeOwned + Debug>(bytes: &[u8]) -> bool {
            let mut input = bytes;
            let mut budget = Budget::new(&limits(128, 1 << 16, 1 << 16), 0);
            let ours = decode_from::<T>(&mut input, &mut budget);
            if matches!(ours, Err(DecodeError::Budget(_))) {
                return false;
            }
            match (ours, postcard::take_from_bytes::<T>(bytes)) {
                (Ok(ours), Ok((theirs, rest))) => {
                    assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
                    assert_eq!(input, rest);
                    return true;
                }
                (Err(DecodeError::Malformed(ours)), Err(theirs)) => assert_eq!(ours, theirs),
                (Err(DecodeError::Invalid(reason)), Err(theirs)) => {
                    assert_eq!(theirs, postcard::Error::SerdeDeCustom);
                    assert_ne!(reason, "");
                }
                (ours, theirs) => panic!("{ours:?} is not {theirs:?} of {bytes:?}"),
            }
            false
        }
        let mut state = 1u64;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u32
        };
        let mut good = [0; 8];
        for round in 0..20_000 {
            let len = next() % 64;
            // Small bytes make for more values that are well formed.
            let most = [256, 8, 3][round % 3];
            let bytes: Vec<u8> = (0..len).map(|_| (next() % most) as u8).collect();
            good[0] += judge::<Shapes>(&bytes) as u32;
            good[1] += judge::<Json>(&bytes) as u32;
            good[2] += judge::<Nest>(&bytes) as u32;
            good[3] += judge::<List>(&bytes) as u32;
            good[4] += judge::<(u16, i64, u128, char, bool, f32)>(&bytes) as u32;
            good[5] += judge::<Vec<(Option<i32>, String)>>(&bytes) as u32;
            good[6] += judge::<BTreeMap<String, Result<u8, [char; 2]>>>(&bytes) as u32;
            good[7] += judge::<(usize, Box<[i16]>, std::time::Duration)>(&bytes) as u32;
        }
        assert!(good[1..].iter().all(|&n| n > 50), "{good:?}");
        // Single bytes of a good message changed.
        let good = encode(&shapes());
        for at in 0..good.len() {
            for _ in 0..20 {
                let mut bytes = good.clone();
                bytes[at] = next() as u8;
                judge::<Shapes>(&bytes);
            }
        }
    }
}
