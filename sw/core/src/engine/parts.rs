//! Who has the next bytes of what is played, where no peer of ours has them, or too few: peers are asked
//! which of theirs does, and introduce us to it.
//!
//! Those who play a film hold what was played, and whoever came first is ahead of all others. The network
//! sends what is lacking meanwhile: no want waits for what comes of this.

use super::{
    Engine, PeerId,
    peers::{Peer, Stage},
};
use crate::content::ContentId;

/// Peers that are asked at once.
const ASKED: usize = 4;
/// From one time to the next, in milliseconds; each time in vain it is twice as long.
const FIRST_WAIT: u64 = 1_000;
const LONGEST_WAIT: u64 = 4_000;
/// Contents that are searched for.
const MAX_SEARCHES: usize = 8;

/// The last search for a part of one content.
pub(super) struct Search {
    id: ContentId,
    asked: Vec<(u32, PeerId)>,
    again_at: u64,
    wait: u64,
}

impl Engine {
    /// Asks peers for peers of theirs that hold this group.
    pub(super) fn search_part(&mut self, id: ContentId, len: u64, group: u32) {
        let now = self.now;
        let last = self.searches.iter().position(|last| last.id == id);
        if last.is_some_and(|at| self.searches[at].again_at > now) {
            return;
        }
        let able =
            |peer: &&Peer| peer.stage == Stage::Open && peer.version >= 2 && peer.busy_until <= now;
        let able = self.peers.iter().filter(able);
        let mut able: Vec<PeerId> = able.map(|peer| peer.id.clone()).collect();
        if able.is_empty() {
            return;
        }
        self.rng.shuffle(&mut able);
        able.truncate(ASKED);
        let seek = |peer: PeerId| (self.send_seek(&peer, id, len, Some(group)), peer);
        let asked = able.into_iter().map(seek).collect();
        let wait = last.map_or(FIRST_WAIT, |at| self.searches.remove(at).wait);
        if self.searches.len() >= MAX_SEARCHES {
            self.searches.remove(0);
        }
        self.searches.push(Search {
            id,
            asked,
            again_at: now + wait,
            wait: (2 * wait).min(LONGEST_WAIT),
        });
    }

    /// One of theirs holds it. Says whether that was asked for here.
    pub(super) fn part_found(&mut self, from: &PeerId, ask: u32, holder: &str) -> bool {
        let is_it = |(number, peer): &(u32, PeerId)| *number == ask && peer == from;
        let mut searches = self.searches.iter_mut();
        let Some(search) = searches.find(|search| search.asked.iter().any(is_it)) else {
            return false;
        };
        search.asked.retain(|asked| !is_it(asked));
        search.wait = FIRST_WAIT;
        self.shortage.takes_more(self.now);
        self.meet(PeerId::from(holder), from);
        true
    }
}
