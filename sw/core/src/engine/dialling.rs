//! The pace at which peers are dialled. To make a connection costs a page's thread more than to keep
//! one, and it is asked for most just when the page opens: the first few are dialled at once, the
//! others one after the other.

use std::collections::VecDeque;

use super::{Engine, Output, PeerId, peers::Stage, pulse::Bucket};

/// The part of the target that is dialled at once, when nobody was dialled for a while.
const AT_ONCE: f32 = 0.5;
const EACH_SECOND: f32 = 8.0;

/// Who is to be dialled.
pub(super) struct Dialling {
    /// And by whose introduction.
    waiting: VecDeque<(PeerId, Option<PeerId>)>,
    pace: Bucket,
}

impl Dialling {
    pub(super) fn new(now: u64) -> Self {
        Self {
            waiting: VecDeque::new(),
            pace: Bucket::new(now, f32::MAX),
        }
    }

    pub(super) fn add(&mut self, peer: PeerId, via: Option<PeerId>) {
        self.waiting.push_back((peer, via));
    }

    /// It is there, or is no longer wanted.
    pub(super) fn forget(&mut self, peer: &PeerId) {
        self.waiting.retain(|(other, _)| other != peer);
    }
}

impl Engine {
    pub(super) fn dialling_time(&mut self) {
        let burst = (self.config.target_peers as f32 * AT_ONCE).max(1.0);
        while !self.dialling.waiting.is_empty()
            && self.dialling.pace.takes(self.now, burst, EACH_SECOND)
        {
            let Some((peer, via)) = self.dialling.waiting.pop_front() else {
                break;
            };
            let now = self.now;
            if let Some(dialled) = self.peer(&peer).filter(|peer| peer.stage == Stage::Dialled) {
                dialled.since = now;
                self.out.push_back(Output::Dial { peer, via });
            }
        }
    }

    pub(super) fn dialling_due(&self) -> u64 {
        if self.dialling.waiting.is_empty() {
            u64::MAX
        } else {
            self.dialling.pace.takes_at(EACH_SECOND)
        }
    }
}
