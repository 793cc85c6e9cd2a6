//! How fast the origin is asked: what the operator allows is shared by all servers that know of each
//! other. No more than a second's worth is ever made up for.

use std::{
    num::NonZeroU32,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// What was not asked for longer ago than this is not made up for.
const BURST: Duration = Duration::from_secs(1);

/// See the module.
pub struct Pace {
    begun: Instant,
    servers: AtomicU32,
    bucket: Mutex<Bucket>,
}

impl Pace {
    /// So many requests a second of all servers together.
    pub fn new(per_second: NonZeroU32) -> Self {
        Self {
            begun: Instant::now(),
            servers: AtomicU32::new(1),
            bucket: Mutex::new(Bucket::new(per_second)),
        }
    }

    /// So many servers ask, this one counted.
    pub fn share_among(&self, servers: usize) {
        let servers = u32::try_from(servers).unwrap_or(u32::MAX);
        self.servers.store(servers.max(1), Ordering::Relaxed);
    }

    /// Waits until one more request may be made.
    pub async fn turn(&self) {
        let servers = self.servers.load(Ordering::Relaxed);
        let wait = {
            let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
            bucket.wait(self.begun.elapsed(), servers)
        };
        tokio::time::sleep(wait).await;
    }
}

/// Time is an argument, since this began.
struct Bucket {
    /// Between two requests, if no other server asks.
    pause: Duration,
    /// When the last request was due.
    last: Duration,
}

impl Bucket {
    fn new(per_second: NonZeroU32) -> Self {
        Self {
            pause: Duration::from_secs(1) / per_second.get(),
            last: Duration::ZERO,
        }
    }

    /// How long one more request has to wait.
    fn wait(&mut self, now: Duration, servers: u32) -> Duration {
        let pause = self.pause.saturating_mul(servers);
        self.last = self.last.max(now.saturating_sub(BURST)) + pause;
        self.last.saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many requests servers that share ten a second make until a time, in seconds.
    fn made(servers: u32, idle: u64, until: u64) -> usize {
        let mut made = 0;
        for _ in 0..servers {
            let mut bucket = Bucket::new(10.try_into().unwrap());
            let mut now = Duration::from_secs(idle);
            loop {
                now += bucket.wait(now, servers);
                if now > Duration::from_secs(idle + until) {
                    break;
                }
                made += 1;
            }
        }
        made
    }

    #[test]
    fn all_servers_together_ask_no_faster_than_one_would() {
        for servers in [1, 2, 5] {
            assert_eq!(made(servers, 0, 20), 200, "{servers}");
        }
        // More servers than requests a second.
        assert_eq!(made(30, 0, 60), 600);
    }

    #[test]
    fn after_a_pause_a_second_is_made_up_for_and_no_more() {
        for servers in [1, 2] {
            assert_eq!(made(servers, 3600, 20), 210, "{servers}");
        }
    }

    #[test]
    fn server_that_comes_or_goes_changes_the_pace_at_once() {
        let mut bucket = Bucket::new(10.try_into().unwrap());
        let mut now = Duration::ZERO;
        for servers in [1, 3, 1] {
            let before = now;
            for _ in 0..10 {
                now += bucket.wait(now, servers);
            }
            assert_eq!(now - before, Duration::from_secs(servers.into()));
        }
    }
}
