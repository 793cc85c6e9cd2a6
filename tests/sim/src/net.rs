//! Links: bytes take their time on a sender's uplink, on the way, and on the receiver's downlink.
//!
//! A pipe is one direction of a data channel, or the origin's warm connection to a visitor. It sends
//! no more than its congestion window (slow start, halved by a loss), so that a short transfer costs
//! the round trips that it costs in reality. Pipes share an uplink in turns, control messages first,
//! as packets of several flows do. A downlink is a queue; who finds more in it than it buffers has
//! lost a packet. A lost packet holds up what follows by a round trip: channels are ordered. A peer's
//! window is halved by a loss and grows by a segment a round trip (RFC 9260, as browsers' SCTP); the
//! origin's shrinks and grows about as CUBIC's (RFC 9438), which is in the origin's favour.

use std::collections::VecDeque;

use slotmap::{SlotMap, new_key_type};

use crate::{
    Time,
    clock::{Clock, lot, mix},
    world::{Event, FetchKey, Message},
};

new_key_type! {
    /// A pipe.
    pub struct PipeKey;
}

/// What is asked for in one go, in bytes: ten segments (RFC 6928), as SCTP stacks begin too.
const FIRST_WINDOW: f64 = 12_000.0;
const LARGEST_WINDOW: f64 = 4_000_000.0;
const SEGMENT: f64 = 1_200.0;
/// The largest piece that takes its turn at once.
const PIECE: u64 = 32_768;
/// A message up to this goes before pieces of others.
const SMALL: u64 = 2_048;
/// What an idle downlink takes so long for is there at once.
const MOMENT: Time = 100;
/// IP, UDP, DTLS and SCTP headers, or IP, TCP and TLS, on each byte.
const PEER_OVERHEAD: f64 = 1.08;
const ORIGIN_OVERHEAD: f64 = 1.04;

/// What a pipe carries; made by the world.
pub enum Parcel {
    /// A message of a data channel; arrives whole.
    Message(Message),
    /// Bytes of a response; each piece arrives.
    Body {
        /// Whose.
        of: FetchKey,
        /// For its lots.
        seed: u64,
    },
}

struct Item {
    left: u64,
    sent: u64,
    parcel: Parcel,
}

/// A piece on its way.
pub struct Piece {
    pipe: PipeKey,
    size: u64,
    lots: u64,
    carries: Carries,
}

enum Carries {
    Nothing,
    Message(Message),
    Body(FetchKey),
}

/// What happens on links.
pub enum NetEvent {
    /// An uplink for which others wait is free.
    Free(usize),
    /// The last bit of what a full pipe had left the uplink.
    Left(PipeKey),
    /// It is at the downlink's queue.
    Queued(Piece),
    /// It is there.
    There(Piece),
    /// The sender of a pipe that has more to send knows what arrived.
    Acknowledged(PipeKey),
}

/// What the world hears of it.
pub enum Note {
    /// A message arrived.
    Message(PipeKey, Message),
    /// Bytes of a response arrived.
    Body(FetchKey, u64),
    /// A pipe has little left to send.
    Low(PipeKey),
}

/// A visitor's connection to the Internet.
struct Node {
    /// Bytes per microsecond.
    up: f64,
    down: f64,
    /// Until when it sends.
    busy_until: Time,
    /// Somebody waits for that.
    is_awaited: bool,
    small: VecDeque<PipeKey>,
    bulk: VecDeque<PipeKey>,
    down_free: Time,
}

struct Pipe {
    /// The origin has no uplink to share.
    from: Option<usize>,
    to: usize,
    way: Time,
    loss: f64,
    seed: u64,
    window: f64,
    threshold: f64,
    in_flight: u64,
    /// When the sender knows how much of that arrived, in order; looked at when it makes a difference.
    acks: VecDeque<(Time, u64)>,
    is_awaited: bool,
    cut_at: Time,
    queue: VecDeque<Item>,
    unsent: u64,
    is_listed: bool,
    is_full: bool,
    is_silent: bool,
    last_there: Time,
    pieces: u64,
}

impl Pipe {
    /// How much may be sent now.
    fn next_size(&self) -> Option<u64> {
        let item = self.queue.front()?;
        let wanted = item.left.min(PIECE);
        let room = (self.window as u64).saturating_sub(self.in_flight);
        if self.in_flight == 0 || room >= wanted {
            return Some(wanted.min((self.window as u64).max(1)));
        }
        // Silly small pieces are not worth an event.
        (room as f64 >= (self.window / 2.0).min(wanted as f64 / 2.0)).then_some(room)
    }

