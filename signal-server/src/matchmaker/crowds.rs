//! How many are on a page at all servers together, for the threshold.

use std::{collections::HashMap, sync::Arc};

use super::{Crowd, Matchmaker, Page, Peer, Site};

/// A page of an origin, as servers name it to each other.
pub type PageKey = u64;

/// Names a page of an origin.
pub fn page_key(origin: &str, page: &str) -> PageKey {
    let mut hasher = blake3::Hasher::new();
    hasher.update(origin.as_bytes()).update(&[0]);
    let [a, b, c, d, e, f, g, h, ..] = *hasher.update(page.as_bytes()).finalize().as_bytes();
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

impl Site {
    pub(super) fn of(origin: &Arc<str>) -> Self {
        Self {
            origin: origin.clone(),
            peers: 0,
            pages: HashMap::new(),
            last_page: 0,
            index: super::Index::default(),
        }
    }
}

impl Matchmaker {
    /// How many are on each page at this server, up to where more make no difference. Nothing if nobody
    /// asks for that.
    pub fn crowds(&self) -> impl Iterator<Item = (PageKey, u16)> {
        let most = self.rules.threshold;
        let sites = self.sites.values().filter(move |_| most > 0);
        let pages = sites.flat_map(|site| site.pages.values());
        let counts = pages.map(move |crowd| (crowd.key, (crowd.count - crowd.guests).min(most)));
        counts
            .filter(|(_, count)| *count > 0)
            .map(|(key, count)| (key, count.min(usize::from(u16::MAX)) as u16))
    }

    /// Whether it matters how many are on a page.
    pub fn counts_crowds(&self) -> bool {
        self.rules.threshold > 0
    }

    /// So many are on a page at other servers.
    pub fn set_crowd_elsewhere(&mut self, key: PageKey, count: usize) {
        match count {
            0 => self.crowds_elsewhere.remove(&key),
            _ => self.crowds_elsewhere.insert(key, count),
        };
    }

    /// Whether there are so many on the peer's page that it is one of several.
    pub(super) fn has_company(&self, peer: &Peer) -> bool {
        if self.rules.threshold == 0 {
            return true;
        }
        let site = self.sites.get(&peer.origin);
        let page = peer.pages.front().map(|(name, _)| name);
        let crowd = site.zip(page).and_then(|(site, page)| site.pages.get(page));
        crowd.is_some_and(|crowd| self.visitors(crowd) >= self.rules.threshold)
    }

    /// The number of a page, if enough are found there to be offered to one more.
    pub(super) fn page_to_come(&self, origin: &str, page: &str) -> Option<Page> {
        let crowd = self.sites.get(origin)?.pages.get(page)?;
        (self.visitors(crowd) + 1 >= self.rules.threshold).then_some(crowd.page)
    }

    fn visitors(&self, crowd: &Crowd) -> usize {
        let elsewhere = self.crowds_elsewhere.get(&crowd.key).copied();
        let at_home = crowd.count - crowd.guests;
        // Guests are among those who are elsewhere.
        crowd.count.max(at_home + elsewhere.unwrap_or(0))
    }
}
