//! What peers on the same page know of each other's holdings without asking.
//!
//! A page's resources are known to whoever knows the page, so a filter over them tells nothing of
//! where else a visitor has been: it covers what **this** page asked for and nothing else, and only
//! a peer who proves that it is on the same page gets it. All other questions are answered one by
//! one, at a limited rate ([`super::serving`]).
//!
//! One Bloom filter holds two kinds of entries, "held" and "lacked", because a resource that is
//! neither in it was not asked for by that page yet, and then a question is worth its message. With
//! 10 bits and 7 hashes for each resource of the capacity, which is a power of two from 32 on, a
//! filter has 40 bytes for 32 resources, 1,280 for 1,024, and is wrong of less than 1 in 100
//! resources that it does not hold (0.8 % where it is full, less where it is not).

use fastbloom::BloomFilter;

use super::{DropReason, Engine, PeerId, holdings::Held, peers::Peer, shortage::Shortage};
use crate::{
    content::ContentId,
    wire::{BadMessage, Message},
};

const HASHES: u32 = 7;
const BITS: usize = 10;
const MIN_CAPACITY: usize = 32;
/// Resources of a page that are told of; more than this and the rest is asked for.
const MAX_CONTEXT: usize = 1024;
/// The largest filter that is read, in 64-bit words.
const MAX_WORDS: usize = MAX_CONTEXT * BITS / 64;
/// Changes are told together, this long after the first, in milliseconds.
const TOLD_AFTER: u64 = 100;
const HELD: u64 = 0;
const LACKED: u64 = 0x9e37_79b9_7f4a_7c15;

/// What a filter says of a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    Held,
    Lacked,
    /// Not covered.
    Unknown,
}

/// Of another visitor.
pub(super) struct Filter(BloomFilter);

impl Filter {
    fn empty(words: usize) -> BloomFilter {
        BloomFilter::from_vec(vec![0; words])
            .seed(&0)
            .hashes(HASHES)
    }

    fn of(words: Vec<u64>) -> Self {
        Self(BloomFilter::from_vec(words).seed(&0).hashes(HASHES))
    }

    pub(super) fn says(&self, id: &ContentId) -> Claim {
        if self.0.contains_hash(key(id, HELD)) {
            Claim::Held
        } else if self.0.contains_hash(key(id, LACKED)) {
            Claim::Lacked
        } else {
            Claim::Unknown
        }
    }
}

/// A content id is a hash already.
fn key(id: &ContentId, kind: u64) -> u64 {
    let first = id.0.first_chunk().copied().unwrap_or_default();
    u64::from_le_bytes(first) ^ kind
}

/// The page, what it asked for, and what was told of that.
#[derive(Default)]
pub(super) struct Context {
    pub page: Option<u64>,
    /// Sorted.
    ids: Vec<ContentId>,
    pub told: Vec<u64>,
    /// When a change is to be told.
    pub tell_at: Option<u64>,
}

impl Context {
    /// Takes one in, and says whether it is new.
    pub(super) fn add(&mut self, id: ContentId) -> bool {
        match self.ids.binary_search(&id) {
            Err(at) if self.ids.len() < MAX_CONTEXT => {
                self.ids.insert(at, id);
                true
            }
            _ => false,
        }
    }

    pub(super) fn ids(&self) -> &[ContentId] {
        &self.ids
    }

    fn has(&self, id: &ContentId) -> bool {
        self.page.is_some() && self.ids.binary_search(id).is_ok()
    }
}

impl Engine {
    pub(super) fn context(&mut self, page: u64, ids: Vec<ContentId>) {
        let turns = self.context.page != Some(page);
        if turns {
            let is_first = self.context.page.is_none();
            // What the last page asked for is nobody's business on this one.
            self.context = Context {
                page: Some(page),
                ..Context::default()
            };
            self.shortage = Shortage::of_page(&self.shortage, page, self.now);
            if !is_first {
                self.shortage.page_turns(self.now);
            }
            for at in 0..self.peers.len() {
                let peer = &mut self.peers[at];
                (peer.filter, peer.gets_filter) = (None, false);
                self.tell_page(at);
            }
        }
        let mut changed = turns;
        for id in ids {
            changed |= self.context.add(id);
        }
        if changed {
            self.tell_soon();
            self.survey_soon();
        }
    }

    /// A content of the page was stored or dropped.
    pub(super) fn holding_changed(&mut self, id: &ContentId) {
        if self.context.has(id) {
            self.tell_soon();
        }
    }

    pub(super) fn tell_soon(&mut self) {
        if self.context.page.is_some() && self.context.tell_at.is_none() {
            self.context.tell_at = Some(self.now + TOLD_AFTER);
        }
    }

