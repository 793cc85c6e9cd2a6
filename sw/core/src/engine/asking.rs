//! The asking side: a want becomes asks, pulls, verified groups, bytes in order.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use super::{DropReason, Engine, FailReason, Output, PeerId, peers::Peer, run_from};
use crate::{
    content::{ContentId, GROUP, GROUPS_PER_BLOCK, group_bytes, groups_of},
    deflate::{Kept, inflate},
    port::WantId,
    tree,
    wire::{Frame, MAX_RUNS, Message},
};

/// An ask that is not answered within this counts as a no, in milliseconds.
const ASK_TIMEOUT: u64 = 1_000;
/// A pull without a frame for this long goes to somebody else, in milliseconds.
const PULL_TIMEOUT: u64 = 2_000;
/// For how long a no is believed, in milliseconds.
const LACK_FOR: u64 = 2_000;
/// For how long a yes is believed, in milliseconds; a pull that finds it gone corrects it at once.
const HAVE_FOR: u64 = 60_000;
/// Answers remembered for one peer.
const MAX_ANSWERS: usize = 512;
/// Stopped pulls remembered for one peer.
const MAX_STOPPED: usize = 512;
/// Peers asked at once.
const MULTI_UNICAST: usize = 4;

/// What a peer said of a content.
pub(super) struct Answer {
    /// Empty: it lacks it.
    groups: Vec<(u32, u32)>,
    until: u64,
}

/// Groups that are on their way.
pub(super) struct Pull {
    want: WantId,
    id: ContentId,
    len: u64,
    /// What has not come yet; frames come in order.
    left: Range<u32>,
    late_at: u64,
}

/// Bytes that somebody waits for.
pub(super) struct Want {
    id: ContentId,
    len: u64,
    bytes: Range<u64>,
    credit: u64,
    /// The next byte to deliver.
    at: u64,
    /// Groups that nobody has been asked to send yet, or whose sender failed.
    open: BTreeSet<u32>,
    /// Verified, but not their turn yet.
    ready: BTreeMap<u32, Vec<u8>>,
    /// Peers whose answer is awaited, and until when.
    waiting: BTreeMap<PeerId, u64>,
    /// Peers that are not to be asked for this want again.
    failed: BTreeSet<PeerId>,
    delivered: bool,
}

impl Engine {
    pub(super) fn want(
        &mut self,
        want: WantId,
        id: ContentId,
        len: u64,
        bytes: Range<u64>,
        credit: u64,
    ) {
        if bytes.is_empty() || bytes.end > len {
            return self.out.push_back(Output::Failed {
                want,
                why: FailReason::Range,
            });
        }
        let at = bytes.start;
        self.wants.insert(
            want,
            Want {
                id,
                len,
                open: groups_of(bytes.clone()).collect(),
                bytes,
                credit,
                at,
                ready: BTreeMap::new(),
                waiting: BTreeMap::new(),
                failed: BTreeSet::new(),
                delivered: false,
            },
        );
        self.pump(want);
    }

    pub(super) fn credit(&mut self, want: WantId, to: u64) {
        if let Some(wanted) = self.wants.get_mut(&want) {
            wanted.credit = wanted.credit.max(to);
            self.pump(want);
        }
    }

    pub(super) fn cancel(&mut self, want: WantId) {
        self.wants.remove(&want);
        self.asks.retain(|_, (asking, _)| *asking != want);
        let stops: Vec<_> = self
            .peers
            .iter_mut()
            .flat_map(|(id, peer)| {
                let stop: Vec<_> = peer
                    .pulls
                    .extract_if(.., |_, pull| pull.want == want)
                    .map(|(number, _)| number)
                    .collect();
                for &number in &stop {
                    remember_stopped(peer, number);
                }
                stop.into_iter().map(|number| (id.clone(), number))
            })
            .collect();
        for (peer, pull) in stops {
            self.send(&peer, &Message::Stop { pull });
        }
    }

