//! Pulls: which groups from whom, and what becomes of those that do not come.

use std::{collections::VecDeque, ops::Range};

use super::{
    Engine, PeerId,
    answers::Known,
    peers::{Peer, Stage},
    relieving::LOOK_EVERY,
    runs,
    want::{For, Want},
};
use crate::{
    content::{ContentId, GROUP, GROUPS_PER_BLOCK},
    port::WantId,
    wire::{FRAME_GROUPS, Message},
};

/// A peer that owes groups and sends none for this long loses them to somebody else, in
/// milliseconds; where it has been measured that says how long.
const PULL_TIMEOUT: u64 = 2_000;
const MIN_PULL_TIMEOUT: u64 = 1_000;
const MAX_PULL_TIMEOUT: u64 = 4_000;
/// What is pulled at once from a slow peer is what it sends in this time, in milliseconds.
const PULL_TIME: f64 = 1_000.0;
/// The same of what is played, the next bytes of which are what counts.
const PLAYED_TIME: f64 = 250.0;
/// Stopped pulls remembered for one peer.
const MAX_STOPPED: usize = 512;
/// Groups after the next byte that are pulled in order; behind them the rarest come first.
const URGENT: u32 = 64;

/// Groups that are on their way.
pub(super) struct Pull {
    pub number: u32,
    pub want: WantId,
    pub id: ContentId,
    pub len: u64,
    /// What has not come yet; frames come in order.
    pub left: Range<u32>,
    pub late_at: u64,
    pub tier: u8,
    /// Somebody else was asked for it too.
    pub doubled: bool,
    /// It is sent before those that are not.
    pub urgent: bool,
    /// Some of it came.
    pub begun: bool,
}

impl Peer {
    /// Groups that are on their way from it.
    pub(super) fn on_way(&self) -> u64 {
        self.pulls.iter().map(|pull| pull.left.len() as u64).sum()
    }

    pub(super) fn patience(&self) -> u64 {
        if !self.pulse.is_measured() {
            return PULL_TIMEOUT;
        }
        let frame = f64::from(FRAME_GROUPS) * GROUP as f64 / self.pulse.rate();
        let patience = 4.0 * self.pulse.rto() + 4.0 * frame;
        (patience as u64).clamp(MIN_PULL_TIMEOUT, MAX_PULL_TIMEOUT)
    }

    /// When it would have sent these groups too, in milliseconds from now.
    pub(super) fn finish(&self, groups: u64) -> f64 {
        self.pulse.finish((self.on_way() + groups) * GROUP, 1.0)
    }

    /// Pulls that are over are remembered, because their groups may still come.
    pub(super) fn stop(&mut self, at: usize) -> Pull {
        let pull = self.pulls.remove(at);
        remember(&mut self.stopped, pull.number);
        pull
    }
}

pub(super) fn remember(stopped: &mut VecDeque<u32>, pull: u32) {
    if stopped.len() >= MAX_STOPPED {
        stopped.pop_front();
    }
    stopped.push_back(pull);
}

impl Engine {
    /// Assigns open groups to the peer that is expected to send them first. Says whether it did.
    pub(super) fn pull_next(&mut self, number: WantId) -> bool {
        let Some(want) = self.wants.iter().find(|want| want.number == number) else {
            return false;
        };
        if want.whose == For::Later && !self.is_calm() {
            return false;
        }
        let Some((first, end)) = self.choose_groups(want) else {
            return false;
        };
        let Some((at, held_to, tier)) = self.choose_peer(want, first) else {
            return false;
        };
        // A pull ends with its block, so that blocks of one content can come from several peers.
        let block_end = (first / GROUPS_PER_BLOCK + 1).saturating_mul(GROUPS_PER_BLOCK);
        let time = want.reader.map_or(PULL_TIME, |_| PLAYED_TIME);
        let in_time = (self.peers[at].pulse.rate() * time / GROUP as f64) as u32;
        let count = if self.is_to_open(want) {
            FRAME_GROUPS
        } else if want.is_small() {
            let shares = self.shares(want);
            let groups = (want.bytes.end - want.at).div_ceil(GROUP);
            groups.div_ceil(shares).max(1) as u32
        } else {
            in_time.max(FRAME_GROUPS)
        };
        let end = end
            .min(block_end)
            .min(held_to)
            .min(first.saturating_add(count));
        self.pull(at, number, first..end, tier);
        true
    }

    /// Whether nothing of it came or is on its way, and the network would be asked soon.
    fn is_to_open(&self, want: &Want) -> bool {
        let mut pulls = self.peers.iter().flat_map(|peer| &peer.pulls);
        want.is_to_open(self.now) && !pulls.any(|pull| pull.want == want.number)
    }

