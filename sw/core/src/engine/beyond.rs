//! Beyond our own peers: what one of theirs holds, and how to come to know them.
//!
//! A search goes exactly one step further: a peer asks its own peers, who answer for themselves, so
//! that there is no loop to break and a search costs at most [`FAN_OUT`] questions for each peer
//! that is asked to make one. What is found and small is passed on by the peer between, which
//! verifies it as if it were its own; for what is large it introduces the two to each other, and
//! relays what they have to say until they are connected.

use std::{ops::Range, rc::Rc};

use super::{
    Engine, PeerId, Read,
    answers::{Known, Say},
    peers::{Peer, Stage},
    pulse::{Bucket, GRACE},
    want::{Asked, For, Want},
};
use crate::{
    content::{BLOCK, ContentId, group_bytes, group_count, groups_of},
    deflate::Kept,
    port::WantId,
    tree::Outboard,
    wire::Message,
};

/// Peers that are asked to search for one want.
const SEEKERS: usize = 2;
/// Peers that are asked in the search of another.
const FAN_OUT: usize = 3;
/// Searches that are made for one peer: at once, and each second.
pub(super) const ERRAND_BURST: f32 = 8.0;
pub(super) const ERRANDS_PER_SECOND: f32 = 2.0;
/// Searches that we have made, in all.
const SEEK_BURST: f32 = 16.0;
const SEEKS_PER_SECOND: f32 = 4.0;
/// A search is over after this, in milliseconds; who asked for it waits a little longer.
const ERRAND_TIME: u64 = 600;
const SEEK_TIME: u64 = 1_000;
/// For a small one, which the network would bring meanwhile, at most this part of what the network
/// needs, and at least this long, in milliseconds.
const SEEK_PART: f64 = 0.3;
const MIN_SEEK_TIME: f64 = 60.0;
/// What was sought in vain is not sought again for this long, in milliseconds.
const SOUGHT_FOR: u64 = 10_000;
const MAX_SOUGHT: usize = 64;
/// How long a peer that is being introduced is waited for, in milliseconds.
const MEETS_WITHIN: u64 = 3_000;
/// The largest content that is passed on, in bytes: one pull.
const PASSED_ON: u64 = BLOCK;
/// Contents that are being passed on to one peer at once.
const MAX_PASSED: usize = 4;
/// What was found is passed on for this long, in milliseconds.
const FOUND_FOR: u64 = 15_000;
const MAX_FOUND: usize = 64;
/// Numbers of wants of our own begin here: those of drivers count from zero.
pub(super) const OWN: WantId = 1 << 31;

pub(super) fn errands(now: u64) -> Bucket {
    Bucket::new(now, ERRAND_BURST)
}

/// Our searches: how many there may be, for what, and whether they find anything.
pub(super) struct Seeks {
    left: Bucket,
    lately: Vec<(ContentId, u64)>,
    /// The share of late ones that found something.
    luck: f32,
}

impl Seeks {
    pub(super) fn new(now: u64) -> Self {
        Self {
            left: Bucket::new(now, SEEK_BURST),
            lately: Vec::new(),
            luck: 0.5,
        }
    }

    /// Where searches find nothing they become rare.
    pub(super) fn ended(&mut self, found: bool) {
        let sample = if found { 1.0 } else { 0.0 };
        self.luck += 0.1 * (sample - self.luck);
    }
}

/// A search that we make for a peer.
pub(super) struct Errand {
    peer: PeerId,
    ask: u32,
    id: ContentId,
    len: u64,
    /// It has to hold this group, and we don't count.
    group: Option<u32>,
    asked: Vec<(u32, PeerId)>,
    until: u64,
}

/// What was found for a peer, and may be pulled by it.
pub(super) struct Found {
    peer: PeerId,
    id: ContentId,
    len: u64,
    until: u64,
}

