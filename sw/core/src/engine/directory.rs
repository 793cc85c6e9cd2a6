//! The signal server's directory of large contents: what of ours stands there, and whom it knows to
//! hold what the page wants and no peer of ours has.
//!
//! So a film that few watch finds the one visitor who has it. Only what is longer than the server
//! says is worth an entry; only what is served is told of, since an entry tells the server what this
//! browser holds.

use super::{Engine, Output, PeerId, answers::Known};
use crate::content::ContentId;

/// Entries are good for a quarter of an hour; they are renewed this long after, in milliseconds.
const RENEWED: u64 = 600_000;
/// Changes are told together, this long after the first, in milliseconds.
const TOLD_AFTER: u64 = 1_000;
/// For how long the server is not asked again for the same content, in milliseconds.
const ASKED_FOR: u64 = 30_000;
/// Holders that are asked for at once.
const HOLDERS: u16 = 4;
/// A server takes no more than this from one peer.
const MOST: usize = 64;

/// What the server was told and asked.
pub(super) struct Directory {
    /// Contents longer than this; none where the server has no directory.
    over: Option<u64>,
    told: Vec<ContentId>,
    tell_at: u64,
    asked: Vec<(ContentId, u64)>,
}

impl Default for Directory {
    fn default() -> Self {
        Self {
            over: None,
            told: Vec::new(),
            tell_at: u64::MAX,
            asked: Vec::new(),
        }
    }
}

impl Directory {
    fn takes(&self, len: u64) -> bool {
        self.over.is_some_and(|over| len > over)
    }

    /// A server that we have just joined, which takes what is longer than this.
    pub(super) fn opens(&mut self, over: Option<u64>, now: u64) {
        *self = Self {
            over,
            tell_at: now,
            ..Self::default()
        };
    }

    /// So long a content is held now, or no more, or all of them are served, or none.
    pub(super) fn changed(&mut self, len: u64, now: u64) {
        if self.takes(len) {
            self.tell_at = self.tell_at.min(now + TOLD_AFTER);
        }
    }

    pub(super) fn due(&self) -> u64 {
        self.tell_at
    }
}

impl Engine {
    pub(super) fn directory_time(&mut self) {
        let Some(over) = self.directory.over else {
            return;
        };
        if self.directory.tell_at > self.now {
            return;
        }
        let held = if self.config.slots > 0 {
            self.holdings.longer_than(over, MOST)
        } else {
            Vec::new()
        };
        let mut released = std::mem::take(&mut self.directory.told);
        released.retain(|id| !held.contains(id));
        if !released.is_empty() {
            self.out.push_back(Output::Release { ids: released });
        }
        self.directory.told.clone_from(&held);
        self.directory.tell_at = u64::MAX;
        if !held.is_empty() {
            self.directory.tell_at = self.now + RENEWED;
            self.out.push_back(Output::Hold { ids: held });
        }
    }

    /// The page reads something that there was nobody to ask for.
    pub(super) fn find(&mut self, id: ContentId, len: u64) {
        if self.directory.takes(len) {
            if self.context.add(id) {
                self.tell_soon();
            }
            self.look_up(id, len);
        }
    }

    /// Asks for holders of something large that no peer of ours is known to hold.
    pub(super) fn look_up(&mut self, id: ContentId, len: u64) {
        let holds = |id| {
            let mut open = self.peers.iter().filter(|peer| peer.is_open());
            open.any(|peer| !matches!(peer.knows(id, self.now), Known::Nothing | Known::Unknown))
        };
        if !holds(&id) {
            self.find_holders(id, len);
        }
    }

    /// Asks the server who holds something large, unless it was asked lately.
    pub(super) fn find_holders(&mut self, id: ContentId, len: u64) {
        let now = self.now;
        self.directory.asked.retain(|(_, until)| *until > now);
        let is_asked = self.directory.asked.iter().any(|(asked, _)| *asked == id);
        if self.directory.takes(len) && !is_asked {
            self.directory.asked.push((id, now + ASKED_FOR));
            let want = HOLDERS;
            self.out.push_back(Output::Find { id, want });
        }
    }

    /// They are taken beyond the target, if anybody still waits for what they hold.
    pub(super) fn holders(&mut self, id: &ContentId, peers: Vec<PeerId>) {
        if self.context.ids().binary_search(id).is_ok() {
            self.shortage.takes_more(self.now);
            self.offered(peers);
        }
    }
}