    /// Wants that wait behind others get their first groups out of turn, before the network is asked for
    /// them.
    pub(super) fn open_waiting(&mut self) {
        let waiting = self.wants.iter().filter(|want| self.is_to_open(want));
        let waiting: Vec<_> = waiting.map(|want| want.number).collect();
        for want in waiting {
            self.pull_next(want);
        }
    }

    pub(super) fn pull(&mut self, at: usize, number: WantId, run: Range<u32>, tier: u8) {
        let (now, pull) = (self.now, self.number());
        let Some(nth) = self.want_at(number) else {
            return;
        };
        let urgent = self.is_to_open(&self.wants[nth]);
        let want = &mut self.wants[nth];
        runs::take(&mut want.open, &run);
        // What nobody waits for is not to come twice because somebody is slow with it.
        if want.look_at == u64::MAX && !want.is_ahead() {
            want.look_at = now + LOOK_EVERY;
        }
        let (id, len) = (want.id, want.len);
        let peer = &mut self.peers[at];
        if peer.pulls.is_empty() {
            peer.pulse.begins(now);
        }
        let message = Message::Pull {
            pull,
            id,
            first: run.start,
            count: run.len() as u32,
            urgent,
        };
        let before = peer.pulls.iter().take_while(|pull| pull.urgent).count();
        let place = if urgent { before } else { peer.pulls.len() };
        let pull = Pull {
            number: pull,
            want: number,
            id,
            len,
            left: run,
            late_at: now + peer.patience(),
            tier,
            doubled: false,
            urgent,
            begun: false,
        };
        peer.pulls.insert(place, pull);
        let (to, is_proven) = (peer.id.clone(), peer.pulse.got > 0);
        self.send(&to, &message);
        // Who never sent us anything that verified may not now, and a page does not wait to see it;
        // nor for the next one when one has failed it.
        if let Some(at) = self.want_at(number)
            && self.wants[at].is_small()
            && (!is_proven || !self.wants[at].failed.is_empty())
        {
            self.unsure(at);
        }
    }

    /// The next open groups: in order as far as they are urgent, then those that fewest peers hold.
    fn choose_groups(&self, want: &Want) -> Option<(u32, u32)> {
        let first = want.next_open()?;
        let next = (want.at / GROUP) as u32;
        let run_end = want.open.first()?.end;
        if first < next.saturating_add(URGENT) {
            return Some((first, run_end));
        }
        let to = (want.credit / GROUP) as u32;
        let mut rarest: Option<(usize, u32, u32)> = None;
        for run in &want.open {
            let mut start = run.start;
            while start < run.end.min(to) {
                let end = (start / GROUPS_PER_BLOCK + 1) * GROUPS_PER_BLOCK;
                let end = end.min(run.end);
                let holds = |peer: &&Peer| {
                    let known = peer.knows(&want.id, self.now);
                    peer.stage == Stage::Open && known.run_from(start, want.len).is_some()
                };
                let holders = self.peers.iter().filter(holds).count();
                if holders > 0 && rarest.is_none_or(|(least, ..)| holders < least) {
                    rarest = Some((holders, start, end));
                }
                start = end;
            }
        }
        rarest
            .map(|(_, start, end)| (start, end))
            .or(Some((first, run_end)))
    }

    /// The peer that is expected to send this group first, up to where it holds what follows, and
    /// its tier; none if that one has no room now.
    pub(super) fn choose_peer(&self, want: &Want, group: u32) -> Option<(usize, u32, u8)> {
        let now = self.now;
        // Wants share a peer's window, so that the first byte of a new one does not wait for the
        // last of an old one.
        let wants = self.wants.len().max(1) as u64;
        let is_to_open = self.is_to_open(want);
        let mut best: Option<(f64, usize, u32, u8)> = None;
        let mut soonest = f64::INFINITY;
        for (at, peer) in self.peers.iter().enumerate() {
            if peer.stage != Stage::Open || peer.busy_until > now || want.failed.contains(&peer.id)
            {
                continue;
            }
            let known = self.known_for(want, peer);
            let tier = if matches!(known, Known::Relayed) {
                2
            } else {
                1
            };
            let Some(end) = known.run_from(group, want.len) else {
                continue;
            };
            if !self.is_worth(want, peer, f64::from(tier)) {
                continue;
            }
            let finish = peer.finish(1);
            soonest = soonest.min(finish);
            let window = (peer.pulse.window() / GROUP).min(u64::from(self.config.window));
            let share = (window / wants).max(u64::from(GROUPS_PER_BLOCK));
            let (mut on_way, mut ours) = (0, 0);
            for pull in &peer.pulls {
                on_way += pull.left.len() as u64;
                if pull.want == want.number {
                    ours += pull.left.len() as u64;
                }
            }
            // Where the network is spared nobody has all queues to himself, and who is about to be late
            // is sent before what is in them.
            let most = match ours {
                0 if is_to_open => 4 * window,
                0 if !want.is_spared() => 2 * window,
                _ => window,
            };
            let has_room = ours < share && on_way < most;
            if has_room && best.is_none_or(|(best, ..)| finish < best) {
                best = Some((finish, at, end, tier));
            }
        }
        let (finish, at, end, tier) = best?;
        // A slow peer would hold back all that comes after it: the fast ones will have room again.
        (finish <= 2.0 * soonest + 100.0).then_some((at, end, tier))
    }