impl Engine {
    /// Asks peers to ask theirs. Says whether any is.
    pub(super) fn seek(&mut self, at: usize) -> bool {
        let (want, now) = (&self.wants[at], self.now);
        // Where a peer has a part of it, it is the next part that is searched for.
        let has_part = |peer: &Peer| matches!(peer.knows(&want.id, now), Known::Groups(_));
        if want.sought
            || want.whose != For::Us
            || !want.is_small() && (want.delivered || self.peers.iter().any(has_part))
        {
            return false;
        }
        // There and back twice before the first byte, and what comes of it must not be late.
        let bytes = want.bytes.end - want.at;
        let in_time = |peer: &Peer| {
            let is_late = |origin: super::pulse::Origin| {
                want.is_small() && peer.pulse.finish(bytes, 4.0) > origin.finish(bytes) + GRACE
            };
            !self.origin.is_some_and(is_late)
        };
        let can = |peer: &&Peer| {
            peer.stage == Stage::Open
                && peer.version >= 2
                && peer.busy_until <= now
                && in_time(peer)
        };
        let mut able: Vec<_> = self.peers.iter().filter(can).collect();
        able.sort_by_key(|peer| peer.pulse.rtt() as u64);
        able.truncate(SEEKERS);
        let able: Vec<_> = able.into_iter().map(|peer| peer.id.clone()).collect();
        let (id, len) = (want.id, want.len);
        let time = match self.origin {
            Some(origin) if want.is_small() => {
                ((origin.finish(bytes) * SEEK_PART).max(MIN_SEEK_TIME) as u64).min(SEEK_TIME)
            }
            _ => SEEK_TIME,
        };
        let seeks = &mut self.seeks;
        seeks.lately.retain(|(_, until)| *until > now);
        if able.is_empty()
            || seeks.lately.len() >= MAX_SOUGHT
            || seeks.lately.iter().any(|(sought, _)| *sought == id)
            || self.rng.f32() >= 2.0 * seeks.luck
            || !seeks.left.takes(now, SEEK_BURST, SEEKS_PER_SECOND)
        {
            return false;
        }
        seeks.lately.push((id, now + SOUGHT_FOR));
        self.unsure(at);
        for peer in able {
            let ask = self.send_seek(&peer, id, len, None);
            let until = Some(now + time);
            self.wants[at].asked.push(Asked { ask, peer, until });
        }
        self.wants[at].sought = true;
        true
    }

    /// Asks a peer to look further than itself. Says under which number.
    pub(super) fn send_seek(
        &mut self,
        to: &PeerId,
        id: ContentId,
        len: u64,
        group: Option<u32>,
    ) -> u32 {
        let ask = self.number();
        let seek = Message::Seek {
            ask,
            id,
            len,
            group,
        };
        self.send(to, &seek);
        ask
    }

    /// A peer wants us to look further than itself.
    pub(super) fn sought(
        &mut self,
        from: &PeerId,
        ask: u32,
        id: ContentId,
        len: u64,
        group: Option<u32>,
    ) {
        let now = self.now;
        let Some(at) = self.at(from) else { return };
        let takes = self.peers[at]
            .errands
            .takes(now, ERRAND_BURST, ERRANDS_PER_SECOND);
        if !takes || self.config.slots == 0 {
            return self.send(from, &Message::Lack { ask });
        }
        let groups = self.holdings.groups(&id);
        if group.is_none() && !groups.is_empty() {
            return self.send(from, &Message::Have { ask, groups });
        }
        let mut errand = Errand {
            peer: from.clone(),
            ask,
            id,
            len,
            group,
            asked: Vec::new(),
            until: now + ERRAND_TIME,
        };
        if let Some(holder) = self.holder_for(&errand) {
            return self.found(&errand, &holder);
        }
        let mut unknown: Vec<_> = self
            .peers
            .iter()
            .filter(|peer| {
                peer.id != *from
                    && peer.stage == Stage::Open
                    && peer.busy_until <= now
                    && match peer.knows(&id, now) {
                        Known::Unknown => true,
                        // It may have come that far by now.
                        Known::Groups(_) => group.is_some(),
                        _ => false,
                    }
            })
            .map(|peer| (peer.pulse.rtt() as u64, peer.id.clone()))
            .collect();
        unknown.sort();
        unknown.truncate(FAN_OUT);
        if unknown.is_empty() {
            return self.send(from, &Message::Lack { ask });
        }
        for (_, peer) in unknown {
            let ask = self.number();
            self.send(&peer, &Message::Ask { ask, id });
            errand.asked.push((ask, peer));
        }
        self.errands.push(errand);
    }

