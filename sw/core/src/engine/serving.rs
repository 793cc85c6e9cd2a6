//! The serving side: answers to asks, and pulls turned into frames, at the pace of the channels.
//!
//! A peer that pulls takes a slot until it has what it pulled. There are as many as the limits say,
//! or as the way up feeds: who shares it with too many gets nothing in time. When slots are short
//! those who served us come first, one more is kept for somebody who never got anything, and all
//! others are told when to come again. Those who have slots take turns.

use std::{collections::VecDeque, ops::Range};

use super::{
    DropReason, Engine, Output, PeerId, Read,
    holdings::{Held, MAX_WATCHED, Watch},
    peers::Peer,
    pulse::Bucket,
    want::{SMALL, Want},
};
use crate::{
    content::{ContentId, GROUP, GROUPS_PER_BLOCK},
    wire::{FRAME_GROUPS, Message},
};

/// A driver tells when a channel has no more than this left to send, in bytes.
pub const LOW_WATER: u64 = 64 << 10;
/// Bounds of what is put into a channel at once, in bytes. Between them it is what the way up
/// carries in [`AHEAD`]: more would only make the next small thing wait.
const MIN_HIGH_WATER: u64 = 2 * LOW_WATER;
const MAX_HIGH_WATER: u64 = 1 << 20;
/// In milliseconds.
const AHEAD: f64 = 250.0;
/// Reads ahead for one peer, so that the store and the channel work at the same time.
const READ_AHEAD: usize = 2;
/// Pulls that one peer may have waiting. Its own window is far below this.
const MAX_QUEUED: usize = 256;
/// Asks answered at once, and then each second: what a peer can learn by asking.
const ASK_BURST: f32 = 256.0;
const ASKS_PER_SECOND: f32 = 16.0;
/// When to come again, in milliseconds.
const MIN_RETRY: u64 = 100;
pub(super) const MAX_RETRY: u64 = 3_000;
/// A slot that is fed less than this is not worth having, in bytes a millisecond.
const SLOT_RATE: f64 = 50.0;
/// Who got less than this from us in all is new, in bytes.
const NEW: u64 = 1 << 20;
/// A channel that has much to send and sends none of it for this long is given up, in milliseconds.
const STUCK: u64 = 20_000;
/// While the page itself waits for something, others get this part of what they may.
const YIELD: u64 = 4;

/// What one peer has pulled from us.
pub(super) struct Serving {
    pub(super) buffered: u64,
    /// When the channel last took anything.
    pub(super) moved_at: u64,
    queue: VecDeque<Job>,
    reads: VecDeque<Reading>,
    /// What was read last.
    last: Option<ContentId>,
    /// Turns it had.
    turn: u64,
    asks: Bucket,
}

/// A pull, or what is left of it.
struct Job {
    pull: u32,
    id: ContentId,
    len: u64,
    groups: Range<u32>,
    /// It is sent before the same peer's others that are not.
    urgent: bool,
}

struct Reading {
    ticket: u32,
    pull: u32,
    len: u64,
    groups: Range<u32>,
    /// Answers leave in the order of the questions, whichever the store answers first.
    answer: Option<Option<Read>>,
    stopped: bool,
}

impl Serving {
    pub(super) fn new(now: u64) -> Self {
        Self {
            buffered: 0,
            moved_at: now,
            queue: VecDeque::new(),
            reads: VecDeque::new(),
            last: None,
            turn: 0,
            asks: Bucket::new(now, ASK_BURST),
        }
    }

    /// Whether so many questions may be answered now.
    pub(super) fn takes_asks(&mut self, now: u64, count: usize) -> bool {
        let count = count as f32;
        self.asks.takes_many(now, ASK_BURST, ASKS_PER_SECOND, count)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.reads.is_empty() && self.buffered <= LOW_WATER
    }

    /// What is about to be put into the channel.
    fn reading(&self) -> u64 {
        let groups: usize = self.reads.iter().map(|read| read.groups.len()).sum();
        groups as u64 * GROUP
    }

    fn takes(&mut self, job: Job) {
        let at = if job.urgent {
            self.queue.iter().take_while(|job| job.urgent).count()
        } else {
            self.queue.len()
        };
        self.queue.insert(at, job);
    }

