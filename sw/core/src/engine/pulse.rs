//! What is measured of a peer: whether it lives, how far away it is, how fast it sends.

use super::{DropReason, Engine, Output, PeerId, peers::Stage};
use crate::{port::Connected, wire::Message};

/// A peer of which no rate is known counts as this fast, in bytes a millisecond: 12 Mbit/s up.
const FIRST_RATE: f64 = 1_500.0;
/// And as this far away, in milliseconds.
const FIRST_RTT: f64 = 80.0;
/// What a new connection sends before it has heard anything, in bytes (RFC 9260, RFC 6928).
const FIRST_WINDOW: f64 = 12_000.0;
/// A rate is measured over at least this long, in milliseconds.
const METER: u64 = 100;
/// Peers that are this much later than the origin are not called slower, in milliseconds: nobody
/// sees the difference, and the origin is spared.
pub(super) const GRACE: f64 = 20.0;
/// Peers are compared with the origin by what a resource of this size would take, in bytes.
const TYPICAL: u64 = 64 << 10;

/// So many at once, and then so many each second.
#[derive(Clone, Copy)]
pub(super) struct Bucket {
    left: f32,
    at: u64,
}

impl Bucket {
    pub(super) fn new(now: u64, burst: f32) -> Self {
        Self {
            left: burst,
            at: now,
        }
    }

    fn fill(&mut self, now: u64, burst: f32, each_second: f32) {
        let gained = now.saturating_sub(self.at) as f32 / 1000.0 * each_second;
        self.left = (self.left + gained).min(burst);
        self.at = now;
    }

    pub(super) fn takes(&mut self, now: u64, burst: f32, each_second: f32) -> bool {
        self.takes_many(now, burst, each_second, 1.0)
    }

    pub(super) fn takes_many(
        &mut self,
        now: u64,
        burst: f32,
        each_second: f32,
        count: f32,
    ) -> bool {
        self.fill(now, burst, each_second);
        let takes = self.left >= count;
        if takes {
            self.left -= count;
        }
        takes
    }

    /// When it takes one again, as far as is known now.
    pub(super) fn takes_at(&self, each_second: f32) -> u64 {
        self.at + ((1.0 - self.left).max(0.0) / each_second * 1000.0).ceil() as u64
    }

    /// Takes more than there may be, if there is anything; else says when there will be.
    pub(super) fn overdraws(&mut self, now: u64, each_second: f32, amount: f32) -> Result<(), u64> {
        self.fill(now, each_second, each_second);
        if self.left <= 0.0 {
            return Err(now + 1 + (-self.left / each_second * 1000.0) as u64);
        }
        self.left -= amount;
        Ok(())
    }
}

/// What the origin is expected to need.
#[derive(Clone, Copy)]
pub(super) struct Origin {
    /// In milliseconds.
    pub first_byte: f64,
    /// In bytes a millisecond.
    pub rate: f64,
}

impl Origin {
    pub(super) fn finish(&self, bytes: u64) -> f64 {
        self.first_byte + bytes as f64 / self.rate.max(0.001)
    }
}

/// Measures of one peer.
pub(super) struct Pulse {
    /// When anything last came.
    pub heard: u64,
    /// The ping that is out: its number, and when it went.
    ping: Option<(u32, u64)>,
    /// Smoothed, and its variation (RFC 6298), in milliseconds.
    rtt: Option<(f64, f64)>,
    /// The shortest lately: what the way takes when nothing is queued on it.
    least: f64,
    /// Bytes a millisecond; 0 is not known.
    rate: f64,
    meter: (u64, u64),
    /// Bytes of content that came from it, and that went to it.
    pub got: u64,
    /// See `got`.
    pub gave: u64,
}

impl Pulse {
    pub(super) fn new(now: u64) -> Self {
        Self {
            heard: now,
            ping: None,
            rtt: None,
            least: FIRST_RTT,
            rate: 0.0,
            meter: (now, 0),
            got: 0,
            gave: 0,
        }
    }