    /// A peer of ours that is known to hold what is searched for.
    fn holder_for(&mut self, errand: &Errand) -> Option<PeerId> {
        let now = self.now;
        let holds = |peer: &&Peer| {
            errand.is_met_by(&peer.knows(&errand.id, now))
                && peer.stage == Stage::Open
                && peer.busy_until <= now
                && peer.id != errand.peer
        };
        let mut holders: Vec<_> = self.peers.iter().filter(holds).collect();
        if errand.group.is_some() && !holders.is_empty() {
            // They connect, and it is not to be the same one for all who ask.
            return Some(holders[self.rng.usize(..holders.len())].id.clone());
        }
        holders.sort_by_key(|peer| peer.finish_order());
        holders.first().map(|peer| peer.id.clone())
    }

    fn found(&mut self, errand: &Errand, holder: &PeerId) {
        let now = self.now;
        let peer = if errand.len <= PASSED_ON {
            self.found.retain(|found| found.until > now);
            if self.found.len() >= MAX_FOUND {
                self.found.remove(0);
            }
            self.found.push(Found {
                peer: errand.peer.clone(),
                id: errand.id,
                len: errand.len,
                until: now + FOUND_FOR,
            });
            None
        } else {
            Some(holder.0.as_ref().into())
        };
        let ask = errand.ask;
        self.send(&errand.peer, &Message::Found { ask, peer });
    }

    /// An answer that is no want's: to a question that was asked for somebody else?
    pub(super) fn errand_answered(
        &mut self,
        from: &PeerId,
        ask: u32,
        groups: Option<Vec<(u32, u32)>>,
    ) {
        let is_it = |(number, peer): &(u32, PeerId)| *number == ask && peer == from;
        let asks = |errand: &Errand| errand.asked.iter().any(is_it);
        let Some(at) = self.errands.iter().position(asks) else {
            return;
        };
        self.errands[at].asked.retain(|asked| !is_it(asked));
        let groups = groups.filter(|groups| !groups.is_empty());
        let is_met = groups.is_some_and(|groups| {
            let errand = &self.errands[at];
            let (id, is_met) = (errand.id, errand.is_met_by(&Known::Groups(&groups)));
            self.remember(from, id, Say::Holds(groups), FOUND_FOR);
            is_met
        });
        if is_met {
            let errand = self.errands.remove(at);
            self.found(&errand, from);
        } else if self.errands[at].asked.is_empty() {
            let errand = self.errands.remove(at);
            let ask = errand.ask;
            self.send(&errand.peer, &Message::Lack { ask });
        }
    }

    pub(super) fn errand_stopped(&mut self, from: &PeerId, ask: u32) {
        self.errands
            .retain(|errand| errand.peer != *from || errand.ask != ask);
        let passed = |want: &Want| matches!(&want.whose, For::Peer { peer, pull, .. } if peer == from && *pull == ask);
        if let Some(want) = self.wants.iter().find(|want| passed(want)) {
            self.cancel(want.number);
        }
    }

    /// A peer is lost: what was asked of it, and what it asked for.
    pub(super) fn errands_without(&mut self, lost: &PeerId) {
        self.errands.retain(|errand| errand.peer != *lost);
        self.found.retain(|found| found.peer != *lost);
        let theirs = |want: &Want| matches!(&want.whose, For::Peer { peer, .. } if peer == lost);
        while let Some(want) = self.wants.iter().find(|want| theirs(want)) {
            self.cancel(want.number);
        }
        let asked: Vec<_> = self
            .errands
            .iter()
            .flat_map(|errand| &errand.asked)
            .filter(|(_, peer)| peer == lost)
            .map(|(ask, _)| *ask)
            .collect();
        for ask in asked {
            self.errand_answered(lost, ask, None);
        }
        self.vias.retain(|via| via.peer != *lost && via.by != *lost);
    }

