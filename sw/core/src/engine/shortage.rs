//! What the page needs and no peer of ours holds: then more peers of the page are asked for.
//!
//! The target of connections is for a page whose images somebody holds. Where some are held by
//! nobody, the server knows others who are or were on the page, and they are taken beyond the target,
//! or in the place of those who hold nothing of it.

use super::{
    DropReason, Engine, Output,
    answers::Known,
    holdings::Held,
    peers::{Peer, Stage},
    want::For,
};
use crate::content::ContentId;

/// Peers have been asked what they hold, and have answered, this long after; in milliseconds.
const ANSWERED: u64 = 700;
/// The server knows which page it is by then, in milliseconds.
const TURNED: u64 = 30;
/// From one time to the next, in milliseconds; each is twice as long as the one before.
const FIRST_WAIT: u64 = 2_000;
const LONGEST_WAIT: u64 = 60_000;
/// While the network fetches what is played.
const LONGEST_PLAYING: u64 = 4_000;
/// A page that was said to come is there within this, in milliseconds.
const COMES_WITHIN: u64 = 5_000;
/// Peers of pages to come are asked for at most this often, in milliseconds.
const COMES_EVERY: u64 = 1_000;
/// Peers that are asked for at once.
const WANTED: usize = 4;
/// For how long peers that are offered count as those, in milliseconds.
const OFFERED_WITHIN: u64 = 3_000;
/// Places that are left for those who call us.
const FREE: usize = 2;
/// What was looked for in vain counts as needed for this long, in milliseconds.
const MISSED_FOR: u64 = 10_000;
/// A peer has had its chance to say what it holds after this, in milliseconds.
const SETTLED: u64 = 3_000;

/// When to look for a shortage, and what was done about it.
pub(super) struct Shortage {
    look_at: u64,
    wait: u64,
    next: u64,
    offered_until: u64,
    /// The page that is about to be turned to, and when it was said.
    comes: Option<(u64, u64)>,
    missed: Option<Missed>,
}

/// A part of something large that no peer of ours has: those who watch a video may all be behind us.
struct Missed {
    id: ContentId,
    len: u64,
    group: u32,
    until: u64,
    /// Bytes a millisecond that those who have it are to send together; 0 where anybody will do.
    rate: f64,
}

impl Default for Shortage {
    fn default() -> Self {
        Self {
            look_at: u64::MAX,
            wait: FIRST_WAIT,
            next: 0,
            offered_until: 0,
            comes: None,
            missed: None,
        }
    }
}

impl Shortage {
    /// On this page from now on. Who was asked for before is about to say what it holds.
    pub(super) fn of_page(&self, page: u64, now: u64) -> Self {
        let mut new = Self::default();
        if let Some((_, at)) = self.comes.filter(|comes| *comes == (page, comes.1))
            && now < at + COMES_WITHIN
        {
            new.next = at + FIRST_WAIT;
            new.offered_until = self.offered_until;
        }
        new
    }

    /// Who is on a page that is turned to is asked for before it is known what ours hold of it.
    pub(super) fn page_turns(&mut self, now: u64) {
        self.look_at = self.next.max(now + TURNED);
    }

    /// Peers that are offered now may go beyond the target.
    pub(super) fn takes_more(&mut self, now: u64) {
        self.offered_until = now + OFFERED_WITHIN;
    }
}

impl Engine {
    /// The page needs something new, or somebody was asked.
    pub(super) fn look_for_shortage(&mut self) {
        let at = (self.now + ANSWERED).max(self.shortage.next);
        self.shortage.look_at = self.shortage.look_at.min(at);
    }

    /// The page wants this group of something, and nobody has it, or not as quickly as it is played.
    pub(super) fn missed(&mut self, want: usize, group: u32) {
        let network = self.network().rate;
        let want = &self.wants[want];
        if want.whose == For::Us && !want.is_small() {
            let rate = want.reader.map_or(0.0, |reader| reader.pace(network));
            self.shortage.missed = Some(Missed {
                id: want.id,
                len: want.len,
                group,
                until: self.now + MISSED_FOR,
                rate,
            });
            let (id, len) = (want.id, want.len);
            let at = self.now.max(self.shortage.next);
            self.shortage.look_at = self.shortage.look_at.min(at);
            // Who has all of it has this too.
            self.find_holders(id, len);
            self.search_part(id, len, group);
        }
    }

