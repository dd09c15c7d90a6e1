//! The deserializer in front of postcard's, which pays for everything before it is built.

use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

use super::attached;
use super::decode::{Fail, Outcome, Source};

type Name = &'static str;
type Names = &'static [&'static str];

/// Decodes one value. Seeds at every level get this very type, so recursive types stay finite.
pub(super) struct Reader<'r, 'de> {
    source: &'r mut Source<'de>,
    /// How many more levels may be entered.
    depth: u32,
    /// The size of the place the value is meant for, which has been paid for.
    room: usize,
}

impl<'r, 'de> Reader<'r, 'de> {
    /// Of a `T` for which there is room.
    #[inline]
    pub(super) fn new<T>(source: &'r mut Source<'de>, depth: u32) -> Self {
        Reader { source, depth, room: size_of::<T>() }
    }

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

    /// Hands over what came along with the value.
    #[cold]
    fn arrived<V: Visitor<'de>>(self, visitor: V) -> Outcome<V::Value> {
        let tag = self.source.read::<u8>()?;
        match tag {
            attached::HANDLE => {
                attached::stage_handle().map_err(<Fail as de::Error>::custom)?;
            }
            attached::OBJECT => {
                let name = self.source.read()?;
                attached::stage_object(name).map_err(<Fail as de::Error>::custom)?;
            }
            _ => return Err(Fail::Malformed(postcard::Error::SerdeDeCustom)),
        }
        visitor.visit_u8(tag)
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
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: Name,
        visitor: V,
    ) -> Outcome<V::Value> {
        if name == attached::NAME {
            return self.arrived(visitor);
        }
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
        seed.deserialize(Reader::new::<S::Value>(&mut *self.source, self.depth))
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
