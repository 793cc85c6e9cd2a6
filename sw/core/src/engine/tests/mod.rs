//! Engines in pairs and more, in fake time, over links that the test controls.

mod ahead;
mod behind;
mod beyond;
mod connections;
mod directory;
mod finding;
mod parts;
mod playing;
mod property;
mod serving;
mod shortage;
mod transfers;

use std::{collections::HashMap, ops::Range, rc::Rc};

use super::*;
use crate::{
    content::{BLOCK, ContentId, GROUP, GROUPS_PER_BLOCK, group_bytes, group_count},
    deflate::{self, Kept},
    port::WantId,
    tree::Outboard,
    wire::BadMessage,
};

/// An origin that is quicker than most peers.
const QUICK: Input = Input::Origin {
    first_byte: 200,
    rate: 5_000_000,
};

fn noise(len: usize, seed: u8) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new()
        .update(&[seed])
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

/// One visitor: an engine, a store, a way up.
struct Visitor {
    engine: Engine,
    store: HashMap<ContentId, Vec<u8>>,
    got: HashMap<WantId, Got>,
    asked: HashMap<WantId, ContentId>,
    dropped: Vec<(PeerId, DropReason)>,
    dialled: Vec<(u64, PeerId, Option<PeerId>)>,
    restarted: Vec<(u64, PeerId)>,
    /// Signals that the signal server was given.
    signals: Vec<PeerId>,
    more: Vec<(u64, u16)>,
    /// How often for a page to come.
    to_come: u32,
    /// What the directory was told and asked, and when.
    directory: Vec<(u64, &'static str, Vec<ContentId>)>,
    unsure: Vec<WantId>,
    /// What the network was to fetch: when, for which want, up to where.
    behind: Vec<(u64, WantId, u64)>,
    open: u32,
    /// Changes what it sends: what a hostile or broken client would do.
    meddle: Option<fn(Vec<u8>) -> Vec<u8>>,
    frames_sent: usize,
    /// In groups.
    largest_read: u32,
    /// Control messages sent, by kind.
    said: HashMap<String, usize>,
    tiers: Vec<u8>,
    /// Bytes a millisecond that it can send to all together; 0 is no limit.
    up: u64,
    /// When all that it sent so far has left.
    up_at: u64,
    /// What it sent to whom, and when that has left.
    leaves: Vec<(usize, u64, u64)>,
    /// It reads nothing: what is sent to it stays in the sender's channel.
    deaf: bool,
}

/// What the server's directory takes, in bytes.
const HOLD_OVER: u64 = 1 << 20;

/// Where a want began, what came, how it ended.
type Got = (u64, Vec<u8>, Option<Result<(), FailReason>>);

enum Event {
    Message(usize, usize, Vec<u8>),
    Low(usize, usize),
    Open(usize, usize),
    Signalled(usize, usize, Vec<u8>),
}

/// Visitors with channels to each other. Messages arrive in order, after a delay and no sooner than
/// the sender's way up carries them.
struct Swarm {
    now: u64,
    /// What visitors were given, which the network has.
    given: HashMap<ContentId, Vec<u8>>,
    visitors: Vec<Visitor>,
    on_way: Vec<(u64, Event)>,
    /// Nothing that they send arrives.
    silent: Vec<usize>,
    delay: HashMap<(usize, usize), u64>,
    /// Who dials is connected, unless dialling is vain.
    dials: bool,
}

fn name(index: usize) -> PeerId {
    PeerId::from(format!("{index}").as_str())
}

fn index(peer: &PeerId) -> usize {
    peer.0.parse().unwrap()
}

impl Swarm {
    /// All connected to all.
    fn new(count: usize) -> Self {
        let mut swarm = Self::apart(count);
        for a in 0..count {
            for b in 0..count {
                if a != b {
                    swarm.input(a, Input::Opened { peer: name(b) });
                }
            }
        }
        swarm.run(100);
        swarm
    }

    /// Nobody connected.
    fn apart(count: usize) -> Self {
        Self::with(count, |_| Config::default())
    }

