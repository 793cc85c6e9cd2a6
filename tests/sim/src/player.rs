//! A video element: plays at a steady rate, reads a little ahead, and asks for the file in the
//! parts that an open-ended range is answered in.

use std::ops::Range;

use fugitive_core::request::PART;

use crate::{
    Time,
    site::Content,
    workload::Video,
    world::{At, Event, World},
};

/// Between two looks at how far a player is.
const LOOKS: Time = 50_000;

/// A player of one video.
pub struct Player {
    /// What it plays.
    pub content: Content,
    len: u64,
    /// Bytes per microsecond.
    rate: f64,
    /// How far it reads ahead, in bytes.
    ahead: u64,
    /// The next byte to play.
    head: f64,
    /// The next byte to read.
    read: u64,
    /// One past the last byte that was asked for.
    asked: u64,
    plays: bool,
    is_told: bool,
    at: Time,
    begun: Time,
    /// From the start to the first picture.
    pub startup: Option<Time>,
    /// How often it stood still.
    pub stalls: u32,
    /// For how long.
    pub stalled: Time,
}

impl Player {
    /// Started now.
    pub fn new(content: Content, len: u64, video: &Video, now: Time) -> Self {
        let rate = len as f64 / (video.seconds * 1e6);
        Self {
            content,
            len,
            rate,
            ahead: (video.ahead_s * 1e6 * rate).max(video.ahead_mb * 1e6) as u64,
            head: 0.0,
            read: 0,
            asked: 0,
            plays: false,
            is_told: false,
            at: now,
            begun: now,
            startup: None,
            stalls: 0,
            stalled: 0,
        }
    }

    /// How fast it plays, in bytes a second, once: its first bytes say so.
    pub fn pace(&mut self) -> Option<u64> {
        let is_new = self.read > 0 && !std::mem::replace(&mut self.is_told, true);
        is_new.then_some((self.rate * 1e6) as u64)
    }

    /// Time went on.
    pub fn plays(&mut self, now: Time) {
        let passed = now - self.at;
        self.at = now;
        if self.plays {
            self.head = (self.head + passed as f64 * self.rate).min(self.read as f64);
            if self.head >= self.read as f64 && self.read < self.len {
                self.plays = false;
                self.stalls += 1;
            }
        } else if self.startup.is_some() {
            self.stalled += passed;
        }
        // A second is enough to begin, or to go on.
        let enough = (self.head + 1e6 * self.rate).min(self.len as f64);
        if !self.plays && self.read as f64 >= enough {
            self.plays = true;
            self.startup.get_or_insert(now - self.begun);
        }
    }

    /// Bytes up to here were read.
    pub fn reads(&mut self, to: u64) {
        self.read = self.read.max(to);
    }

    /// It reads no further for now.
    pub fn limit(&self) -> u64 {
        (self.head as u64 + self.ahead).min(self.len)
    }

    /// The next part, if it is time to ask for one: its number and bytes.
    pub fn next_part(&mut self) -> Option<(u32, Range<u64>)> {
        let wants = self.read >= self.asked && self.asked < self.limit();
        wants.then(|| {
            let start = self.asked;
            self.asked = (start + PART).min(self.len);
            ((start / PART) as u32, start..self.asked)
        })
    }

    /// Nothing more is read.
    pub fn ended(&self) -> bool {
        self.head as u64 >= self.len
    }
}

impl World<'_> {
    /// The visitor starts the video.
    pub(crate) fn play(&mut self, at: At) {
        let page = self.people[at.who].looks[at.look].page;
        let (Some(video), Some(content)) = (&self.workload.site.video, self.site.pages[page].video)
        else {
            return;
        };
        let len = self.site.content(content).len();
        let player = Player::new(content, len, video, self.clock.now());
        if let Some(page) = self.page(at) {
            page.player = Some(player);
            self.played(at);
        }
    }

    /// Time went on.
    pub(crate) fn played(&mut self, at: At) {
        let now = self.clock.now();
        let Some(player) = self.page(at).and_then(|page| page.player.as_mut()) else {
            return;
        };
        player.plays(now);
        let (content, limit, part, ended) = (
            player.content,
            player.limit(),
            player.next_part(),
            player.ended(),
        );
        if let Some((number, bytes)) = part {
            self.ask(at, number, content, bytes);
        }
        self.reads_to(at, limit);
        if !ended {
            self.clock.after(LOOKS, Event::Player(at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Dist;

    fn player() -> Player {
        let video = Video {
            mb: 10.0,
            seconds: 100.0,
            start_s: Dist::Constant(0.0),
            ahead_s: 10.0,
            ahead_mb: 0.5,
            ahead: false,
        };
        Player::new(0, 10_000_000, &video, 0)
    }

    #[test]
    fn player_reads_only_so_far_ahead_and_asks_part_by_part() {
        let mut player = player();
        assert_eq!(player.next_part(), Some((0, 0..PART)));
        assert_eq!(player.next_part(), None);
        assert_eq!(player.limit(), 1_000_000);
        player.reads(1_000_000);
        player.plays(1_000);
        assert_eq!(player.startup, Some(1_000));
        player.plays(5_001_000);
        assert_eq!(player.limit(), 1_500_000);
    }

    #[test]
    fn player_that_runs_dry_stands_still_until_it_has_a_second() {
        let mut player = player();
        player.reads(200_000);
        player.plays(0);
        player.plays(3_000_000);
        assert_eq!(player.stalls, 1);
        player.reads(250_000);
        player.plays(4_000_000);
        assert_eq!(player.stalled, 1_000_000);
        player.reads(350_000);
        player.plays(5_000_000);
        player.plays(6_000_000);
        assert_eq!((player.stalls, player.stalled), (1, 2_000_000));
    }
}