    /// What the sender knows by now of what arrived.
    fn settle(&mut self, now: Time) {
        while let Some((_, size)) = self.acks.front().copied().filter(|(at, _)| *at <= now) {
            self.acks.pop_front();
            self.in_flight -= size;
            // A sender that does not fill its window does not learn that it may be larger.
            let grows = if self.window < self.threshold {
                size as f64
            } else {
                let segments = if self.from.is_some() { 1.0 } else { 2.0 };
                segments * SEGMENT * size as f64 / self.window
            };
            if self.in_flight + size + PIECE >= self.window as u64 / 2 {
                self.window = (self.window + grows).min(LARGEST_WINDOW);
            }
        }
    }

    fn cut(&mut self, now: Time) {
        self.settle(now);
        if now >= self.cut_at + 2 * self.way {
            self.cut_at = now;
            let keeps = if self.from.is_some() { 0.5 } else { 0.7 };
            self.threshold = (self.window * keeps).max(2.0 * SEGMENT);
            self.window = self.threshold;
        }
    }
}

/// All links.
pub struct Net {
    nodes: Vec<Node>,
    pipes: SlotMap<PipeKey, Pipe>,
    buffer: Time,
    jitter: f64,
    low: u64,
}

impl Net {
    /// Links that buffer for so long, with a mean jitter in microseconds; a pipe that has fewer than
    /// `low` bytes to send is told of.
    pub fn new(buffer: Time, jitter: f64, low: u64) -> Self {
        Self {
            nodes: Vec::new(),
            pipes: SlotMap::with_key(),
            buffer,
            jitter,
            low,
        }
    }

    /// The next visitor's connection, in bytes per microsecond.
    pub fn node(&mut self, up: f64, down: f64) {
        self.nodes.push(Node {
            up,
            down,
            busy_until: 0,
            is_awaited: false,
            small: VecDeque::new(),
            bulk: VecDeque::new(),
            down_free: 0,
        });
    }

    /// A pipe from a visitor, or the origin, to a visitor.
    pub fn pipe(
        &mut self,
        from: Option<usize>,
        to: usize,
        way: Time,
        loss: f64,
        seed: u64,
    ) -> PipeKey {
        self.pipes.insert(Pipe {
            from,
            to,
            way,
            loss,
            seed,
            window: FIRST_WINDOW,
            threshold: LARGEST_WINDOW,
            in_flight: 0,
            acks: VecDeque::new(),
            is_awaited: false,
            cut_at: 0,
            queue: VecDeque::new(),
            unsent: 0,
            is_listed: false,
            is_full: false,
            is_silent: false,
            last_there: 0,
            pieces: 0,
        })
    }

    /// What is on it is lost.
    pub fn close(&mut self, pipe: PipeKey) {
        self.pipes.remove(pipe);
    }

    /// The receiver is gone and says nothing: what is sent is never acknowledged.
    pub fn silence(&mut self, pipe: PipeKey) {
        if let Some(pipe) = self.pipes.get_mut(pipe) {
            pipe.is_silent = true;
        }
    }

    /// Bytes that have not left yet.
    pub fn unsent(&self, pipe: PipeKey) -> u64 {
        self.pipes.get(pipe).map_or(0, |pipe| pipe.unsent)
    }

    /// How long so many bytes take over a pipe that is free, with what it may have on its way now: with
    /// this rate, to the last of them there.
    pub fn takes(&self, pipe: PipeKey, bytes: u64, rate: f64) -> f64 {
        let Some(pipe) = self.pipes.get(pipe) else {
            return f64::INFINITY;
        };
        let bytes = bytes as f64;
        let round = 2.0 * pipe.way as f64;
        let rounds = ((1.0 + bytes / pipe.window).log2() - 1.0).max(0.0);
        pipe.way as f64 + (bytes / rate).max(rounds * round)
    }

    /// One way.
    pub fn way(&self, pipe: PipeKey) -> Time {
        self.pipes.get(pipe).map_or(0, |pipe| pipe.way)
    }

