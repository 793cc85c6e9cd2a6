//! How long a request waits for peers before the origin is asked too.
//!
//! Two waits are learnt from what happened: for the first verified byte of a peer that is there,
//! and, on a page that has just opened, for the bridge to come back at all. Both are bounded by the
//! site's policy; what a wait may cost a request is never more than its bound.

use serde::{Deserialize, Serialize};

use crate::manifest::Policy;

/// Before anything is known, in milliseconds.
const FIRST_DEADLINE: f64 = 300.0;
/// Below this a busy moment of the machine would count as a peer's lateness.
const MIN_DEADLINE: f64 = 150.0;
/// An origin that was not measured counts as this fast, in bytes a millisecond: 40 Mbit/s.
const UNKNOWN_RATE: f64 = 5_000.0;
/// Differences below this are nobody's, in milliseconds.
const NOISE: f64 = 20.0;
/// A resource longer than this is large, in bytes.
pub const LARGE: u64 = 1 << 20;
/// How long a bridge is waited for while only that there are peers is known, in milliseconds.
const FIRST_PATIENCE: f64 = 600.0;
/// After this many pages in a row on which no peer came in time, none is waited for.
const MAX_MISSES: u32 = 3;

/// A mean and a mean deviation, as TCP keeps of its round trips (RFC 6298).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Smooth {
    mean: f64,
    deviation: f64,
    count: u32,
}

impl Smooth {
    fn take(&mut self, sample: f64) {
        if self.count == 0 {
            (self.mean, self.deviation) = (sample, sample / 2.0);
        } else {
            self.deviation += 0.25 * ((sample - self.mean).abs() - self.deviation);
            self.mean += 0.125 * (sample - self.mean);
        }
        self.count = self.count.saturating_add(1);
    }

    fn mean(&self) -> Option<f64> {
        (self.count > 0).then_some(self.mean)
    }

    /// What samples stay below: nearly all of them for four deviations.
    fn bound(&self, deviations: f64) -> Option<f64> {
        Some(self.mean()? + deviations * self.deviation)
    }
}

/// What has been learnt of an origin and its peers. It is kept in the store between instances.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pace {
    origin: Smooth,
    /// Bytes a millisecond after the first.
    rate: Smooth,
    peer: Smooth,
    bridge: Smooth,
    /// Whether this visitor ever had a peer here.
    had_peers: bool,
    misses: u32,
}

impl Pace {
    /// The origin's first byte came after this many milliseconds.
    pub fn origin_answered(&mut self, ms: f64) {
        self.origin.take(ms);
    }

    /// The origin sent so much after its first byte in so many milliseconds.
    pub fn origin_sent(&mut self, bytes: u64, ms: f64) {
        // A short one says more of buffers than of the way.
        if bytes >= 64 << 10 {
            self.rate.take(bytes as f64 / ms.max(1.0));
        }
    }

    /// What the origin is expected to need: milliseconds until the first byte, and bytes a second
    /// after it.
    pub fn expects(&self) -> Option<(f64, f64)> {
        let rate = self.rate.mean().unwrap_or(UNKNOWN_RATE);
        Some((self.origin.mean()?, rate * 1000.0))
    }

    /// How much later this answer of peers ended than the origin's is expected to have.
    pub fn regret(&self, bytes: u64, ms: f64) -> Option<f64> {
        let (first, rate) = self.expects()?;
        Some((ms - first - bytes as f64 / rate * 1000.0).max(0.0))
    }

    /// A peer's first verified byte came this many milliseconds after the want.
    pub fn peer_answered(&mut self, ms: f64) {
        self.peer.take(ms);
    }

    /// The bridge of a new page had an open peer this many milliseconds after the page's first
    /// request.
    pub fn peers_came(&mut self, ms: f64) {
        self.had_peers = true;
        self.misses = 0;
        self.bridge.take(ms.min(5_000.0));
    }

    /// There is an open peer, whenever it came.
    pub fn peers_are_here(&mut self) {
        self.had_peers = true;
        self.misses = 0;
    }

    /// A page's requests waited for the bridge, and it did not come in time.
    pub fn peers_did_not_come(&mut self) {
        self.misses = self.misses.saturating_add(1);
    }

    /// The visitor wants no peers: nothing waits for a bridge until there is one again.
    pub fn peers_are_unwanted(&mut self) {
        self.misses = MAX_MISSES;
    }