    /// A peer of ours found somebody who has it.
    pub(super) fn found_by(&mut self, from: &PeerId, ask: u32, holder: Option<String>) {
        if let Some(holder) = &holder
            && self.part_found(from, ask, holder)
        {
            return;
        }
        self.seeks.ended(true);
        let Some(holder) = holder else {
            return self.relays(from, ask);
        };
        let holder = PeerId::from(holder.as_str());
        let mut asked = self.wants.iter().flat_map(|want| &want.asked);
        if !asked.any(|asked| asked.ask == ask && asked.peer == *from && asked.until.is_some()) {
            return;
        }
        let room = self.peers.len() < self.config.max_peers;
        let meets = room && self.meet(holder, from);
        let until = self.now + MEETS_WITHIN;
        if meets {
            for want in &mut self.wants {
                if want.asked.iter().any(|asked| asked.ask == ask) {
                    want.meets_until = until;
                }
            }
        }
        self.lack(from, ask);
    }

    /// A peer pulls what we don't hold. Says whether it is passed on.
    pub(super) fn relay(
        &mut self,
        at: usize,
        pull: u32,
        id: ContentId,
        groups: Range<u32>,
    ) -> bool {
        let peer = self.peers[at].id.clone();
        let is_it = |found: &&Found| found.peer == peer && found.id == id;
        let Some(len) = self.found.iter().find(is_it).map(|found| found.len) else {
            return false;
        };
        let passed =
            |want: &&Want| matches!(&want.whose, For::Peer { peer: other, .. } if *other == peer);
        let many = self.wants.iter().filter(passed).count() >= MAX_PASSED;
        if many || self.config.slots == 0 || groups.end > group_count(len) {
            return false;
        }
        let number = OWN | self.number();
        let whose = For::Peer { peer, pull, groups };
        // All of it, because only then is there a tree to prove a part of it by.
        self.want(Want::new(number, whose, id, len, 0..len, len));
        true
    }

    /// What was fetched for a peer goes to it.
    pub(super) fn pass_on(&mut self, number: WantId) {
        let Some(at) = self.want_at(number) else {
            return;
        };
        let want = &mut self.wants[at];
        let mut bytes = Vec::with_capacity(want.len as usize);
        for (_, part, _) in &want.ready {
            bytes.extend_from_slice(part);
        }
        let (len, whose) = (want.len, want.whose.clone());
        debug_assert_eq!(groups_of(0..len).end, group_count(len));
        self.cancel(number);
        let For::Peer { peer, pull, groups } = whose else {
            return;
        };
        if self.config.slots == 0 {
            return self.send(&peer, &Message::Gone { pull });
        }
        let outboard = Rc::new(Outboard::of(&bytes));
        let kept = groups.clone().map(|group| {
            let at = group_bytes(group..group + 1, len);
            Kept {
                bytes: bytes[at.start as usize..at.end as usize].to_vec(),
                deflated: false,
            }
        });
        let read = Read {
            groups: kept.collect(),
            outboard,
        };
        let before = self.totals.sent;
        self.send_frames(&peer, pull, groups.start, &read, true);
        self.totals.relayed += self.totals.sent - before;
    }

    pub(super) fn beyond_time(&mut self) {
        let now = self.now;
        while let Some(at) = self.errands.iter().position(|errand| errand.until <= now) {
            let errand = self.errands.remove(at);
            let ask = errand.ask;
            self.send(&errand.peer, &Message::Lack { ask });
        }
    }

    pub(super) fn beyond_due(&self) -> u64 {
        let due = self.errands.iter().map(|errand| errand.until).min();
        due.unwrap_or(u64::MAX)
    }
}

impl Errand {
    fn is_met_by(&self, known: &Known) -> bool {
        match (self.group, known) {
            (Some(group), _) => known.run_from(group, self.len).is_some(),
            (None, Known::All) => true,
            (None, Known::Groups(groups)) => !groups.is_empty(),
            _ => false,
        }
    }
}

impl Peer {
    fn finish_order(&self) -> u64 {
        self.pulse
            .finish(self.on_way() * crate::content::GROUP, 1.0) as u64
    }
}
