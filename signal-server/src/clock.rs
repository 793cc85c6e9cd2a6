//! Two clocks. What happens within one run of the server goes by one that only goes forwards; what
//! other machines or other runs go by as well (tickets, tokens, TURN passwords, an origin's word for
//! its files) by the wall clock, which may be set.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// A difference by which clocks drift apart, and nobody set one.
const DRIFT: Duration = Duration::from_secs(5);

/// The wall clock.
#[derive(Clone)]
pub struct WallClock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl WallClock {
    /// Read so.
    pub fn new(read: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// Since 1970; nothing if it is set to before that.
    pub fn date(&self) -> Duration {
        let since = (self.0)().duration_since(UNIX_EPOCH);
        since.unwrap_or_default()
    }
}

impl Default for WallClock {
    /// The machine's.
    fn default() -> Self {
        Self::new(SystemTime::now)
    }
}

/// Both, in milliseconds.
#[derive(Clone)]
pub struct Clocks {
    begun: Instant,
    date: Duration,
    wall: WallClock,
}

impl Clocks {
    /// They agree now.
    pub fn new(wall: WallClock) -> Self {
        Self {
            begun: Instant::now(),
            date: wall.date(),
            wall,
        }
    }

    /// By the clock that only goes forwards.
    pub fn now(&self) -> u64 {
        (self.date + self.begun.elapsed()).as_millis() as u64
    }

    /// By the wall clock.
    pub fn date(&self) -> u64 {
        self.wall.date().as_millis() as u64
    }

    /// How far the wall clock is ahead of the other.
    pub fn ahead(&self) -> i64 {
        self.date().wrapping_sub(self.now()) as i64
    }
}

/// Whether somebody set the wall clock between these two looks at how far it was ahead.
pub fn was_set(before: i64, ahead: i64) -> bool {
    u128::from(before.abs_diff(ahead)) > DRIFT.as_millis()
}
