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
mod peers;
mod serving;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    ops::Range,
    rc::Rc,
    sync::Arc,
};

use crate::{
    content::ContentId,
    deflate::Kept,
    port::WantId,
    tree::Outboard,
    wire::{self, BadMessage, Incoming, Message},
};
use asking::Want;
use peers::Peer;

/// A peer, as the signal server names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub Arc<str>);

impl From<&str> for PeerId {
    fn from(id: &str) -> Self {
        Self(id.into())
    }
}

/// What the driver tells the engine.
#[derive(Debug)]
pub enum Input {
    /// The signal server says who we are.
    Welcome {
        /// Us.
        me: PeerId,
    },
    /// The signal server says whom to dial.
    Offered {
        /// Them.
        peers: Vec<PeerId>,
    },
    /// The signal server says that a peer went away.
    Gone {
        /// It.
        peer: PeerId,
    },
    /// The signal server can't be reached; the driver goes on trying.
    ServerLost,
    /// A data channel opened, whoever dialled.
    Opened {
        /// To whom.
        peer: PeerId,
    },
    /// A data channel closed, or dialling failed.
    Closed {
        /// To whom.
        peer: PeerId,
    },
    /// A message came over a data channel.
    Frame {
        /// From whom.
        peer: PeerId,
        /// The message.
        bytes: Vec<u8>,
    },
    /// A message came that is not bytes, or too long to be taken out of the browser.
    Unreadable {
        /// From whom.
        peer: PeerId,
    },
    /// How much a channel has buffered to send, after a send and when it ran low.
    Buffered {
        /// To whom.
        peer: PeerId,
        /// `bufferedAmount`.
        bytes: u64,
    },
    /// The Service Worker wants these bytes.
    Want {
        /// A number not in use.
        want: WantId,
        /// Of which content.
        id: ContentId,
        /// Its whole length.
        len: u64,
        /// Which bytes of it.
        bytes: Range<u64>,
        /// Deliver up to here for now.
        credit: u64,
    },
    /// Deliver up to here.
    Credit {
        /// Of which want.
        want: WantId,
        /// One past the last byte that is welcome.
        to: u64,
    },
    /// Nobody waits for it any more.
    Cancel {
        /// Of which want.
        want: WantId,
    },
    /// The store holds these groups, and they may be served.
    Stored {
        /// Of which content.
        id: ContentId,
        /// Its whole length.
        len: u64,
        /// Sorted runs: start, one past the end.
        groups: Vec<(u32, u32)>,
    },
    /// The store no longer holds it, or it may no longer be served.
    Dropped {
        /// Which content.
        id: ContentId,
    },
    /// The answer to [`Output::Read`]; `None` where the store no longer has it.
    Read {
        /// As asked.
        ticket: u32,
        /// What was read.
        read: Option<Read>,
    },
    /// Time went on.
    Tick,
}

/// Groups from the store, as kept, and what proves them.
#[derive(Debug)]
pub struct Read {
    /// One for each group asked for.
    pub groups: Vec<Kept>,
    /// Of the content.
    pub outboard: Rc<Outboard>,
}

impl std::fmt::Debug for Outboard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Outboard({:?})", self.id())
    }
}

/// What the engine tells the driver.
#[derive(Debug)]
pub enum Output {
    /// Send this message.
    Send {
        /// To whom.
        peer: PeerId,
        /// The message.
        bytes: Vec<u8>,
    },
    /// Connect, then say [`Input::Opened`] or [`Input::Closed`].
    Dial {
        /// To whom.
        peer: PeerId,
    },
    /// Close the connection. [`Input::Closed`] need not follow.
    Drop {
        /// To whom.
        peer: PeerId,
        /// For the log.
        why: DropReason,
    },
    /// Verified bytes for a want: in order, without gaps, within what it asked for.
    Deliver {
        /// Whose.
        want: WantId,
        /// Where the first byte belongs in the content.
        offset: u64,
        /// The bytes.
        bytes: Vec<u8>,
        /// 1 for a peer of ours.
        tier: u8,
    },
    /// A want has all it asked for.
    End {
        /// Whose.
        want: WantId,
    },
    /// A want gets nothing more.
    Failed {
        /// Whose.
        want: WantId,
        /// For the log.
        why: FailReason,
    },
    /// Read groups to serve them, then say [`Input::Read`].
    Read {
        /// To be given back.
        ticket: u32,
        /// Of which content.
        id: ContentId,
        /// Its whole length.
        len: u64,
        /// Which groups.
        groups: Range<u32>,
    },
    /// Ask the signal server for more peers.
    MorePeers {
        /// How many.
        want: u16,
    },
    /// The number of open peers changed.
    Peers {
        /// Open channels.
        open: u32,
        /// Whether more are being dialled, or the signal server has not answered yet.
        coming: bool,
    },
}

/// Why a connection is closed by us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DropReason {
    /// It sent bytes that are not those of the content.
    #[error("sent groups that do not verify")]
    Lied,
    /// It sent what we had not pulled.
    #[error("sent groups that were not asked for")]
    Unasked,
    /// Its message does not parse.
    #[error("{0}")]
    Message(#[from] BadMessage),
    /// Its message is no bytes, or far too many.
    #[error("sent text, or too much at once")]
    Unreadable,
    /// It asks for more at once than anybody needs.
    #[error("pulls too much at once")]
    Greedy,
    /// It was dropped before for one of these.
    #[error("banned for this session")]
    Banned,
    /// We have as many peers as we want.
    #[error("enough peers")]
    Full,
    /// It was dialled and never opened.
    #[error("did not open in time")]
    NeverOpened,
}

/// Why a want gets nothing more from peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FailReason {
    /// No channel is open.
    #[error("no peers")]
    NoPeers,
    /// Nobody who was asked has it.
    #[error("no peer has it")]
    NobodyHas,
    /// Those who had it went away, lied or stalled.
    #[error("peers went away or stalled")]
    Lost,
    /// The want itself makes no sense.
    #[error("impossible range")]
    Range,
}

/// Limits, by device.
#[derive(Clone, Debug)]
pub struct Config {
    /// Dial until there are this many.
    pub target_peers: usize,
    /// Never have more.
    pub max_peers: usize,
    /// Serve at most this many peers at once.
    pub slots: usize,
    /// Groups that may be on their way from one peer.
    pub window: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            target_peers: 8,
            max_peers: 16,
            slots: 8,
            window: 128,
        }
    }
}

/// What went through the engine, in bytes of content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Sent to peers.
    pub sent: u64,
    /// Received and delivered or ready to be.
    pub received: u64,
    /// Received and thrown away.
    pub wasted: u64,
}

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
            Input::Tick => {}
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
