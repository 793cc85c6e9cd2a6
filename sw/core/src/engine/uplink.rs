//! The way up, which all who are served share: what it carries, and what it may carry.

use super::pulse::Bucket;

/// The rate is measured over this long, in milliseconds.
const METER: u64 = 300;

/// See above.
pub(super) struct Uplink {
    /// Bytes a millisecond that channels took while there was something for them; 0 is not known.
    rate: f64,
    meter: (u64, u64),
    turn: u64,
    budget: Bucket,
    /// When there is a budget again.
    budget_at: u64,
}

impl Uplink {
    pub(super) fn new(now: u64) -> Self {
        Self {
            rate: 0.0,
            meter: (now, 0),
            turn: 0,
            budget: Bucket::new(now, 1.0),
            budget_at: u64::MAX,
        }
    }

    /// Bytes a millisecond; 0 is not known.
    pub(super) fn rate(&self) -> f64 {
        self.rate
    }

    /// Channels took so much, and there is more for them.
    pub(super) fn took(&mut self, bytes: u64, now: u64) {
        self.meter.1 += bytes;
        let took = now.saturating_sub(self.meter.0);
        if took >= METER {
            let sample = self.meter.1 as f64 / took as f64;
            // What is not asked for is not carried: a low sample says little.
            let weight = if sample > self.rate { 0.5 } else { 0.1 };
            self.rate += weight * (sample - self.rate);
            self.meter = (now, 0);
        }
    }

    /// There is nothing to measure.
    pub(super) fn idles(&mut self, now: u64) {
        self.meter = (now, 0);
    }

    /// A number above all before it.
    pub(super) fn next_turn(&mut self) -> u64 {
        self.turn += 1;
        self.turn
    }

    /// Takes `bytes` from the budget, if there is one now.
    pub(super) fn spends(&mut self, now: u64, each_second: f32, bytes: f32) -> bool {
        match self.budget.overdraws(now, each_second, bytes) {
            Ok(()) => true,
            Err(at) => {
                self.budget_at = at;
                false
            }
        }
    }

    /// Whether what could not be spent can be now.
    pub(super) fn has_budget_again(&mut self, now: u64) -> bool {
        let has = self.budget_at <= now;
        if has {
            self.budget_at = u64::MAX;
        }
        has
    }

    /// When to look again.
    pub(super) fn due(&self) -> u64 {
        self.budget_at
    }
}
