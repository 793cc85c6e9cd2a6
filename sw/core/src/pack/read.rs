//! Reading, as serde asks for it. Nothing here trusts a length.

use serde::{
    de::{self, DeserializeSeed, Visitor},
    forward_to_deserialize_any,
};

use super::PackError;

/// The beginning of a value: all of it, or the number of bytes or items that follow.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Head {
    Nil,
    Bool(bool),
    Uint(u64),
    Text(usize),
    Bytes(usize),
    List(usize),
    Map(usize),
    /// What we never read: negative numbers, floats and extensions.
    Other(usize),
}

pub(super) struct Reader<'de>(pub(super) &'de [u8]);

impl<'de> Reader<'de> {
    fn take(&mut self, count: usize) -> Result<&'de [u8], PackError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(PackError::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    /// A big-endian number.
    fn number(&mut self, bytes: usize) -> Result<u64, PackError> {
        let taken = self.take(bytes)?.iter();
        Ok(taken.fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn length(&mut self, bytes: usize) -> Result<usize, PackError> {
        // Four bytes at most, which fit.
        self.number(bytes).map(|length| length as usize)
    }

    pub(super) fn head(&mut self) -> Result<Head, PackError> {
        let byte = self.number(1)? as u8;
        let low = |bits: u8| usize::from(byte & ((1 << bits) - 1));
        // Of the forms that come in several widths: 1, 2, 4, 8 bytes.
        let width = |first: u8| 1 << (byte - first);
        let head = match byte {
            0x00..=0x7f => Head::Uint(byte.into()),
            0x80..=0x8f => Head::Map(low(4)),
            0x90..=0x9f => Head::List(low(4)),
            0xa0..=0xbf => Head::Text(low(5)),
            0xc0 => Head::Nil,
            0xc1 => return Err(PackError::Malformed),
            0xc2 | 0xc3 => Head::Bool(byte == 0xc3),
            0xc4..=0xc6 => Head::Bytes(self.length(width(0xc4))?),
            // Extensions have one byte of type before their data.
            0xc7..=0xc9 => Head::Other(self.length(width(0xc7))? + 1),
            0xca | 0xcb => Head::Other(width(0xca) * 4),
            0xcc..=0xcf => Head::Uint(self.number(width(0xcc))?),
            0xd0..=0xd3 => match (self.number(width(0xd0))?, width(0xd0) * 8 - 1) {
                // Signed, and yet not negative.
                (number, sign) if number >> sign == 0 => Head::Uint(number),
                _ => Head::Other(0),
            },
            0xd4..=0xd8 => Head::Other(width(0xd4) + 1),
            0xd9..=0xdb => Head::Text(self.length(width(0xd9))?),
            0xdc | 0xdd => Head::List(self.length(width(0xdc) * 2)?),
            0xde | 0xdf => Head::Map(self.length(width(0xde) * 2)?),
            0xe0..=0xff => Head::Other(0),
        };
        match head {
            Head::List(items) | Head::Map(items) if items > self.0.len() => {
                Err(PackError::Malformed)
            }
            head => Ok(head),
        }
    }

    pub(super) fn text(&mut self) -> Result<&'de str, PackError> {
        match self.head()? {
            Head::Text(length) => {
                std::str::from_utf8(self.take(length)?).map_err(|_| PackError::Malformed)
            }
            _ => Err(PackError::Malformed),
        }
    }

    fn uint(&mut self) -> Result<u64, PackError> {
        match self.head()? {
            Head::Uint(number) => Ok(number),
            _ => Err(PackError::Malformed),
        }
    }

    fn list(&mut self) -> Result<usize, PackError> {
        match self.head()? {
            Head::List(items) => Ok(items),
            _ => Err(PackError::Malformed),
        }
    }

    pub(super) fn map(&mut self) -> Result<usize, PackError> {
        match self.head()? {
            Head::Map(entries) => Ok(entries),
            _ => Err(PackError::Malformed),
        }
    }

    /// Passes over one value with all that is in it.
    pub(super) fn skip(&mut self) -> Result<(), PackError> {
        // Each step takes a byte, so this ends, and the sum of what is still to come stays small.
        let mut values: usize = 1;
        while values > 0 {
            values -= 1;
            match self.head()? {
                Head::Text(length) | Head::Bytes(length) | Head::Other(length) => {
                    self.take(length)?;
                }
                Head::List(items) => values += items,
                Head::Map(entries) => values += 2 * entries,
                Head::Nil | Head::Bool(_) | Head::Uint(_) => {}
            }
            if values > self.0.len() {
                return Err(PackError::Malformed);
            }
        }
        Ok(())
    }
}

impl<'de> de::Deserializer<'de> for &mut Reader<'de> {
    type Error = PackError;

    fn is_human_readable(&self) -> bool {
        false
    }

    /// For what our messages do not have; what they have is below.
    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, PackError> {
        Err(PackError::Malformed)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PackError> {
        match self.head()? {
            Head::Bool(value) => visitor.visit_bool(value),
            _ => Err(PackError::Malformed),
        }
    }

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PackError> {
        visitor.visit_u64(self.uint()?)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PackError> {
        visitor.visit_u64(self.uint()?)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PackError> {
        visitor.visit_u64(self.uint()?)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PackError> {
        visitor.visit_u64(self.uint()?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PackError> {
        visitor.visit_borrowed_str(self.text()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PackError> {
        visitor.visit_borrowed_str(self.text()?)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PackError> {
        visitor.visit_borrowed_str(self.text()?)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PackError> {
        match self.head()? {
            Head::Bytes(length) => visitor.visit_borrowed_bytes(self.take(length)?),
            _ => Err(PackError::Malformed),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PackError> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PackError> {
        if let Some((0xc0, rest)) = self.0.split_first() {
            self.0 = rest;
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PackError> {
        let left = self.list()?;
        visitor.visit_seq(Items { reader: self, left })
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, PackError> {
        match self.list()? {
            left if left == len => visitor.visit_seq(Items { reader: self, left }),
            _ => Err(PackError::Malformed),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PackError> {
        let left = self.map()?;
        visitor.visit_map(Items { reader: self, left })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, PackError> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, PackError> {
        match self.map()? {
            1 => visitor.visit_enum(self),
            _ => Err(PackError::Malformed),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PackError> {
        self.skip()?;
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 f32 f64 char unit unit_struct newtype_struct tuple_struct
    }
}

/// The rest of a list, or of a map.
struct Items<'a, 'de> {
    reader: &'a mut Reader<'de>,
    left: usize,
}

impl<'de> de::SeqAccess<'de> for Items<'_, 'de> {
    type Error = PackError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, PackError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(&mut *self.reader).map(Some)
    }
}

impl<'de> de::MapAccess<'de> for Items<'_, 'de> {
    type Error = PackError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, PackError> {
        de::SeqAccess::next_element_seed(self, seed)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, PackError> {
        seed.deserialize(&mut *self.reader)
    }
}

impl<'de> de::EnumAccess<'de> for &mut Reader<'de> {
    type Error = PackError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), PackError> {
        Ok((seed.deserialize(&mut *self)?, self))
    }
}

impl<'de> de::VariantAccess<'de> for &mut Reader<'de> {
    type Error = PackError;

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, PackError> {
        de::Deserializer::deserialize_map(self, visitor)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, PackError> {
        seed.deserialize(self)
    }

    // A kind without fields of its own has empty ones, so that it can get some.
    fn unit_variant(self) -> Result<(), PackError> {
        Err(PackError::Malformed)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, PackError> {
        Err(PackError::Malformed)
    }
}
