//! The hash tree: the proof that a group belongs to a content id.
//!
//! The tree is BLAKE3's own, cut off at groups of 16 KiB, and an outboard lists its parent nodes in
//! pre-order, 64 bytes each (left hash, right hash), without a length prefix: the layout that
//! `bao-tree` calls `PreOrderOutboard`, against which the tests check it. This file hashes and
//! compares; where bytes and outboards come from is not its business.

use std::ops::Range;

use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root,
};

use crate::content::{ContentId, GROUP, group_bytes, group_count};

/// Bytes of one parent node in an outboard or a proof.
pub const NODE: usize = 64;

/// What does not fit a content id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadProof {
    /// The bytes of this group, or the last node above it, are not those of the content.
    #[error("group {0} does not verify")]
    Group(u32),
    /// A node above the run that starts with this group is not one of the content.
    #[error("the proof fails above group {0}")]
    Node(u32),
    /// Too few or too many bytes for the groups claimed.
    #[error("the proof has the wrong length")]
    Length,
}

/// The parent nodes of a whole content.
#[derive(Clone, PartialEq, Eq)]
pub struct Outboard {
    id: ContentId,
    groups: u32,
    nodes: Vec<u8>,
}

impl Outboard {
    /// How long the outboard of a resource of `len` bytes is.
    pub fn size(len: u64) -> usize {
        (group_count(len) as usize - 1) * NODE
    }

    /// The outboard of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let len = bytes.len() as u64;
        let groups = group_count(len);
        let mut nodes = vec![0; Self::size(len)];
        let id = if groups == 1 {
            *blake3::hash(bytes).as_bytes()
        } else {
            build(bytes, 0..groups, &mut nodes, true)
        };
        Self {
            id: ContentId(id),
            groups,
            nodes,
        }
    }

    /// An outboard that came from elsewhere, with every node of it checked against the content id.
    pub fn checked(id: ContentId, len: u64, nodes: Vec<u8>) -> Result<Self, BadProof> {
        if nodes.len() != Self::size(len) {
            return Err(BadProof::Length);
        }
        let groups = group_count(len);
        check_nodes(&nodes, 0..groups, id.0, true)?;
        Ok(Self { id, groups, nodes })
    }

    /// Of what it is.
    pub fn id(&self) -> ContentId {
        self.id
    }

    /// The nodes, as they are stored and served.
    pub fn nodes(&self) -> &[u8] {
        &self.nodes
    }

    /// The proof of a run of groups: the nodes above it in pre-order.
    pub fn proof(&self, run: Range<u32>) -> Vec<u8> {
        let mut proof = Vec::new();
        collect(&self.nodes, 0..self.groups, &run, &mut proof);
        proof
    }

    /// Checks one group.
    pub fn check(&self, group: u32, bytes: &[u8]) -> Result<(), BadProof> {
        let (mut span, mut nodes, mut expected) = (0..self.groups, &self.nodes[..], self.id.0);
        while span.len() > 1 {
            let (left, right, below) = split_node(nodes).ok_or(BadProof::Length)?;
            let middle = middle(&span);
            if group < middle {
                (span, nodes, expected) = (span.start..middle, below, left);
            } else {
                let skipped = (middle - span.start - 1) as usize * NODE;
                (span, nodes, expected) = (middle..span.end, &below[skipped..], right);
            }
        }
        if span.start == group && hash_group(group, bytes, self.groups == 1) == expected {
            Ok(())
        } else {
            Err(BadProof::Group(group))
        }
    }
}

/// Checks a run of groups of a content with nothing but its id, its length and a proof.
///
/// `bytes` holds the groups of `run` one after the other and nothing else.
pub fn verify(
    id: &ContentId,
    len: u64,
    run: Range<u32>,
    bytes: &[u8],
    proof: &[u8],
) -> Result<(), BadProof> {
    let covered = group_bytes(run.clone(), len);
    let groups = group_count(len);
    if run.is_empty() || run.end > groups || bytes.len() as u64 != covered.end - covered.start {
        return Err(BadProof::Length);
    }
    let mut walk = Verify { run, bytes, proof };
    walk.below(0..groups, id.0, groups == 1, true)?;
    if walk.proof.is_empty() {
        Ok(())
    } else {
        Err(BadProof::Length)
    }
}