    /// Proves to a peer that we are on this page, if it is: who does not know the page learns
    /// nothing, and who is told by another can't use it with us.
    pub(super) fn tell_page(&mut self, at: usize) {
        let (Some(page), Some(me)) = (self.context.page, self.me.clone()) else {
            return;
        };
        let peer = &self.peers[at];
        if !peer.is_open() || peer.version < 2 {
            return;
        }
        let id = peer.id.clone();
        let tag = tag(page, &me, &id);
        self.send(&id, &Message::Page { tag });
    }

    /// A peer says which page it is on, in a way that only who is there understands.
    pub(super) fn page(&mut self, from: &PeerId, theirs: u64) {
        let (Some(page), Some(me)) = (self.context.page, self.me.clone()) else {
            return;
        };
        if tag(page, from, &me) != theirs {
            return;
        }
        let words = self.context.told.clone();
        if let Some(peer) = self.peer(from)
            && !peer.gets_filter
        {
            peer.gets_filter = true;
            if !words.is_empty() {
                self.send(from, &full(&words));
            }
        }
    }

    pub(super) fn filter(&mut self, from: &PeerId, bits: &[u8]) {
        if !bits.len().is_multiple_of(8) || bits.is_empty() || bits.len() > MAX_WORDS * 8 {
            return self.ban(from, DropReason::Message(BadMessage::Control));
        }
        let words = bits
            .as_chunks()
            .0
            .iter()
            .map(|word| u64::from_le_bytes(*word));
        let filter = Filter::of(words.collect());
        if let Some(peer) = self.peer(from) {
            peer.filter = Some(Box::new(filter));
            self.pump_all();
        }
    }

    pub(super) fn flips(&mut self, from: &PeerId, flips: &[u32]) {
        let Some(peer) = self.peer(from) else { return };
        // Of a filter that was never sent, or not taken.
        let Some(filter) = &peer.filter else { return };
        let mut words = filter.0.as_slice().to_vec();
        for bit in flips {
            match words.get_mut(*bit as usize / 64) {
                Some(word) => *word ^= 1 << (bit % 64),
                None => return self.ban(from, DropReason::Message(BadMessage::Control)),
            }
        }
        peer.filter = Some(Box::new(Filter::of(words)));
        self.pump_all();
    }

    pub(super) fn filter_time(&mut self) {
        if self.context.tell_at.is_none_or(|at| at > self.now) {
            return;
        }
        self.context.tell_at = None;
        let capacity = self.context.ids.len().next_power_of_two().max(MIN_CAPACITY);
        let mut filter = Filter::empty(capacity * BITS / 64);
        let serves = self.config.slots > 0;
        for id in &self.context.ids {
            match self.holdings.held(id) {
                Held::All if serves => filter.insert_hash(key(id, HELD)),
                // Of which part is said to who asks.
                Held::Part if serves => continue,
                _ => filter.insert_hash(key(id, LACKED)),
            };
        }
        let words = filter.as_slice().to_vec();
        let told = std::mem::replace(&mut self.context.told, words.clone());
        let mut flips = Vec::new();
        if told.len() == words.len() {
            for (at, (before, after)) in told.iter().zip(&words).enumerate() {
                let mut changed = before ^ after;
                while changed != 0 {
                    flips.push(at as u32 * 64 + changed.trailing_zeros());
                    changed &= changed - 1;
                }
            }
            if flips.is_empty() {
                return;
            }
        }
        // A flip takes up to three bytes on the wire, a word eight.
        let message = if flips.is_empty() || flips.len() * 3 > words.len() * 8 {
            full(&words)
        } else {
            Message::Flips { bits: flips }
        };
        let peers: Vec<_> = self
            .peers
            .iter()
            .filter(|peer| peer.is_open() && peer.gets_filter)
            .map(|peer| peer.id.clone())
            .collect();
        for peer in peers {
            self.send(&peer, &message);
        }
    }
}

impl Peer {
    /// What its filter says.
    pub(super) fn claims(&self, id: &ContentId) -> Claim {
        self.filter
            .as_ref()
            .map_or(Claim::Unknown, |filter| filter.says(id))
    }
}

fn full(words: &[u64]) -> Message {
    Message::Filter {
        bits: words.iter().flat_map(|word| word.to_le_bytes()).collect(),
    }
}

pub(super) fn tag(page: u64, from: &PeerId, to: &PeerId) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&page.to_le_bytes());
    hasher.update(from.0.as_bytes());
    hasher.update(to.0.as_bytes());
    let hash = hasher.finalize();
    u64::from_le_bytes(hash.as_bytes().first_chunk().copied().unwrap_or_default())
}
