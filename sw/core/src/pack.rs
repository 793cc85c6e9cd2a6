//! MessagePack with named fields, as far as our messages use it: what [`crate::wire`] and the
//! signalling protocol are written in. Not for anything that is stored.
//!
//! The bytes are those of `rmp-serde` with named structs, against which the tests check them. It is
//! not used itself because a client downloads this: its reader is compiled anew into every field of
//! every message, a hundred kilobytes of a visitor's time where this takes five.
//!
//! Reading never trusts a length: a list or map is refused if it says more items than there are
//! bytes left, memory grows with what was read and not with what was promised, and what is skipped
//! is skipped without recursion.

use std::fmt;

use serde::{
    Deserialize, Serialize,
    de::{self, DeserializeSeed, Visitor},
    forward_to_deserialize_any,
    ser::{self, Impossible},
};

/// Why something is not read, or cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// A message, but of a kind that this version does not know.
    #[error("of an unknown kind")]
    UnknownKind,
    /// Not MessagePack, or not what it should be.
    #[error("not the message that it should be")]
    Malformed,
}

impl de::Error for PackError {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::Malformed
    }
    fn unknown_variant(_: &str, _: &'static [&'static str]) -> Self {
        Self::UnknownKind
    }
    fn invalid_type(_: de::Unexpected<'_>, _: &dyn de::Expected) -> Self {
        Self::Malformed
    }
    fn invalid_value(_: de::Unexpected<'_>, _: &dyn de::Expected) -> Self {
        Self::Malformed
    }
    fn invalid_length(_: usize, _: &dyn de::Expected) -> Self {
        Self::Malformed
    }
    fn missing_field(_: &'static str) -> Self {
        Self::Malformed
    }
    fn duplicate_field(_: &'static str) -> Self {
        Self::Malformed
    }
}

impl ser::Error for PackError {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::Malformed
    }
}

/// Writes a value behind what `bytes` holds. Fails for types that no message of ours has, such as
/// floats.
pub fn write<T: Serialize + ?Sized>(value: &T, bytes: &mut Vec<u8>) -> Result<(), PackError> {
    value.serialize(&mut Writer(bytes))
}

/// Reads a value. What follows it is ignored.
pub fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, PackError> {
    T::deserialize(&mut Reader(bytes))
}

/// The name of the kind of a message, known here or not; nothing if it is no message.
pub fn kind(bytes: &[u8]) -> Option<&str> {
    let mut reader = Reader(bytes);
    match reader.head().ok()? {
        Head::Map(1) => {}
        _ => return None,
    }
    let kind = reader.text().ok()?;
    reader.skip().ok()?;
    Some(kind)
}

/// The fields of a message of this kind that have these names, each as it stands; nothing if one is
/// missing or it is no such message.
pub fn fields<'a, const N: usize>(
    bytes: &'a [u8],
    kind: &str,
    names: [&str; N],
) -> Option<[&'a [u8]; N]> {
    let mut reader = Reader(bytes);
    if reader.map().ok()? != 1 || reader.text().ok()? != kind {
        return None;
    }
    let mut found = [&[][..]; N];
    for _ in 0..reader.map().ok()? {
        let name = reader.text().ok()?;
        let value = reader.0;
        reader.skip().ok()?;
        if let Some(place) = names.iter().position(|wanted| *wanted == name) {
            found[place] = &value[..value.len() - reader.0.len()];
        }
    }
    found.iter().all(|value| !value.is_empty()).then_some(found)
}

/// A value that is a text.
pub fn text(value: &[u8]) -> Option<&str> {
    Reader(value).text().ok()
}

/// The beginning of a value: all of it, or the number of bytes or items that follow.
#[derive(Clone, Copy, PartialEq)]
enum Head {
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

struct Reader<'de>(&'de [u8]);

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

    fn head(&mut self) -> Result<Head, PackError> {
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

    fn text(&mut self) -> Result<&'de str, PackError> {
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

    fn map(&mut self) -> Result<usize, PackError> {
        match self.head()? {
            Head::Map(entries) => Ok(entries),
            _ => Err(PackError::Malformed),
        }
    }

    /// Passes over one value with all that is in it.
    fn skip(&mut self) -> Result<(), PackError> {
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

struct Writer<'a>(&'a mut Vec<u8>);

impl Writer<'_> {
    /// A head that comes in up to three widths, of which the shortest is taken: `first` is that of
    /// one byte, or of two where there is none of one.
    fn head(&mut self, widths: [u8; 3], number: u32) {
        let [one, two, four] = widths;
        match number {
            0..=0xff if one != 0 => self.0.extend_from_slice(&[one, number as u8]),
            0..=0xffff => {
                self.0.push(two);
                self.0.extend_from_slice(&(number as u16).to_be_bytes());
            }
            _ => {
                self.0.push(four);
                self.0.extend_from_slice(&number.to_be_bytes());
            }
        }
    }

    fn uint(&mut self, number: u64) {
        match u32::try_from(number) {
            Ok(small @ 0..=0x7f) => self.0.push(small as u8),
            Ok(number) => self.head([0xcc, 0xcd, 0xce], number),
            Err(_) => {
                self.0.push(0xcf);
                self.0.extend_from_slice(&number.to_be_bytes());
            }
        }
    }

    fn text(&mut self, text: &str) {
        match text.len() {
            short @ 0..=31 => self.0.push(0xa0 | short as u8),
            long => self.head([0xd9, 0xda, 0xdb], long as u32),
        }
        self.0.extend_from_slice(text.as_bytes());
    }

    fn list(&mut self, items: usize) {
        match items {
            few @ 0..=15 => self.0.push(0x90 | few as u8),
            many => self.head([0, 0xdc, 0xdd], many as u32),
        }
    }

    fn map(&mut self, entries: usize) {
        match entries {
            few @ 0..=15 => self.0.push(0x80 | few as u8),
            many => self.head([0, 0xde, 0xdf], many as u32),
        }
    }
}