    /// Asks the best few who have not said what they hold.
    fn ask(&mut self, want: WantId) {
        let Some(wanted) = self.wants.get(&want) else {
            return;
        };
        let (id, now) = (wanted.id, self.now);
        let knows = |peer: &Peer| peer.answers.get(&id).is_some_and(|a| a.until > now);
        let free = MULTI_UNICAST.saturating_sub(wanted.waiting.len());
        let mut unknown: Vec<_> = self
            .peers
            .iter()
            .filter(|(peer_id, peer)| {
                peer.open
                    && !knows(peer)
                    && !wanted.failed.contains(*peer_id)
                    && !wanted.waiting.contains_key(*peer_id)
            })
            .map(|(peer_id, peer)| (peer.pulls.len(), peer_id.clone()))
            .collect();
        unknown.sort();
        for (_, peer) in unknown.into_iter().take(free) {
            let ask = self.number();
            self.asks.insert(ask, (want, peer.clone()));
            if let Some(wanted) = self.wants.get_mut(&want) {
                wanted.waiting.insert(peer.clone(), now + ASK_TIMEOUT);
            }
            self.send(&peer, &Message::Ask { ask, id });
        }
    }

    /// Something changed that more than one want may profit or suffer from.
    pub(super) fn pump_all(&mut self) {
        let wants: Vec<_> = self.wants.keys().copied().collect();
        for want in wants {
            self.pump(want);
        }
    }

    fn fail(&mut self, want: WantId, why: FailReason) {
        self.cancel(want);
        self.out.push_back(Output::Failed { want, why });
    }

    fn answered(&mut self, from: &PeerId, ask: u32) -> Option<(WantId, ContentId)> {
        // An answer to nothing is the echo of a want that was cancelled.
        let (want, _) = self.asks.get(&ask).filter(|(_, asked)| asked == from)?;
        let want = *want;
        self.asks.remove(&ask);
        let wanted = self.wants.get_mut(&want)?;
        wanted.waiting.remove(from);
        Some((want, wanted.id))
    }

    pub(super) fn have(&mut self, from: &PeerId, ask: u32, mut groups: Vec<(u32, u32)>) {
        let Some((want, id)) = self.answered(from, ask) else {
            return;
        };
        groups.truncate(MAX_RUNS);
        self.remember(from, id, groups, HAVE_FOR);
        self.pump(want);
    }

    pub(super) fn lack(&mut self, from: &PeerId, ask: u32, retry: Option<u32>) {
        let Some((want, id)) = self.answered(from, ask) else {
            return;
        };
        let for_ms = retry.map_or(LACK_FOR, |ms| u64::from(ms).min(10_000));
        self.remember(from, id, Vec::new(), for_ms);
        self.pump(want);
    }

    fn remember(&mut self, from: &PeerId, id: ContentId, groups: Vec<(u32, u32)>, for_ms: u64) {
        let now = self.now;
        if let Some(peer) = self.peers.get_mut(from) {
            if peer.answers.len() >= MAX_ANSWERS {
                peer.answers.retain(|_, answer| answer.until > now);
            }
            if peer.answers.len() >= MAX_ANSWERS {
                peer.answers.clear();
            }
            let until = now + for_ms;
            peer.answers.insert(id, Answer { groups, until });
        }
    }

    /// Pulls what may be pulled; ends or fails a want that has nothing left to hope for.
    fn pump(&mut self, want: WantId) {
        while self.pull_next(want) {}
        let Some(wanted) = self.wants.get(&want) else {
            return;
        };
        let next = wanted.open.first().copied();
        let credited = next.is_some_and(|group| u64::from(group) * GROUP < wanted.credit);
        if !credited {
            return; // All of it is on its way, or it waits for the page to read on.
        }
        if !self.peers.values().any(|peer| peer.open) {
            if !self.coming() {
                self.fail(want, FailReason::NoPeers);
            }
            return;
        }
        self.ask(want);
        let Some(wanted) = self.wants.get(&want) else {
            return;
        };
        let mut pulls = self.peers.values().flat_map(|peer| peer.pulls.values());
        if pulls.any(|pull| pull.want == want) || !wanted.waiting.is_empty() {
            return;
        }
        let held_by_a_busy_peer = self.peers.iter().any(|(id, peer)| {
            let answer = peer.answers.get(&wanted.id);
            let holds = answer.zip(next).is_some_and(|(a, group)| {
                a.until > self.now && run_from(&a.groups, group).is_some()
            });
            peer.open && holds && !wanted.failed.contains(id)
        });
        if !held_by_a_busy_peer {
            let lost = wanted.delivered || !wanted.failed.is_empty();
            self.fail(
                want,
                if lost {
                    FailReason::Lost
                } else {
                    FailReason::NobodyHas
                },
            );
        }
    }

