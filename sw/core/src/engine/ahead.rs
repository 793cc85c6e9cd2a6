//! What is fetched ahead, while nothing is wanted: all of something, or of something large the beginning.
//!
//! It is kept here until it is there. As soon as the page wants any of it, what came so far is the
//! page's, and so is what is on its way. Who plays what it has the beginning of has that to read first,
//! and peers have some time for what follows.

use std::ops::Range;

use super::{
    Engine, FailReason, Output,
    relieving::LOOK_EVERY,
    runs,
    want::{For, Want},
};
use crate::{
    content::{ContentId, GROUP, groups_of},
    wire::Message,
};

/// Large contents of which it is known that the beginning was fetched ahead.
const MAX_BEGINNINGS: usize = 64;

fn meet(one: &Range<u32>, other: &Range<u32>) -> bool {
    one.start < other.end && other.start < one.end
}

impl Engine {
    /// What is being fetched ahead when the page wants it is not asked for twice. Says whether it was.
    pub(super) fn take_over(&mut self, want: &mut Want) -> bool {
        let all = groups_of(want.bytes.clone());
        let is_it = |later: &Want| {
            let meets = !want.is_small() && meet(&groups_of(later.bytes.clone()), &all);
            let is_same = later.whose == For::Later && later.id == want.id;
            is_same && (meets || later.bytes == want.bytes)
        };
        let at = self.wants.iter().position(is_it);
        let Some(at) = at.filter(|_| want.whose == For::Us) else {
            return false;
        };
        let mut later = self.wants.remove(at);
        // Of what lies before the page's first byte nothing more is to come, whoever fails to send it.
        let mut have = later.have.clone();
        runs::add(&mut have, 0..all.start);
        let mut open = runs::lacking(&have, &all);
        let mut stops = Vec::new();
        for peer in &mut self.peers {
            let is_idle =
                |pull: &super::pulling::Pull| pull.want == later.number && !meet(&pull.left, &all);
            while let Some(nth) = peer.pulls.iter().position(is_idle) {
                let pull = peer.stop(nth).number;
                stops.push((peer.id.clone(), pull));
            }
            for pull in &mut peer.pulls {
                if pull.want == later.number {
                    pull.want = want.number;
                    runs::take(&mut open, &pull.left);
                }
            }
        }
        for (peer, pull) in stops {
            self.send(&peer, &Message::Stop { pull });
        }
        self.out.push_back(Output::Failed {
            want: later.number,
            why: FailReason::Wanted,
        });
        later.ready.retain(|(first, bytes, _)| {
            let groups = (bytes.len() as u64).div_ceil(GROUP) as u32;
            meet(&(*first..first + groups), &all)
        });
        *want = Want {
            number: want.number,
            whose: For::Us,
            bytes: want.bytes.clone(),
            at: want.at,
            credit: want.credit,
            is_paced: want.is_paced,
            patience: want.patience,
            head: want.head,
            reader: want.reader,
            open,
            have,
            look_at: self.now + LOOK_EVERY,
            ..later
        };
        true
    }

    /// What was fetched ahead of something large is there up to here.
    pub(super) fn has_begun(&mut self, id: ContentId, to: u64) {
        self.beginnings.retain(|(begun, _)| *begun != id);
        if self.beginnings.len() >= MAX_BEGINNINGS {
            self.beginnings.pop_front();
        }
        self.beginnings.push_back((id, to));
    }

    /// Whether the page has what comes before: then it reads that first.
    pub(super) fn comes_after_beginning(&mut self, want: &mut Want) -> bool {
        let at = self.beginnings.iter().position(|(id, _)| *id == want.id);
        let begun = at.and_then(|at| self.beginnings.remove(at));
        let has = begun.is_some_and(|(_, to)| 0 < want.at && want.at <= to);
        if let Some(reader) = want.reader.as_mut().filter(|_| has) {
            *reader = reader.turns_to(self.now, 0);
        }
        has
    }
}
