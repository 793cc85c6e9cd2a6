//! Content ids and outboards of files: reading and hashing on all cores.
//!
//! The outboard is the tree of hashes over groups of 16 KiB without the groups themselves, in
//! pre-order, 64 bytes a parent, without a size: what `bao_tree` calls a `PreOrderOutboard`. The
//! library makes one on one core; this does the same by halves.
//!
//! Files are read, not mapped: one that is cut short while it is mapped ends the whole process.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

use blake3::hazmat::{
    ChainingValue, HasherExt as _, Mode, left_subtree_len, merge_subtrees_non_root,
    merge_subtrees_root,
};
use fugitive_core::{
    content::{ContentId, GROUP, group_count},
    manifest::OUTBOARD_OVER,
};

use crate::scan::readable;

/// Read at once by one core, in bytes; a power of two, so that it holds whole subtrees.
const WINDOW: u64 = 1 << 20;
/// Bytes of one parent: the hashes of its two children.
const PARENT: usize = 64;

/// The content id of a file of `len` bytes, and its outboard if it is long enough for one. A file
/// that turns out shorter is an error. `done` hears, from any core, of each run of bytes.
pub fn hash(
    file: &File,
    len: u64,
    done: &(impl Fn(u64) + Sync),
) -> io::Result<(ContentId, Option<Vec<u8>>)> {
    if len <= OUTBOARD_OVER {
        let bytes = read(file, 0, len)?;
        done(len);
        return Ok((ContentId::of(&bytes), None));
    }
    let mut outboard = vec![0; outboard_len(len)];
    let root = subtree(file, 0, len, &mut outboard, true, done)?;
    Ok((ContentId(root), Some(outboard)))
}

/// Bytes of the outboard of so many bytes.
pub fn outboard_len(len: u64) -> usize {
    (group_count(len) as usize - 1) * PARENT
}

fn read(file: &File, offset: u64, len: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len as usize];
    read_at(file, &mut bytes, offset)?;
    Ok(bytes)
}

#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

#[cfg(windows)]
fn read_at(file: &File, mut bytes: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, bytes, offset)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => {
                bytes = &mut bytes[n..];
                offset += n as u64;
            }
        }
    }
    Ok(())
}

/// The hash over a run of the file; `outboard` is the part of the outboard that belongs to it.
fn subtree(
    file: &File,
    offset: u64,
    len: u64,
    outboard: &mut [u8],
    root: bool,
    done: &(impl Fn(u64) + Sync),
) -> io::Result<ChainingValue> {
    if len <= WINDOW {
        let bytes = read(file, offset, len)?;
        done(len);
        return Ok(window(&bytes, offset, outboard, root));
    }
    let left_len = left_subtree_len(len);
    let (parent, left, right) = split(outboard, left_len);
    let (left, right) = rayon::join(
        || subtree(file, offset, left_len, left, false, done),
        || subtree(file, offset + left_len, len - left_len, right, false, done),
    );
    Ok(merge(parent, left?, right?, root))
}

/// As [`subtree`], for bytes that were read. On one core: a core that waits for the other half
/// would take up another window meanwhile, and memory would grow.
fn window(bytes: &[u8], offset: u64, outboard: &mut [u8], root: bool) -> ChainingValue {
    let len = bytes.len() as u64;
    if len <= GROUP {
        let mut hasher = blake3::Hasher::new();
        hasher.set_input_offset(offset).update(bytes);
        return if root {
            *hasher.finalize().as_bytes()
        } else {
            hasher.finalize_non_root()
        };
    }
    let left_len = left_subtree_len(len);
    let (parent, left, right) = split(outboard, left_len);
    let (left_bytes, right_bytes) = bytes.split_at(left_len as usize);
    let left = window(left_bytes, offset, left, false);
    let right = window(right_bytes, offset + left_len, right, false);
    merge(parent, left, right, root)
}

fn split(outboard: &mut [u8], left_len: u64) -> (&mut [u8], &mut [u8], &mut [u8]) {
    let (parent, rest) = outboard.split_at_mut(PARENT);
    let (left, right) = rest.split_at_mut(outboard_len(left_len));
    (parent, left, right)
}

fn merge(
    parent: &mut [u8],
    left: ChainingValue,
    right: ChainingValue,
    root: bool,
) -> ChainingValue {
    parent[..32].copy_from_slice(&left);
    parent[32..].copy_from_slice(&right);
    if root {
        *merge_subtrees_root(&left, &right, Mode::Hash).as_bytes()
    } else {
        merge_subtrees_non_root(&left, &right, Mode::Hash)
    }
}

/// Hashes bytes as they come, one after the other, to what [`hash`] makes of a file of them. Of these
/// bytes it keeps no more than a group.
#[derive(Default)]
pub struct Growing {
    len: u64,
    group: Vec<u8>,
    groups: Vec<ChainingValue>,
}

impl Growing {
    /// How many came so far.
    pub fn length(&self) -> u64 {
        self.len
    }

    /// Takes more.
    pub fn update(&mut self, mut bytes: &[u8]) {
        self.len += bytes.len() as u64;
        while !bytes.is_empty() {
            // The last group is not ended before it is known not to be the first.
            if self.group.len() as u64 == GROUP {
                self.end_group();
            }
            let room = GROUP as usize - self.group.len();
            let (more, rest) = bytes.split_at(room.min(bytes.len()));
            self.group.extend_from_slice(more);
            bytes = rest;
        }
    }