    fn with(count: usize, config: impl Fn(usize) -> Config) -> Self {
        let visitor = |index| Visitor {
            engine: Engine::new(config(index), 0),
            store: HashMap::new(),
            got: HashMap::new(),
            asked: HashMap::new(),
            dropped: Vec::new(),
            dialled: Vec::new(),
            restarted: Vec::new(),
            signals: Vec::new(),
            more: Vec::new(),
            to_come: 0,
            directory: Vec::new(),
            unsure: Vec::new(),
            behind: Vec::new(),
            open: 0,
            meddle: None,
            frames_sent: 0,
            largest_read: 0,
            said: HashMap::new(),
            tiers: Vec::new(),
            up: 0,
            up_at: 0,
            leaves: Vec::new(),
            deaf: false,
        };
        let mut swarm = Self {
            now: 0,
            given: HashMap::new(),
            visitors: (0..count).map(visitor).collect(),
            on_way: Vec::new(),
            silent: Vec::new(),
            delay: HashMap::new(),
            dials: false,
        };
        for a in 0..count {
            let hold_over = Some(HOLD_OVER);
            swarm.input(
                a,
                Input::Welcome {
                    me: name(a),
                    hold_over,
                },
            );
            swarm.input(a, Input::Offered { peers: Vec::new() });
        }
        swarm
    }

    fn connect(&mut self, a: usize, b: usize) {
        self.input(a, Input::Opened { peer: name(b) });
        self.input(b, Input::Opened { peer: name(a) });
    }

    /// Visitor 1 may have what visitor 0 holds, who sends so many bytes a millisecond.
    fn film(len: u64, up: u64) -> (Self, Vec<u8>, ContentId) {
        let mut swarm = Self::new(2);
        swarm.visitors[0].up = up;
        let film = noise(len as usize, 1);
        let id = swarm.give(0, &film);
        swarm.on_page(1, &[0, 1], &[id]);
        swarm.run(1_000);
        swarm.input(1, QUICK);
        (swarm, film, id)
    }

    /// A visitor fetches this ahead.
    fn fetch_ahead(
        &mut self,
        who: usize,
        want: WantId,
        id: ContentId,
        len: u64,
        bytes: Range<u64>,
    ) {
        let got = (bytes.start, Vec::new(), None);
        self.visitors[who].got.insert(want, got);
        let input = Input::Prefetch {
            want,
            id,
            len,
            bytes,
        };
        self.input(who, input);
    }

    /// All on the same page, which asked for these.
    fn on_page(&mut self, page: u64, who: &[usize], ids: &[ContentId]) {
        for &who in who {
            let ids = ids.to_vec();
            self.input(who, Input::Context { page, ids });
        }
    }

    fn give(&mut self, who: usize, bytes: &[u8]) -> ContentId {
        let id = ContentId::of(bytes);
        self.visitors[who].store.insert(id, bytes.to_vec());
        self.given.insert(id, bytes.to_vec());
        let len = bytes.len() as u64;
        let groups = vec![(0, group_count(len))];
        self.input(who, Input::Stored { id, len, groups });
        id
    }

    /// Where a test does not say how quick the network is, there is none.
    fn want(&mut self, who: usize, want: WantId, id: ContentId, len: u64, bytes: Range<u64>) {
        let patience = match self.visitors[who].engine.origin {
            Some(_) => 0,
            None => u32::MAX,
        };
        let credit = bytes.end;
        self.wants(who, want, (id, len), (bytes, credit), patience, false);
    }

    /// Plays these bytes, of which this is the first credit; the network helps after so long.
    fn play(
        &mut self,
        who: usize,
        want: WantId,
        film: (ContentId, u64),
        bytes: Range<u64>,
        credit: u64,
        patience: u32,
    ) {
        self.wants(who, want, film, (bytes, credit), patience, true);
    }

    /// All of a content, where the network is spared for so long.
    fn want_spared(&mut self, who: usize, want: WantId, id: ContentId, len: u64, patience: u32) {
        self.wants(who, want, (id, len), (0..len, len), patience, false);
    }

    fn wants(
        &mut self,
        who: usize,
        want: WantId,
        (id, len): (ContentId, u64),
        (bytes, credit): (Range<u64>, u64),
        patience: u32,
        plays: bool,
    ) {
        let got = (bytes.start, Vec::new(), None);
        self.visitors[who].got.insert(want, got);
        let input = Input::Want {
            want,
            id,
            len,
            bytes,
            credit,
            patience,
            plays,
        };
        self.input(who, input);
    }