/// How long the proof of a run is. A frame whose proof is longer or shorter is wrong before any
/// hashing.
pub fn proof_len(len: u64, run: &Range<u32>) -> usize {
    fn count(span: Range<u32>, run: &Range<u32>) -> usize {
        if span.len() < 2 || span.end <= run.start || run.end <= span.start {
            return 0;
        }
        let middle = middle(&span);
        1 + count(span.start..middle, run) + count(middle..span.end, run)
    }
    count(0..group_count(len), run) * NODE
}

struct Verify<'a> {
    run: Range<u32>,
    bytes: &'a [u8],
    proof: &'a [u8],
}

impl Verify<'_> {
    fn below(
        &mut self,
        span: Range<u32>,
        expected: [u8; 32],
        single: bool,
        root: bool,
    ) -> Result<(), BadProof> {
        if span.end <= self.run.start || self.run.end <= span.start {
            return Ok(());
        }
        if span.len() == 1 {
            let at = (span.start - self.run.start) as usize * GROUP as usize;
            let end = (at + GROUP as usize).min(self.bytes.len());
            return if hash_group(span.start, &self.bytes[at..end], single) == expected {
                Ok(())
            } else {
                Err(BadProof::Group(span.start))
            };
        }
        let (left, right, rest) = split_node(self.proof).ok_or(BadProof::Length)?;
        if merge(&left, &right, root) != expected {
            return Err(BadProof::Node(span.start));
        }
        self.proof = rest;
        let middle = middle(&span);
        self.below(span.start..middle, left, false, false)?;
        self.below(middle..span.end, right, false, false)
    }
}

/// Where a span of more than one group divides: BLAKE3 puts the largest power of two to the left.
fn middle(span: &Range<u32>) -> u32 {
    let half = (span.len() as u64).next_power_of_two() / 2;
    span.start + half as u32
}

fn split_node(nodes: &[u8]) -> Option<([u8; 32], [u8; 32], &[u8])> {
    let (left, rest) = nodes.split_first_chunk::<32>()?;
    let (right, rest) = rest.split_first_chunk::<32>()?;
    Some((*left, *right, rest))
}

fn hash_group(group: u32, bytes: &[u8], root: bool) -> ChainingValue {
    let mut hasher = blake3::Hasher::new();
    if root {
        return *hasher.update(bytes).finalize().as_bytes();
    }
    hasher.set_input_offset(u64::from(group) * GROUP);
    hasher.update(bytes);
    hasher.finalize_non_root()
}

fn merge(left: &ChainingValue, right: &ChainingValue, root: bool) -> ChainingValue {
    if root {
        *merge_subtrees_root(left, right, Mode::Hash).as_bytes()
    } else {
        merge_subtrees_non_root(left, right, Mode::Hash)
    }
}

fn build(bytes: &[u8], span: Range<u32>, nodes: &mut [u8], root: bool) -> ChainingValue {
    if span.len() == 1 {
        let covered = group_bytes(span.clone(), bytes.len() as u64);
        return hash_group(
            span.start,
            &bytes[covered.start as usize..covered.end as usize],
            false,
        );
    }
    let middle = middle(&span);
    let (node, below) = nodes.split_at_mut(NODE);
    let (left_nodes, right_nodes) = below.split_at_mut((middle - span.start - 1) as usize * NODE);
    let left = build(bytes, span.start..middle, left_nodes, false);
    let right = build(bytes, middle..span.end, right_nodes, false);
    node[..32].copy_from_slice(&left);
    node[32..].copy_from_slice(&right);
    merge(&left, &right, root)
}

fn check_nodes(
    nodes: &[u8],
    span: Range<u32>,
    expected: [u8; 32],
    root: bool,
) -> Result<(), BadProof> {
    if span.len() == 1 {
        return Ok(());
    }
    let (left, right, below) = split_node(nodes).ok_or(BadProof::Length)?;
    if merge(&left, &right, root) != expected {
        return Err(BadProof::Node(span.start));
    }
    let middle = middle(&span);
    let (left_nodes, right_nodes) = below.split_at((middle - span.start - 1) as usize * NODE);
    check_nodes(left_nodes, span.start..middle, left, false)?;
    check_nodes(right_nodes, middle..span.end, right, false)
}

