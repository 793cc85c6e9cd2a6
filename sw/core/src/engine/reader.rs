//! How a page reads what it plays: how fast, how far ahead of what it shows, and so what it needs when.
//!
//! A player takes some seconds ahead as fast as they come, and from then on it reads as fast as it plays.
//! It is taken for having its seconds ahead whenever it leaves something unread. What comes later than
//! it would read it then, and not by more than a part of those seconds, keeps nobody waiting.

/// How fast a player of which nothing is known reads at most, in bytes a millisecond: 10 Mbit/s, which is
/// more than most films of 1080 lines have.
const FIRST_PACE: f64 = 1_250.0;
/// Who is known to play more slowly is given this many times what it plays, so that it gets ahead.
const GAINS: f64 = 1.5;
/// Who leaves something unread for this long does not want more for now, in milliseconds.
const LEFT: u64 = 250;
/// A pace is measured over at least this long, in milliseconds.
const METER: u64 = 1_000;
/// Of what a player has ahead, so much may go.
const SPENT: f64 = 0.5;

/// What is known of a reader.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Reader {
    /// When it began to read, and where.
    began: (u64, u64),
    /// Since when it leaves something unread, and up to where it had read.
    unread: Option<(u64, u64)>,
    /// Up to where it had read when it first did.
    first: Option<u64>,
    /// When it last did, and up to where it had read.
    level: Option<(u64, u64)>,
    /// Bytes a millisecond, as measured; 0 is not known.
    pace: f64,
    /// The same, as whoever plays it says.
    told: f64,
}

impl Reader {
    /// It begins here and now.
    pub(super) fn new(now: u64, at: u64) -> Self {
        Self {
            began: (now, at),
            unread: None,
            first: None,
            level: None,
            pace: 0.0,
            told: 0.0,
        }
    }

    /// It plays as fast as this, in bytes a millisecond. Where that is another pace than before, so is what
    /// was measured.
    pub(super) fn plays_at(&mut self, pace: f64) {
        if self.is_told() {
            self.pace *= pace / self.told;
        }
        self.told = pace;
    }

    /// Whether it is known how fast it plays.
    pub(super) fn is_told(&self) -> bool {
        self.told > 0.0
    }

    /// It goes on elsewhere.
    pub(super) fn turns_to(self, now: u64, at: u64) -> Self {
        Self {
            pace: self.pace,
            told: self.told,
            ..Self::new(now, at)
        }
    }

    /// It read up to here, and left something unread or not. Says whether it does not want more for now.
    pub(super) fn reads(&mut self, now: u64, read: u64, leaves_some: bool) -> bool {
        if !leaves_some {
            self.unread = None;
            return false;
        }
        let (since, from) = *self.unread.get_or_insert((now, read));
        if now < since + LEFT {
            return false;
        }
        self.first.get_or_insert(from);
        self.level = Some((now, read));
        if now >= since + METER && read > from {
            self.pace = (read - from) as f64 / (now - since) as f64;
        }
        true
    }

    /// It read all that it had left unread, and goes on from here.
    pub(super) fn has_read(mut self, now: u64, to: u64) -> Self {
        if self.unread.is_some() {
            self.reads(now, to, true);
            self.unread = None;
        }
        self
    }

    /// Bytes a millisecond, no more than the network has.
    pub(super) fn pace(&self, network: f64) -> f64 {
        let pace = if self.pace > 0.0 {
            self.pace
        } else if self.is_told() {
            self.told * GAINS
        } else {
            FIRST_PACE
        };
        pace.min(network)
    }

    /// When it reads a byte, if it is not kept waiting.
    pub(super) fn reads_at(&self, byte: u64, network: f64) -> f64 {
        let (since, from) = self.level.unwrap_or(self.began);
        let left = byte as f64 - from as f64;
        since as f64 + left / self.pace(network)
    }

    /// Whether it has enough ahead not to wait for this byte, for all that is known.
    pub(super) fn is_ahead(&self, now: u64, byte: u64, network: f64) -> bool {
        let in_time = |most| now as f64 <= self.reads_at(byte, network) + most;
        self.spares().is_some_and(in_time)
    }

