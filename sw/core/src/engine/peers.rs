//! Connections: whom to dial, whom to take, whom to drop, whom to come back to.

use std::collections::VecDeque;

use super::{
    DropReason, Engine, Output, PeerId,
    answers::Answers,
    directory::Directory,
    filter::Filter,
    holdings::Watch,
    pulling::Pull,
    pulse::{Bucket, Pulse},
    serving::Serving,
    survey::Survey,
};
use crate::wire::{self, Message};

/// A dialled peer that did not open within this is given up, in milliseconds.
const DIAL_TIMEOUT: u64 = 6_000;
/// And is not counted on from here on: half of all pairs never connect, and others take their places.
const OPENS_WITHIN: u64 = 2_000;
/// A page that opens takes more than the target for this long, in milliseconds.
const COMES: u64 = 3_000;
/// More peers are asked for at most this often, in milliseconds; where that brings nobody, each time
/// half as often down to [`MORE_SELDOM`].
const MORE_EVERY: u64 = 10_000;
/// With fewer than the minimum, in milliseconds.
const MORE_SOON: u64 = 2_000;
const MORE_SELDOM: u64 = 80_000;
/// Banned peers remembered; ids are random, so an attacker gains nothing by overflowing it.
const MAX_BANNED: usize = 4096;
/// Peers that are come back to.
const MAX_LOST: usize = 16;
/// How often that is tried.
const MAX_TRIES: u32 = 4;
/// The first wait is a random part of this, in milliseconds; it doubles.
const FIRST_BACK_OFF: u64 = 500;
/// Who has no place left looks this often whether somebody is of no use, in milliseconds.
const FREES_EVERY: u64 = 10_000;
/// A connection that stood for this long begins anew with its tries, in milliseconds.
const STOOD: u64 = 30_000;

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Dialled,
    Open,
    /// Open, but nothing comes: not asked, and counted as no peer.
    Suspect,
}

/// One peer, dialled or open.
pub(super) struct Peer {
    pub id: PeerId,
    pub stage: Stage,
    /// When it was dialled, or opened.
    pub since: u64,
    /// We called: so we call again.
    dialled: bool,
    tries: u32,
    /// The server saw it leave.
    left: bool,
    /// What it speaks.
    pub version: u32,
    /// What it said it holds.
    pub answers: Answers,
    /// What it holds of the page that both are on.
    pub filter: Option<Box<Filter>>,
    /// It is on our page.
    pub gets_filter: bool,
    /// It said that it can't serve before then.
    pub busy_until: u64,
    /// What we pulled and it has not sent yet, in the order in which it was pulled.
    pub pulls: Vec<Pull>,
    /// Pulls that we stopped, whose groups may still be on their way.
    pub stopped: VecDeque<u32>,
    /// The other direction.
    pub serving: Serving,
    pub watched: Vec<Watch>,
    pub surveys: Vec<Survey>,
    pub pulse: Pulse,
    /// Searches it may have us make, and signals it may have us relay.
    pub errands: Bucket,
    pub relays: Bucket,
}

/// A peer whose connection broke or did not come about.
pub(super) struct Lost {
    id: PeerId,
    tries: u32,
    at: u64,
}

impl Peer {
    fn new(id: PeerId, now: u64) -> Self {
        Self {
            id,
            stage: Stage::Dialled,
            since: now,
            dialled: false,
            tries: 0,
            left: false,
            version: 1,
            answers: Answers::default(),
            filter: None,
            gets_filter: false,
            busy_until: 0,
            pulls: Vec::new(),
            stopped: VecDeque::new(),
            serving: Serving::new(now),
            watched: Vec::new(),
            surveys: Vec::new(),
            pulse: Pulse::new(now),
            errands: super::beyond::errands(now),
            relays: super::introductions::relays(now),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.stage != Stage::Dialled
    }

    /// Nothing goes on in either direction.
    pub(super) fn is_idle(&self) -> bool {
        self.is_open() && self.pulls.is_empty() && self.serving.is_idle()
    }

    /// Of how much use the two are to each other: bytes either way in a second.
    pub(super) fn use_of(&self, now: u64) -> u64 {
        (self.pulse.got + self.pulse.gave) * 1000 / (now - self.since.min(now) + 1_000)
    }
}

impl Engine {
    pub(super) fn at(&self, id: &PeerId) -> Option<usize> {
        self.peers.iter().position(|peer| peer.id == *id)
    }

