//! What somebody waits for.

use std::ops::Range;

use super::{PeerId, answers::Known, reader::Reader};
use crate::{
    content::{BLOCK, ContentId, GROUP, groups_of},
    port::{AHEAD, WantId},
};

/// Up to this length the first byte is what counts, and the last comes with it; in bytes.
pub(super) const SMALL: u64 = 1 << 20;
/// Of what its first byte may take, this part passes before it gets the first groups out of turn.
const OPENS: u64 = 4;
/// A page that leaves so much of what it was given unread is not waiting, in bytes.
const UNREAD: u64 = BLOCK;

/// Who waits for a want.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum For {
    /// The page.
    Us,
    /// The page, perhaps, later.
    Later,
    /// The page, when it has read what comes before; kept until then.
    Next { until: u64 },
    /// A peer, which pulled this by its number: these groups of a small content, of which it has no
    /// other holder.
    Peer {
        peer: PeerId,
        pull: u32,
        groups: Range<u32>,
    },
}

/// A question that is out, or was answered.
pub(super) struct Asked {
    pub ask: u32,
    pub peer: PeerId,
    /// Until when an answer is awaited; none came yet.
    pub until: Option<u64>,
}

/// Bytes that somebody waits for.
pub(super) struct Want {
    pub number: WantId,
    pub whose: For,
    pub id: ContentId,
    pub len: u64,
    pub bytes: Range<u64>,
    pub credit: u64,
    /// The next byte to deliver.
    pub at: u64,
    /// Groups that nobody has been asked to send yet, or whose sender failed.
    pub open: Vec<Range<u32>>,
    /// Groups that came, delivered or not.
    pub have: Vec<Range<u32>>,
    /// Verified, but not their turn yet: the first group, the bytes, the tier; in order.
    pub ready: Vec<(u32, Vec<u8>, u8)>,
    pub asked: Vec<Asked>,
    /// Peers that are not to be asked for this want again.
    pub failed: Vec<PeerId>,
    /// How often peers said that they are busy.
    pub busy: u32,
    pub delivered: bool,
    /// Groups may come twice.
    pub doubled: bool,
    /// When slow peers are looked for.
    pub look_at: u64,
    /// Since when the driver asks the origin as well, for all we know: nobody was known to hold it, or
    /// who does was not known.
    pub raced: Option<u64>,
    /// When, and at which byte, peers were last level with what the page reads.
    pub level: (u64, u64),
    /// How far behind the network peers may be at least, in milliseconds.
    pub patience: u32,
    /// What the network fetched last, in bytes, and up to where.
    pub head: (u64, u64),
    /// Until when the network is at what it fetches.
    pub head_until: u64,
    /// Its credit says how far the page reads; where all of it is welcome from the start nothing does.
    pub is_paced: bool,
    /// It goes on where an earlier one was: who reads has what came before, and waits for nothing.
    pub reads_on: bool,
    /// How it is read, where it is played.
    pub reader: Option<Reader>,
    /// How much later than it would be read it may come, in milliseconds.
    pub spares: f64,
    /// A search beyond our peers was made.
    pub sought: bool,
    /// Until when it waits for peers to say what they hold, while the network is asked too.
    pub hears_until: u64,
    /// That is over.
    pub heard: bool,
    /// Somebody who has it is being introduced, and until when that is waited for.
    pub meets_until: u64,
}

impl Want {
    pub(super) fn new(
        number: WantId,
        whose: For,
        id: ContentId,
        len: u64,
        bytes: Range<u64>,
        credit: u64,
    ) -> Self {
        Self {
            number,
            whose,
            id,
            len,
            open: vec![groups_of(bytes.clone())],
            have: Vec::new(),
            at: bytes.start,
            credit,
            ready: Vec::new(),
            asked: Vec::new(),
            failed: Vec::new(),
            busy: 0,
            delivered: false,
            doubled: false,
            look_at: u64::MAX,
            raced: None,
            level: (0, bytes.start),
            patience: 0,
            head: (0, bytes.start),
            head_until: 0,
            is_paced: credit != bytes.end,
            reads_on: false,
            reader: None,
            spares: 0.0,
            sought: false,
            hears_until: 0,
            heard: false,
            meets_until: 0,
            bytes,
        }
    }

    /// Nobody waits for it yet.
    pub(super) fn is_ahead(&self) -> bool {
        matches!(self.whose, For::Later | For::Next { .. })
    }

    /// Somebody waits for it: a player that has seconds ahead does not.
    pub(super) fn is_awaited(&self, now: u64, network: f64) -> bool {
        let is_ahead = |reader: Reader| reader.is_ahead(now, self.at, network);
        self.whose == For::Us && !self.reader.is_some_and(is_ahead)
    }

    pub(super) fn is_small(&self) -> bool {
        self.len <= SMALL
    }

    /// The network is spared: its first byte may take as long as its patience, and the network is asked
    /// where it takes longer.
    pub(super) fn is_spared(&self) -> bool {
        let is_spared = self.patience > 0 && self.patience < u32::MAX;
        self.whose == For::Us && is_spared && self.reader.is_none()
    }

    /// Whether it has waited behind others for as long as it may.
    pub(super) fn is_to_open(&self, now: u64) -> bool {
        let waits = u64::from(self.patience) / OPENS;
        self.is_spared() && !self.delivered && self.level.0 + waits <= now
    }

    /// The first group that is open and credited.
    pub(super) fn next_open(&self) -> Option<u32> {
        let first = self.open.first()?.start;
        (u64::from(first) * GROUP < self.credit).then_some(first)
    }

    /// Whether the page has what it reads for now: there is nothing more to deliver, or it leaves some
    /// of what it was given unread.
    pub(super) fn keeps_level(&self) -> bool {
        self.at >= self.credit.min(self.bytes.end) || self.leaves_unread()
    }

    /// Whether the page leaves unread some of what it was given.
    pub(super) fn leaves_unread(&self) -> bool {
        self.is_paced && self.at >= self.read() + UNREAD
    }

    /// Up to where the page has read.
    pub(super) fn read(&self) -> u64 {
        self.credit.saturating_sub(AHEAD).max(self.bytes.start)
    }

    /// Whether a peer of which this is known is to be asked. What it said to an earlier want of how
    /// much it has of something large may have grown since: it keeps only those up to date that wait.
    pub(super) fn is_to_ask(&self, peer: &PeerId, known: &Known<'_>, next: u32) -> bool {
        match known {
            Known::Unknown => true,
            Known::Groups(_) if !self.is_small() => {
                let mut asked = self.asked.iter();
                known.run_from(next, self.len).is_none() && !asked.any(|asked| asked.peer == *peer)
            }
            _ => false,
        }
    }

    pub(super) fn awaits(&self, peer: &PeerId) -> bool {
        let mut asked = self.asked.iter();
        asked.any(|asked| asked.peer == *peer && asked.until.is_some())
    }

    pub(super) fn fails(&mut self, peer: &PeerId) {
        if !self.failed.contains(peer) {
            self.failed.push(peer.clone());
        }
    }
}