    /// Whose turn it is.
    fn next(&self) -> usize {
        // Contents take turns: a small one does not wait for all of a large one.
        let another = |job: &Job| Some(job.id) != self.last;
        match self.queue.front() {
            Some(first) if first.urgent => 0,
            _ => self.queue.iter().position(another).unwrap_or_default(),
        }
    }

    fn waiting(&self) -> u64 {
        let groups: usize = self.queue.iter().map(|job| job.groups.len()).sum();
        groups as u64 * GROUP + self.buffered
    }
}

/// What it gave us beyond what it got.
fn credit(peer: &Peer) -> i64 {
    peer.pulse.got as i64 - peer.pulse.gave as i64
}

impl Engine {
    fn served(&self) -> usize {
        let served = self.peers.iter().filter(|peer| !peer.serving.is_idle());
        served.count()
    }

    /// What the way up may carry now: bytes a second, 0 is no limit.
    fn limit(&self) -> u64 {
        let limit = self.config.upload;
        let network = self.network().rate;
        let is_awaited = |want: &Want| want.is_awaited(self.now, network);
        if self.wants.iter().any(is_awaited) {
            limit.div_ceil(YIELD)
        } else {
            limit
        }
    }

    /// What the way up carries, as far as is known, and may carry: bytes a millisecond.
    fn upload(&self) -> f64 {
        let limit = self.limit() as f64 / 1000.0;
        match (self.uplink.rate(), limit) {
            (rate, 0.0) => rate,
            (0.0, limit) => limit,
            (rate, limit) => rate.min(limit),
        }
    }

    fn slots(&self) -> usize {
        let upload = self.upload();
        let fed = if upload > 0.0 {
            (upload / SLOT_RATE) as usize
        } else {
            usize::MAX
        };
        self.config.slots.min(fed.max(1))
    }

    /// Whether it may pull now. `Some` names who has to wait for it.
    fn admits(&self, at: usize) -> Option<Option<usize>> {
        let peer = &self.peers[at];
        let (slots, served) = (self.slots(), self.served());
        if self.config.slots == 0 {
            let is_begun = self.config.finishes && !peer.serving.is_idle();
            return is_begun.then_some(None);
        }
        if !peer.serving.is_idle() || served < slots {
            return Some(None);
        }
        if peer.pulse.gave < NEW && served == slots {
            return Some(None);
        }
        let others = self.peers.iter().enumerate();
        let waits = others
            .filter(|(_, other)| !other.serving.queue.is_empty())
            .min_by_key(|(_, other)| credit(other));
        let (worst, other) = waits?;
        (credit(peer) > credit(other)).then_some(Some(worst))
    }

    /// When a peer that is sent away is to come again.
    fn retry(&self) -> u32 {
        let waiting: u64 = self.peers.iter().map(|peer| peer.serving.waiting()).sum();
        let rate = self.upload().max(SLOT_RATE);
        let slots = self.slots().max(1) as f64;
        // The first slot is free when its share of what waits is sent.
        ((waiting as f64 / rate / slots) as u64).clamp(MIN_RETRY, MAX_RETRY) as u32
    }

    pub(super) fn asked(&mut self, from: &PeerId, ask: u32, id: ContentId) {
        let now = self.now;
        let Some(at) = self.at(from) else { return };
        let takes = self.peers[at].serving.takes_asks(now, 1);
        let answer = if !takes || self.config.slots > 0 && self.admits(at).is_none() {
            let retry = self.retry();
            Message::Busy { ask, retry }
        } else {
            match self.holdings.groups(&id) {
                groups if groups.is_empty() || self.config.slots == 0 => Message::Lack { ask },
                groups => {
                    if let Held::Part = self.holdings.held(&id) {
                        let told_at = now;
                        let watched = &mut self.peers[at].watched;
                        watched.retain(|watch| watch.id != id);
                        if watched.len() >= MAX_WATCHED {
                            watched.remove(0);
                        }
                        watched.push(Watch { ask, id, told_at });
                    }
                    Message::Have { ask, groups }
                }
            }
        };
        self.send(from, &answer);
    }