    /// Puts something at the end of a pipe.
    pub fn send(&mut self, key: PipeKey, size: u64, parcel: Parcel, clock: &mut Clock<Event>)
    where
        Event: From<NetEvent>,
    {
        let Some(pipe) = self.pipes.get_mut(key) else {
            return;
        };
        pipe.unsent += size;
        pipe.is_full |= pipe.unsent > self.low;
        pipe.queue.push_back(Item {
            left: size,
            sent: 0,
            parcel,
        });
        self.go_on(key, clock);
    }

    /// The origin's response goes on: more of it may be sent.
    pub fn send_body(
        &mut self,
        key: PipeKey,
        size: u64,
        of: FetchKey,
        seed: u64,
        clock: &mut Clock<Event>,
    ) where
        Event: From<NetEvent>,
    {
        let Some(pipe) = self.pipes.get_mut(key) else {
            return;
        };
        let same =
            |item: &&mut Item| matches!(item.parcel, Parcel::Body { of: other, .. } if other == of);
        if let Some(item) = pipe.queue.iter_mut().find(same) {
            item.left += size;
            pipe.unsent += size;
            return;
        }
        self.send(key, size, Parcel::Body { of, seed }, clock);
    }

    /// The origin stops sending a response.
    pub fn stop_body(&mut self, key: PipeKey, of: FetchKey) {
        if let Some(pipe) = self.pipes.get_mut(key) {
            pipe.queue.retain(
                |item| !matches!(item.parcel, Parcel::Body { of: other, .. } if other == of),
            );
            pipe.unsent = pipe.queue.iter().map(|item| item.left).sum();
        }
    }

    /// Something happened on a link.
    pub fn happened(&mut self, event: NetEvent, clock: &mut Clock<Event>) -> Option<Note> {
        match event {
            NetEvent::Free(node) => {
                self.nodes[node].is_awaited = false;
                self.pump(node, clock);
                None
            }
            NetEvent::Left(key) => {
                let pipe = self.pipes.get_mut(key)?;
                let is_full = pipe.unsent > self.low;
                (std::mem::replace(&mut pipe.is_full, is_full) && !is_full)
                    .then_some(Note::Low(key))
            }
            NetEvent::Queued(piece) => {
                let pipe = self.pipes.get_mut(piece.pipe)?;
                let node = &mut self.nodes[pipe.to];
                let now = clock.now();
                let queued = node.down_free.saturating_sub(now);
                if queued > self.buffer {
                    pipe.cut(now);
                }
                let overhead = if pipe.from.is_some() {
                    PEER_OVERHEAD
                } else {
                    ORIGIN_OVERHEAD
                };
                let takes = (piece.size as f64 * overhead / node.down) as Time;
                // What came before may be through at this very moment, and is told of first.
                let is_idle = node.down_free < now;
                node.down_free = node.down_free.max(now) + takes;
                if is_idle && takes <= MOMENT {
                    return self.arrives(piece, clock);
                }
                clock.at(node.down_free, NetEvent::There(piece).into());
                None
            }
            NetEvent::There(piece) => self.arrives(piece, clock),
            NetEvent::Acknowledged(key) => {
                self.pipes.get_mut(key)?.is_awaited = false;
                self.go_on(key, clock);
                None
            }
        }
    }

    fn arrives(&mut self, piece: Piece, clock: &mut Clock<Event>) -> Option<Note> {
        let pipe = self.pipes.get_mut(piece.pipe)?;
        if pipe.is_silent {
            return None;
        }
        pipe.acks.push_back((clock.now() + pipe.way, piece.size));
        self.awaits(piece.pipe, clock);
        match piece.carries {
            Carries::Nothing => None,
            Carries::Message(message) => Some(Note::Message(piece.pipe, message)),
            Carries::Body(of) => Some(Note::Body(of, piece.size)),
        }
    }

    /// Who has more to send goes on when he knows what arrived.
    fn awaits(&mut self, key: PipeKey, clock: &mut Clock<Event>) {
        if let Some(pipe) = self.pipes.get_mut(key)
            && !pipe.is_awaited
            && !pipe.queue.is_empty()
            && let Some((at, _)) = pipe.acks.front()
        {
            pipe.is_awaited = true;
            clock.at(*at, NetEvent::Acknowledged(key).into());
        }
    }