    pub(super) fn peer(&mut self, id: &PeerId) -> Option<&mut Peer> {
        self.peers.iter_mut().find(|peer| peer.id == *id)
    }

    pub(super) fn welcome(&mut self, me: PeerId, hold_over: Option<u64>) {
        self.me = Some(me);
        self.directory.opens(hold_over, self.now);
        self.server = true;
        self.came_until = self.now + COMES;
        // The join has asked for some: by then it shows who can be reached.
        self.more_at = self.now + OPENS_WITHIN + OPENS_WITHIN / 4;
        self.mix_at = self.later(self.config.mix.into());
        for at in 0..self.peers.len() {
            self.tell_page(at);
        }
    }

    pub(super) fn offered(&mut self, peers: Vec<PeerId>) {
        self.joining = false;
        for peer in peers {
            self.offer(peer, None);
        }
        self.pump_all();
    }

    /// Dials a peer, if it is a new one and there is room, or room to be made.
    pub(super) fn offer(&mut self, peer: PeerId, via: Option<PeerId>) -> bool {
        self.lost.retain(|lost| lost.id != peer);
        let known = self.at(&peer).is_some()
            || self.banned.contains(&peer)
            || self.me.as_ref() == Some(&peer)
            || via.is_some() && self.unreached.has(&peer, self.now);
        if known {
            return false;
        }
        self.more_wait = MORE_EVERY;
        let target = if self.now < self.came_until {
            usize::from(self.config.at_first())
        } else {
            self.config.target_peers
        };
        if self.firm() >= target {
            let slow = self.peers.iter().find(|peer| self.is_slow(peer));
            if let Some(slow) = slow.map(|peer| peer.id.clone()) {
                self.drop_peer(&slow, DropReason::Slow);
            } else if !self.makes_room_for_page() {
                return false;
            }
        }
        self.dial(peer, via, 0);
        true
    }

    fn dial(&mut self, id: PeerId, via: Option<PeerId>, tries: u32) {
        let mut peer = Peer::new(id.clone(), self.now);
        peer.dialled = true;
        peer.tries = tries;
        self.peers.push(peer);
        self.dialling.add(id, via);
        self.dialling_time();
    }

    /// Peers that are open, or will be for all we know.
    fn firm(&self) -> usize {
        let firm = |peer: &&Peer| peer.is_open() || peer.since + OPENS_WITHIN > self.now;
        let room = self.config.max_peers.saturating_sub(self.peers.len());
        // A place that nobody can take is none.
        let count = self.peers.iter().filter(firm).count();
        count.max(self.config.target_peers.saturating_sub(room))
    }

    pub(super) fn server_lost(&mut self) {
        self.joining = false;
        self.server = false;
        // Whoever comes next is told all of it.
        self.directory = Directory::default();
        self.pump_all();
    }

    /// Whether there may soon be more peers than now.
    pub(super) fn coming(&self) -> bool {
        self.joining || self.peers.iter().any(|peer| !peer.is_open())
    }

    /// The server saw it leave. An open channel knows better than the server whether it is alive.
    pub(super) fn gone(&mut self, id: &PeerId) {
        self.lost.retain(|lost| lost.id != *id);
        if let Some(peer) = self.peer(id) {
            peer.left = true;
            if !peer.is_open() {
                self.drop_peer(id, DropReason::NeverOpened);
            }
        }
    }

    pub(super) fn opened(&mut self, id: PeerId) {
        if self.banned.contains(&id) || self.me.as_ref() == Some(&id) {
            return self.refuse(id, DropReason::Banned);
        }
        self.lost.retain(|lost| lost.id != id);
        self.unreached.forget(&id);
        let old = self.at(&id).map(|at| self.remove(at));
        if old.is_none() && self.peers.len() >= self.config.max_peers && !self.make_room() {
            return self.refuse(id, DropReason::Full);
        }
        // A channel that opens again is a new connection: nothing of the old one goes on.
        let mut peer = Peer::new(id.clone(), self.now);
        peer.stage = Stage::Open;
        if let Some(old) = &old {
            (peer.dialled, peer.tries) = (old.dialled, old.tries);
        }
        self.peers.push(peer);
        let version = wire::VERSION;
        self.send(&id, &Message::Hello { version });
        self.ping(self.peers.len() - 1);
        match old {
            Some(old) => self.lost_peer(old),
            None => self.pump_all(),
        }
    }

