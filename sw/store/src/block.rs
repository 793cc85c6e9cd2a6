//! The record of a block: which of its sixteen groups are held, and their bytes as they are kept.
//! Not for where it is kept.
//!
//! One byte string: eight bytes of the BLAKE3 hash of all that follows, sixteen little-endian
//! words, then the groups that are held, in order. A word is 0 for a group that is absent, else the
//! group's length with [`HELD`] and, if it must be inflated, [`DEFLATED`]. The sum is there because
//! a record can rot on disk, and rot must not reach a page or cost us a ban by a peer.

use std::ops::Range;

use fugitive_core::{
    content::{BLOCK, ContentId, GROUP, GROUPS_PER_BLOCK},
    deflate::Kept,
};

/// Groups in a block, as an index.
pub(crate) const GROUPS: usize = GROUPS_PER_BLOCK as usize;
const SUM: usize = 8;
const HEADER: usize = SUM + 4 * GROUPS;
const HELD: u32 = 1 << 30;
const DEFLATED: u32 = 1 << 31;
const LENGTH: u32 = HELD - 1;

/// A block as it lies in the database.
pub(crate) struct Block(Vec<u8>);

/// A group in a block: its bytes as they are kept, and whether they must be inflated.
pub(crate) type Group<'a> = (&'a [u8], bool);

impl Block {
    /// The block of these groups.
    pub(crate) fn new(groups: &[Option<Group<'_>>; GROUPS]) -> Self {
        let bytes: usize = groups.iter().flatten().map(|group| group.0.len()).sum();
        let mut record = Vec::with_capacity(HEADER + bytes);
        record.resize(SUM, 0);
        for group in groups {
            let word = match group {
                None => 0,
                Some((bytes, false)) => bytes.len() as u32 | HELD,
                Some((bytes, true)) => bytes.len() as u32 | HELD | DEFLATED,
            };
            record.extend_from_slice(&word.to_le_bytes());
        }
        for (bytes, _) in groups.iter().flatten() {
            record.extend_from_slice(bytes);
        }
        let sum = sum(&record);
        record[..SUM].copy_from_slice(&sum);
        Self(record)
    }

    /// The block in a record; nothing if that is not what [`Block::new`] made.
    pub(crate) fn read(record: Vec<u8>) -> Option<Self> {
        if record.len() < HEADER
            || record.len() > HEADER + BLOCK as usize
            || record[..SUM] != sum(&record)
        {
            return None;
        }
        let block = Self(record);
        let bytes: usize = (0..GROUPS).map(|n| block.length(n)).sum();
        (bytes == block.0.len() - HEADER && (0..GROUPS).all(|n| block.length(n) <= GROUP as usize))
            .then_some(block)
    }

    /// The record.
    pub(crate) fn record(&self) -> &[u8] {
        &self.0
    }

    /// All groups, absent ones too.
    pub(crate) fn groups(&self) -> [Option<Group<'_>>; GROUPS] {
        let mut rest = &self.0[HEADER..];
        std::array::from_fn(|n| {
            let (bytes, after) = rest.split_at(self.length(n));
            rest = after;
            let word = self.word(n);
            (word & HELD != 0).then_some((bytes, word & DEFLATED != 0))
        })
    }

    /// Where in the record a content of this length lies as it is; nothing if it does not.
    pub(crate) fn plain(&self, len: u64) -> Option<Range<u32>> {
        let is_plain = (0..GROUPS).all(|n| self.word(n) & DEFLATED == 0);
        let is_all = self.0.len() as u64 == HEADER as u64 + len;
        (is_plain && is_all).then_some(HEADER as u32..self.0.len() as u32)
    }

    fn word(&self, n: usize) -> u32 {
        let at = SUM + 4 * n;
        u32::from_le_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]])
    }

    fn length(&self, n: usize) -> usize {
        (self.word(n) & LENGTH) as usize
    }
}

/// A group out of the block, to be sent or inflated.
pub(crate) fn kept((bytes, deflated): Group<'_>) -> Kept {
    Kept {
        bytes: bytes.to_vec(),
        deflated,
    }
}

fn sum(record: &[u8]) -> [u8; SUM] {
    let hash = ContentId::of(&record[SUM..]).0;
    std::array::from_fn(|n| hash[n])
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    fn sample() -> Block {
        let mut groups = [None; GROUPS];
        groups[0] = Some((&b"first"[..], false));
        groups[7] = Some((&b""[..], false));
        groups[15] = Some((&b"last"[..], true));
        Block::new(&groups)
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn absent_empty_and_deflated_groups_are_told_apart() {
        let block = Block::read(sample().0).unwrap();
        let groups = block.groups();
        assert_eq!(groups[0], Some((&b"first"[..], false)));
        assert_eq!(groups[1], None);
        assert_eq!(groups[7], Some((&b""[..], false)));
        assert_eq!(groups[15], Some((&b"last"[..], true)));
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn any_flipped_bit_and_any_cut_is_found() {
        let record = sample().0;
        for n in 0..record.len() * 8 {
            let mut flipped = record.clone();
            flipped[n / 8] ^= 1 << (n % 8);
            assert!(Block::read(flipped).is_none(), "bit {n}");
        }
        for n in 0..record.len() {
            assert!(Block::read(record[..n].to_vec()).is_none(), "cut at {n}");
        }
    }
}
