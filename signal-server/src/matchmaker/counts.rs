//! How many there are.

use std::sync::Arc;

use super::Matchmaker;

/// How many there are of what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections, joined or not.
    pub connections: usize,
    /// Peers that have joined.
    pub peers: usize,
    /// Origins.
    pub origins: usize,
    /// Pages that somebody who is there is on, or was lately.
    pub pages: usize,
    /// Pairs that said that their channel is open.
    pub channels: usize,
    /// Announcements in the directory.
    pub holds: usize,
}

impl Matchmaker {
    /// How many have joined.
    pub fn joined(&self) -> usize {
        self.peers.len()
    }

    /// How many there are of what.
    pub fn counts(&self) -> Counts {
        let sites = self.sites.values().filter(|site| site.peers > 0);
        let pages = sites.clone().flat_map(|site| site.pages.values());
        Counts {
            connections: self.connections.len(),
            peers: self.peers.len(),
            origins: sites.count(),
            pages: pages.filter(|crowd| crowd.count > 0).count(),
            channels: self.channels,
            holds: self.directory.len(),
        }
    }

    /// The origins with the most peers, and how many these are.
    pub fn largest(&self, most: usize) -> Vec<(Arc<str>, usize)> {
        let sites = self.sites.iter().filter(|(_, site)| site.peers > 0);
        let mut sites: Vec<_> = sites
            .map(|(name, site)| (name.clone(), site.peers))
            .collect();
        sites.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        sites.truncate(most);
        sites
    }
}
