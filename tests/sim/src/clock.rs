//! Virtual time: what happens next, and lots that do not depend on what happened before.

use std::{cmp::Reverse, collections::BinaryHeap};

use crate::Time;

/// Events that are still to come.
pub struct Clock<E> {
    now: Time,
    order: u64,
    /// When, and what was put in first comes out first; where it lies.
    heap: BinaryHeap<Reverse<(Time, u64, u32)>>,
    /// They are large, and stay where they are.
    events: Vec<Option<E>>,
    free: Vec<u32>,
}

impl<E> Default for Clock<E> {
    fn default() -> Self {
        Self {
            now: 0,
            order: 0,
            heap: BinaryHeap::new(),
            events: Vec::new(),
            free: Vec::new(),
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
        let place = match self.free.pop() {
            Some(place) => {
                self.events[place as usize] = Some(event);
                place
            }
            None => {
                self.events.push(Some(event));
                self.events.len() as u32 - 1
            }
        };
        let entry = (at.max(self.now), self.order, place);
        self.heap.push(Reverse(entry));
    }

    /// So much later than now.
    pub fn after(&mut self, wait: Time, event: E) {
        self.at(self.now + wait, event);
    }

    /// The next event; it is then.
    pub fn turn(&mut self) -> Option<E> {
        let Reverse((at, _, place)) = self.heap.pop()?;
        self.now = at;
        self.free.push(place);
        self.events.get_mut(place as usize)?.take()
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
