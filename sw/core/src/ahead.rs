//! What a page may want next: which of it peers are asked for now, how much at once, and when again.
//!
//! A driver takes what [`Ahead::next`] gives until it gives nothing, says of each how it
//! [ended](Ahead::ended), says when [peers change](Ahead::peers_changed), and asks again when one has
//! ended, when peers change, at [`Ahead::again_at`], and every [`LOOK`] as long as it is
//! [held up](Ahead::is_held_up) by what the page waits for. Times are milliseconds of any clock that does
//! not go back.

use std::collections::VecDeque;

/// Resources of one page, at most.
const MOST: usize = 64;
/// One takes a round trip or two, and few bytes: one after the other the last would come too late.
pub const AT_ONCE: usize = 4;
/// What nobody had is asked for again after so long, and for so long in all: others come.
const ROUND: u64 = 4_000;
const LASTS: u64 = 8 * ROUND;
/// What is held up looks again after so long.
pub const LOOK: u64 = 200;
/// A peer that has come has said by then what it has.
const TOLD: u64 = 500;

/// What is longer is not fetched ahead as a whole, in bytes.
pub const WHOLE: u64 = 16 << 20;
/// Of what is longer, or played, the first bytes are: a player begins with so many.
pub const BEGINNING: u64 = 1 << 20;

/// Up to which byte something of this length and type is fetched ahead.
pub fn reach(len: u64, mime: &str) -> u64 {
    let is_played = ["video/", "audio/"].iter().any(|kind| {
        let start = mime.get(..kind.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(kind))
    });
    if len > WHOLE || is_played {
        len.min(BEGINNING)
    } else {
        len
    }
}

/// See the module; what is fetched is named by `T`.
pub struct Ahead<T> {
    next: VecDeque<T>,
    /// What nobody had.
    left: Vec<T>,
    running: usize,
    /// When it began.
    since: Option<u64>,
    again_at: Option<u64>,
    held_up: bool,
}

impl<T> Default for Ahead<T> {
    fn default() -> Self {
        Self::new([])
    }
}

impl<T> Ahead<T> {
    /// In this order.
    pub fn new(items: impl IntoIterator<Item = T>) -> Self {
        Self {
            next: items.into_iter().take(MOST).collect(),
            left: Vec::new(),
            running: 0,
            since: None,
            again_at: None,
            held_up: false,
        }
    }

    /// What peers are to be asked for now: nothing while the page waits for the network, with which
    /// it would share the line.
    pub fn next(&mut self, has_peers: bool, page_waits: bool, now: u64) -> Option<T> {
        let since = *self.since.get_or_insert(now);
        self.held_up = page_waits && now < since + LASTS;
        if page_waits {
            return None;
        }
        if !has_peers {
            if self.running == 0 && self.again_at.is_none_or(|at| at <= now) {
                self.waits(now);
            }
            return None;
        }
        if self.again_at.is_some_and(|at| at <= now) {
            self.again_at = None;
            self.next.extend(self.left.drain(..));
        }
        if self.running >= AT_ONCE {
            return None;
        }
        let item = self.next.pop_front()?;
        self.running += 1;
        Some(item)
    }

    /// One of them came, or nobody had it.
    pub fn ended(&mut self, left: Option<T>, now: u64) {
        self.running = self.running.saturating_sub(1);
        self.left.extend(left);
        if self.running == 0 && self.next.is_empty() {
            self.waits(now);
        }
    }

    fn waits(&mut self, now: u64) {
        let lacks = !self.left.is_empty() || !self.next.is_empty();
        let goes_on = lacks && self.since.is_none_or(|since| now < since + LASTS);
        self.again_at = goes_on.then_some(now + ROUND);
    }

    /// There are more peers, or others: they may have what nobody had.
    pub fn peers_changed(&mut self, now: u64) {
        if let Some(at) = &mut self.again_at {
            *at = (*at).min(now + TOLD);
        }
    }

    /// When to ask again at the latest.
    pub fn again_at(&self) -> Option<u64> {
        self.again_at
    }

    /// Where [`Ahead::next`] gave nothing: whether it never will again.
    pub fn is_over(&self) -> bool {
        self.running == 0 && self.again_at.is_none() && !self.held_up
    }