fn collect(nodes: &[u8], span: Range<u32>, run: &Range<u32>, proof: &mut Vec<u8>) {
    if span.len() < 2 || span.end <= run.start || run.end <= span.start {
        return;
    }
    let middle = middle(&span);
    let (node, below) = nodes.split_at(NODE);
    let (left, right) = below.split_at((middle - span.start - 1) as usize * NODE);
    proof.extend_from_slice(node);
    collect(left, span.start..middle, run, proof);
    collect(right, middle..span.end, run, proof);
}

#[cfg(test)]
mod tests {
    use bao_tree::{BlockSize, io::outboard::PreOrderMemOutboard};
    use proptest::prelude::*;

    use super::*;

    fn noise(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    }

    fn run_bytes<'a>(bytes: &'a [u8], run: &Range<u32>) -> &'a [u8] {
        let covered = group_bytes(run.clone(), bytes.len() as u64);
        &bytes[covered.start as usize..covered.end as usize]
    }

    #[test]
    fn outboard_is_the_one_that_bao_tree_makes() {
        let group = GROUP as usize;
        for len in [0, 1, group, group + 1, 3 * group, 5 * group - 7, 33 * group] {
            let bytes = noise(len);
            let ours = Outboard::of(&bytes);
            let theirs = PreOrderMemOutboard::create(&bytes, BlockSize::from_chunk_log(4));
            assert_eq!(ours.id().0, *theirs.root.as_bytes(), "{len}");
            assert_eq!(ours.nodes(), theirs.data, "{len}");
            assert_eq!(ours.id(), ContentId::of(&bytes));
            let again = Outboard::checked(ours.id(), len as u64, theirs.data);
            assert!(again.is_ok_and(|again| again == ours));
        }
    }

    #[test]
    fn outboard_with_one_wrong_byte_is_refused() {
        let ours = Outboard::of(&noise(9 * GROUP as usize));
        for at in [0, 63, 64, 7 * 64 + 5] {
            let mut nodes = ours.nodes().to_vec();
            nodes[at] ^= 1;
            assert!(Outboard::checked(ours.id(), 9 * GROUP, nodes).is_err());
        }
        let short = ours.nodes()[64..].to_vec();
        assert!(Outboard::checked(ours.id(), 9 * GROUP, short).is_err());
    }

    proptest! {
        #[test]
        fn any_run_verifies_and_any_change_to_it_does_not(
            len in 1..(40 * GROUP as usize), start in 0u32..40, count in 1u32..18,
            flip in any::<prop::sample::Index>(),
        ) {
            let bytes = noise(len);
            let outboard = Outboard::of(&bytes);
            let groups = group_count(len as u64);
            let start = start % groups;
            let run = start..(start + count).min(groups);
            let sent = run_bytes(&bytes, &run);
            let proof = outboard.proof(run.clone());
            let id = outboard.id();
            let check = |sent: &[u8], proof: &[u8], len| verify(&id, len, run.clone(), sent, proof);
            prop_assert_eq!(proof.len(), proof_len(len as u64, &run));
            prop_assert_eq!(check(sent, &proof, len as u64), Ok(()));
            let mut wrong = [sent, &proof].concat();
            let at = flip.index(wrong.len());
            wrong[at] ^= 1;
            prop_assert!(check(&wrong[..sent.len()], &wrong[sent.len()..], len as u64).is_err());
            prop_assert!(check(&sent[1..], &proof, len as u64).is_err());
            let longer = [&proof[..], &[0; NODE]].concat();
            prop_assert!(check(sent, &longer, len as u64).is_err());
            for group in run.clone() {
                let bytes = run_bytes(&bytes, &(group..group + 1));
                prop_assert_eq!(outboard.check(group, bytes), Ok(()));
                prop_assert!(groups == 1 || outboard.check((group + 1) % groups, bytes).is_err());
            }
        }
    }
}
