//! Counts requests and bytes by where they came from, and tells the page.

use fugitive_core::{content::ContentId, port::Connected};
use serde::{Deserialize, Serialize};

use crate::link::{Link, Peers};

/// Where bytes of an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// This worker's memory.
    Memory = 0,
    /// The store.
    Store = 1,
    /// A peer.
    Tier1 = 2,
    /// A peer of a peer.
    Tier2 = 3,
    /// The origin.
    Network = 4,
}

const NAMES: [&str; 5] = ["memory", "store", "tier-1", "tier-2", "network"];

/// Requests and bytes of one source.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Count {
    /// Answers that came mostly from it.
    pub requests: f64,
    /// Bytes of content.
    pub bytes: f64,
}

/// What `stats()` shows.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Tally {
    memory: Count,
    store: Count,
    tier_1: Count,
    tier_2: Count,
    network: Count,
    /// Open peers.
    pub peers: u32,
    /// Estimated: how much later than the network alone half, and nineteen of twenty, of the last
    /// answers were, in milliseconds.
    pub regret_p50: f64,
    /// See `regret_p50`.
    pub regret_p95: f64,
    /// Bytes from peers that were thrown away, since the page opened.
    pub wasted: f64,
    /// Bytes to peers, since the page opened.
    pub sent: f64,
    /// Why nothing is served; nothing where something is.
    pub quiet: Option<String>,
    /// Bytes to peers today, in all pages.
    pub uploaded_today: f64,
    /// Bytes to peers in a day at most.
    pub upload_cap: f64,
    /// Open peers one by one: latency, bytes from and to them.
    #[serde(skip_deserializing)]
    pub connected: Vec<Connected>,
    regrets: Vec<u16>,
}

/// Answers whose regret is remembered.
const REGRETS: usize = 200;

impl Tally {
    /// An answer was so much later than the network alone would have been, in milliseconds.
    pub fn regret(&mut self, ms: f64) {
        if self.regrets.len() >= REGRETS {
            self.regrets.remove(0);
        }
        self.regrets.push(ms as u16);
    }

    /// As it is shown, with what the bridge said last.
    pub fn shown(mut self, link: &Link) -> Self {
        self.regrets.sort_unstable();
        let share = |share: usize| {
            let regret = self.regrets.get(self.regrets.len() * share / 100);
            f64::from(regret.copied().unwrap_or_default())
        };
        (self.regret_p50, self.regret_p95) = (share(50), share(95));
        self.regrets.clear();
        if let Peers::Here(open) = link.peers() {
            self.peers = open;
        }
        self.connected = link.connected();
        let (totals, allowed) = (link.totals(), link.allowed());
        (self.wasted, self.sent) = (totals.wasted as f64, totals.sent as f64);
        self.quiet = allowed.quiet;
        (self.uploaded_today, self.upload_cap) = (allowed.given as f64, allowed.daily as f64);
        self
    }

    /// Counts one answer.
    pub fn count(&mut self, served: &Served) {
        let main = served.main();
        for (source, bytes) in served.bytes.iter().enumerate() {
            let count = match source {
                0 => &mut self.memory,
                1 => &mut self.store,
                2 => &mut self.tier_1,
                3 => &mut self.tier_2,
                _ => &mut self.network,
            };
            count.bytes += *bytes as f64;
            if source == main {
                count.requests += 1.0;
            }
        }
    }
}

/// One answer as it goes out.
#[derive(Clone, Debug)]
pub struct Served {
    /// What was asked for.
    pub url: String,
    /// By whom, in the Clients API.
    pub client: String,
    /// Bytes by source.
    pub bytes: [u64; 5],
    /// When the request came, on the worker's clock.
    pub since: f64,
    /// Of which content, where that is known.
    pub id: Option<ContentId>,
}

impl Served {
    /// Bytes came from a source.
    pub fn add(&mut self, source: Source, bytes: u64) {
        self.bytes[source as usize] += bytes;
    }

    /// All bytes.
    pub fn total(&self) -> u64 {
        self.bytes.iter().sum()
    }

    fn main(&self) -> usize {
        let most = self.bytes.iter().copied().max().unwrap_or_default();
        self.bytes
            .iter()
            .rposition(|bytes| *bytes == most)
            .unwrap_or_default()
    }

    /// The source that most bytes came from.
    pub fn source(&self) -> &'static str {
        NAMES[self.main()]
    }
}
