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

mod ahead;
mod answers;
mod arriving;
mod asking;
mod behind;
mod beyond;
mod dialling;
mod directory;
mod events;
mod filter;
mod framing;
mod holdings;
mod introductions;
mod onward;
mod parts;
mod peers;
mod pulling;
mod pulse;
mod reader;
mod relieving;
mod runs;
mod serving;
mod shortage;
mod survey;
mod unreached;
mod uplink;
mod want;

use std::{collections::VecDeque, ops::Range};

use crate::{
    content::ContentId,
    wire::{self, Incoming, Message},
};
use beyond::{Errand, Found, Seeks};
use dialling::Dialling;
use directory::Directory;
pub use events::{Config, DropReason, FailReason, Input, Output, PeerId, Read, Totals};
use filter::Context;
use holdings::Holdings;
use introductions::Via;
use parts::Search;
use peers::{Lost, Peer};
use pulse::Origin;
use reader::Reader;
pub use serving::LOW_WATER;
use shortage::Shortage;
use survey::Inquiry;
use unreached::Unreached;
use uplink::Uplink;
use want::{For, Want};

/// The engine; see the top of this file for how it is driven.
///
/// There are few peers and few wants, so they lie in plain lists.
pub struct Engine {
    config: Config,
    now: u64,
    me: Option<PeerId>,
    /// Started, and the signal server has not answered yet.
    joining: bool,
    /// The signal server is there.
    server: bool,
    peers: Vec<Peer>,
    /// The oldest first.
    banned: VecDeque<PeerId>,
    lost: Vec<Lost>,
    unreached: Unreached,
    dialling: Dialling,
    wants: Vec<Want>,
    /// Which bytes of a large content were wanted last, and how who plays it reads.
    readings: VecDeque<(ContentId, Range<u64>, Option<Reader>)>,
    /// How fast contents are played, in bytes a millisecond, the oldest first.
    paces: VecDeque<(ContentId, f64)>,
    /// Of which large contents the beginning was fetched ahead, and up to where.
    beginnings: VecDeque<(ContentId, u64)>,
    holdings: Holdings,
    context: Context,
    origin: Option<Origin>,
    uplink: Uplink,
    errands: Vec<Errand>,
    found: Vec<Found>,
    vias: Vec<Via>,
    seeks: Seeks,
    searches: Vec<Search>,
    /// When peers are asked for what the page will need.
    survey_at: u64,
    inquiries: Vec<Inquiry>,
    shortage: Shortage,
    directory: Directory,
    rng: fastrand::Rng,
    out: VecDeque<Output>,
    told: (u32, bool),
    last_number: u32,
    /// Until when the page counts as one that has just opened.
    came_until: u64,
    more_at: u64,
    more_wait: u64,
    /// Asked for more, and nobody came of it yet.
    more_asked: bool,
    mix_at: u64,
    free_at: u64,
    due: u64,
    totals: Totals,
}

impl Engine {
    /// An engine without peers.
    pub fn new(config: Config, now: u64) -> Self {
        Self {
            now,
            me: None,
            joining: true,
            server: false,
            peers: Vec::new(),
            banned: VecDeque::new(),
            lost: Vec::new(),
            unreached: Unreached::default(),
            dialling: Dialling::new(now),
            wants: Vec::new(),
            readings: VecDeque::new(),
            paces: VecDeque::new(),
            beginnings: VecDeque::new(),
            holdings: Holdings::default(),
            context: Context::default(),
            origin: None,
            uplink: Uplink::new(now),
            errands: Vec::new(),
            found: Vec::new(),
            vias: Vec::new(),
            seeks: Seeks::new(now),
            searches: Vec::new(),
            survey_at: u64::MAX,
            inquiries: Vec::new(),
            shortage: Shortage::default(),
            directory: Directory::default(),
            rng: fastrand::Rng::with_seed(config.seed),
            out: VecDeque::new(),
            told: (0, true),
            last_number: 0,
            came_until: now,
            more_at: now,
            more_wait: 0,
            more_asked: false,
            mix_at: now,
            free_at: now,
            due: u64::MAX,
            totals: Totals::default(),
            config,
        }
    }