    fn input(&mut self, who: usize, input: Input) {
        if let Input::Want { want, id, .. } = input {
            self.visitors[who].asked.insert(want, id);
        }
        self.visitors[who].engine.handle(input, self.now);
        self.drain(who);
    }

    fn says(&mut self, from: usize, to: usize, message: &Message) {
        let (peer, bytes) = (name(from), wire::encode(message));
        self.input(to, Input::Frame { peer, bytes });
    }

    fn said(&self, who: usize, kind: &str) -> usize {
        let said = &self.visitors[who].said;
        said.get(kind).copied().unwrap_or_default()
    }

    fn send(&mut self, from: usize, peer: PeerId, bytes: Vec<u8>) {
        let (now, to) = (self.now, index(&peer));
        let visitor = &mut self.visitors[from];
        visitor.frames_sent += usize::from(bytes[0] == wire::GROUPS);
        if bytes[0] == wire::CONTROL {
            // A map with one key: its kind.
            let kind = String::from_utf8_lossy(&bytes[3..3 + usize::from(bytes[2] & 31)]);
            *visitor.said.entry(kind.into_owned()).or_default() += 1;
        }
        let bytes = visitor.meddle.map_or(bytes.clone(), |meddle| meddle(bytes));
        let mut left = 0;
        if visitor.up > 0 {
            let len = bytes.len() as u64;
            visitor.up_at = visitor.up_at.max(now) + len.div_ceil(visitor.up);
            visitor.leaves.retain(|(.., at)| *at > now);
            visitor.leaves.push((to, len, visitor.up_at));
            let ours: Vec<_> = visitor.leaves.iter().filter(|sent| sent.0 == to).collect();
            left = ours.iter().map(|sent| sent.1).sum();
            let mut still = left;
            for (_, len, at) in ours {
                if still > LOW_WATER && still - len <= LOW_WATER {
                    self.on_way.push((*at, Event::Low(from, to)));
                }
                still -= len;
            }
        }
        let leaves = self.visitors[from].up_at.max(now);
        let delay = self.delay.get(&(from, to)).copied().unwrap_or(10);
        if self.visitors[to].deaf {
            return; // Nor does the channel ever run low.
        }
        if !self.silent.contains(&from) {
            let event = Event::Message(from, to, bytes);
            self.on_way.push((leaves + delay, event));
        }
        self.input(from, Input::Buffered { peer, bytes: left });
    }

    fn drain(&mut self, who: usize) {
        while let Some(output) = self.visitors[who].engine.poll() {
            let now = self.now;
            let visitor = &mut self.visitors[who];
            match output {
                Output::Send { peer, bytes } => self.send(who, peer, bytes),
                Output::Deliver {
                    want,
                    offset,
                    bytes,
                    tier,
                } => {
                    let (start, got, end) = visitor.got.get_mut(&want).unwrap();
                    assert!(end.is_none());
                    assert_eq!(offset, *start + got.len() as u64, "out of order");
                    got.extend(bytes);
                    visitor.tiers.push(tier);
                }
                Output::End { want } => {
                    let end = &mut visitor.got.get_mut(&want).unwrap().2;
                    assert!(end.replace(Ok(())).is_none());
                }
                Output::Failed { want, why } => {
                    let end = &mut visitor.got.get_mut(&want).unwrap().2;
                    assert!(end.replace(Err(why)).is_none());
                }
                Output::Drop { peer, why } => {
                    visitor.dropped.push((peer.clone(), why));
                    self.close(who, index(&peer));
                }
                Output::Read {
                    ticket,
                    id,
                    len,
                    groups,
                } => {
                    visitor.largest_read = visitor.largest_read.max(groups.end - groups.start);
                    let read = visitor.store.get(&id).map(|bytes| {
                        let pays = deflate::pays(bytes);
                        let groups = groups.map(|group| {
                            let at = group_bytes(group..group + 1, len);
                            deflate::keep(&bytes[at.start as usize..at.end as usize], pays)
                        });
                        Read {
                            groups: groups.collect(),
                            outboard: Rc::new(Outboard::of(bytes)),
                        }
                    });
                    self.input(who, Input::Read { ticket, read });
                }
                Output::Dial { peer, via } => {
                    let to = index(&peer);
                    visitor.dialled.push((now, peer.clone(), via.clone()));
                    if via.is_some() {
                        // As a driver would: an offer, which comes by way of the introducer.
                        let signal = b"offer".to_vec();
                        self.input(who, Input::Signal { to: peer, signal });
                    } else if self.dials {
                        self.on_way.push((now + 30, Event::Open(who, to)));
                    }
                }
                Output::Unsure { want } => visitor.unsure.push(want),
                Output::Behind { want, to } => {
                    visitor.behind.push((now, want, to));
                    self.network(who, want, to);
                }
                Output::Restart { peer } => visitor.restarted.push((now, peer)),
                Output::Signal { to, .. } => visitor.signals.push(to),
                Output::Signalled { from, signal } => {
                    let event = Event::Signalled(who, index(&from), signal);
                    self.on_way.push((now, event));
                }
                Output::MorePeers { want, to_come } => {
                    visitor.more.push((now, want));
                    visitor.to_come += u32::from(to_come);
                }
                Output::Hold { ids } => visitor.directory.push((now, "hold", ids)),
                Output::Release { ids } => visitor.directory.push((now, "release", ids)),
                Output::Find { id, .. } => visitor.directory.push((now, "find", vec![id])),
                Output::Peers { open, .. } => visitor.open = open,
            }
        }
    }

