//! What bytes are called: the content id, and how a resource is cut into groups and blocks.

use std::{cmp::Ordering, fmt, ops::Range, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Bytes in a group, the unit that is verified and sent.
pub const GROUP: u64 = 16 * 1024;
/// Groups in a block, the unit that is stored.
pub const GROUPS_PER_BLOCK: u32 = 16;
/// Bytes in a block.
pub const BLOCK: u64 = GROUP * GROUPS_PER_BLOCK as u64;
/// The largest resource that is listed, shared or stored: 2^32 groups would be 64 TiB, a `u32` of
/// groups is never the limit in practice, but an attacker's length must not become an allocation.
pub const MAX_LEN: u64 = 1 << 40;

/// The BLAKE3 root of a resource's identity-encoded bytes.
///
/// In text (JSON, IndexedDB keys) it is 64 lower-case hex digits, in MessagePack 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentId(pub [u8; 32]);

/// By its bytes. Two differ in the first eight, unless somebody made them for that: so lists of
/// thousands are searched by one comparison of numbers a step.
impl Ord for ContentId {
    fn cmp(&self, other: &Self) -> Ordering {
        let first = self.first().cmp(&other.first());
        first.then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for ContentId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl ContentId {
    /// The content id of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// Its first eight bytes, as a number in the same order.
    pub fn first(&self) -> u64 {
        self.0
            .first_chunk()
            .map_or(0, |first| u64::from_be_bytes(*first))
    }

    /// 64 lower-case hex digits.
    pub fn to_hex(&self) -> String {
        blake3::Hash::from(self.0).to_hex().to_string()
    }
}

impl fmt::Display for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl fmt::Debug for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex()[..12])
    }
}

/// A content id that is not 64 hex digits, or not 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a content id")]
pub struct BadContentId;

impl FromStr for ContentId {
    type Err = BadContentId;
    fn from_str(text: &str) -> Result<Self, BadContentId> {
        blake3::Hash::from_hex(text)
            .map(|hash| Self(*hash.as_bytes()))
            .map_err(|_| BadContentId)
    }
}

impl Serialize for ContentId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() {
            to.serialize_str(&self.to_hex())
        } else {
            to.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for ContentId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl de::Visitor<'_> for Either {
            type Value = ContentId;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a content id")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<ContentId, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<ContentId, E> {
                bytes
                    .try_into()
                    .map(ContentId)
                    .map_err(|_| E::custom(BadContentId))
            }
        }
        if from.is_human_readable() {
            from.deserialize_str(Either)
        } else {
            from.deserialize_bytes(Either)
        }
    }
}

/// How many groups a resource of `len` bytes has; an empty one has one, which is empty.
pub fn group_count(len: u64) -> u32 {
    len.div_ceil(GROUP).clamp(1, u64::from(u32::MAX)) as u32
}

/// How many blocks a resource of `len` bytes has.
pub fn block_count(len: u64) -> u32 {
    group_count(len).div_ceil(GROUPS_PER_BLOCK)
}

/// The bytes that a run of groups covers, cut at the end of the resource.
pub fn group_bytes(groups: Range<u32>, len: u64) -> Range<u64> {
    (u64::from(groups.start) * GROUP).min(len)..(u64::from(groups.end) * GROUP).min(len)
}

/// The groups that hold a range of bytes.
pub fn groups_of(bytes: Range<u64>) -> Range<u32> {
    let start = (bytes.start / GROUP).min(u64::from(u32::MAX)) as u32;
    let end = bytes.end.div_ceil(GROUP).min(u64::from(u32::MAX)) as u32;
    start..end.max(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_id_is_hex_in_json_and_bytes_in_messagepack() {
        let id = ContentId::of(b"fugitive");
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(json.len(), 66);
        assert_eq!(serde_json::from_str::<ContentId>(&json).unwrap(), id);
        let packed = rmp_serde::to_vec(&id).unwrap();
        assert_eq!(packed.len(), 34);
        assert_eq!(rmp_serde::from_slice::<ContentId>(&packed).unwrap(), id);
    }

    #[test]
    fn groups_cover_every_byte_and_no_more() {
        assert_eq!(group_count(0), 1);
        assert_eq!(group_count(GROUP), 1);
        assert_eq!(group_count(GROUP + 1), 2);
        assert_eq!(group_bytes(1..2, GROUP + 5), GROUP..GROUP + 5);
        assert_eq!(groups_of(0..1), 0..1);
        assert_eq!(groups_of(GROUP - 1..GROUP + 1), 0..2);
        assert_eq!(block_count(BLOCK + 1), 2);
    }
}