    /// How long to wait for the first verified byte of `len` when peers are there, in milliseconds.
    ///
    /// Where the origin is known it is asked as soon as a peer is later than peers usually are: what
    /// is asked of it and then cancelled costs a request and hardly a byte, and waiting costs the
    /// page. It never waits for peers longer than the origin itself would take.
    ///
    /// For a large resource the last byte matters, not the first: it may wait as long as the policy
    /// allows.
    pub fn deadline(&self, len: u64, policy: &Policy) -> f64 {
        let max_wait = f64::from(policy.max_wait_ms);
        if len > LARGE {
            return max_wait;
        }
        let origin = self.origin.mean().filter(|_| !policy.spare_origin);
        let wait = match (self.peer.bound(0.5), origin) {
            (Some(peer), Some(origin)) => peer.max(NOISE).min(origin.max(MIN_DEADLINE)),
            (None, Some(origin)) => FIRST_DEADLINE.min(origin.max(MIN_DEADLINE)),
            (Some(_), None) => self.peer.bound(4.0).unwrap_or_default().max(MIN_DEADLINE),
            (None, None) => FIRST_DEADLINE,
        };
        wait.min(max_wait)
    }

    /// How long after its first request a page's requests wait for the bridge, in milliseconds.
    ///
    /// Only where the origin is to be spared requests: peers who come before it answers take part
    /// whenever it was asked, and a wait for those who do not come would cost the page all of it.
    pub fn patience(&self, policy: &Policy) -> f64 {
        if !policy.spare_origin || !self.had_peers || self.misses >= MAX_MISSES {
            return 0.0;
        }
        self.bridge
            .bound(4.0)
            .unwrap_or(FIRST_PATIENCE)
            .max(FIRST_PATIENCE)
            .min(f64::from(policy.max_wait_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_most(max_wait_ms: u32) -> Policy {
        Policy {
            max_wait_ms,
            ..Policy::default()
        }
    }

    fn spared(max_wait_ms: u32) -> Policy {
        Policy {
            spare_origin: true,
            ..at_most(max_wait_ms)
        }
    }

    #[test]
    fn deadline_follows_what_peers_need_within_its_bounds() {
        let mut pace = Pace::default();
        assert_eq!(pace.deadline(1, &at_most(600)), FIRST_DEADLINE);
        assert_eq!(pace.deadline(9 << 20, &at_most(600)), 600.0);
        for _ in 0..50 {
            pace.peer_answered(10.0);
        }
        assert_eq!(pace.deadline(1, &at_most(600)), MIN_DEADLINE);
        for _ in 0..50 {
            pace.peer_answered(2_000.0);
        }
        assert_eq!(pace.deadline(1, &at_most(600)), 600.0);
    }

    #[test]
    fn visitor_who_never_had_peers_waits_for_none() {
        let mut pace = Pace::default();
        assert_eq!(pace.patience(&spared(800)), 0.0);
        pace.peers_are_here();
        assert!(pace.patience(&spared(800)) > 0.0);
    }

    #[test]
    fn no_page_waits_for_a_bridge_unless_the_origin_is_to_be_spared() {
        let mut pace = Pace::default();
        for _ in 0..50 {
            pace.peers_came(5.0);
            assert_eq!(pace.patience(&at_most(800)), 0.0);
            pace.peer_answered(5.0);
            pace.origin_answered(700.0);
        }
        assert_eq!(pace.patience(&at_most(800)), 0.0);
        assert!(pace.patience(&spared(800)) > 0.0);
    }

    #[test]
    fn pages_without_peers_end_the_waiting_and_a_peer_brings_it_back() {
        let mut pace = Pace::default();
        pace.peers_came(120.0);
        for _ in 0..MAX_MISSES {
            assert!(pace.patience(&spared(800)) > 0.0);
            pace.peers_did_not_come();
        }
        assert_eq!(pace.patience(&spared(800)), 0.0);
        pace.peers_are_here();
        assert!(pace.patience(&spared(800)) > 0.0);
        pace.peers_are_unwanted();
        assert_eq!(pace.patience(&spared(800)), 0.0);
    }

    #[test]
    fn policy_bounds_every_wait() {
        let mut pace = Pace::default();
        pace.peers_came(4_000.0);
        assert_eq!(pace.patience(&spared(200)), 200.0);
        assert_eq!(pace.deadline(1, &at_most(0)), 0.0);
    }

    #[test]
    fn near_origin_is_not_kept_waiting_for_unless_it_is_to_be_spared() {
        let mut pace = Pace::default();
        pace.peers_came(200.0);
        for _ in 0..50 {
            pace.origin_answered(5.0);
            pace.peer_answered(40.0);
        }
        assert!(pace.patience(&spared(800)) > 200.0);
        assert!(pace.deadline(1, &at_most(800)) < MIN_DEADLINE);
        assert_eq!(pace.deadline(1, &spared(800)), MIN_DEADLINE);
    }
}
