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

mod read;
mod write;

use std::fmt;

use read::{Head, Reader};
use serde::{Deserialize, Serialize, de, ser};
use write::Writer;

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