    pub(super) fn pulled(
        &mut self,
        from: &PeerId,
        pull: u32,
        id: ContentId,
        groups: Range<u32>,
        urgent: bool,
    ) {
        let Some(at) = self.at(from) else { return };
        if groups.is_empty()
            || groups.len() > GROUPS_PER_BLOCK as usize
            || self.peers[at].serving.queue.len() >= MAX_QUEUED
        {
            return self.ban(from, DropReason::Greedy);
        }
        let Some(len) = self.holdings.len_with(&id, groups.start, groups.end) else {
            if !self.relay(at, pull, id, groups) {
                self.send(from, &Message::Gone { pull });
            }
            return;
        };
        // An older client does not know that a pull can be refused.
        let admitted = if self.peers[at].version < 2 {
            Some(None)
        } else {
            self.admits(at)
        };
        let Some(waits) = admitted else {
            let retry = self.retry();
            return self.send(from, &Message::Later { pull, retry });
        };
        if let Some(waits) = waits {
            self.send_away(waits);
        }
        let serving = &mut self.peers[at].serving;
        if serving.is_idle() {
            serving.moved_at = self.now;
        }
        serving.takes(Job {
            pull,
            id,
            len,
            groups,
            urgent,
        });
        self.serve_all();
    }

    /// What a peer has waiting is refused, so that another one has its slot.
    fn send_away(&mut self, at: usize) {
        let retry = self.retry();
        let peer = &mut self.peers[at];
        let to = peer.id.clone();
        let jobs = std::mem::take(&mut peer.serving.queue);
        for reading in &mut peer.serving.reads {
            reading.stopped |= jobs.iter().any(|job| job.pull == reading.pull);
        }
        for job in jobs {
            let pull = job.pull;
            self.send(&to, &Message::Later { pull, retry });
        }
    }

    /// From now on nobody is served: whoever waits is told to go elsewhere.
    pub(super) fn serve_nobody(&mut self) {
        for at in 0..self.peers.len() {
            let peer = &mut self.peers[at];
            let mut pulls: Vec<u32> = Vec::new();
            for reading in &mut peer.serving.reads {
                if !std::mem::replace(&mut reading.stopped, true) {
                    pulls.push(reading.pull);
                }
            }
            pulls.extend(peer.serving.queue.drain(..).map(|job| job.pull));
            pulls.dedup();
            peer.watched.clear();
            let to = peer.id.clone();
            for pull in pulls {
                self.send(&to, &Message::Gone { pull });
            }
        }
    }

    pub(super) fn stopped(&mut self, from: &PeerId, pull: u32) {
        if let Some(peer) = self.peer(from) {
            peer.serving.queue.retain(|job| job.pull != pull);
            for reading in &mut peer.serving.reads {
                reading.stopped |= reading.pull == pull;
            }
            peer.watched.retain(|watch| watch.ask != pull);
        }
        self.errand_stopped(from, pull);
        self.serve_all();
    }

    pub(super) fn buffered(&mut self, to: &PeerId, bytes: u64) {
        let now = self.now;
        if let Some(at) = self.at(to) {
            // Only who has more to send than he can says what he can.
            let is_full = self
                .peers
                .iter()
                .any(|peer| peer.serving.buffered > LOW_WATER);
            let serving = &mut self.peers[at].serving;
            let took = serving.buffered.saturating_sub(bytes);
            serving.buffered = bytes;
            if took > 0 || bytes <= LOW_WATER {
                serving.moved_at = now;
            }
            if is_full {
                self.uplink.took(took, now);
            } else {
                self.uplink.idles(now);
            }
            self.serve_all();
        }
    }

    pub(super) fn read(&mut self, ticket: u32, read: Option<Read>) {
        let found = self.peers.iter_mut().find_map(|peer| {
            let mut reads = peer.serving.reads.iter_mut();
            Some((peer.id.clone(), reads.find(|r| r.ticket == ticket)?))
        });
        // Nothing is found when the peer closed while the store was reading.
        if let Some((id, reading)) = found {
            reading.answer = Some(read);
            self.send_read(&id);
            self.serve_all();
        }
    }