    pub(super) fn hello(&mut self, from: &PeerId, version: u32) {
        if let Some(at) = self.at(from) {
            self.peers[at].version = version;
            self.tell_page(at);
            self.survey_soon();
        }
    }

    fn refuse(&mut self, peer: PeerId, why: DropReason) {
        self.out.push_back(Output::Drop { peer, why });
    }

    /// Drops a peer of less use than one that is fresh, if there is one.
    fn make_room(&mut self) -> bool {
        if let Some(peer) = self.peers.iter().find(|peer| self.is_slow(peer)) {
            let id = peer.id.clone();
            self.drop_peer(&id, DropReason::Slow);
            return true;
        }
        match self.least() {
            Some((0, id)) => {
                self.drop_peer(&id, DropReason::Mixed);
                true
            }
            _ => false,
        }
    }

    /// Whether it is worse than the network and sends nothing of what is played, for which it need not be
    /// quick.
    fn is_slow(&self, peer: &Peer) -> bool {
        peer.is_idle() && peer.pulse.is_slow(self.origin) && !self.is_played_from(peer)
    }

    /// The peer of the least use of those who had time to be of some.
    fn least(&self) -> Option<(u64, PeerId)> {
        self.peers
            .iter()
            .filter(|peer| peer.is_idle() && peer.since + STOOD <= self.now)
            .min_by_key(|peer| (peer.use_of(self.now), u64::MAX - peer.pulse.rtt() as u64))
            .map(|peer| (peer.use_of(self.now), peer.id.clone()))
    }

    /// A connection ended, or did not come about, through no doing of ours.
    pub(super) fn closed(&mut self, id: &PeerId) {
        if let Some(at) = self.at(id) {
            let peer = self.remove(at);
            if !peer.is_open() {
                self.unreached.add(id.clone(), self.now);
            }
            self.come_back(&peer);
            self.lost_peer(peer);
        }
    }

    fn remove(&mut self, at: usize) -> Peer {
        // Those who are left stay in order, so that the same events always give the same choice.
        let peer = self.peers.remove(at);
        self.dialling.forget(&peer.id);
        peer
    }

    /// Dials again after a while. Only who called does, or both would.
    fn come_back(&mut self, peer: &Peer) {
        let stood = peer.is_open() && peer.since + STOOD <= self.now;
        let tries = if stood { 0 } else { peer.tries };
        if !peer.dialled || peer.left || tries >= MAX_TRIES || self.lost.len() >= MAX_LOST {
            return;
        }
        let at = self.later(FIRST_BACK_OFF << tries);
        self.lost.push(Lost {
            id: peer.id.clone(),
            tries: tries + 1,
            at,
        });
    }

    /// A random moment within this many milliseconds, not in their first third.
    pub(super) fn later(&mut self, ms: u64) -> u64 {
        self.now + ms / 3 + self.rng.u64(0..=ms * 2 / 3)
    }

    pub(super) fn ban(&mut self, id: &PeerId, why: DropReason) {
        if self.banned.len() >= MAX_BANNED {
            self.banned.pop_front();
        }
        if !self.banned.contains(id) {
            self.banned.push_back(id.clone());
        }
        self.drop_peer(id, why);
    }

    pub(super) fn drop_peer(&mut self, id: &PeerId, why: DropReason) {
        self.refuse(id.clone(), why);
        if let Some(at) = self.at(id) {
            let peer = self.remove(at);
            // Who could not be reached at all is behind something that will still be there.
            if why == DropReason::Dead {
                self.come_back(&peer);
            }
            self.lost_peer(peer);
        }
    }

    pub(super) fn configure(&mut self, config: super::Config) {
        self.config = config;
        self.directory.changed(u64::MAX, self.now);
        if self.config.slots == 0 && !self.config.finishes {
            self.serve_nobody();
        }
        while self.peers.len() > self.config.max_peers {
            let now = self.now;
            let least = self.peers.iter().min_by_key(|peer| peer.use_of(now));
            let Some(id) = least.map(|peer| peer.id.clone()) else {
                break;
            };
            self.drop_peer(&id, DropReason::Limits);
        }
        self.tell_soon();
    }