    /// The pipe may have something to send that it could not before.
    fn go_on(&mut self, key: PipeKey, clock: &mut Clock<Event>) {
        let Some(pipe) = self.pipes.get_mut(key) else {
            return;
        };
        pipe.settle(clock.now());
        match pipe.from {
            Some(node) => {
                self.list(key);
                self.pump(node, clock);
            }
            None => {
                while let Some(piece) = self.take(key) {
                    self.fly(piece, clock.now(), clock);
                }
            }
        }
        self.awaits(key, clock);
    }

    /// Puts a pipe in line for its node's uplink.
    fn list(&mut self, key: PipeKey) {
        let Some(pipe) = self.pipes.get_mut(key) else {
            return;
        };
        let (Some(node), Some(_), false) = (pipe.from, pipe.next_size(), pipe.is_listed) else {
            return;
        };
        pipe.is_listed = true;
        let is_small = pipe
            .queue
            .front()
            .is_some_and(|item| item.sent == 0 && item.left <= SMALL);
        let node = &mut self.nodes[node];
        let line = if is_small {
            &mut node.small
        } else {
            &mut node.bulk
        };
        line.push_back(key);
    }

    fn pump(&mut self, index: usize, clock: &mut Clock<Event>) {
        loop {
            let now = clock.now();
            let node = &mut self.nodes[index];
            if node.busy_until > now {
                let is_wanted = !node.small.is_empty() || !node.bulk.is_empty();
                if is_wanted && !node.is_awaited {
                    node.is_awaited = true;
                    clock.at(node.busy_until, NetEvent::Free(index).into());
                }
                return;
            }
            let Some(key) = node.small.pop_front().or_else(|| node.bulk.pop_front()) else {
                return;
            };
            if let Some(pipe) = self.pipes.get_mut(key) {
                pipe.is_listed = false;
            }
            let Some(piece) = self.take(key) else {
                continue;
            };
            self.list(key);
            let node = &mut self.nodes[index];
            let left = now + (piece.size as f64 * PEER_OVERHEAD / node.up) as Time;
            node.busy_until = left;
            let ran_low = |pipe: &Pipe| pipe.is_full && pipe.unsent <= self.low;
            if self.pipes.get(key).is_some_and(ran_low) {
                clock.at(left, NetEvent::Left(key).into());
            }
            self.fly(piece, left, clock);
        }
    }

    /// The next piece of a pipe, if its window allows one.
    fn take(&mut self, key: PipeKey) -> Option<Piece> {
        let pipe = self.pipes.get_mut(key)?;
        let size = pipe.next_size()?;
        let mut item = pipe.queue.pop_front()?;
        pipe.pieces += 1;
        let lots = match item.parcel {
            Parcel::Message(_) => mix(pipe.seed, pipe.pieces),
            Parcel::Body { seed, .. } => mix(seed, item.sent),
        };
        item.left -= size;
        item.sent += size;
        pipe.unsent -= size;
        pipe.in_flight += size;
        let carries = match (item.left, item.parcel) {
            (0, Parcel::Message(message)) => Carries::Message(message),
            (left, Parcel::Body { of, seed }) => {
                // Responses take turns.
                if left > 0 {
                    pipe.queue.push_back(Item {
                        left,
                        sent: item.sent,
                        parcel: Parcel::Body { of, seed },
                    });
                }
                Carries::Body(of)
            }
            (left, parcel) => {
                pipe.queue.push_front(Item {
                    left,
                    sent: item.sent,
                    parcel,
                });
                Carries::Nothing
            }
        };
        Some(Piece {
            pipe: key,
            size,
            lots,
            carries,
        })
    }

    /// From the uplink, which it has left by then, to the downlink's queue.
    fn fly(&mut self, piece: Piece, left: Time, clock: &mut Clock<Event>) {
        let Some(pipe) = self.pipes.get_mut(piece.pipe) else {
            return;
        };
        let jitter = -(1.0 - lot(piece.lots, 0)).ln() * self.jitter;
        let mut there = left + pipe.way + jitter as Time;
        let packets = (piece.size as f64 / SEGMENT).ceil();
        if lot(piece.lots, 1) < 1.0 - (1.0 - pipe.loss).powf(packets) {
            there += 2 * pipe.way + 5_000;
            pipe.cut(left);
        }
        // Ordered: nothing overtakes.
        there = there.max(pipe.last_there);
        pipe.last_there = there;
        clock.at(there, NetEvent::Queued(piece).into());
    }
}

#[cfg(test)]
mod tests;