    /// The page waits for the network: it may not for long.
    pub fn is_held_up(&self) -> bool {
        self.held_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(ahead: &mut Ahead<u32>, now: u64) -> Vec<u32> {
        std::iter::from_fn(|| ahead.next(true, false, now)).collect()
    }

    #[test]
    fn of_what_is_played_and_of_what_is_very_long_the_beginning_is_fetched() {
        assert_eq!(reach(WHOLE, "image/png"), WHOLE);
        assert_eq!(reach(WHOLE + 1, "image/png"), BEGINNING);
        assert_eq!(reach(3 << 20, "Video/MP4; codecs=avc1"), BEGINNING);
        assert_eq!(reach(3 << 20, "audio/ogg"), BEGINNING);
        assert_eq!(reach(90_000, "video/mp4"), 90_000);
        assert_eq!(reach(90_000, ""), 90_000);
    }

    #[test]
    fn few_are_under_way_at_once_and_each_that_ends_makes_room() {
        let mut ahead = Ahead::new(0..6);
        assert_eq!(taken(&mut ahead, 0), [0, 1, 2, 3]);
        ahead.ended(None, 10);
        assert_eq!(taken(&mut ahead, 10), [4]);
        assert!(!ahead.is_over());
        for _ in 0..4 {
            ahead.ended(None, 20);
        }
        assert_eq!(taken(&mut ahead, 20), [5]);
        ahead.ended(None, 30);
        assert!(taken(&mut ahead, 30).is_empty() && ahead.is_over());
    }

    #[test]
    fn nothing_is_begun_while_the_page_waits_for_the_network_and_then_it_goes_on() {
        let mut ahead = Ahead::new(0..2);
        assert_eq!(ahead.next(true, true, 0), None);
        assert!(ahead.is_held_up() && !ahead.is_over());
        assert_eq!(taken(&mut ahead, LOOK), [0, 1]);
        assert!(!ahead.is_held_up());
    }

    #[test]
    fn page_that_always_waits_ends_it() {
        let mut ahead = Ahead::new([1]);
        assert_eq!(ahead.next(true, true, 0), None);
        assert_eq!(ahead.next(true, true, LASTS), None);
        assert!(ahead.is_over());
    }

    #[test]
    fn peers_who_come_late_are_asked_at_once() {
        let mut ahead = Ahead::new([1]);
        assert_eq!(ahead.next(false, false, 0), None);
        assert_eq!(ahead.again_at(), Some(ROUND));
        assert!(!ahead.is_over());
        assert_eq!(ahead.next(true, false, 700), Some(1));
    }

    #[test]
    fn what_nobody_had_is_asked_for_again_but_not_for_ever() {
        let mut ahead = Ahead::new([1, 2]);
        let mut now = 0;
        for _ in 0..=LASTS / ROUND {
            assert_eq!(taken(&mut ahead, now), [1, 2]);
            ahead.ended(Some(1), now);
            assert!(taken(&mut ahead, now).is_empty() && !ahead.is_over());
            ahead.ended(Some(2), now);
            assert!(taken(&mut ahead, now).is_empty());
            now = ahead.again_at().unwrap_or(now);
        }
        assert!(ahead.is_over());
        assert_eq!(now, LASTS);
    }

    #[test]
    fn nobody_is_waited_for_longer_than_what_nobody_has() {
        let mut ahead = Ahead::new([1]);
        let mut now = 0;
        while ahead.next(false, false, now).is_none() && !ahead.is_over() {
            now = ahead.again_at().unwrap_or(now);
        }
        assert_eq!(now, LASTS);
    }

    #[test]
    fn who_comes_is_asked_for_what_nobody_had() {
        let mut ahead = Ahead::new([1]);
        assert_eq!(taken(&mut ahead, 0), [1]);
        ahead.peers_changed(10);
        ahead.ended(Some(1), 20);
        assert_eq!(ahead.again_at(), Some(20 + ROUND));
        ahead.peers_changed(1_000);
        ahead.peers_changed(1_400);
        assert_eq!(ahead.again_at(), Some(1_000 + TOLD));
        assert!(taken(&mut ahead, 1_499).is_empty());
        assert_eq!(taken(&mut ahead, 1_500), [1]);
    }
}
