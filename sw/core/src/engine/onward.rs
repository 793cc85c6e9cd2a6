//! What is played goes on: the bytes behind those that are wanted are fetched before they are.
//!
//! A film is read in parts, and who asks for the next part has read all of the last one. So that peers
//! need not begin anew each time, and have as long for the first bytes of a part as for all others, a
//! little of it is fetched from them while the page still reads what it has. It is kept here until it is
//! wanted, and costs the network nothing.

use super::{
    Engine,
    beyond::OWN,
    relieving::LOOK_EVERY,
    runs,
    want::{For, Want},
};
use crate::{
    content::{BLOCK, ContentId, groups_of},
    port::{AHEAD, WantId},
};

/// So much of it, in bytes.
const ONWARD: u64 = AHEAD / 2;
/// Kept for this long, in milliseconds: who plays has read on by then, or looks at something else.
const KEPT_FOR: u64 = 30_000;

impl Engine {
    /// All of something that is played is there up to here: goes on behind it.
    pub(super) fn go_onward(&mut self, id: ContentId, len: u64, end: u64) {
        if end >= len {
            return;
        }
        let until = self.now + KEPT_FOR;
        let bytes = end..len.min((end + ONWARD) / BLOCK * BLOCK).max(end + 1);
        let (number, to) = (OWN | self.number(), bytes.end);
        let want = Want::new(number, For::Next { until }, id, len, bytes, to);
        self.wants.push(want);
        self.pump(number);
    }

    /// What was fetched of a want before it was wanted is its own. Says whether anything was.
    pub(super) fn come_onward(&mut self, want: &mut Want) -> bool {
        let is_it = |next: &Want| matches!(next.whose, For::Next { .. }) && next.id == want.id;
        let Some(at) = self.wants.iter().position(is_it) else {
            return false;
        };
        let next = &self.wants[at];
        let fits = next.bytes.start == want.bytes.start && next.bytes.end <= want.bytes.end;
        if !fits || want.whose != For::Us {
            if want.whose == For::Us {
                let number = next.number;
                self.cancel(number);
            }
            return false;
        }
        let next = self.wants.remove(at);
        let all = groups_of(want.bytes.clone());
        let mut open = runs::lacking(&next.have, &all);
        for pull in self.peers.iter_mut().flat_map(|peer| &mut peer.pulls) {
            if pull.want == next.number {
                pull.want = want.number;
                runs::take(&mut open, &pull.left);
            }
        }
        want.open = open;
        want.have = next.have;
        want.ready = next.ready;
        want.asked = next.asked;
        want.look_at = self.now + LOOK_EVERY;
        true
    }

    pub(super) fn onward_time(&mut self) {
        let now = self.now;
        let is_over = |want: &&Want| matches!(want.whose, For::Next { until } if until <= now);
        let over: Vec<WantId> = self
            .wants
            .iter()
            .filter(is_over)
            .map(|want| want.number)
            .collect();
        for number in over {
            self.cancel(number);
        }
    }

    pub(super) fn onward_due(&self) -> u64 {
        let until = |want: &Want| match want.whose {
            For::Next { until } => until,
            _ => u64::MAX,
        };
        self.wants.iter().map(until).min().unwrap_or(u64::MAX)
    }
}
