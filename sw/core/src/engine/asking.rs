//! The asking side: what is wanted, who is asked for it, what they answer.
//!
//! A peer whose filter says that it holds a content is pulled from without asking, one whose filter
//! says that it does not is left in peace; the others are asked, the best few at once.

use std::ops::Range;

use super::{
    Engine, FailReason, Output, PeerId,
    answers::Known,
    peers::{Peer, Stage},
    pulse::GRACE,
    want::{Asked, For, SMALL, Want},
};
use crate::{content::GROUP, port::WantId, wire::Message};

/// An ask that is not answered within this counts as a no, in milliseconds; a peer is given less
/// where its round trips are known.
const ASK_TIMEOUT: u64 = 1_000;
const MIN_ASK_TIMEOUT: u64 = 200;
/// A peer that never sent anything is asked only where it has so much of the origin's time.
const UNPROVEN: f64 = 0.6;
/// Peers asked at once.
const MULTI_UNICAST: usize = 4;
/// A peer that says it is busy is waited for no longer than this, in milliseconds.
const BUSY_WAIT: u64 = 1_500;
/// And not more often than this for one want.
const MAX_BUSY: u32 = 4;
/// Large contents of which it is known up to where they are read.
pub(super) const MAX_READINGS: usize = 8;
/// A small content is not cut into pieces below this, in bytes, nor into more than so many.
const SHARE: u64 = 4 * GROUP;
const MAX_SHARES: u64 = 4;

impl Engine {
    pub(super) fn want_at(&self, number: WantId) -> Option<usize> {
        self.wants.iter().position(|want| want.number == number)
    }

    pub(super) fn wanted(&mut self, number: WantId) -> Option<&mut Want> {
        self.wants.iter_mut().find(|want| want.number == number)
    }

    pub(super) fn want(&mut self, mut want: Want) {
        let number = want.number;
        if want.bytes.is_empty() || want.bytes.end > want.len {
            return self.out.push_back(Output::Failed {
                want: number,
                why: FailReason::Range,
            });
        }
        if want.whose == For::Us && self.context.add(want.id) {
            self.tell_soon();
        }
        if want.whose == For::Us {
            self.look_up(want.id, want.len);
        }
        let is_begun = self.take_over(&mut want) || self.come_onward(&mut want);
        let level = (self.now, want.at);
        let is_large = want.whose == For::Us && !want.is_small();
        let reads_on =
            is_large && (self.reads_on(&mut want) | self.comes_after_beginning(&mut want));
        self.wants.push(Want {
            level,
            reads_on,
            ..want
        });
        self.spare(number);
        if is_begun {
            self.deliver(number);
            self.doubt(number);
        }
        if self.is_unproven(number) {
            self.leave_head(number);
        }
        self.pump(number);
    }

    /// Peers that are good enough for what nobody waits for are raced where the page does.
    fn doubt(&mut self, number: WantId) {
        let Some(at) = self.want_at(number) else {
            return;
        };
        let want = &self.wants[at];
        let owes = |peer: &&Peer| peer.pulls.iter().any(|pull| pull.want == number);
        let mut owing = self.peers.iter().filter(owes);
        if owing.any(|peer| peer.pulse.got == 0 || !self.is_worth(want, peer, 1.0)) {
            self.unsure(at);
        }
    }

    /// Whether this goes on where the last want for the same content was.
    fn reads_on(&mut self, want: &mut Want) -> bool {
        let at = self.readings.iter().position(|(id, ..)| *id == want.id);
        let before = at.and_then(|at| self.readings.remove(at));
        if self.readings.len() >= MAX_READINGS {
            self.readings.pop_front();
        }
        let goes_on = |read: &Range<u64>| read.start < want.at && want.at <= read.end;
        let reads_on = before.as_ref().is_some_and(|(_, read, _)| goes_on(read));
        let before = before.and_then(|(.., reader)| reader);
        let mut paces = self.paces.iter();
        if let (Some(reader), Some((_, pace))) =
            (&mut want.reader, paces.find(|(id, _)| *id == want.id))
        {
            reader.plays_at(*pace);
        }
        if let (Some(reader), Some(before)) = (&mut want.reader, before) {
            *reader = if reads_on {
                before.has_read(self.now, want.at)
            } else {
                before.turns_to(self.now, want.at)
            };
        }
        self.readings
            .push_back((want.id, want.bytes.clone(), want.reader));
        reads_on
    }