    /// Starts reads as far as channels keep up and limits allow; peers take turns.
    pub(super) fn serve_all(&mut self) {
        let served = self.served();
        let ahead = (self.uplink.rate() * AHEAD) as u64 / served.max(1) as u64;
        let high = ahead.clamp(MIN_HIGH_WATER, MAX_HIGH_WATER);
        let limit = self.limit();
        // In the pieces in which it is sent, but for a moment's work where nobody else waits.
        let block = (GROUP * u64::from(GROUPS_PER_BLOCK)) as f64;
        let is_moment = limit == 0 || block <= limit as f64 / 1000.0 * AHEAD;
        let is_quick = high == MAX_HIGH_WATER && served < 2 && is_moment;
        let piece = if is_quick {
            GROUPS_PER_BLOCK
        } else {
            FRAME_GROUPS
        };
        loop {
            let can = |peer: &&mut Peer| {
                let serving = &peer.serving;
                !serving.queue.is_empty()
                    && serving.buffered + serving.reading() < high
                    && serving.reads.len() < READ_AHEAD
            };
            let peers = self.peers.iter_mut().filter(can);
            let Some(peer) = peers.min_by_key(|peer| peer.serving.turn) else {
                return;
            };
            if limit > 0 {
                let each_second = limit as f32;
                let cost = (GROUP * u64::from(piece)) as f32;
                if !self.uplink.spends(self.now, each_second, cost) {
                    return;
                }
            }
            let serving = &mut peer.serving;
            let next = serving.next();
            let Some(job) = serving.queue.get_mut(next) else {
                return;
            };
            let end = job.groups.end.min(job.groups.start + piece);
            let (pull, id, len, groups) = (job.pull, job.id, job.len, job.groups.start..end);
            job.groups.start = end;
            if job.groups.is_empty() {
                serving.queue.remove(next);
                serving.last = Some(id);
            }
            serving.turn = self.uplink.next_turn();
            self.last_number = self.last_number.wrapping_add(1);
            let ticket = self.last_number;
            serving.reads.push_back(Reading {
                ticket,
                pull,
                len,
                groups: groups.clone(),
                answer: None,
                stopped: false,
            });
            self.out.push_back(Output::Read {
                ticket,
                id,
                len,
                groups,
            });
        }
    }

    fn send_read(&mut self, to: &PeerId) {
        while let Some(peer) = self.peer(to) {
            let ready = |reading: &Reading| reading.answer.is_some();
            if !peer.serving.reads.front().is_some_and(ready) {
                return;
            }
            let Some(reading) = peer.serving.reads.pop_front() else {
                return;
            };
            let read = reading.answer.flatten();
            let read = read.filter(|read| read.groups.len() == reading.groups.len());
            match read {
                _ if reading.stopped => {}
                None => {
                    let pull = reading.pull;
                    peer.serving.queue.retain(|job| job.pull != pull);
                    for later in &mut peer.serving.reads {
                        later.stopped |= later.pull == pull;
                    }
                    self.send(to, &Message::Gone { pull });
                }
                Some(read) => {
                    let (pull, first) = (reading.pull, reading.groups.start);
                    self.send_frames(to, pull, first, &read, reading.len <= SMALL);
                }
            }
        }
    }

    pub(super) fn serving_time(&mut self) {
        let now = self.now;
        if self.uplink.has_budget_again(now) {
            self.serve_all();
        }
        let is_stuck = |peer: &Peer| stuck_at(peer) <= now;
        while let Some(peer) = self.peers.iter().find(|peer| is_stuck(peer)) {
            let id = peer.id.clone();
            self.drop_peer(&id, DropReason::SlowReader);
        }
    }

    pub(super) fn serving_due(&self) -> u64 {
        let stuck = self.peers.iter().map(stuck_at).min();
        self.uplink.due().min(stuck.unwrap_or(u64::MAX))
    }
}

fn stuck_at(peer: &Peer) -> u64 {
    if peer.serving.buffered > LOW_WATER {
        peer.serving.moved_at + STUCK
    } else {
        u64::MAX
    }
}
