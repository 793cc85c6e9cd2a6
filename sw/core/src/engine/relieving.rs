//! Who is relieved of what it is slow with.

use super::Engine;
use crate::{content::GROUP, port::WantId, wire::Message};

/// How often it is looked for peers who are slow with the last of a want, in milliseconds.
pub(super) const LOOK_EVERY: u64 = 100;

impl Engine {
    /// When nothing of a want is left to assign, the peer that is slowest with what it owes loses it
    /// to one that would have it sooner; and at any time who is slow with the very next bytes: at once
    /// what it has not begun to send, and what it may be sending to whichever is first.
    pub(super) fn relieve(&mut self, number: WantId) {
        let now = self.now;
        let Some(want) = self.wanted(number) else {
            return;
        };
        want.look_at = now + LOOK_EVERY;
        // Who has more than is read is not waiting, and nothing has to come twice.
        if want.keeps_level() {
            return;
        }
        // While there is more to assign, only what holds back everything behind it is looked at.
        let head = (want.at / GROUP) as u32;
        let only_head = want.next_open().is_some();
        let mut slowest: Option<(f64, usize, usize)> = None;
        let mut is_owed = false;
        for (at, peer) in self.peers.iter().enumerate() {
            let mut before = 0;
            for (nth, pull) in peer.pulls.iter().enumerate() {
                before += pull.left.len() as u64;
                if pull.want != number {
                    continue;
                }
                is_owed = true;
                if only_head && !pull.left.contains(&head) {
                    continue;
                }
                let waited = (now + peer.patience()).saturating_sub(pull.late_at) as f64;
                let left = peer.pulse.finish(before * GROUP, 0.0);
                // Silence is no sign of soon being done.
                let left = left.max(waited - peer.pulse.rto());
                if !pull.doubled && slowest.is_none_or(|(most, ..)| left > most) {
                    slowest = Some((left, at, nth));
                }
            }
        }
        if !is_owed {
            // Nothing is on its way: the next pull sets it again.
            if let Some(want) = self.wanted(number) {
                want.look_at = u64::MAX;
            }
            return;
        }
        let Some((left, at, nth)) = slowest else {
            return;
        };
        let (Some(want), Some(pull)) = (
            self.wants.iter().find(|want| want.number == number),
            self.peers.get(at).and_then(|peer| peer.pulls.get(nth)),
        ) else {
            return;
        };
        let run = pull.left.clone();
        let Some((thief, held_to, tier)) = self.choose_peer(want, run.start) else {
            return;
        };
        let sooner = self.peers[thief].finish(run.len() as u64);
        if thief == at || held_to < run.end || sooner * 1.5 + 50.0 > left {
            return;
        }
        if nth > 0 && !self.peers[at].pulls[nth].begun {
            let pull = self.peers[at].stop(nth).number;
            let id = self.peers[at].id.clone();
            self.send(&id, &Message::Stop { pull });
            self.pull(thief, number, run, tier);
            return;
        }
        self.peers[at].pulls[nth].doubled = true;
        self.pull(thief, number, run, tier);
        if let Some(pull) = self.peers[thief].pulls.last_mut() {
            pull.doubled = true;
        }
        if let Some(want) = self.wanted(number) {
            want.doubled = true;
        }
    }
}