/// What a message does not have cannot be written.
macro_rules! refuse {
    ($($method:ident($type:ty))*) => {$(
        fn $method(self, _: $type) -> Result<(), PackError> {
            Err(PackError::Malformed)
        }
    )*};
}

impl ser::Serializer for &mut Writer<'_> {
    type Ok = ();
    type Error = PackError;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Impossible<(), PackError>;
    type SerializeTupleVariant = Impossible<(), PackError>;
    type SerializeMap = Impossible<(), PackError>;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    fn is_human_readable(&self) -> bool {
        false
    }

    refuse! {
        serialize_i8(i8) serialize_i16(i16) serialize_i32(i32) serialize_i64(i64)
        serialize_f32(f32) serialize_f64(f64) serialize_char(char) serialize_unit_struct(&'static str)
    }

    fn serialize_bool(self, value: bool) -> Result<(), PackError> {
        self.0.push(0xc2 | u8::from(value));
        Ok(())
    }

    fn serialize_u8(self, number: u8) -> Result<(), PackError> {
        self.serialize_u64(number.into())
    }

    fn serialize_u16(self, number: u16) -> Result<(), PackError> {
        self.serialize_u64(number.into())
    }

    fn serialize_u32(self, number: u32) -> Result<(), PackError> {
        self.serialize_u64(number.into())
    }

    fn serialize_u64(self, number: u64) -> Result<(), PackError> {
        self.uint(number);
        Ok(())
    }

    fn serialize_str(self, text: &str) -> Result<(), PackError> {
        self.text(text);
        Ok(())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), PackError> {
        self.head([0xc4, 0xc5, 0xc6], bytes.len() as u32);
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), PackError> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), PackError> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), PackError> {
        self.0.push(0xc0);
        Ok(())
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
    ) -> Result<(), PackError> {
        Err(PackError::Malformed)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: &T,
    ) -> Result<(), PackError> {
        Err(PackError::Malformed)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        kind: &'static str,
        value: &T,
    ) -> Result<(), PackError> {
        self.map(1);
        self.text(kind);
        value.serialize(self)
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Self, PackError> {
        self.list(len.ok_or(PackError::Malformed)?);
        Ok(self)
    }

    fn serialize_tuple(self, len: usize) -> Result<Self, PackError> {
        self.list(len);
        Ok(self)
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, PackError> {
        Err(PackError::Malformed)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, PackError> {
        Err(PackError::Malformed)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, PackError> {
        Err(PackError::Malformed)
    }

    fn serialize_struct(self, _: &'static str, len: usize) -> Result<Self, PackError> {
        self.map(len);
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        kind: &'static str,
        len: usize,
    ) -> Result<Self, PackError> {
        self.map(1);
        self.text(kind);
        self.map(len);
        Ok(self)
    }
}

impl ser::SerializeSeq for &mut Writer<'_> {
    type Ok = ();
    type Error = PackError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), PackError> {
        item.serialize(&mut **self)
    }

    fn end(self) -> Result<(), PackError> {
        Ok(())
    }
}

impl ser::SerializeTuple for &mut Writer<'_> {
    type Ok = ();
    type Error = PackError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), PackError> {
        item.serialize(&mut **self)
    }

    fn end(self) -> Result<(), PackError> {
        Ok(())
    }
}

impl ser::SerializeStruct for &mut Writer<'_> {
    type Ok = ();
    type Error = PackError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), PackError> {
        self.text(name);
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), PackError> {
        Ok(())
    }
}

