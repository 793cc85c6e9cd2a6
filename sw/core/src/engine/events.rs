//! What goes into the engine and what comes out of it.

use std::{ops::Range, rc::Rc, sync::Arc};

use crate::{content::ContentId, deflate::Kept, port::WantId, tree::Outboard, wire::BadMessage};

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
        /// Contents longer than this have a place in its directory; none if it has no directory.
        hold_over: Option<u64>,
    },
    /// The signal server says whom to dial.
    Offered {
        /// Them.
        peers: Vec<PeerId>,
    },
    /// The signal server says who holds what [`Output::Find`] asked for.
    Holders {
        /// What.
        id: ContentId,
        /// They.
        peers: Vec<PeerId>,
    },
    /// The signal server says that a peer went away.
    Gone {
        /// It.
        peer: PeerId,
    },
    /// The signal server can't be reached; the driver goes on trying.
    ServerLost,
    /// A peer that is this visitor as well, in another tab.
    Never {
        /// It.
        peer: PeerId,
    },
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
    /// The page, as a number that two visitors of the same page share, and contents that it asked
    /// for, whether or not they are held. They add to those told before and to what is wanted.
    Context {
        /// A hash of the page's address.
        page: u64,
        /// Which contents.
        ids: Vec<ContentId>,
    },
    /// What the origin is expected to need, as learnt.
    Origin {
        /// Until the first byte, in milliseconds.
        first_byte: u32,
        /// Bytes a second after that.
        rate: u64,
    },
    /// Other limits from now on.
    Configure {
        /// All of them; the seed is not looked at.
        config: Config,
    },
    /// The visitor is about to turn to this page, as if by [`Input::Context`], and this one stays
    /// connected: who is there can be met by then.
    Turns {
        /// Which.
        page: u64,
    },
    /// What is played lasts so long that this is read of it while it plays.
    Pace {
        /// Which content.
        id: ContentId,
        /// Bytes a second.
        rate: u64,
    },
    /// What a connection of ours has to say to the other side before its channel is open.
    Signal {
        /// To whom.
        to: PeerId,
        /// What, as the driver writes it.
        signal: Vec<u8>,
    },
    /// The Service Worker will want these bytes. They are asked for only while nothing is wanted,
    /// and delivered when all of them are there.
    Prefetch {
        /// A number not in use.
        want: WantId,
        /// Of which content.
        id: ContentId,
        /// Its whole length.
        len: u64,
        /// Which of it, of something large no more than its beginning. What comes before is held.
        bytes: Range<u64>,
    },
    /// The page has this from the network, since there was no peer to ask. Who holds it is met, if the
    /// signal server knows anybody.
    Find {
        /// Which content.
        id: ContentId,
        /// Its whole length.
        len: u64,
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
        /// How far behind the network peers may be with it at least, in milliseconds; `u32::MAX` where
        /// the network does not answer and what peers have is all there is.
        patience: u32,
        /// It is read as it is played: some seconds ahead, and not as fast as it comes.
        plays: bool,
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
        /// The peer of ours that introduced it and relays what the two say before the channel is
        /// open; the signal server where there is none.
        via: Option<PeerId>,
    },
    /// Nothing comes over this connection: look for another way (an ICE restart) without closing
    /// it. Where that fails [`Output::Drop`] follows.
    Restart {
        /// To whom.
        peer: PeerId,
    },
    /// For the signal server to relay.
    Signal {
        /// To whom.
        to: PeerId,
        /// As in [`Input::Signal`].
        signal: Vec<u8>,
    },
    /// A peer of ours relayed this to us.
    Signalled {
        /// From whom.
        from: PeerId,
        /// As in [`Input::Signal`] over there: not to be trusted.
        signal: Vec<u8>,
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
    /// Peers are asked, but none is known to hold it: who does not want to lose time asks the
    /// network as well. Said once for a want.
    Unsure {
        /// Which want.
        want: WantId,
    },
    /// The network has the next bytes of something large sooner: fetch those of this want that were not
    /// delivered up to here. What is delivered from now on follows them.
    Behind {
        /// Which want.
        want: WantId,
        /// One past the last byte that the network is to fetch.
        to: u64,
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
        /// Of the page of the last [`Input::Turns`].
        to_come: bool,
    },
    /// Tell the signal server that all of these are held and served.
    Hold {
        /// What.
        ids: Vec<ContentId>,
    },
    /// Tell the signal server that these are held or served no more.
    Release {
        /// What.
        ids: Vec<ContentId>,
    },
    /// Ask the signal server who holds this.
    Find {
        /// What.
        id: ContentId,
        /// How many at most.
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
    /// It is another tab of the same visitor.
    #[error("another tab of ours")]
    Twin,
    /// We have as many peers as we want.
    #[error("enough peers")]
    Full,
    /// It was dialled and never opened.
    #[error("did not open in time")]
    NeverOpened,
    /// Nothing came for too long, and no other way to it was found.
    #[error("says nothing any more")]
    Dead,
    /// It is slower than the origin, and another one is offered.
    #[error("slower than the origin, another one is offered")]
    Slow,
    /// It was of the least use, and a fresh one is to take its place, so that the swarm mixes.
    #[error("makes room for a fresh one")]
    Mixed,
    /// It pulls and does not read.
    #[error("does not read what it pulled")]
    SlowReader,
    /// We have more peers than our limits now allow.
    #[error("limits are lower now")]
    Limits,
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
    /// Those who have it serve others and will not be free in time.
    #[error("peers are busy")]
    Busy,
    /// It would come later than from the network.
    #[error("the network is faster")]
    Slower,
    /// The page wants it now: what there is of it goes to that want.
    #[error("the page wants it now")]
    Wanted,
    /// The want itself makes no sense.
    #[error("impossible range")]
    Range,
}

/// Limits, by device.
#[derive(Clone, Debug)]
pub struct Config {
    /// With fewer than this, more are asked for at once.
    pub min_peers: usize,
    /// Dial until there are this many.
    pub target_peers: usize,
    /// Never have more.
    pub max_peers: usize,
    /// Serve at most this many peers at once; 0 serves nobody.
    pub slots: usize,
    /// Without slots: whether those who are being served get what they asked for.
    pub finishes: bool,
    /// Groups that may be on their way from one peer.
    pub window: u32,
    /// Bytes of content that are served in a second; 0 is no limit.
    pub upload: u64,
    /// A peer that said nothing for this long is pinged, in milliseconds. One that says nothing for
    /// twice as long is not asked any more, and one that is then silent as long again is dropped.
    pub quiet: u32,
    /// How often the peer of the least use makes room for a fresh one, in milliseconds; 0 is never.
    pub mix: u32,
    /// Where the engine's randomness begins.
    pub seed: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            min_peers: 2,
            target_peers: 8,
            max_peers: 16,
            slots: 8,
            finishes: false,
            window: 128,
            upload: 0,
            quiet: 2_000,
            mix: 120_000,
            seed: 0,
        }
    }
}

impl Config {
    /// How many are asked for on coming to a page: a fourth of those who are dialled never open, and some
    /// of the others hold nothing of it.
    pub fn at_first(&self) -> u16 {
        (self.target_peers + self.target_peers / 2).min(self.max_peers) as u16
    }

    /// For a device with little memory or few cores.
    pub fn weak() -> Self {
        Self {
            min_peers: 1,
            target_peers: 4,
            max_peers: 8,
            slots: 4,
            window: 64,
            ..Self::default()
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
    /// Of what was sent: fetched from one peer for another.
    pub relayed: u64,
}
