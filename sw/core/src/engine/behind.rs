//! Where peers are behind the network with something large: the network fetches the next bytes, and
//! peers go on with those that follow.
//!
//! How far behind they are is the time since the page last had all that it reads, less what the
//! network takes for the bytes that came since. As long as that stays above a bound the network
//! fetches one piece after the other; where peers keep up it is not asked.

use super::{
    Engine, Output,
    peers::{Peer, Stage},
    pulse::{GRACE, Origin},
    relieving::LOOK_EVERY,
    runs,
    want::{For, Want},
};
use crate::{
    content::{BLOCK, GROUP},
    port::WantId,
    wire::Message,
};

/// Before the first byte, from peers who have proved themselves, in milliseconds. Where none has, the
/// network is at the first bytes at once.
const FIRST: f64 = 150.0;
/// After it.
const LATER: f64 = 300.0;
/// Where it goes on where the page read last: that has what came before to spend.
const READS_ON: f64 = 1_500.0;
/// What the network fetches at first, in bytes: what a peer is asked for at a time. It is twice as
/// much whenever peers brought less than the network did since.
const HEAD: u64 = BLOCK;
const MOST: u64 = 4 << 20;
/// A network that was not measured.
const UNKNOWN: Origin = Origin {
    first_byte: 300.0,
    rate: 2_000.0,
};

impl Want {
    /// How far they may be.
    fn may_lag(&self) -> f64 {
        let least = if self.reads_on {
            READS_ON
        } else if self.delivered || self.head_until > 0 {
            LATER
        } else {
            FIRST
        };
        least.max(self.patience.into())
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
        let network = (self.at - from) as f64 / origin.rate;
        let at = since + (network + self.may_lag()).ceil() as u64;
        at.max(self.head_until)
    }
}

impl Engine {
    fn network(&self) -> Origin {
        self.origin.unwrap_or(UNKNOWN)
    }

    /// The page has read.
    pub(super) fn look_if_level(&mut self, number: WantId) {
        let now = self.now;
        if let Some(want) = self.wanted(number)
            && want.keeps_level()
        {
            want.level = (now.max(want.level.0), want.at);
        }
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
            self.leave_head(number);
        }
    }

    /// Whether there is nobody who has the first bytes of something large, and has proved to be as quick
    /// with them as the network. Who reads on has time to find out.
    pub(super) fn is_unproven(&self, number: WantId) -> bool {
        let want = self.wants.iter().find(|want| want.number == number);
        let Some(want) =
            want.filter(|want| want.is_raced() && want.patience == 0 && !want.reads_on)
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

    /// The network fetches the next bytes of a want, and peers what follows.
    pub(super) fn leave_head(&mut self, number: WantId) {
        let (origin, now) = (self.network(), self.now);
        let Some(want) = self.wanted(number) else {
            return;
        };
        let (before, end) = want.head;
        let mut head = HEAD;
        if want.at - end < before {
            head = (2 * before).min(MOST);
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