    pub(super) fn peers_time(&mut self) {
        let now = self.now;
        let late = |peer: &Peer| !peer.is_open() && peer.since + DIAL_TIMEOUT <= now;
        while let Some(peer) = self.peers.iter().find(|peer| late(peer)) {
            let id = peer.id.clone();
            self.drop_peer(&id, DropReason::NeverOpened);
            self.unreached.add(id, now);
        }
        while let Some(at) = self.lost.iter().position(|lost| lost.at <= now) {
            let lost = self.lost.swap_remove(at);
            if self.firm() < self.config.target_peers && self.at(&lost.id).is_none() {
                self.dial(lost.id, None, lost.tries);
            }
        }
        let lacking = self.config.target_peers.saturating_sub(self.firm());
        if lacking > 0 && self.more_at() <= now {
            let brought_nobody = self.more_asked;
            self.more_asked = true;
            self.more_wait = if brought_nobody {
                (self.more_wait * 2).min(MORE_SELDOM)
            } else {
                MORE_EVERY
            };
            let wait = if self.peers.len() < self.config.min_peers {
                MORE_SOON.max(self.more_wait / 4)
            } else {
                self.more_wait
            };
            self.more_at = now + wait / 2 + self.rng.u64(0..=wait / 2);
            self.more(lacking, brought_nobody);
        }
        self.mix();
        self.free_place();
    }

    /// Asks for more peers: the server, or, where it is away or has nobody, a peer.
    fn more(&mut self, lacking: usize, brought_nobody: bool) {
        let want = lacking as u16;
        if self.server {
            self.out.push_back(Output::MorePeers {
                want,
                to_come: false,
            });
        }
        if !self.server || brought_nobody {
            self.ask_for_introductions(want);
        }
    }

    fn more_at(&self) -> u64 {
        if self.me.is_some() {
            self.more_at
        } else {
            u64::MAX
        }
    }

    /// Now and then the peer of the least use goes, so that a fresh one can come and the swarm does
    /// not fall into cliques.
    fn mix(&mut self) {
        let open = self.peers.iter().filter(|peer| peer.is_open()).count();
        if self.mix_due() > self.now || open < self.config.target_peers {
            return;
        }
        self.mix_at = self.later(self.config.mix.into()) + u64::from(self.config.mix) / 2;
        if let Some((_, id)) = self.least() {
            self.drop_peer(&id, DropReason::Mixed);
            self.more(1, false);
        }
    }

    /// Where all places are taken, one of no use to either side is given up: somebody else may be looking
    /// for what we have.
    fn free_place(&mut self) {
        if self.free_due() > self.now {
            return;
        }
        self.free_at = self.now + FREES_EVERY;
        if let Some((0, id)) = self.least() {
            self.drop_peer(&id, DropReason::Mixed);
        }
    }

    fn free_due(&self) -> u64 {
        if self.server && self.peers.len() >= self.config.max_peers {
            self.free_at
        } else {
            u64::MAX
        }
    }

    fn mix_due(&self) -> u64 {
        let open = self.peers.iter().filter(|peer| peer.is_open()).count();
        if self.config.mix > 0 && self.server && open >= self.config.target_peers {
            self.mix_at
        } else {
            u64::MAX
        }
    }

    pub(super) fn peers_due(&self) -> u64 {
        let mut due = self.mix_due().min(self.free_due());
        for peer in self.peers.iter().filter(|peer| !peer.is_open()) {
            due = due.min(peer.since + DIAL_TIMEOUT);
            if peer.since + OPENS_WITHIN > self.now {
                due = due.min(peer.since + OPENS_WITHIN);
            }
        }
        for lost in &self.lost {
            due = due.min(lost.at);
        }
        if self.firm() < self.config.target_peers {
            due = due.min(self.more_at());
        }
        due
    }

    pub(super) fn tell_peers(&mut self) {
        let open = self.peers.iter().filter(|peer| peer.stage == Stage::Open);
        let state = (open.count() as u32, self.coming());
        if state != self.told {
            self.told = state;
            self.out.push_back(Output::Peers {
                open: state.0,
                coming: state.1,
            });
        }
    }
}
