//! Writing, as serde has it: the shortest form of each value.

use serde::{
    Serialize,
    ser::{self, Impossible},
};

use super::PackError;

pub(super) struct Writer<'a>(pub(super) &'a mut Vec<u8>);

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
