//! The serving side: answers to asks, and pulls turned into frames, at the pace of the channel.

use std::{collections::VecDeque, ops::Range};

use super::{DropReason, Engine, Output, PeerId, Read, run_from};
use crate::{
    content::{ContentId, GROUPS_PER_BLOCK, group_bytes},
    wire::{self, FRAME_GROUPS, MAX_RUNS, Message},
};

/// Nothing more is read for a channel that has this much buffered, in bytes.
const HIGH_WATER: u64 = 1 << 20;
/// Blocks read ahead for one peer, so that the store and the channel work at the same time.
const READ_AHEAD: usize = 2;
/// Pulls that one peer may have waiting. Its own window is far below this.
const MAX_QUEUED: usize = 256;
/// Asks answered at once, and then each second.
const ASK_BURST: f64 = 256.0;
const ASKS_PER_SECOND: f64 = 64.0;
/// When to come again, in milliseconds.
const BUSY_RETRY: u32 = 500;

/// What one peer has pulled from us.
pub(super) struct Serving {
    buffered: u64,
    queue: VecDeque<Job>,
    reads: VecDeque<Reading>,
    /// What was read last.
    last: Option<ContentId>,
    asks_left: f64,
    asks_at: u64,
}

/// A pull, or what is left of it.
struct Job {
    pull: u32,
    id: ContentId,
    len: u64,
    groups: Range<u32>,
}

struct Reading {
    ticket: u32,
    pull: u32,
    groups: Range<u32>,
    /// Answers leave in the order of the questions, whichever the store answers first.
    answer: Option<Option<Read>>,
    stopped: bool,
}

impl Serving {
    pub(super) fn new(now: u64) -> Self {
        Self {
            buffered: 0,
            queue: VecDeque::new(),
            reads: VecDeque::new(),
            last: None,
            asks_left: ASK_BURST,
            asks_at: now,
        }
    }

    fn idle(&self) -> bool {
        self.queue.is_empty() && self.reads.is_empty()
    }

    fn takes_ask(&mut self, now: u64) -> bool {
        let gained = (now - self.asks_at) as f64 / 1000.0 * ASKS_PER_SECOND;
        self.asks_left = (self.asks_left + gained).min(ASK_BURST);
        self.asks_at = now;
        let takes = self.asks_left >= 1.0;
        if takes {
            self.asks_left -= 1.0;
        }
        takes
    }
}

impl Engine {
    pub(super) fn asked(&mut self, from: &PeerId, ask: u32, id: ContentId) {
        let now = self.now;
        let served = self.peers.values().filter(|p| !p.serving.idle()).count();
        let Some(peer) = self.peers.get_mut(from) else {
            return;
        };
        let full = served >= self.config.slots && peer.serving.idle();
        let answer = if !peer.serving.takes_ask(now) || full {
            Message::Busy {
                ask,
                retry: BUSY_RETRY,
            }
        } else {
            match self.holdings.get(&id) {
                Some(holding) if !holding.groups.is_empty() => Message::Have {
                    ask,
                    groups: holding.groups.iter().copied().take(MAX_RUNS).collect(),
                },
                _ => Message::Lack { ask },
            }
        };
        self.send(from, &answer);
    }

    pub(super) fn pulled(
        &mut self,
        from: &PeerId,
        pull: u32,
        id: ContentId,
        first: u32,
        count: u32,
    ) {
        let held = self.holdings.get(&id).and_then(|holding| {
            let end = first.checked_add(count)?;
            (run_from(&holding.groups, first)? >= end).then_some((holding.len, first..end))
        });
        let Some(peer) = self.peers.get_mut(from) else {
            return;
        };
        if count == 0 || count > GROUPS_PER_BLOCK || peer.serving.queue.len() >= MAX_QUEUED {
            return self.ban(from, DropReason::Greedy);
        }
        match held {
            None => self.send(from, &Message::Gone { pull }),
            Some((len, groups)) => {
                peer.serving.queue.push_back(Job {
                    pull,
                    id,
                    len,
                    groups,
                });
                self.serve(from);
            }
        }
    }

    pub(super) fn stopped(&mut self, from: &PeerId, pull: u32) {
        if let Some(peer) = self.peers.get_mut(from) {
            peer.serving.queue.retain(|job| job.pull != pull);
            for reading in &mut peer.serving.reads {
                reading.stopped |= reading.pull == pull;
            }
        }
    }

    pub(super) fn buffered(&mut self, to: &PeerId, bytes: u64) {
        if let Some(peer) = self.peers.get_mut(to) {
            peer.serving.buffered = bytes;
            self.serve(to);
        }
    }

    pub(super) fn read(&mut self, ticket: u32, read: Option<Read>) {
        let found = self.peers.iter_mut().find_map(|(id, peer)| {
            let mut reads = peer.serving.reads.iter_mut();
            Some((id.clone(), reads.find(|r| r.ticket == ticket)?))
        });
        // Nothing is found when the peer closed while the store was reading.
        if let Some((id, reading)) = found {
            reading.answer = Some(read);
            self.send_read(&id);
            self.serve(&id);
        }
    }

    /// Starts reads for a peer as far as its channel keeps up.
    fn serve(&mut self, to: &PeerId) {
        let ticket = self.last_number.wrapping_add(1);
        let Some(peer) = self.peers.get_mut(to) else {
            return;
        };
        let serving = &mut peer.serving;
        if serving.buffered >= HIGH_WATER || serving.reads.len() >= READ_AHEAD {
            return;
        }
        // Contents take turns: a small one does not wait for all of a large one.
        let another = |job: &Job| Some(job.id) != serving.last;
        let next = serving.queue.iter().position(another).unwrap_or_default();
        let Some(job) = serving.queue.remove(next) else {
            return;
        };
        serving.last = Some(job.id);
        serving.reads.push_back(Reading {
            ticket,
            pull: job.pull,
            groups: job.groups.clone(),
            answer: None,
            stopped: false,
        });
        self.last_number = ticket;
        self.out.push_back(Output::Read {
            ticket,
            id: job.id,
            len: job.len,
            groups: job.groups,
        });
        self.serve(to);
    }

    fn send_read(&mut self, to: &PeerId) {
        while let Some(peer) = self.peers.get_mut(to) {
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
                None => self.send(to, &Message::Gone { pull: reading.pull }),
                Some(read) => self.send_frames(to, reading.pull, reading.groups.start, &read),
            }
        }
    }

    fn send_frames(&mut self, to: &PeerId, pull: u32, mut first: u32, read: &Read) {
        for groups in read.groups.chunks(FRAME_GROUPS as usize) {
            let end = first + groups.len() as u32;
            let proof = read.outboard.proof(first..end);
            let bytes = wire::encode_frame(pull, first, groups, &proof);
            let content = group_bytes(first..end, u64::MAX);
            self.totals.sent += content.end - content.start;
            if let Some(peer) = self.peers.get_mut(to) {
                peer.serving.buffered += bytes.len() as u64;
            }
            self.out.push_back(Output::Send {
                peer: to.clone(),
                bytes,
            });
            first = end;
        }
    }
}