    /// The network delivers the next bytes of a want; of what nobody was given it has zeros.
    fn network(&mut self, who: usize, want: WantId, to: u64) {
        let given = self.given.get(&self.visitors[who].asked[&want]);
        let (start, got, end) = self.visitors[who].got.get_mut(&want).unwrap();
        assert!(end.is_none());
        let bytes = (*start as usize + got.len())..to as usize;
        assert!(!bytes.is_empty());
        got.extend(match given {
            Some(given) => given[bytes].to_vec(),
            None => vec![0; bytes.len()],
        });
    }

    fn close(&mut self, a: usize, b: usize) {
        self.on_way.retain(|(_, event)| {
            let (Event::Message(from, to, _) | Event::Low(from, to) | Event::Open(from, to)) =
                event
            else {
                return true;
            };
            (*from, *to) != (a, b) && (*from, *to) != (b, a)
        });
        self.input(b, Input::Closed { peer: name(a) });
        self.input(a, Input::Closed { peer: name(b) });
    }

    fn run(&mut self, ms: u64) {
        let end = self.now + ms;
        while self.now < end {
            self.now += 1;
            let now = self.now;
            let mut due: Vec<_> = self.on_way.extract_if(.., |(at, _)| *at <= now).collect();
            due.sort_by_key(|(at, _)| *at);
            for (_, event) in due {
                self.happens(event);
            }
            for who in 0..self.visitors.len() {
                let wake = self.visitors[who].engine.wake_at();
                if wake.is_some_and(|at| at <= self.now) {
                    self.input(who, Input::Tick);
                    let wake = self.visitors[who].engine.wake_at();
                    assert!(
                        wake.is_none_or(|at| at > now),
                        "a tick that changes nothing"
                    );
                }
            }
        }
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Message(from, to, bytes) => {
                let peer = name(from);
                self.input(to, Input::Frame { peer, bytes });
            }
            Event::Low(from, to) => {
                let sent = self.visitors[from].leaves.iter();
                let sent = sent.filter(|(peer, _, at)| *peer == to && *at > self.now);
                let (peer, bytes) = (name(to), sent.map(|(_, len, _)| len).sum());
                self.input(from, Input::Buffered { peer, bytes });
            }
            Event::Open(a, b) => self.connect(a, b),
            Event::Signalled(who, from, signal) => {
                if signal == b"offer" {
                    let (to, signal) = (name(from), b"answer".to_vec());
                    self.input(who, Input::Signal { to, signal });
                } else {
                    self.connect(who, from);
                }
            }
        }
    }

    /// Compared here, because a failed `assert_eq` would print megabytes.
    fn got_all(&self, who: usize, want: WantId, expected: &[u8]) -> bool {
        self.got(who, want) == (expected, Some(Ok(())))
    }

    fn got(&self, who: usize, want: WantId) -> (&[u8], Option<Result<(), FailReason>>) {
        let (_, bytes, end) = &self.visitors[who].got[&want];
        (bytes, *end)
    }
}
