//! What is counted while the crowd is at work.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Different things that can go wrong are counted apart, up to so many.
const MOST_KINDS_OF_ERRORS: usize = 32;

/// Nanoseconds of the clock that all generators on this machine share.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
}

/// Durations, in microseconds, to three digits.
pub struct Times(Histogram<u64>);

impl Default for Times {
    fn default() -> Self {
        Self(Histogram::new_with_max(60_000_000, 3).unwrap_or_else(|_| unreachable!()))
    }
}

impl Times {
    /// One more, in nanoseconds.
    pub fn add(&mut self, nanoseconds: u64) {
        self.0.saturating_record((nanoseconds / 1000).max(1));
    }

    /// As it may go over a pipe: value and count.
    pub fn pairs(&self) -> Vec<(u64, u64)> {
        let recorded = self.0.iter_recorded();
        recorded
            .map(|value| (value.value_iterated_to(), value.count_at_value()))
            .collect()
    }

    /// Takes in what another counted.
    pub fn add_pairs(&mut self, pairs: &[(u64, u64)]) {
        for (value, count) in pairs {
            self.0.saturating_record_n(*value, *count);
        }
    }

    /// In milliseconds.
    pub fn percentiles(&self) -> Percentiles {
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1000.0;
        Percentiles {
            count: self.0.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: self.0.max() as f64 / 1000.0,
        }
    }
}

/// How long something took, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Percentiles {
    pub count: u64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

/// The counts of one stretch of work.
#[derive(Default)]
pub struct Tally {
    /// Descriptions that went to the server.
    pub sent: Cell<u64>,
    /// Descriptions that came from it.
    pub relayed: Cell<u64>,
    /// Calls that were answered.
    pub answered: Cell<u64>,
    /// How often somebody was told that another one went away.
    pub gone: Cell<u64>,
    /// From sending a description to its arrival.
    pub relay: RefCell<Times>,
    /// From the first message to the first peers that are named, by those who come anew.
    pub join: RefCell<Times>,
    /// The same of those who come back with a ticket.
    pub resume: RefCell<Times>,
    /// By how much the generator was late to send.
    pub late: RefCell<Times>,
    /// What went wrong, how often.
    pub errors: RefCell<BTreeMap<String, u64>>,
}

impl Tally {
    /// One more.
    pub fn count(counter: &Cell<u64>) {
        counter.set(counter.get() + 1);
    }

    /// Something went wrong.
    pub fn error(&self, what: &str) {
        let mut errors = self.errors.borrow_mut();
        if let Some(count) = errors.get_mut(what) {
            *count += 1;
        } else if errors.len() < MOST_KINDS_OF_ERRORS {
            errors.insert(what.to_owned(), 1);
        } else {
            *errors.entry("others".to_owned()).or_default() += 1;
        }
    }
}