impl ser::SerializeStructVariant for &mut Writer<'_> {
    type Ok = ();
    type Error = PackError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), PackError> {
        ser::SerializeStruct::serialize_field(self, name, value)
    }

    fn end(self) -> Result<(), PackError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::content::ContentId;

    /// All that a message may have.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Sample {
        Empty {},
        Numbers {
            flag: bool,
            small: u16,
            large: u64,
        },
        Words {
            #[serde(default)]
            maybe: Option<String>,
            all: Vec<String>,
            inner: Inner,
        },
        Runs {
            id: ContentId,
            runs: Vec<(u32, u32)>,
        },
        Around(Box<Sample>),
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Inner {
        number: Option<u32>,
    }

    fn sample() -> impl Strategy<Value = Sample> {
        // Small numbers and those about a change of width are the ones that go wrong.
        let number = prop_oneof![0u64..300, 65_000u64..66_000, any::<u64>()];
        let words = prop_oneof![".{0,40}", "[a-z]{250,260}", "[a-z]{65530,65540}"];
        let leaf = prop_oneof![
            Just(Sample::Empty {}),
            (any::<bool>(), any::<u16>(), number)
                .prop_map(|(flag, small, large)| Sample::Numbers { flag, small, large }),
            (
                prop::option::of(words),
                prop::collection::vec(".{0,4}", 0..20),
                any::<Option<u32>>()
            )
                .prop_map(|(maybe, all, number)| Sample::Words {
                    maybe,
                    all,
                    inner: Inner { number },
                }),
            (
                any::<[u8; 32]>(),
                prop::collection::vec(any::<(u32, u32)>(), 0..300)
            )
                .prop_map(|(id, runs)| Sample::Runs {
                    id: ContentId(id),
                    runs,
                }),
        ];
        leaf.prop_recursive(2, 4, 1, |inner| {
            inner.prop_map(|inner| Sample::Around(Box::new(inner)))
        })
    }

    fn written<T: Serialize>(value: &T) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(value, &mut bytes).unwrap();
        bytes
    }

    proptest! {
        #[test]
        fn bytes_are_those_of_rmp_serde_and_come_back(sample in sample()) {
            let bytes = written(&sample);
            prop_assert_eq!(&bytes, &rmp_serde::to_vec_named(&sample).unwrap());
            prop_assert_eq!(rmp_serde::from_slice::<Sample>(&bytes).unwrap(), sample.clone());
            prop_assert_eq!(read::<Sample>(&bytes), Ok(sample));
        }

        #[test]
        fn what_is_cut_off_is_malformed(sample in sample(), at in any::<prop::sample::Index>()) {
            let bytes = written(&sample);
            let cut = &bytes[..at.index(bytes.len())];
            prop_assert_eq!(read::<Sample>(cut), Err(PackError::Malformed));
            prop_assert_eq!(kind(cut), None);
        }

        #[test]
        fn garbage_is_an_error_and_never_more(
            sample in sample(), garbage in prop::collection::vec(any::<u8>(), 0..200),
            flips in prop::collection::vec(any::<(prop::sample::Index, u8)>(), 1..4),
        ) {
            let _ = (read::<Sample>(&garbage), kind(&garbage));
            let mut bytes = written(&sample);
            for (at, byte) in flips {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let _ = (read::<Sample>(&bytes), kind(&bytes));
        }

        #[test]
        fn every_form_that_a_later_version_may_send_is_passed_over(
            number: i64, float: f64, other in prop::collection::vec(any::<i8>(), 0..20),
            words in ".{0,40}",
        ) {
            #[derive(Serialize)]
            enum Later<T> {
                #[serde(rename = "numbers")]
                Numbers { flag: bool, new: T, small: u16, large: u64 },
                Dance(T),
            }
            let new = (number, float, float as f32, other, (words, (), [[[0u8; 3]; 2]; 2]));
            let bytes = rmp_serde::to_vec_named(&Later::Dance(&new)).unwrap();
            prop_assert_eq!(read::<Sample>(&bytes), Err(PackError::UnknownKind));
            prop_assert_eq!(kind(&bytes), Some("Dance"));
            let later = Later::Numbers { flag: true, new, small: 1, large: 2 };
            let known = Sample::Numbers { flag: true, small: 1, large: 2 };
            prop_assert_eq!(read(&rmp_serde::to_vec_named(&later).unwrap()), Ok(known));
        }
    }

    #[test]
    fn promised_length_costs_nothing() {
        for promise in [
            &[0xdd, 0xff, 0xff, 0xff, 0xff][..],
            &[0xdf, 0xff, 0xff, 0xff, 0xff, 0x00],
            &[0xdb, 0xff, 0xff, 0xff, 0xff, 0x00],
            &[0xc6, 0xff, 0xff, 0xff, 0xff, 0x00],
            &[0xc9, 0xff, 0xff, 0xff, 0xff, 0x00],
        ] {
            let runs = [&b"\x81\xa4runs\x82\xa4runs"[..], promise].concat();
            assert_eq!(read::<Sample>(&runs), Err(PackError::Malformed));
            let unknown = [&b"\x81\xa4runs\x82\xa3new"[..], promise].concat();
            assert_eq!(read::<Sample>(&unknown), Err(PackError::Malformed));
            assert_eq!(kind(&unknown), None);
        }
        let deep = vec![0x91; 1 << 20];
        assert_eq!(kind(&[&b"\x81\xa1a"[..], &deep].concat()), None);
    }
}
