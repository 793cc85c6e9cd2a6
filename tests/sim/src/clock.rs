//! Virtual time: what happens next, and lots that do not depend on what happened before.

use std::{cmp::Ordering, collections::BinaryHeap};

use crate::Time;

struct Entry<E> {
    at: Time,
    /// What was put in first comes out first.
    order: u64,
    event: E,
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        // The heap's greatest is the earliest.
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

/// Events that are still to come.
pub struct Clock<E> {
    now: Time,
    order: u64,
    heap: BinaryHeap<Entry<E>>,
}

impl<E> Default for Clock<E> {
    fn default() -> Self {
        Self {
            now: 0,
            order: 0,
            heap: BinaryHeap::new(),
        }
    }
}

impl<E> Clock<E> {
    /// In microseconds since the start.
    pub fn now(&self) -> Time {
        self.now
    }

    /// How many events there were.
    pub fn events(&self) -> u64 {
        self.order - self.heap.len() as u64
    }

    /// Never in the past.
    pub fn at(&mut self, at: Time, event: E) {
        self.order += 1;
        self.heap.push(Entry {
            at: at.max(self.now),
            order: self.order,
            event,
        });
    }

    /// So much later than now.
    pub fn after(&mut self, wait: Time, event: E) {
        self.at(self.now + wait, event);
    }

    /// The next event; it is then.
    pub fn turn(&mut self) -> Option<E> {
        let entry = self.heap.pop()?;
        self.now = entry.at;
        Some(entry.event)
    }
}

/// A number in 0..1 that depends on nothing but these: so the same request meets the same luck in a
/// run with peers and in one without.
pub fn lot(seed: u64, what: u64) -> f64 {
    (mix(seed, what) >> 11) as f64 / (1_u64 << 53) as f64
}

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) over both.
pub fn mix(seed: u64, what: u64) -> u64 {
    let mut z = seed.wrapping_add(what.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_the_order_of_their_times_and_then_of_their_making() {
        let mut clock = Clock::default();
        for (at, name) in [(5, 'd'), (1, 'a'), (1, 'b'), (3, 'c')] {
            clock.at(at, name);
        }
        let came: String = std::iter::from_fn(|| clock.turn()).collect();
        assert_eq!(came, "abcd");
        assert_eq!(clock.now(), 5);
    }

    #[test]
    fn lots_are_even() {
        let mean = (0..100_000).map(|i| lot(7, i)).sum::<f64>() / 100_000.0;
        assert!((mean - 0.5).abs() < 0.01);
    }
}