    fn end_group(&mut self) {
        let mut hasher = blake3::Hasher::new();
        hasher.set_input_offset(self.groups.len() as u64 * GROUP);
        self.groups
            .push(hasher.update(&self.group).finalize_non_root());
        self.group.clear();
    }

    /// There are no more.
    pub fn end(mut self) -> (ContentId, Option<Vec<u8>>) {
        if self.groups.is_empty() {
            return (ContentId::of(&self.group), None);
        }
        self.end_group();
        let mut outboard = vec![0; outboard_len(self.len)];
        let root = ContentId(above(&self.groups, &mut outboard, true));
        (root, (self.len > OUTBOARD_OVER).then_some(outboard))
    }
}

/// The hash over groups of which the hashes are known.
fn above(groups: &[ChainingValue], outboard: &mut [u8], root: bool) -> ChainingValue {
    if let [group] = groups {
        return *group;
    }
    let left_len = left_subtree_len(groups.len() as u64 * GROUP);
    let (parent, left, right) = split(outboard, left_len);
    let (left_groups, right_groups) = groups.split_at((left_len / GROUP) as usize);
    let left = above(left_groups, left, false);
    let right = above(right_groups, right, false);
    merge(parent, left, right, root)
}

/// Whether this is the outboard of a content so long.
pub fn is_of(id: ContentId, len: u64, outboard: &[u8]) -> bool {
    len > GROUP && outboard.len() == outboard_len(len) && is_below(&id.0, len, outboard, true)
}

fn is_below(hash: &ChainingValue, len: u64, outboard: &[u8], root: bool) -> bool {
    if len <= GROUP {
        return true;
    }
    let left_len = left_subtree_len(len);
    let (parent, rest) = outboard.split_at(PARENT);
    let (left, right) = rest.split_at(outboard_len(left_len));
    let (Some(left_hash), Some(right_hash)) = (parent.first_chunk(), parent.last_chunk()) else {
        return false;
    };
    let above = match root {
        true => *merge_subtrees_root(left_hash, right_hash, Mode::Hash).as_bytes(),
        false => merge_subtrees_non_root(left_hash, right_hash, Mode::Hash),
    };
    above == *hash
        && is_below(left_hash, left_len, left, false)
        && is_below(right_hash, len - left_len, right, false)
}

/// Writes an outboard to a folder, whole or not at all: a reader may come at any time, and so may the end
/// of the process.
pub fn keep(folder: &Path, id: ContentId, outboard: &[u8]) -> io::Result<()> {
    let path = folder.join(id.to_hex());
    if fs::metadata(&path).is_ok_and(|m| m.len() == outboard.len() as u64) {
        return Ok(());
    }
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    io::Write::write_all(&mut file, outboard)?;
    readable(file.as_file())?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use bao_tree::{BlockSize, io::outboard::PreOrderMemOutboard};

    use super::*;

    #[test]
    fn outboard_is_the_one_that_bao_tree_makes() {
        let mib = 1 << 20;
        for len in [
            mib + 1,
            mib + 16 * 1024,
            2 * mib,
            3 * mib - 1,
            5 * mib + 12_345,
        ] {
            let bytes: Vec<u8> = (0..len).map(|i: u32| (i ^ (i >> 8)) as u8).collect();
            let mut file = tempfile::tempfile().unwrap();
            io::Write::write_all(&mut file, &bytes).unwrap();
            let (id, outboard) = hash(&file, u64::from(len), &|_| {}).unwrap();
            let theirs = PreOrderMemOutboard::create(&bytes, BlockSize::from_chunk_log(4));
            assert_eq!(id, ContentId::of(&bytes), "{len}");
            assert_eq!(id.0, *theirs.root.as_bytes(), "{len}");
            assert!(outboard.unwrap() == theirs.data, "{len}");
        }
    }

    #[test]
    fn small_file_has_no_outboard_and_one_that_was_cut_short_is_an_error() {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, b"short").unwrap();
        assert_eq!(
            hash(&file, 5, &|_| {}).unwrap(),
            (ContentId::of(b"short"), None)
        );
        assert!(hash(&file, 6, &|_| {}).is_err());
        assert!(hash(&file, 9 << 20, &|_| {}).is_err());
    }

    #[test]
    fn bytes_that_come_in_pieces_have_the_same_hash_and_outboard_and_no_other_is_taken_for_it() {
        for len in [0, 1, 16_384, 16_385, 1 << 20, (1 << 20) + 1, 3_456_789] {
            let bytes: Vec<u8> = (0..len).map(|i: u32| (i ^ (i >> 8)) as u8).collect();
            let mut file = tempfile::tempfile().unwrap();
            io::Write::write_all(&mut file, &bytes).unwrap();
            let whole = hash(&file, u64::from(len), &|_| {}).unwrap();
            let mut growing = Growing::default();
            for piece in bytes.chunks(10_007) {
                growing.update(piece);
            }
            let (id, outboard) = growing.end();
            assert!(whole == (id, outboard.clone()), "{len}");
            let Some(mut outboard) = outboard else {
                continue;
            };
            assert!(is_of(id, u64::from(len), &outboard));
            assert!(!is_of(ContentId::of(b"other"), u64::from(len), &outboard));
            assert!(!is_of(id, u64::from(len), &outboard[64..]));
            *outboard.last_mut().unwrap() ^= 1;
            assert!(!is_of(id, u64::from(len), &outboard));
        }
    }
}