    /// Takes one input. What follows from it comes out of [`Engine::poll`].
    pub fn handle(&mut self, input: Input, now: u64) {
        self.now = self.now.max(now);
        match input {
            Input::Welcome { me, hold_over } => self.welcome(me, hold_over),
            Input::Offered { peers } => self.offered(peers),
            Input::Holders { id, peers } => self.holders(&id, peers),
            Input::Gone { peer } => self.gone(&peer),
            Input::Never { peer } => self.ban(&peer, DropReason::Twin),
            Input::ServerLost => self.server_lost(),
            Input::Opened { peer } => self.opened(peer),
            Input::Closed { peer } => self.closed(&peer),
            Input::Frame { peer, bytes } => self.frame(&peer, &bytes),
            Input::Unreadable { peer } => self.ban(&peer, DropReason::Unreadable),
            Input::Buffered { peer, bytes } => self.buffered(&peer, bytes),
            Input::Context { page, ids } => self.context(page, ids),
            Input::Turns { page } => self.page_comes(page),
            Input::Pace { id, rate } => self.plays_at(id, rate),
            Input::Origin { first_byte, rate } => {
                self.origin = Some(Origin {
                    first_byte: first_byte.into(),
                    rate: rate as f64 / 1000.0,
                });
            }
            Input::Configure { config } => self.configure(config),
            Input::Signal { to, signal } => self.signal(to, signal),
            Input::Want {
                want,
                id,
                len,
                bytes,
                credit,
                patience,
                plays,
            } => self.want(Want {
                patience,
                reader: plays.then(|| Reader::new(self.now, bytes.start)),
                ..Want::new(want, For::Us, id, len, bytes, credit)
            }),
            Input::Prefetch {
                want,
                id,
                len,
                bytes,
            } => {
                let end = bytes.end;
                self.want(Want::new(want, For::Later, id, len, bytes, end));
            }
            Input::Find { id, len } => self.find(id, len),
            Input::Credit { want, to } => self.credit(want, to),
            Input::Cancel { want } => self.cancel(want),
            Input::Stored { id, len, groups } => self.stored(id, len, groups),
            Input::Dropped { id } => self.unstored(&id),
            Input::Read { ticket, read } => self.read(ticket, read),
            Input::Tick => {}
        }
        if self.due <= self.now {
            self.time();
        }
        self.tell_peers();
        self.due = self.next_due();
    }

    /// The next thing to do, until there is none.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When to hand in [`Input::Tick`] at the latest.
    pub fn wake_at(&self) -> Option<u64> {
        (self.due < u64::MAX).then_some(self.due)
    }

    /// How far open peers are, in milliseconds there and back, as far as that was measured.
    pub fn measured(&self) -> impl Iterator<Item = (&PeerId, u16)> {
        let open = self.peers.iter().filter(|peer| peer.is_open());
        open.filter_map(|peer| Some((&peer.id, peer.pulse.measured()?)))
    }

    /// What went through the engine so far.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    fn time(&mut self) {
        self.pulse_time();
        self.asking_time();
        self.pulling_time();
        self.behind_time();
        self.onward_time();
        self.serving_time();
        self.beyond_time();
        self.filter_time();
        self.survey_time();
        self.shortage_time();
        self.directory_time();
        self.peers_time();
        self.dialling_time();
    }

    fn next_due(&self) -> u64 {
        [
            self.pulse_due(),
            self.asking_due(),
            self.pulling_due(),
            self.behind_due(),
            self.onward_due(),
            self.serving_due(),
            self.beyond_due(),
            self.context.tell_at.unwrap_or(u64::MAX),
            self.survey_due(),
            self.shortage_due(),
            self.directory.due(),
            self.peers_due(),
            self.dialling_due(),
        ]
        .into_iter()
        .min()
        .unwrap_or(u64::MAX)
    }

    fn frame(&mut self, from: &PeerId, bytes: &[u8]) {
        let Some(at) = self.at(from).filter(|at| self.peers[*at].is_open()) else {
            return;
        };
        self.heard(at);
        match wire::decode(bytes) {
            Ok(Incoming::Groups(frame)) => self.groups_came(from, &frame),
            Ok(Incoming::Control(message)) => self.control(from, message),
            Ok(Incoming::Unknown) => {}
            Err(bad) => self.ban(from, bad.into()),
        }
    }

    fn control(&mut self, from: &PeerId, message: Message) {
        match message {
            Message::Hello { version } => self.hello(from, version),
            Message::Ping { nonce } => self.send(from, &Message::Pong { nonce }),
            Message::Pong { nonce } => self.pong(from, nonce),
            Message::Page { tag } => self.page(from, tag),
            Message::Filter { bits } => self.filter(from, &bits),
            Message::Flips { bits } => self.flips(from, &bits),
            Message::Have { ask, groups } => self.have(from, ask, groups),
            Message::Lack { ask } => self.lack(from, ask),
            Message::Busy { ask, retry } => self.ask_refused(from, ask, retry),
            Message::Found { ask, peer } => self.found_by(from, ask, peer),
            Message::Gone { pull } => self.pull_gone(from, pull),
            Message::Later { pull, retry } => self.pull_refused(from, pull, retry),
            Message::Ask { ask, id } => self.asked(from, ask, id),
            Message::Which { ask, ids, deep } => self.which(from, ask, &ids, deep),
            Message::These {
                ask,
                held,
                part,
                near,
            } => self.these(from, ask, &held, &part, &near),
            Message::Seek {
                ask,
                id,
                len,
                group,
            } => self.sought(from, ask, id, len, group),
            Message::Pull {
                pull,
                id,
                first,
                count,
                urgent,
            } => {
                let groups = first..first.saturating_add(count);
                self.pulled(from, pull, id, groups, urgent);
            }
            Message::Stop { pull } => self.stopped(from, pull),
            Message::More { want } => self.introduce(from, want),
            Message::Meet { peers } => self.introduced(from, peers),
            Message::Signal { to, signal } => self.relay_signal(from, &to, signal),
            Message::Signalled {
                from: other,
                signal,
            } => self.signalled(from, &other, signal),
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
