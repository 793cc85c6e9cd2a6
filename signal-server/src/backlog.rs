//! How much of what one client sent may wait to be read by others.
//!
//! Each queue is bounded by itself; this keeps one client from filling those of many, or one that
//! others need as well.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

/// In bytes: a quarter of a client's queue, and more than sixteen connections take to set up.
pub const MOST: usize = 256 << 10;

/// What a sender is told of whom more would wait.
pub const TOO_MUCH: &str = "too much of what you sent waits to be read by others";

#[derive(Default)]
struct Counted {
    bytes: AtomicUsize,
    is_said: AtomicBool,
}

/// Of one sender.
#[derive(Clone, Default)]
pub struct Backlog(Arc<Counted>);

/// A message that waits.
pub struct Waiting {
    of: Backlog,
    bytes: usize,
}

impl Backlog {
    /// Counts so much more as long as what this returns is kept; nothing if that were too much.
    pub fn add(&self, bytes: usize) -> Option<Waiting> {
        let before = self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        let of = self.clone();
        // Dropped at once where it does not fit.
        let waiting = Waiting { of, bytes };
        (before + bytes <= MOST).then_some(waiting)
    }

    /// Whether so much more could wait.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.0.bytes.load(Ordering::Relaxed) + bytes <= MOST
    }

    /// Counts so much more as long as what this returns is kept, whether there is room or not.
    pub fn add_anyway(&self, bytes: usize) -> Waiting {
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        let of = self.clone();
        Waiting { of, bytes }
    }

    /// Whether nothing waits, and nobody else holds this.
    pub fn is_idle(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// `true` once: for a log of which one sender is not to have many lines.
    pub fn is_first_time(&self) -> bool {
        !self.0.is_said.swap(true, Ordering::Relaxed)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.of.0.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_makes_room_for_more() {
        let backlog = Backlog::default();
        let waiting: Vec<_> = (0..4).map_while(|_| backlog.add(MOST / 4)).collect();
        assert_eq!(waiting.len(), 4);
        assert!(backlog.add(1).is_none() && backlog.add(1).is_none());
        assert!(!backlog.is_idle());
        drop(waiting);
        assert!(backlog.is_idle());
        assert!(backlog.add(MOST).is_some());
        assert!(backlog.add(MOST + 1).is_none());
        assert!(backlog.is_first_time() && !backlog.is_first_time());
    }
}
