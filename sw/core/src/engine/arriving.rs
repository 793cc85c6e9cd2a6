//! What comes of pulls: groups are verified, kept until it is their turn, and delivered in order.

use std::ops::Range;

use super::{DropReason, Engine, Output, PeerId, runs, want::For};
use crate::{
    content::{ContentId, GROUP, group_bytes, groups_of},
    deflate::{Kept, inflate},
    port::WantId,
    tree,
    wire::{Frame, Message},
};

impl Engine {
    pub(super) fn groups_came(&mut self, from: &PeerId, frame: &Frame<'_>) {
        let (now, count) = (self.now, frame.groups.len() as u32);
        let Some(at) = self.at(from) else { return };
        let peer = &mut self.peers[at];
        let Some(nth) = peer.pulls.iter().position(|pull| pull.number == frame.pull) else {
            if peer.stopped.contains(&frame.pull) {
                self.totals.wasted += u64::from(count) * GROUP;
                return;
            }
            return self.ban(from, DropReason::Unasked);
        };
        let pull = &mut peer.pulls[nth];
        let run = frame.first..frame.first + count;
        // What came from somebody else meanwhile was taken off the beginning of what is left.
        let is_next = run.start == pull.left.start || pull.doubled && run.start < pull.left.start;
        if !is_next || run.end > pull.left.end {
            return self.ban(from, DropReason::Unasked);
        }
        let (id, len, number, tier) = (pull.id, pull.len, pull.want, pull.tier);
        let Some(bytes) = verified(&id, len, run.clone(), frame) else {
            return self.ban(from, DropReason::Lied);
        };
        pull.left.start = run.end.max(pull.left.start);
        pull.begun = true;
        peer.pulls.retain(|pull| !pull.left.is_empty());
        // A peer sends its pulls one after the other: all of them moved on.
        let late_at = now + peer.patience();
        for pull in &mut peer.pulls {
            pull.late_at = late_at;
        }
        let is_last = peer.pulls.is_empty();
        peer.pulse.came(bytes.len() as u64, now, is_last);
        self.totals.received += bytes.len() as u64;
        self.take_groups(number, run, bytes, tier);
        self.deliver(number);
        self.open_waiting();
        // Of what the network is spared for, the first that was wanted is the first to be complete.
        if self.wanted(number).is_some_and(|want| !want.is_spared()) {
            self.pump(number);
        }
        // It has room for the others, and where they are not to use it they wait for nothing more.
        self.pump_all();
    }

    /// Keeps verified groups until it is their turn; those that are there already are wasted.
    fn take_groups(&mut self, number: WantId, run: Range<u32>, bytes: Vec<u8>, tier: u8) {
        let Some(want) = self.wanted(number) else {
            return;
        };
        let (len, doubled) = (want.len, want.doubled);
        let new = runs::lacking(&want.have, &run);
        if new == [run.clone()] {
            let at = want.ready.partition_point(|(first, ..)| *first < run.start);
            want.ready.insert(at, (run.start, bytes, tier));
        } else {
            let start = group_bytes(run.clone(), len).start;
            let mut wasted = bytes.len() as u64;
            for part in new {
                let covered = group_bytes(part.clone(), len);
                let cut = (covered.start - start) as usize..(covered.end - start) as usize;
                wasted -= covered.end - covered.start;
                let at = want
                    .ready
                    .partition_point(|(first, ..)| *first < part.start);
                want.ready
                    .insert(at, (part.start, bytes[cut].to_vec(), tier));
            }
            self.totals.wasted += wasted;
            self.totals.received -= wasted;
        }
        let Some(want) = self.wanted(number) else {
            return;
        };
        runs::add(&mut want.have, run.clone());
        runs::take(&mut want.open, &run);
        if doubled {
            self.stop_doubles(number);
        }
    }

    /// Nobody needs to send what somebody else has sent.
    fn stop_doubles(&mut self, number: WantId) {
        let Some(at) = self.want_at(number) else {
            return;
        };
        let mut stops = Vec::new();
        let have = &self.wants[at].have;
        for peer in &mut self.peers {
            let mut nth = 0;
            while nth < peer.pulls.len() {
                let pull = &mut peer.pulls[nth];
                if pull.want == number && pull.doubled {
                    match runs::lacking(have, &pull.left).first() {
                        Some(lacking) => pull.left.start = lacking.start,
                        None => {
                            stops.push((peer.id.clone(), pull.number));
                            peer.stop(nth);
                            continue;
                        }
                    }
                }
                nth += 1;
            }
        }
        for (peer, pull) in stops {
            self.send(&peer, &Message::Stop { pull });
        }
    }

    pub(super) fn deliver(&mut self, number: WantId) {
        let Some(at) = self.want_at(number) else {
            return;
        };
        let want = &mut self.wants[at];
        if let For::Peer { .. } = want.whose {
            // Passed on when it is all there.
            if want.have == [groups_of(want.bytes.clone())] {
                self.pass_on(number);
            }
            return;
        }
        if let For::Next { .. } = want.whose {
            return; // It is kept until it is wanted.
        }
        // What is fetched ahead is of use when it is there; until then the page may come to want it.
        let is_later = want.whose == For::Later;
        if is_later && want.have != [groups_of(want.bytes.clone())] {
            return;
        }
        while let Some((first, ..)) = want.ready.first() {
            let from = u64::from(*first) * GROUP;
            if from > want.at {
                break;
            }
            let (_, mut bytes, tier) = want.ready.remove(0);
            bytes.truncate((want.bytes.end - from).min(bytes.len() as u64) as usize);
            let skip = (want.at - from).min(bytes.len() as u64) as usize;
            if skip > 0 {
                bytes.drain(..skip);
            }
            if bytes.is_empty() {
                continue;
            }
            let offset = want.at;
            want.at += bytes.len() as u64;
            want.delivered = true;
            self.out.push_back(Output::Deliver {
                want: number,
                offset,
                bytes,
                tier,
            });
        }
        if want.at == want.bytes.end {
            let (id, len, end, plays) = (want.id, want.len, want.bytes.end, want.reader.is_some());
            self.look_if_level(number);
            self.cancel(number);
            self.out.push_back(Output::End { want: number });
            if is_later && end < len {
                self.has_begun(id, end);
            }
            if plays {
                self.go_onward(id, len, end);
            }
        }
    }
}

/// The bytes of a frame, inflated and verified, or nothing.
fn verified(id: &ContentId, len: u64, run: Range<u32>, frame: &Frame<'_>) -> Option<Vec<u8>> {
    if frame.proof.len() != tree::proof_len(len, &run) {
        return None;
    }
    let covered = group_bytes(run.clone(), len);
    let mut bytes = Vec::with_capacity((covered.end - covered.start) as usize);
    for (group, (sent, deflated)) in run.clone().zip(&frame.groups) {
        let covered = group_bytes(group..group + 1, len);
        let group_len = (covered.end - covered.start) as usize;
        if *deflated {
            let kept = Kept {
                bytes: sent.to_vec(),
                deflated: true,
            };
            bytes.extend_from_slice(&inflate(kept, group_len).ok()?);
        } else {
            bytes.extend_from_slice(sent);
        }
    }
    tree::verify(id, len, run, &bytes, frame.proof).ok()?;
    Some(bytes)
}
