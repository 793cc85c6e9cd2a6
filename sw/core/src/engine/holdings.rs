//! What our store holds and may serve.

use super::{
    Engine,
    answers::Known,
    peers::{Peer, Stage},
};
use crate::{
    content::{ContentId, group_count},
    wire::{MAX_RUNS, Message, SHORT},
};

/// A holding that grows is told to who asked for it at most this often, in milliseconds.
const TOLD_EVERY: u64 = 300;
/// Contents that one peer is kept up to date of.
pub(super) const MAX_WATCHED: usize = 16;

/// How much of a content is held.
#[derive(Clone, Copy)]
pub(super) enum Held {
    All,
    Part,
    Nothing,
}

/// By content id. There may be thousands, and in a simulation thousands of these.
#[derive(Default)]
pub(super) struct Holdings(Vec<Holding>);

struct Holding {
    id: ContentId,
    len: u64,
    /// None if it is all of it.
    part: Option<Box<[(u32, u32)]>>,
}

/// A content that a peer asked for and of which we hold a part.
pub(super) struct Watch {
    pub ask: u32,
    pub id: ContentId,
    pub told_at: u64,
}

impl Holdings {
    fn find(&self, id: &ContentId) -> Option<&Holding> {
        let at = self.0.binary_search_by(|held| held.id.cmp(id)).ok()?;
        self.0.get(at)
    }

    fn insert(&mut self, id: ContentId, len: u64, groups: Vec<(u32, u32)>) {
        let is_all = groups == [(0, group_count(len))];
        let part = (!is_all).then(|| groups.into_boxed_slice());
        let holding = Holding { id, len, part };
        match self.0.binary_search_by(|held| held.id.cmp(&id)) {
            Ok(at) => self.0[at] = holding,
            Err(at) => self.0.insert(at, holding),
        }
    }

    /// Says how long it was.
    fn remove(&mut self, id: &ContentId) -> u64 {
        match self.0.binary_search_by(|held| held.id.cmp(id)) {
            Ok(at) => self.0.remove(at).len,
            Err(_) => 0,
        }
    }

    pub(super) fn held(&self, id: &ContentId) -> Held {
        match self.find(id) {
            None => Held::Nothing,
            Some(Holding { part: None, .. }) => Held::All,
            Some(_) => Held::Part,
        }
    }

    /// As [`Holdings::held`], of the content whose id begins so.
    pub(super) fn held_short(&self, short: &[u8; SHORT]) -> Held {
        let short = u64::from_be_bytes(*short);
        let at = self.0.partition_point(|held| held.id.first() < short);
        match self.0.get(at) {
            Some(held) if held.id.first() != short => Held::Nothing,
            Some(Holding { part: None, .. }) => Held::All,
            Some(_) => Held::Part,
            None => Held::Nothing,
        }
    }

    /// The runs of groups that are held; none if nothing is.
    pub(super) fn groups(&self, id: &ContentId) -> Vec<(u32, u32)> {
        match self.find(id) {
            None => Vec::new(),
            Some(Holding {
                part: None, len, ..
            }) => vec![(0, group_count(*len))],
            Some(Holding {
                part: Some(part), ..
            }) => part.iter().copied().take(MAX_RUNS).collect(),
        }
    }

    /// Contents that are held whole and longer than this, the longest first; at most so many.
    pub(super) fn longer_than(&self, over: u64, most: usize) -> Vec<ContentId> {
        let whole = |held: &&Holding| held.part.is_none() && held.len > over;
        let mut held: Vec<_> = self.0.iter().filter(whole).collect();
        held.sort_by_key(|held| std::cmp::Reverse(held.len));
        held.iter().take(most).map(|held| held.id).collect()
    }

    /// The whole length of a content of which this run of groups is held.
    pub(super) fn len_with(&self, id: &ContentId, first: u32, end: u32) -> Option<u64> {
        let holding = self.find(id)?;
        let holds = match &holding.part {
            None => end <= group_count(holding.len),
            Some(part) => super::runs::run_from(part, first)? >= end,
        };
        holds.then_some(holding.len)
    }
}

impl Engine {
    /// Of what the page shows and our store holds: how many open peers say that they have all of it, where
    /// any says something of it. At most so many contents.
    pub fn near(&self, most: usize) -> Vec<(ContentId, u32)> {
        let open = |peer: &&Peer| peer.stage == Stage::Open;
        let near = self.context.ids().iter().filter_map(|id| {
            let holding = self.holdings.find(id)?;
            let all = group_count(holding.len);
            let mut near = None;
            for peer in self.peers.iter().filter(open) {
                let known = peer.knows(id, self.now);
                if !matches!(known, Known::Unknown | Known::Relayed) {
                    let has_all = known.run_from(0, holding.len) == Some(all);
                    *near.get_or_insert(0) += u32::from(has_all);
                }
            }
            Some((*id, near?))
        });
        near.take(most).collect()
    }

    pub(super) fn stored(&mut self, id: ContentId, len: u64, groups: Vec<(u32, u32)>) {
        self.holdings.insert(id, len, groups);
        self.directory.changed(len, self.now);
        self.holding_changed(&id);
        let is_all = matches!(self.holdings.held(&id), Held::All);
        let now = self.now;
        let mut told = Vec::new();
        for peer in &mut self.peers {
            let Some(at) = peer.watched.iter().position(|watch| watch.id == id) else {
                continue;
            };
            let watch = &mut peer.watched[at];
            if is_all || watch.told_at + TOLD_EVERY <= now {
                watch.told_at = now;
                told.push((peer.id.clone(), watch.ask));
            }
            if is_all {
                peer.watched.swap_remove(at);
            }
        }
        for (peer, ask) in told {
            let groups = self.holdings.groups(&id);
            self.send(&peer, &Message::Have { ask, groups });
        }
    }

    pub(super) fn unstored(&mut self, id: &ContentId) {
        let len = self.holdings.remove(id);
        self.directory.changed(len, self.now);
        self.holding_changed(id);
    }
}
