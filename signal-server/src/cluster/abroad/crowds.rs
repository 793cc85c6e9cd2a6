//! How many are on each page at which server: below the threshold, visitors of all servers count
//! together. Each server says what changed, and now and then all of it.

use std::collections::{HashMap, HashSet};

use super::{Abroad, Kind, Letter, STILL};
use crate::{
    cluster::ServerId,
    matchmaker::{Matchmaker, PageKey},
};

/// Pages of one server that are remembered.
const MOST: usize = 100_000;
/// What is not said again for so long is over, in milliseconds.
const OVER: u64 = 3 * STILL;
/// A page and how many are there.
const LINE: usize = 10;
/// Lines in one letter.
const LINES: usize = 16_384;

/// What other servers said, and what they were told.
#[derive(Default)]
pub(super) struct Crowds {
    told: HashMap<PageKey, u16>,
    /// How many, and when that was said.
    heard: HashMap<ServerId, HashMap<PageKey, (u16, u64)>>,
}

impl Crowds {
    /// It was said to some servers only.
    pub(super) fn say_again(&mut self, page: PageKey) {
        self.told.insert(page, u16::MAX);
    }

    fn sum(&self, page: PageKey) -> usize {
        let servers = self.heard.values();
        let counts = servers.filter_map(|pages| pages.get(&page));
        counts.map(|(count, _)| usize::from(*count)).sum()
    }

    fn hear(&mut self, server: ServerId, page: PageKey, count: u16, now: u64) {
        let pages = self.heard.entry(server).or_default();
        if count == 0 {
            pages.remove(&page);
        } else if pages.len() < MOST || pages.contains_key(&page) {
            pages.insert(page, (count, now));
        }
    }
}

impl Abroad {
    /// Another server says how many are on these pages there.
    pub(super) fn hear_crowds(
        &mut self,
        server: ServerId,
        body: &[u8],
        matchmaker: &mut Matchmaker,
        now: u64,
    ) {
        for line in body.as_chunks::<LINE>().0 {
            let [a, b, c, d, e, f, g, h, high, low] = *line;
            let page = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
            let count = u16::from_be_bytes([high, low]);
            self.hear_crowd(server, page, count, matchmaker, now);
        }
    }

    pub(super) fn hear_crowd(
        &mut self,
        server: ServerId,
        page: PageKey,
        count: u16,
        matchmaker: &mut Matchmaker,
        now: u64,
    ) {
        self.crowds.hear(server, page, count, now);
        matchmaker.set_crowd_elsewhere(page, self.crowds.sum(page));
    }

    /// Says what changed, or all.
    pub(super) fn tell_crowds(&mut self, all: bool, matchmaker: &Matchmaker) {
        let crowds: HashMap<PageKey, u16> = matchmaker.crowds().collect();
        let told = std::mem::take(&mut self.crowds.told);
        let gone = told.keys().filter(|page| !crowds.contains_key(page));
        let gone = gone.map(|page| (*page, 0));
        let new = crowds
            .iter()
            .filter(|(page, count)| all || told.get(page) != Some(count));
        let news: Vec<(PageKey, u16)> = new
            .map(|(page, count)| (*page, *count))
            .chain(gone)
            .collect();
        for some in news.chunks(LINES) {
            let mut body = Vec::with_capacity(some.len() * LINE);
            for (page, count) in some {
                body.extend_from_slice(&page.to_be_bytes());
                body.extend_from_slice(&count.to_be_bytes());
            }
            let letter = Letter {
                kind: Kind::Crowds,
                from: self.me,
                conn: 0,
                body: &body,
            };
            self.backbone.tell_all(letter.bytes());
        }
        self.crowds.told = crowds;
    }

    /// Forgets what was not said again.
    pub(super) fn end_crowds(&mut self, matchmaker: &mut Matchmaker, now: u64) {
        let mut over = HashSet::new();
        for pages in self.crowds.heard.values_mut() {
            pages.retain(|page, (_, heard)| {
                let stays = now.saturating_sub(*heard) < OVER;
                if !stays {
                    over.insert(*page);
                }
                stays
            });
        }
        self.sum_up(over, matchmaker);
    }

    /// Who is on pages of a server that is lost counts no more.
    pub(super) fn lose_crowds(&mut self, server: ServerId, matchmaker: &mut Matchmaker) {
        let pages = self.crowds.heard.remove(&server).unwrap_or_default();
        self.sum_up(pages.into_keys(), matchmaker);
    }

    fn sum_up(&self, pages: impl IntoIterator<Item = PageKey>, matchmaker: &mut Matchmaker) {
        for page in pages {
            matchmaker.set_crowd_elsewhere(page, self.crowds.sum(page));
        }
    }
}