    fn took(&mut self, ms: f64) {
        self.rtt = Some(match self.rtt {
            None => (ms, ms / 2.0),
            Some((mean, deviation)) => (
                mean + 0.125 * (ms - mean),
                deviation + 0.25 * ((ms - mean).abs() - deviation),
            ),
        });
        self.least = match self.rtt {
            Some(_) if ms > self.least => self.least * 1.01,
            _ => ms,
        }
        .min(ms.max(1.0));
    }

    /// When the last ping went out.
    fn pinged(&self) -> u64 {
        self.ping.map_or(0, |(_, at)| at)
    }

    /// A ping went out since anything came.
    fn is_pinged(&self) -> bool {
        self.ping.is_some_and(|(_, at)| at >= self.heard)
    }

    pub(super) fn measured(&self) -> Option<u16> {
        self.rtt.map(|(mean, _)| mean as u16)
    }

    pub(super) fn rtt(&self) -> f64 {
        self.rtt.map_or(FIRST_RTT, |(mean, _)| mean)
    }

    /// What nearly every round trip stays below (RFC 6298).
    pub(super) fn rto(&self) -> f64 {
        self.rtt.map_or(4.0 * FIRST_RTT, |(mean, deviation)| {
            mean + (4.0 * deviation).max(10.0)
        })
    }

    pub(super) fn is_measured(&self) -> bool {
        self.rate > 0.0
    }

    pub(super) fn rate(&self) -> f64 {
        if self.rate > 0.0 {
            self.rate
        } else {
            FIRST_RATE
        }
    }

    /// Something is pulled after a pause.
    pub(super) fn begins(&mut self, now: u64) {
        self.meter = (now + self.least as u64, 0);
    }

    /// Content came; `is_last` of what was pulled.
    pub(super) fn came(&mut self, bytes: u64, now: u64, is_last: bool) {
        self.got += bytes;
        self.meter.1 += bytes;
        let took = now.saturating_sub(self.meter.0);
        if took >= METER || is_last {
            let sample = self.meter.1 as f64 / took.max(10) as f64;
            // A short one says less, and what the window held back is soon found out.
            let weight = if took >= METER { 0.5 } else { 0.2 };
            // Nor is it slow because little came in a moment: that is what the way takes.
            self.rate = if took < METER && sample < self.rate() {
                self.rate
            } else if self.rate == 0.0 {
                sample
            } else {
                self.rate + weight * (sample - self.rate)
            };
            self.meter = (now, 0);
        }
    }

    /// Bytes to have on their way from it: twice what it sends in a round trip, so that it finds out
    /// when there is more, and never less than keeps its disk and channel busy at once.
    pub(super) fn window(&self) -> u64 {
        (2.0 * self.rate() * (self.least + 20.0)) as u64 + (256 << 10)
    }

    /// As [`Pulse::finish`], on a day that is not its best.
    pub(super) fn finish_surely(&self, bytes: u64, trips: f64) -> f64 {
        let deviation = self.rtt.map_or(FIRST_RTT / 4.0, |(_, deviation)| deviation);
        self.finish(bytes, trips) * 1.1 + deviation
    }

    /// How long these bytes take, after so many round trips.
    pub(super) fn finish(&self, bytes: u64, trips: f64) -> f64 {
        let steady = bytes as f64 / self.rate();
        // What a new connection may have on its way doubles with each round trip.
        let window = FIRST_WINDOW + self.got as f64;
        let rounds = (1.0 + bytes as f64 / window).log2() - 1.0;
        trips * self.rtt() + steady.max(rounds * self.rtt())
    }

    /// Whether a small resource would come later from it than from the origin.
    pub(super) fn is_slow(&self, origin: Option<Origin>) -> bool {
        let measured = self.rtt.is_some();
        origin.is_some_and(|origin| {
            measured && self.finish(TYPICAL, 1.0) > origin.finish(TYPICAL) + GRACE
        })
    }
}

impl Engine {
    /// What goes on with each open peer, the oldest first.
    pub fn connected(&self) -> Vec<Connected> {
        let open = self.peers.iter().filter(|peer| peer.stage == Stage::Open);
        let connected = open.map(|peer| Connected {
            rtt: peer.pulse.measured(),
            got: peer.pulse.got,
            gave: peer.pulse.gave,
        });
        connected.collect()
    }

