//! Distance on one machine: what travels is late, and shares a line of limited width.
//!
//! Streams cost one round trip to set up. Datagrams are lost where the queue before a line is full.
//! Slow start and loss on the way are not imitated.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

mod datagrams;
mod streams;

pub use datagrams::datagrams;
pub use streams::connections;

/// A datagram that would wait longer than this for its turn is lost, as in a router with a queue of
/// this length.
const QUEUE: Duration = Duration::from_millis(200);

/// How far away something is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Distance {
    /// Of a round trip.
    pub latency: Duration,
    /// Of the line, in bit/s.
    pub bandwidth: Option<f64>,
}

impl Distance {
    /// Whether it is not worth imitating.
    pub fn is_none(self) -> bool {
        self.latency.is_zero() && self.bandwidth.is_none()
    }
}

/// A line of limited width: who wants to send waits until all before it have gone through.
pub struct Line {
    seconds_per_byte: f64,
    free: Mutex<Instant>,
}

impl Line {
    /// So wide, in bit/s; `None` is without a limit.
    pub fn new(bandwidth: Option<f64>) -> Self {
        Self {
            seconds_per_byte: bandwidth.map_or(0.0, |bits| 8.0 / bits),
            free: Mutex::new(Instant::now()),
        }
    }

    /// When this is through, if it is sent now and waits no longer than `patience` for its turn.
    fn through(&self, bytes: usize, patience: Duration) -> Option<Instant> {
        let now = Instant::now();
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let start = (*free).max(now);
        if start - now > patience {
            return None;
        }
        *free = start + Duration::from_secs_f64(self.seconds_per_byte * bytes as f64);
        Some(*free)
    }

    /// Waits until so many bytes are through.
    pub async fn pass(&self, bytes: usize) {
        if let Some(through) = self.through(bytes, Duration::MAX) {
            sleep_until(through).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn line_is_shared_by_all_who_use_it() {
        let line = Line::new(Some(8_000_000.0));
        let began = Instant::now();
        tokio::join!(line.pass(500_000), line.pass(500_000));
        let took = began.elapsed().as_millis();
        assert!((1000..1010).contains(&took), "{took} ms");
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_queue_does_not_hold_is_lost() {
        let line = Line::new(Some(8_000_000.0));
        let taken = (0..400).filter(|_| line.through(1_000, QUEUE).is_some());
        // Two hundred wait, and one is on its way.
        assert_eq!(taken.count(), 201);
    }
}