    pub(super) fn shortage_time(&mut self) {
        if self.shortage.look_at > self.now {
            return;
        }
        self.shortage.look_at = u64::MAX;
        let now = self.now;
        self.shortage.missed.take_if(|missed| missed.until <= now);
        if self.lacking().next().is_none() {
            self.shortage.wait = FIRST_WAIT;
            return;
        }
        if !self.server {
            return;
        }
        let wait = self.shortage.wait;
        self.shortage.next = self.now + wait;
        let longest = match &self.shortage.missed {
            Some(missed) if missed.rate > 0.0 => LONGEST_PLAYING,
            _ => LONGEST_WAIT,
        };
        self.shortage.wait = (wait * 2).min(longest.max(wait));
        self.ask_for_page(false);
        self.shortage.look_at = self.shortage.next;
    }

    /// A page is about to be turned to while this one stays.
    pub(super) fn page_comes(&mut self, page: u64) {
        let now = self.now;
        let is_new = |(last, at): (u64, u64)| {
            let again = if last == page {
                COMES_WITHIN
            } else {
                COMES_EVERY
            };
            at + again <= now
        };
        let is_news = self.context.page.is_some_and(|here| here != page)
            && self.shortage.comes.is_none_or(is_new);
        if is_news && self.server {
            self.shortage.comes = Some((page, now));
            self.ask_for_page(true);
        }
    }

    fn ask_for_page(&mut self, to_come: bool) {
        self.shortage.takes_more(self.now);
        let room = self
            .config
            .max_peers
            .saturating_sub(self.peers.len() + FREE);
        // Where some lie, others may as well.
        let most = if self.banned.is_empty() {
            WANTED
        } else {
            2 * WANTED
        };
        let want = room.max(self.of_no_use().len()).min(most) as u16;
        if want > 0 {
            self.out.push_back(Output::MorePeers { want, to_come });
        }
    }

    pub(super) fn shortage_due(&self) -> u64 {
        self.shortage.look_at
    }

    /// What the page needs and neither we nor a peer holds.
    fn lacking(&self) -> impl Iterator<Item = &ContentId> {
        let lacks = |id: &&ContentId| !matches!(self.holdings.held(id), Held::All);
        let held = |id: &ContentId| {
            let open = self.peers.iter().filter(|peer| peer.stage == Stage::Open);
            // Where some have lied, who has sent nothing yet may as well.
            let believed = open.filter(|peer| self.banned.is_empty() || peer.pulse.got > 0);
            let mut holders = believed.filter(|peer| self.holds(peer, id));
            match &self.shortage.missed {
                Some(missed) if missed.id == *id && missed.rate > 0.0 => {
                    holders.map(|peer| peer.pulse.rate()).sum::<f64>() >= missed.rate
                }
                _ => holders.next().is_some(),
            }
        };
        let ids = self.context.ids().iter();
        ids.filter(lacks).filter(move |id| !held(id))
    }

    fn holds(&self, peer: &Peer, id: &ContentId) -> bool {
        let known = peer.knows(id, self.now);
        if let Some(missed) = &self.shortage.missed
            && missed.id == *id
        {
            return known.run_from(missed.group, missed.len).is_some();
        }
        matches!(known, Known::All | Known::Groups(_) | Known::Relayed)
    }

    /// Peers that hold nothing of what the page still needs, those of the least use first.
    fn of_no_use(&self) -> Vec<&Peer> {
        let needed = |id: &&ContentId| !matches!(self.holdings.held(id), Held::All);
        let useless = |peer: &&Peer| {
            let mut ids = self.context.ids().iter().filter(needed);
            peer.is_idle()
                && peer.since + SETTLED <= self.now
                && !ids.any(|id| self.holds(peer, id))
        };
        let mut useless: Vec<_> = self.peers.iter().filter(useless).collect();
        useless.sort_by_key(|peer| peer.use_of(self.now));
        useless
    }

    /// Whether there is, or was made, room for a peer beyond the target, as the page needs some.
    pub(super) fn makes_room_for_page(&mut self) -> bool {
        if self.shortage.offered_until <= self.now {
            return false;
        }
        if self.peers.len() + FREE < self.config.max_peers {
            return true;
        }
        let useless = self.of_no_use();
        let Some(useless) = useless.first().map(|peer| peer.id.clone()) else {
            return false;
        };
        self.drop_peer(&useless, DropReason::Mixed);
        true
    }
}