    /// Assigns the first open run of groups to the least busy peer that holds it.
    fn pull_next(&mut self, want: WantId) -> bool {
        let now = self.now;
        let window = self.config.window as usize;
        // Wants share a peer's window, so that the first byte of a new one does not wait for the
        // last of an old one.
        let wants = self.wants.len().max(1);
        let share = (window / wants).max(GROUPS_PER_BLOCK as usize);
        let Some(wanted) = self.wants.get_mut(&want) else {
            return false;
        };
        let Some(&first) = wanted.open.first() else {
            return false;
        };
        if u64::from(first) * GROUP >= wanted.credit {
            return false;
        }
        let holder = self
            .peers
            .iter_mut()
            .filter(|(id, peer)| peer.open && !wanted.failed.contains(*id))
            .filter_map(|(id, peer)| {
                let answer = peer.answers.get(&wanted.id).filter(|a| a.until > now)?;
                let end = run_from(&answer.groups, first)?;
                let mut on_way = 0;
                let mut ours = 0;
                for pull in peer.pulls.values() {
                    on_way += pull.left.len();
                    ours += if pull.want == want {
                        pull.left.len()
                    } else {
                        0
                    };
                }
                let has_room =
                    ours < share && (on_way < window || ours == 0 && on_way < 2 * window);
                has_room.then_some((on_way, id, end, peer))
            })
            .min_by_key(|(on_way, ..)| *on_way);
        let Some((_, id, held_to, peer)) = holder else {
            return false;
        };
        // A pull ends with its block, so that blocks of one content can come from several peers.
        let block_end = (first / GROUPS_PER_BLOCK + 1).saturating_mul(GROUPS_PER_BLOCK);
        let end = (first + 1..held_to.min(block_end))
            .find(|group| !wanted.open.contains(group))
            .unwrap_or(held_to.min(block_end));
        for group in first..end {
            wanted.open.remove(&group);
        }
        self.last_number = self.last_number.wrapping_add(1);
        let pull = self.last_number;
        peer.pulls.insert(
            pull,
            Pull {
                want,
                id: wanted.id,
                len: wanted.len,
                left: first..end,
                late_at: now + PULL_TIMEOUT,
            },
        );
        let message = Message::Pull {
            pull,
            id: wanted.id,
            first,
            count: end - first,
        };
        let id = id.clone();
        self.send(&id, &message);
        true
    }

    pub(super) fn groups_came(&mut self, from: &PeerId, frame: &Frame<'_>) {
        let count = frame.groups.len() as u32;
        let Some(peer) = self.peers.get_mut(from) else {
            return;
        };
        let Some(pull) = peer.pulls.get_mut(&frame.pull) else {
            if peer.stopped.contains(&frame.pull) {
                self.totals.wasted += u64::from(count) * GROUP;
                return;
            }
            return self.ban(from, DropReason::Unasked);
        };
        let run = frame.first..frame.first + count;
        if run.start != pull.left.start || run.end > pull.left.end {
            return self.ban(from, DropReason::Unasked);
        }
        let (id, len, want) = (pull.id, pull.len, pull.want);
        let Some(bytes) = verified(&id, len, run.clone(), frame) else {
            return self.ban(from, DropReason::Lied);
        };
        pull.left.start = run.end;
        // A peer sends its pulls one after the other: all of them moved on.
        let late_at = self.now + PULL_TIMEOUT;
        for pull in peer.pulls.values_mut() {
            pull.late_at = late_at;
        }
        peer.pulls.retain(|_, pull| !pull.left.is_empty());
        self.totals.received += bytes.len() as u64;
        if let Some(wanted) = self.wants.get_mut(&want) {
            wanted.ready.insert(run.start, bytes);
        }
        self.deliver(want);
        self.pump_all();
    }