    /// The peer no longer has what it said it had, or what its filter says.
    pub(super) fn pull_gone(&mut self, from: &PeerId, number: u32) {
        if let Some(pull) = self.take_pull(from, number) {
            self.forget(from, pull.id);
            let want = pull.want;
            self.reopen(&pull);
            if let Some(want) = self.wanted(want) {
                want.fails(from);
            }
            // Others may have waited for room behind it.
            self.pump_all();
        }
    }

    /// The peer serves others now.
    pub(super) fn pull_refused(&mut self, from: &PeerId, number: u32, retry: u32) {
        if let Some(pull) = self.take_pull(from, number) {
            self.is_busy(from, retry);
            let want = pull.want;
            self.reopen(&pull);
            if let Some(want) = self.wanted(want) {
                want.busy += 1;
            }
            // Others may have waited for room behind it.
            self.pump_all();
        }
    }

    fn take_pull(&mut self, from: &PeerId, number: u32) -> Option<Pull> {
        let peer = self.peer(from)?;
        let at = peer.pulls.iter().position(|pull| pull.number == number)?;
        // A part of it may have left before the rest was refused.
        Some(peer.stop(at))
    }

    fn reopen(&mut self, pull: &Pull) {
        let others = self.peers.iter().flat_map(|peer| &peer.pulls);
        let others = others.filter(|other| other.want == pull.want);
        let elsewhere: Vec<_> = others.map(|other| other.left.clone()).collect();
        if let Some(want) = self.wanted(pull.want) {
            let mut open = runs::lacking(&want.have, &pull.left);
            for run in elsewhere {
                runs::take(&mut open, &run);
            }
            for run in open {
                runs::add(&mut want.open, run);
            }
        }
    }

    /// What a peer owes goes to others; it may be back.
    pub(super) fn take_back(&mut self, at: usize) {
        let mut pulls = Vec::new();
        while !self.peers[at].pulls.is_empty() {
            pulls.push(self.peers[at].stop(0));
        }
        for pull in &pulls {
            self.reopen(pull);
        }
        self.pump_all();
    }

    /// What a lost peer owed goes to others.
    pub(super) fn lost_peer(&mut self, mut peer: Peer) {
        for pull in &peer.pulls {
            self.reopen(pull);
            if let Some(want) = self.wanted(pull.want) {
                want.fails(&peer.id);
            }
        }
        for want in &mut self.wants {
            want.asked.retain(|asked| asked.peer != peer.id);
        }
        self.errands_without(&peer.id);
        self.surveys_without(&peer.id, std::mem::take(&mut peer.surveys));
        self.pump_all();
        self.serve_all();
    }

    pub(super) fn pulling_time(&mut self) {
        let now = self.now;
        let mut late = Vec::new();
        for peer in &mut self.peers {
            while let Some(at) = peer.pulls.iter().position(|pull| pull.late_at <= now) {
                late.push((peer.id.clone(), peer.stop(at)));
            }
        }
        let any_late = !late.is_empty();
        for (id, pull) in late {
            let number = pull.number;
            self.send(&id, &Message::Stop { pull: number });
            self.reopen(&pull);
            if let Some(want) = self.wanted(pull.want) {
                want.fails(&id);
            }
        }
        if any_late {
            self.pump_all();
        }
        let looks = self.wants.iter().filter(|want| want.look_at <= now);
        let looks: Vec<_> = looks.map(|want| want.number).collect();
        for want in looks {
            self.relieve(want);
        }
    }

    pub(super) fn pulling_due(&self) -> u64 {
        let pulls = self.peers.iter().flat_map(|peer| &peer.pulls);
        let late = pulls.map(|pull| pull.late_at).min();
        let looks = self.wants.iter().map(|want| want.look_at).min();
        late.unwrap_or(u64::MAX).min(looks.unwrap_or(u64::MAX))
    }
}