    pub(super) fn credit(&mut self, number: WantId, to: u64) {
        self.look_if_level(number);
        if let Some(want) = self.wanted(number) {
            want.credit = want.credit.max(to);
            self.look_if_level(number);
            self.pump(number);
        }
    }

    /// Ends a want, and all that was begun for it.
    pub(super) fn cancel(&mut self, number: WantId) {
        let Some(at) = self.want_at(number) else {
            return;
        };
        let want = self.wants.remove(at);
        let is_ahead = want.is_ahead();
        let mut readings = self.readings.iter_mut();
        if let Some((.., reader)) = readings.find(|(id, ..)| *id == want.id)
            && want.whose == For::Us
        {
            *reader = want.reader;
        }
        let mut stops = Vec::new();
        let mut has_room = false;
        for peer in &mut self.peers {
            let before = stops.len();
            peer.pulls.retain(|pull| {
                if pull.want == number {
                    stops.push((peer.id.clone(), pull.number));
                }
                pull.want != number
            });
            for (_, pull) in &stops[before..] {
                super::pulling::remember(&mut peer.stopped, *pull);
                has_room = true;
            }
        }
        for asked in want.asked {
            // Who answered may keep us up to date, who searches may stop.
            if !want.bytes.is_empty() && (asked.until.is_none() && want.len > SMALL || want.sought)
            {
                stops.push((asked.peer, asked.ask));
            }
        }
        for (peer, pull) in stops {
            self.send(&peer, &Message::Stop { pull });
        }
        // What waited for nothing urgent to run.
        if !is_ahead && self.is_calm() {
            self.pump_later();
        }
        if has_room {
            // Others may have waited for it.
            self.pump_all();
        }
    }

    /// Nothing urgent runs.
    pub(super) fn is_calm(&self) -> bool {
        self.wants.iter().all(Want::is_ahead)
    }

    fn pump_later(&mut self) {
        let later = self.wants.iter().filter(|want| want.whose == For::Later);
        let later: Vec<_> = later.map(|want| want.number).collect();
        for want in later {
            self.pump(want);
        }
    }

    /// Something changed that more than one want may profit or suffer from.
    pub(super) fn pump_all(&mut self) {
        let open = self.wants.iter().filter(|want| want.next_open().is_some());
        let wants: Vec<_> = open.map(|want| want.number).collect();
        for want in wants {
            self.pump(want);
        }
    }

    pub(super) fn fail(&mut self, number: WantId, why: FailReason) {
        let Some(want) = self.wanted(number) else {
            return;
        };
        let whose = want.whose.clone();
        self.cancel(number);
        match whose {
            For::Peer { peer, pull, .. } => self.send(&peer, &Message::Gone { pull }),
            For::Next { .. } => {}
            For::Us | For::Later => self.out.push_back(Output::Failed { want: number, why }),
        }
    }

    /// Whether it is worth asking peers for this at all: not if even the best of them would be later
    /// than the network, from which it then comes without a wait.
    pub(super) fn is_worth(&self, want: &Want, peer: &Peer, trips: f64) -> bool {
        let Some(origin) = self.origin else {
            return true;
        };
        if !want.is_small() || want.whose != For::Us {
            return true;
        }
        let bytes = want.bytes.end - want.at;
        let share = bytes / self.shares(want).max(1);
        let before = peer.on_way() * GROUP;
        let mut within = origin.finish(bytes) + GRACE;
        if let (Some(since), false) = (want.raced, want.delivered) {
            // Who loses the race has sent in vain.
            within -= GRACE + (self.now - since) as f64;
        }
        if peer.pulse.got == 0 {
            within *= UNPROVEN;
        }
        peer.pulse.finish_surely(share + before, trips) <= within
    }

