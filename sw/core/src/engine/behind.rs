//! Where peers are behind the network with something large: the network fetches the next bytes, and
//! peers go on with those that follow.
//!
//! How far behind they are is the time since the page last had all that it reads, less what the
//! network takes for the bytes that came since. As long as that stays above a bound the network
//! fetches one piece after the other; where peers keep up it is not asked.

use super::{
    Engine, Output,
    asking::MAX_READINGS,
    peers::{Peer, Stage},
    pulse::{GRACE, Origin},
    relieving::LOOK_EVERY,
    runs,
    want::{For, Want},
};
use crate::{
    content::{BLOCK, ContentId, GROUP},
    port::WantId,
    wire::Message,
};

/// Before the first byte, from peers who have proved themselves, in milliseconds. Where none has, the
/// network is at the first bytes at once.
const FIRST: f64 = 150.0;
/// After it.
const LATER: f64 = 300.0;
/// The same where it is known how fast it is played: until it is seen how far ahead the player is, it is
/// given more than that.
const PLAYED_LATER: f64 = 600.0;
/// Where it goes on where the page read last: that has what came before to spend.
const READS_ON: f64 = 1_500.0;
/// Where it is known how it is played: this part of the time that it is played for, and no less than
/// above. More would be as much as who asks for it can notice.
const SHARE: f64 = 0.04;
/// What the network fetches at first, in bytes: what a peer is asked for at a time. It is twice as
/// much whenever peers brought less than the network did since.
const HEAD: u64 = BLOCK;
const MOST: u64 = 4 << 20;
/// The same for what is played: that it goes on is what counts, and peers may have what follows soon.
const MOST_PLAYED: u64 = 1 << 20;
/// A network that was not measured.
const UNKNOWN: Origin = Origin {
    first_byte: 300.0,
    rate: 2_000.0,
};

impl Want {
    /// How far they may be.
    fn may_lag(&self) -> f64 {
        let least = if self.spares > 0.0 {
            self.spares
        } else if self.reads_on && self.reader.is_none() {
            READS_ON
        } else if self.delivered || self.head_until > 0 || self.reads_on {
            self.later()
        } else {
            FIRST
        };
        least.max(self.patience.into())
    }

    fn later(&self) -> f64 {
        let is_told = self.reader.is_some_and(|reader| reader.is_told());
        if is_told { PLAYED_LATER } else { LATER }
    }

    /// Who reads it has what came before, or some of it.
    fn has_some(&self) -> bool {
        self.reads_on || self.delivered
    }

    /// The network is there for it, and it is worth more than one request.
    fn is_raced(&self) -> bool {
        self.whose == For::Us && self.patience < u32::MAX && !self.is_small()
    }

    /// Until when nothing is to be done about it, if no byte comes.
    fn behind_at(&self, origin: &Origin) -> u64 {
        if !self.is_raced() || self.keeps_level() {
            return u64::MAX;
        }
        let (since, from) = self.level;
        let in_time = match &self.reader {
            Some(reader) => reader.reads_at(self.at, origin.rate),
            None => since as f64 + (self.at - from) as f64 / origin.rate,
        };
        let at = (in_time + self.may_lag()).ceil() as u64;
        at.max(self.head_until)
    }

    /// How much later than it is read it may come: as much as what came before it was, and a little more.
    fn spare(&mut self, now: u64, origin: &Origin) {
        let Some((reader, most)) = self.reader.and_then(|it| Some((it, it.spares()?))) else {
            return;
        };
        let late = (now as f64 - reader.reads_at(self.at, origin.rate)).max(0.0);
        let takes = (self.bytes.end - self.at) as f64 / reader.pace(origin.rate);
        let more = (SHARE * takes - origin.first_byte).max(self.later());
        self.spares = (late + more).min(most);
    }
}

impl Engine {
    pub(super) fn network(&self) -> Origin {
        self.origin.unwrap_or(UNKNOWN)
    }

    /// The page has read.
    pub(super) fn look_if_level(&mut self, number: WantId) {
        let (origin, now) = (self.network(), self.now);
        let Some(want) = self.wanted(number) else {
            return;
        };
        if want.keeps_level() {
            want.level = (now.max(want.level.0), want.at);
        }
        // What the network was to fetch may not have come.
        let read = want.read();
        let leaves_some = want.leaves_unread() && read >= want.head.1;
        if let Some(reader) = &mut want.reader
            && reader.reads(now, read, leaves_some)
        {
            want.spare(now, &origin);
        }
    }

    /// It is said how fast something is played.
    pub(super) fn plays_at(&mut self, id: ContentId, rate: u64) {
        let pace = rate.max(1) as f64 / 1000.0;
        self.paces.retain(|(played, _)| *played != id);
        if self.paces.len() >= MAX_READINGS {
            self.paces.pop_front();
        }
        self.paces.push_back((id, pace));
        let readings = self.readings.iter_mut().filter(|(read, ..)| *read == id);
        let wants = self.wants.iter_mut().filter(|want| want.id == id);
        let readers = readings.filter_map(|(.., reader)| reader.as_mut());
        for reader in readers.chain(wants.filter_map(|want| want.reader.as_mut())) {
            reader.plays_at(pace);
        }
    }