    fn deliver(&mut self, want: WantId) {
        let Some(wanted) = self.wants.get_mut(&want) else {
            return;
        };
        while let Some(entry) = wanted.ready.first_entry() {
            let from = u64::from(*entry.key()) * GROUP;
            if from > wanted.at {
                break;
            }
            let mut bytes = entry.remove();
            bytes.truncate((wanted.bytes.end - from).min(bytes.len() as u64) as usize);
            let skip = (wanted.at - from).min(bytes.len() as u64) as usize;
            if skip > 0 {
                bytes.drain(..skip);
            }
            if bytes.is_empty() {
                continue;
            }
            let offset = wanted.at;
            wanted.at += bytes.len() as u64;
            wanted.delivered = true;
            self.out.push_back(Output::Deliver {
                want,
                offset,
                bytes,
                tier: 1,
            });
        }
        if wanted.at == wanted.bytes.end {
            self.cancel(want);
            self.out.push_back(Output::End { want });
        }
    }

    /// The peer no longer has what it said it had.
    pub(super) fn pull_gone(&mut self, from: &PeerId, number: u32) {
        let Some(peer) = self.peers.get_mut(from) else {
            return;
        };
        if let Some(pull) = peer.pulls.remove(&number) {
            peer.answers.remove(&pull.id);
            let want = pull.want;
            self.reopen(from, pull);
            self.pump(want);
        }
    }

    fn reopen(&mut self, from: &PeerId, pull: Pull) {
        if let Some(wanted) = self.wants.get_mut(&pull.want) {
            wanted.open.extend(pull.left);
            wanted.failed.insert(from.clone());
        }
    }

    /// What a lost peer owed goes to others.
    pub(super) fn lost_peer(&mut self, id: &PeerId, peer: Peer) {
        for pull in peer.pulls.into_values() {
            self.reopen(id, pull);
        }
        for wanted in self.wants.values_mut() {
            wanted.waiting.remove(id);
        }
        self.pump_all();
    }

    pub(super) fn asking_time(&mut self) {
        let now = self.now;
        let mut late = Vec::new();
        for (id, peer) in &mut self.peers {
            let gone: Vec<_> = peer
                .pulls
                .extract_if(.., |_, pull| pull.late_at <= now)
                .collect();
            for (number, _) in &gone {
                remember_stopped(peer, *number);
            }
            late.extend(
                gone.into_iter()
                    .map(|(number, pull)| (id.clone(), number, pull)),
            );
        }
        let mut unanswered = false;
        for wanted in self.wants.values_mut() {
            let failed = &mut wanted.failed;
            wanted.waiting.retain(|peer, until| {
                if *until <= now {
                    failed.insert(peer.clone());
                    unanswered = true;
                }
                *until > now
            });
        }
        if late.is_empty() && !unanswered {
            return;
        }
        for (id, number, pull) in late {
            self.send(&id, &Message::Stop { pull: number });
            self.reopen(&id, pull);
        }
        self.pump_all();
    }

    pub(super) fn asking_wake_at(&self) -> Option<u64> {
        let pulls = self
            .peers
            .values()
            .flat_map(|peer| peer.pulls.values().map(|pull| pull.late_at));
        let asks = self
            .wants
            .values()
            .flat_map(|wanted| wanted.waiting.values().copied());
        pulls.chain(asks).min()
    }
}

fn remember_stopped(peer: &mut Peer, pull: u32) {
    if peer.stopped.len() >= MAX_STOPPED {
        peer.stopped.pop_front();
    }
    peer.stopped.push_back(pull);
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