    /// Between how many a small content is shared out: who holds all of it and is free, but none is
    /// asked for a trifle.
    pub(super) fn shares(&self, want: &Want) -> u64 {
        let most = (want.bytes.end - want.at) / SHARE;
        if most < 2 {
            return 1;
        }
        let next = (want.at / GROUP) as u32;
        let holds = |peer: &&Peer| {
            peer.stage == Stage::Open
                && peer.busy_until <= self.now
                && !want.failed.contains(&peer.id)
                && !peer.pulse.is_slow(self.origin)
                && self
                    .known_for(want, peer)
                    .run_from(next, want.len)
                    .is_some()
        };
        let holders = self.peers.iter().filter(holds).count() as u64;
        holders.clamp(1, most.min(MAX_SHARES))
    }

    /// What a peer may be asked or pulled from for this want. What is fetched for a peer comes from
    /// ours, not from theirs, and not from itself: or searches could go in circles.
    pub(super) fn known_for<'a>(&self, want: &Want, peer: &'a Peer) -> Known<'a> {
        let known = peer.knows(&want.id, self.now);
        match &want.whose {
            For::Peer { peer: asker, .. }
                if *asker == peer.id || matches!(known, Known::Relayed) =>
            {
                Known::Nothing
            }
            _ => known,
        }
    }

    /// Pulls what may be pulled; ends or fails a want that has nothing left to hope for.
    pub(super) fn pump(&mut self, number: WantId) {
        let Some(at) = self.want_at(number) else {
            return;
        };
        if self.wants[at].whose == For::Later && !self.is_calm() {
            return;
        }
        while self.pull_next(number) {}
        let Some(next) = self.wants[at].next_open() else {
            return; // All of it is on its way, or it waits for the page to read on.
        };
        let is_next = matches!(self.wants[at].whose, For::Next { .. });
        if !self.peers.iter().any(|peer| peer.stage == Stage::Open) {
            if !self.coming() && !is_next {
                self.fail(number, FailReason::NoPeers);
            }
            return;
        }
        self.ask(at, next);
        if is_next {
            return; // What does not come now comes when it is wanted.
        }
        let want = &self.wants[at];
        let mut pulls = self.peers.iter().flat_map(|peer| &peer.pulls);
        if pulls.any(|pull| pull.want == number)
            || want.asked.iter().any(|asked| asked.until.is_some())
            || want.meets_until > self.now
        {
            return;
        }
        let mut why = if want.delivered || !want.failed.is_empty() {
            FailReason::Lost
        } else {
            FailReason::NobodyHas
        };
        for peer in &self.peers {
            if peer.stage != Stage::Open || want.failed.contains(&peer.id) {
                continue;
            }
            let known = self.known_for(want, peer);
            let holds = known.run_from(next, want.len).is_some();
            let is_unknown = want.is_to_ask(&peer.id, &known, next);
            if !holds && !is_unknown {
                continue;
            }
            if !self.is_worth(want, peer, if holds { 1.0 } else { 2.0 }) {
                // Who is too far to be asked has nothing, for all we know.
                if holds {
                    why = FailReason::Slower;
                }
            } else if peer.busy_until > self.now {
                if want.busy < MAX_BUSY && peer.busy_until <= self.now + BUSY_WAIT {
                    return; // It is free again soon.
                }
                why = FailReason::Busy;
            } else if holds {
                return; // Its window is full, or it is not the best to have it from.
            }
        }
        if why == FailReason::NobodyHas {
            if self.wants[at].sought {
                self.seeks.ended(false);
            } else if self.seek(at) {
                return;
            }
            self.missed(at, next);
        }
        if self.goes_on(number, next) || self.hears_more(number) {
            return;
        }
        self.fail(number, why);
    }

    /// Asks the best few who have not said what they hold.
    fn ask(&mut self, at: usize, next: u32) {
        let (want, now) = (&self.wants[at], self.now);
        let awaited = want.asked.iter().filter(|asked| asked.until.is_some());
        let free = MULTI_UNICAST.saturating_sub(awaited.count());
        let mut unknown: Vec<_> = self
            .peers
            .iter()
            .filter(|peer| {
                peer.stage == Stage::Open
                    && peer.busy_until <= now
                    && want.is_to_ask(&peer.id, &self.known_for(want, peer), next)
                    && !want.failed.contains(&peer.id)
                    && !want.awaits(&peer.id)
                    && self.is_worth(want, peer, 2.0)
            })
            .map(|peer| {
                (
                    peer.pulse.finish(peer.on_way() * GROUP, 1.0) as u64,
                    &peer.id,
                )
            })
            .collect();
        let mut chosen = Vec::new();
        while chosen.len() < free
            && let Some(best) = (0..unknown.len()).min_by_key(|at| unknown[*at])
        {
            chosen.push(unknown.swap_remove(best).1.clone());
        }
        if !chosen.is_empty() {
            self.unsure(at);
        }
        for peer in chosen {
            let (ask, id) = (self.number(), self.wants[at].id);
            // Where a first byte is not urgent, a peer whose line is full may take longer to answer.
            let urgent = self.wants[at].is_small() && self.wants[at].whose != For::Later;
            let timeout = if urgent {
                self.ask_timeout(&peer)
            } else {
                ASK_TIMEOUT
            };
            let until = Some(now + timeout);
            self.send(&peer, &Message::Ask { ask, id });
            self.wants[at].asked.push(Asked { ask, peer, until });
        }
    }

    /// A question costs a round trip, and its answer may be no: the page is not to wait for it.
    pub(super) fn unsure(&mut self, at: usize) {
        let want = &mut self.wants[at];
        let waits = want.whose == For::Us && want.is_small() && !want.delivered;
        let says = waits && want.raced.is_none();
        if says {
            want.raced = Some(self.now);
            let want = want.number;
            self.out.push_back(Output::Unsure { want });
        }
    }

    pub(super) fn ask_timeout(&self, peer: &PeerId) -> u64 {
        let peer = self.peers.iter().find(|known| known.id == *peer);
        peer.map_or(ASK_TIMEOUT, |peer| {
            let queued = peer.on_way() as f64 * GROUP as f64 / peer.pulse.rate();
            ((2.0 * peer.pulse.rto() + queued) as u64).clamp(MIN_ASK_TIMEOUT, ASK_TIMEOUT)
        })
    }

    pub(super) fn asking_time(&mut self) {
        let now = self.now;
        let mut changed = false;
        for want in &mut self.wants {
            for at in 0..want.asked.len() {
                let asked = &mut want.asked[at];
                if asked.until.is_some_and(|until| until <= now) {
                    asked.until = None;
                    changed = true;
                    // Who searches in vain has answered for itself.
                    if !want.sought {
                        let peer = asked.peer.clone();
                        want.fails(&peer);
                    }
                }
            }
            if want.meets_until != 0 && want.meets_until <= now {
                want.meets_until = 0;
                changed = true;
            }
            if want.hears_until != 0 && want.hears_until <= now && !want.heard {
                want.heard = true;
                changed = true;
            }
        }
        for peer in &mut self.peers {
            if peer.busy_until != 0 && peer.busy_until <= now {
                peer.busy_until = 0;
                changed = true;
            }
        }
        if changed {
            self.pump_all();
        }
    }

    pub(super) fn asking_due(&self) -> u64 {
        let mut due = u64::MAX;
        for want in &self.wants {
            for asked in &want.asked {
                due = due.min(asked.until.unwrap_or(u64::MAX));
            }
            if want.meets_until != 0 {
                due = due.min(want.meets_until);
            }
            if want.hears_until != 0 && !want.heard {
                due = due.min(want.hears_until);
            }
        }
        if !self.wants.is_empty() {
            for peer in &self.peers {
                if peer.busy_until != 0 {
                    due = due.min(peer.busy_until);
                }
            }
        }
        due
    }
}