    /// Anything came from a peer: it lives.
    pub(super) fn heard(&mut self, at: usize) {
        let peer = &mut self.peers[at];
        peer.pulse.heard = self.now;
        if peer.stage == Stage::Suspect {
            peer.stage = Stage::Open;
        }
    }

    pub(super) fn ping(&mut self, at: usize) {
        let nonce = self.number();
        let peer = &mut self.peers[at];
        peer.pulse.ping = Some((nonce, self.now));
        let id = peer.id.clone();
        self.send(&id, &Message::Ping { nonce });
    }

    pub(super) fn pong(&mut self, from: &PeerId, nonce: u32) {
        let now = self.now;
        if let Some(peer) = self.peer(from)
            && let Some((_, at)) = peer.pulse.ping.filter(|(number, _)| *number == nonce)
        {
            peer.pulse.ping = None;
            peer.pulse.took((now - at) as f64);
        }
    }

    /// Pings who is quiet, suspects who stays so, drops who is dead.
    pub(super) fn pulse_time(&mut self) {
        let (now, quiet) = (self.now, u64::from(self.config.quiet.max(1)));
        for at in (0..self.peers.len()).rev() {
            let peer = &mut self.peers[at];
            let silent = now - peer.pulse.heard.min(now);
            match peer.stage {
                Stage::Dialled => {}
                Stage::Open if silent >= 2 * quiet => {
                    peer.stage = Stage::Suspect;
                    let id = peer.id.clone();
                    self.out.push_back(Output::Restart { peer: id });
                    self.ping(at);
                    self.take_back(at);
                }
                Stage::Open if silent >= quiet && !peer.pulse.is_pinged() => self.ping(at),
                Stage::Suspect if silent >= 4 * quiet => {
                    let id = peer.id.clone();
                    self.drop_peer(&id, DropReason::Dead);
                }
                // Whichever way is found, somebody has to use it for it to be noticed.
                Stage::Suspect if peer.pulse.pinged() + quiet / 2 <= now => self.ping(at),
                Stage::Open | Stage::Suspect => {}
            }
        }
    }

    pub(super) fn pulse_due(&self) -> u64 {
        let quiet = u64::from(self.config.quiet.max(1));
        let due = |peer: &super::peers::Peer| {
            let pulse = &peer.pulse;
            match peer.stage {
                Stage::Dialled => u64::MAX,
                Stage::Open if !pulse.is_pinged() => pulse.heard + quiet,
                Stage::Open => pulse.heard + 2 * quiet,
                Stage::Suspect => (pulse.heard + 4 * quiet).min(pulse.pinged() + quiet / 2),
            }
        };
        self.peers.iter().map(due).min().unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_that_took_a_moment_says_nothing_of_the_rate_and_what_took_long_does() {
        let mut pulse = Pulse::new(0);
        pulse.took(50.0);
        pulse.begins(0);
        pulse.came(20_000, 90, true);
        assert!(!pulse.is_measured());
        // It was quick, for all that the way allows.
        pulse.begins(1_000);
        pulse.came(200_000, 1_070, true);
        assert!(pulse.rate() > FIRST_RATE);
        let quick = pulse.rate();
        pulse.begins(2_000);
        pulse.came(20_000, 2_450, true);
        assert!(pulse.rate() < quick);
        let mut slow = Pulse::new(0);
        slow.begins(0);
        slow.came(20_000, 400, true);
        assert!(slow.is_measured() && slow.rate() < FIRST_RATE / 10.0);
    }

    #[test]
    fn over_a_new_connection_much_takes_more_round_trips_than_little() {
        let mut pulse = Pulse::new(0);
        pulse.took(100.0);
        let rate = pulse.rate();
        let little = pulse.finish(6_000, 1.0);
        assert!((little - 100.0 - 6_000.0 / rate).abs() < 1.0, "{little}");
        let much = pulse.finish(180_000, 1.0);
        assert!(much > 350.0, "{much}");
        // What came before has opened the way.
        pulse.begins(0);
        pulse.came(1_000_000, 700, true);
        let later = pulse.finish(180_000, 1.0);
        assert!((later - 100.0 - 180_000.0 / pulse.rate()).abs() < 1.0);
    }
}
