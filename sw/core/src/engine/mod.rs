//! The swarm engine: which peers to have, whom to ask, what to pull from whom, what to serve.
//!
//! Sans-IO. A driver owns the channels, the store and the clock, and runs this loop:
//! ```text
//! engine.handle(input, now);
//! while let Some(output) = engine.poll() { carry it out }
//! engine.wake_at() tells when to hand in Input::Tick if nothing else happens before
//! ```
//! Times are milliseconds of any clock that does not go back.
//!
//! [`peers`] keeps connections, [`asking`] turns a want into verified bytes, [`serving`] answers
//! the other side. Nothing that a peer sent leaves the engine before [`crate::tree::verify`] said
//! yes, and who sends something that fails is dropped and not taken again.

mod asking;
mod events;
mod peers;
mod serving;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use crate::{
    content::ContentId,
    port::WantId,
    wire::{self, Incoming, Message},
};
use asking::Want;
pub use events::{Config, DropReason, FailReason, Input, Output, PeerId, Read, Totals};
use peers::Peer;

/// The engine; see the top of this file for how it is driven.
pub struct Engine {
    config: Config,
    now: u64,
    me: Option<PeerId>,
    /// Started, and the signal server has not answered yet.
    joining: bool,
    peers: BTreeMap<PeerId, Peer>,
    banned: BTreeSet<PeerId>,
    wants: BTreeMap<WantId, Want>,
    asks: BTreeMap<u32, (WantId, PeerId)>,
    holdings: HashMap<ContentId, Holding>,
    out: VecDeque<Output>,
    told: (u32, bool),
    last_number: u32,
    more_at: u64,
    totals: Totals,
}

struct Holding {
    len: u64,
    groups: Vec<(u32, u32)>,
}

/// Whether sorted or unsorted runs contain a group, and up to where it goes on.
fn run_from(runs: &[(u32, u32)], group: u32) -> Option<u32> {
    runs.iter()
        .find(|(start, end)| *start <= group && group < *end)
        .map(|(_, end)| *end)
}

impl Engine {
    /// An engine without peers.
    pub fn new(config: Config, now: u64) -> Self {
        Self {
            config,
            now,
            me: None,
            joining: true,
            peers: BTreeMap::new(),
            banned: BTreeSet::new(),
            wants: BTreeMap::new(),
            asks: BTreeMap::new(),
            holdings: HashMap::new(),
            out: VecDeque::new(),
            told: (0, true),
            last_number: 0,
            more_at: 0,
            totals: Totals::default(),
        }
    }

    /// Takes one input. What follows from it comes out of [`Engine::poll`].
    pub fn handle(&mut self, input: Input, now: u64) {
        self.now = self.now.max(now);
        match input {
            Input::Welcome { me } => self.welcome(me),
            Input::Offered { peers } => self.offered(peers),
            Input::Gone { peer } => self.gone(&peer),
            Input::ServerLost => self.server_lost(),
            Input::Opened { peer } => self.opened(peer),
            Input::Closed { peer } => self.closed(&peer),
            Input::Frame { peer, bytes } => self.frame(&peer, &bytes),
            Input::Unreadable { peer } => self.ban(&peer, DropReason::Unreadable),
            Input::Buffered { peer, bytes } => self.buffered(&peer, bytes),
            Input::Want {
                want,
                id,
                len,
                bytes,
                credit,
            } => self.want(want, id, len, bytes, credit),
            Input::Credit { want, to } => self.credit(want, to),
            Input::Cancel { want } => self.cancel(want),
            Input::Stored { id, len, groups } => {
                self.holdings.insert(id, Holding { len, groups });
            }
            Input::Dropped { id } => {
                self.holdings.remove(&id);
            }
            Input::Read { ticket, read } => self.read(ticket, read),
            Input::Signal { to, signal } => self.out.push_back(Output::Signal { to, signal }),
            Input::Prefetch { want, id, len } => self.want(want, id, len, 0..len, len),
            Input::Configure { config } => self.config = config,
            Input::Context { .. } | Input::Origin { .. } | Input::Tick => {}
        }
        self.time();
    }

    /// The next thing to do, until there is none.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When to hand in [`Input::Tick`] at the latest.
    pub fn wake_at(&self) -> Option<u64> {
        [self.peers_wake_at(), self.asking_wake_at()]
            .into_iter()
            .flatten()
            .min()
    }

    /// What went through the engine so far.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    fn time(&mut self) {
        self.asking_time();
        self.peers_time();
        self.tell_peers();
    }

    fn frame(&mut self, from: &PeerId, bytes: &[u8]) {
        if !self.peers.get(from).is_some_and(|peer| peer.open) {
            return;
        }
        match wire::decode(bytes) {
            Ok(Incoming::Groups(frame)) => self.groups_came(from, &frame),
            Ok(Incoming::Control(message)) => self.control(from, message),
            Ok(Incoming::Unknown) => {}
            Err(bad) => self.ban(from, bad.into()),
        }
    }

    fn control(&mut self, from: &PeerId, message: Message) {
        match message {
            Message::Hello { .. } | Message::Pong { .. } => {}
            Message::Ping { nonce } => self.send(from, &Message::Pong { nonce }),
            Message::Have { ask, groups } => self.have(from, ask, groups),
            Message::Lack { ask } => self.lack(from, ask, None),
            Message::Busy { ask, retry } => self.lack(from, ask, Some(retry)),
            Message::Gone { pull } => self.pull_gone(from, pull),
            Message::Ask { ask, id } => self.asked(from, ask, id),
            Message::Pull {
                pull,
                id,
                first,
                count,
            } => self.pulled(from, pull, id, first, count),
            Message::Stop { pull } => self.stopped(from, pull),
        }
    }

    fn send(&mut self, to: &PeerId, message: &Message) {
        self.out.push_back(Output::Send {
            peer: to.clone(),
            bytes: wire::encode(message),
        });
    }

    /// Numbers of asks, pulls and tickets are never used twice in a session.
    fn number(&mut self) -> u32 {
        self.last_number = self.last_number.wrapping_add(1);
        self.last_number
    }
}

#[cfg(test)]
mod tests;