    /// Says what a want that begins has to spare.
    pub(super) fn spare(&mut self, number: WantId) {
        let (origin, now) = (self.network(), self.now);
        if let Some(want) = self.wanted(number) {
            want.spare(now, &origin);
        }
    }

    /// Whether what is played goes on though no peer of ours has its next bytes: others may come, or they
    /// may come to have it, and the network fetches what is needed until then.
    pub(super) fn goes_on(&mut self, number: WantId, next: u32) -> bool {
        let (origin, now) = (self.network(), self.now);
        let open = self.peers.iter().any(|peer| peer.stage == Stage::Open);
        let Some(at) = self.want_at(number).filter(|_| open) else {
            return false;
        };
        let want = &self.wants[at];
        if !want.is_raced() || want.reader.is_none() {
            return false;
        }
        let has_time = want.spares > 0.0 && want.behind_at(&origin) > now;
        let waits = has_time || want.keeps_level() || want.head_until > now;
        self.missed(at, next);
        if !waits {
            self.leave_head(number);
        }
        true
    }

    pub(super) fn behind_due(&self) -> u64 {
        let origin = self.network();
        let due = self.wants.iter().map(|want| want.behind_at(&origin));
        due.min().unwrap_or(u64::MAX)
    }

    pub(super) fn behind_time(&mut self) {
        let (origin, now) = (self.network(), self.now);
        let behind = self
            .wants
            .iter()
            .filter(|want| want.behind_at(&origin) <= now);
        let behind: Vec<_> = behind.map(|want| want.number).collect();
        for number in behind {
            if let Some(at) = self.want_at(number)
                && self.wants[at].reader.is_some()
            {
                self.missed(at, (self.wants[at].at / GROUP) as u32);
            }
            self.leave_head(number);
        }
    }

    /// Whether there is nobody who has the first bytes of something large, and has proved to be as quick
    /// with them as the network. Who reads on, or got some at once, has time to find out.
    pub(super) fn is_unproven(&self, number: WantId) -> bool {
        let want = self.wants.iter().find(|want| want.number == number);
        let Some(want) =
            want.filter(|want| want.is_raced() && want.patience == 0 && !want.has_some())
        else {
            return false;
        };
        let (head, origin) = ((want.at / GROUP) as u32, self.network());
        let is_quick = |peer: &Peer| {
            let known = self.known_for(want, peer);
            peer.pulse.got > 0
                && known.run_from(head, want.len).is_some()
                && peer.finish(HEAD / GROUP) <= origin.finish(HEAD) + GRACE
        };
        let mut open = self.peers.iter().filter(|peer| peer.stage == Stage::Open);
        open.clone().next().is_some() && !open.any(is_quick)
    }

    /// Whether it has the next bytes of something that is played, for all that is known of where.
    pub(super) fn is_played_from(&self, peer: &Peer) -> bool {
        let mut readings = self.readings.iter();
        readings.any(|(id, bytes, reader)| {
            let want = self.wants.iter().find(|want| want.id == *id);
            let most = u64::from(u32::MAX) * GROUP;
            let (next, len) = want.map_or((bytes.end, most), |want| (want.at, want.len));
            let known = peer.knows(id, self.now);
            reader.is_some() && known.run_from((next / GROUP) as u32, len).is_some()
        })
    }

    /// The network fetches the next bytes of a want, and peers what follows.
    pub(super) fn leave_head(&mut self, number: WantId) {
        let (origin, now) = (self.network(), self.now);
        let Some(want) = self.wanted(number) else {
            return;
        };
        let (before, end) = want.head;
        let mut head = HEAD;
        if let (Some(reader), true) = (&want.reader, want.spares > 0.0) {
            // What is played while it comes, twice.
            let least = 2.0 * origin.finish(HEAD) * reader.pace(origin.rate);
            head = (least as u64).clamp(HEAD, MOST_PLAYED);
        } else if want.at - end < before {
            let most = want.reader.map_or(MOST, |_| MOST_PLAYED);
            head = (2 * before).min(most);
        }
        // To the end of a block, as pulls go.
        let mut to = (want.at + head + BLOCK / 2) / BLOCK * BLOCK;
        if let Some((first, ..)) = want.ready.first() {
            to = to.min(u64::from(*first) * GROUP);
        }
        let to = to.min(want.bytes.end);
        let bytes = to - want.at;
        let run = (want.at / GROUP) as u32..to.div_ceil(GROUP) as u32;
        runs::take(&mut want.open, &run);
        runs::add(&mut want.have, run.clone());
        want.at = to;
        want.head = (head, to);
        want.head_until = now + origin.finish(bytes) as u64 + LOOK_EVERY;
        let mut stops = Vec::new();
        for peer in &mut self.peers {
            while let Some(at) = peer
                .pulls
                .iter()
                .position(|pull| pull.want == number && pull.left.end <= run.end)
            {
                let pull = peer.stop(at).number;
                stops.push((peer.id.clone(), pull));
            }
        }
        for (peer, pull) in stops {
            self.send(&peer, &Message::Stop { pull });
        }
        self.out.push_back(Output::Behind { want: number, to });
        self.deliver(number);
        self.pump(number);
    }
}