    /// For how long it goes on with what it may do without of what it has ahead, in milliseconds, if
    /// that is known.
    pub(super) fn spares(&self) -> Option<f64> {
        let read = self.first.filter(|_| self.pace > 0.0)?;
        Some((read - self.began.1) as f64 / self.pace * SPENT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes two megabytes at once, and then 300 bytes a millisecond.
    fn player() -> Reader {
        let mut reader = Reader::new(1_000, 500_000);
        // That some of what came at once is read a moment later says nothing.
        assert!(!reader.reads(1_500, 1_000_000, true));
        assert!(!reader.reads(1_600, 1_300_000, false));
        assert!(!reader.reads(2_000, 2_500_000, true));
        assert!(reader.reads(2_500, 2_650_000, true));
        assert_eq!(reader.spares(), None);
        assert!(reader.reads(4_000, 3_100_000, true));
        reader
    }

    #[test]
    fn pace_is_what_it_reads_where_it_leaves_something() {
        let reader = player();
        assert_eq!(reader.pace(5_000.0), 300.0);
        assert_eq!(reader.reads_at(3_400_000, 5_000.0), 5_000.0);
    }

    #[test]
    fn half_of_what_it_took_at_once_may_go() {
        let spares = player().spares().unwrap();
        assert!(
            (spares - 2_000_000.0 / 300.0 / 2.0).abs() < 1e-6,
            "{spares}"
        );
    }

    #[test]
    fn who_has_used_up_half_of_it_waits() {
        let byte = 3_400_000;
        assert!(player().is_ahead(8_000, byte, 5_000.0));
        assert!(!player().is_ahead(8_400, byte, 5_000.0));
        assert!(!Reader::new(1_000, byte).is_ahead(1_000, byte, 5_000.0));
    }

    #[test]
    fn who_reads_on_has_read_what_was_left() {
        let mut reader = Reader::new(1_000, 0);
        assert!(!reader.reads(2_000, 2_000_000, true));
        let reader = reader.has_read(8_000, 4_000_000);
        assert_eq!(reader.pace(5_000.0), 2_000_000.0 / 6_000.0);
        assert_eq!(reader.reads_at(4_000_000, 5_000.0), 8_000.0);
        // Who had nothing left may have waited for it.
        let reader = Reader::new(1_000, 0).has_read(8_000, 4_000_000);
        assert_eq!(reader.pace(5_000.0), FIRST_PACE);
    }

    #[test]
    fn who_says_how_fast_it_plays_is_given_more_until_that_was_seen() {
        let mut reader = Reader::new(1_000, 0);
        reader.plays_at(200.0);
        assert_eq!(reader.pace(5_000.0), 300.0);
        assert_eq!(reader.reads_at(600_000, 5_000.0), 3_000.0);
        // Elsewhere it plays as fast.
        assert_eq!(reader.turns_to(2_000, 9_000_000).pace(5_000.0), 300.0);
        let mut seen = player();
        seen.plays_at(900.0);
        assert_eq!(seen.pace(5_000.0), 300.0);
        // Twice as fast as until now.
        seen.plays_at(1_800.0);
        assert_eq!(seen.pace(5_000.0), 600.0);
    }

    #[test]
    fn nothing_is_faster_than_the_network() {
        let reader = Reader::new(0, 0);
        assert_eq!(reader.pace(100.0), 100.0);
        assert_eq!(reader.pace(1e6), FIRST_PACE);
        assert_eq!(player().pace(200.0), 200.0);
    }

    #[test]
    fn who_seeks_has_nothing_ahead_and_the_same_pace() {
        let reader = player().turns_to(9_000, 40_000_000);
        assert_eq!(reader.pace(5_000.0), 300.0);
        assert_eq!(reader.spares(), None);
        assert_eq!(reader.reads_at(40_000_000, 5_000.0), 9_000.0);
    }
}
