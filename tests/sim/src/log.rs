//! What happens in a run, as it is written down.

use std::{collections::BTreeMap, ops::Range};

use fugitive_core::engine::{DropReason, FailReason};

use crate::{
    Time,
    causes::{Cause, Lost, Why},
    site::Content,
    world::{At, Page},
};

/// One request that came to its end.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Where.
    pub at: At,
    /// Its place on the page.
    pub number: u32,
    /// Of what.
    pub content: Content,
    /// How many bytes.
    pub bytes: u64,
    /// When.
    pub began: Time,
    /// Until the first byte.
    pub first: Time,
    /// Until the last.
    pub last: Time,
    /// Bytes from peers of tier 1 and 2, and from the origin.
    pub from: [u64; 3],
    /// What its time went into first.
    pub story: String,
    /// The round trip to the nearest peer of ours that held it, if one did.
    pub near: Option<Time>,
    /// Somebody who was there, served and could be connected to held it.
    pub somebody: bool,
    /// How long after it began the origin was asked first, if it was.
    pub asked: Option<Time>,
    /// Peers left off in the middle.
    pub left: bool,
    /// What peers sent the visitor meanwhile, of anything else.
    pub beside: u64,
}

/// A request as it was made, whatever became of it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// When.
    pub at: Time,
    /// Who.
    pub who: usize,
    /// What.
    pub content: Content,
    /// Which bytes.
    pub bytes: Range<u64>,
}

/// One run.
#[derive(Default)]
pub struct Log {
    /// In the order of their ends.
    pub samples: Vec<Sample>,
    /// In the order of their times.
    pub asked: Vec<Asked>,
    /// Verified by the engine, and not what the site has. Must be 0.
    pub wrong: u64,
    /// How many events there were.
    pub events: u64,
    /// Of virtual time.
    pub seconds: f64,
    /// By visitor, what it sent to peers.
    pub up: Vec<u64>,
    pub(crate) signalling: Vec<u32>,
    /// Came from peers, and from the origin, whether of use or not.
    pub(crate) came: [u64; 2],
    /// Of it, from peers, by visitor.
    pub(crate) down: Vec<u64>,
    /// By visitor, what came from the origin, and what of use from peers.
    pub(crate) sources: Vec<[u64; 2]>,
    /// Of use, from peers of tier 1 and 2 and from the origin.
    pub(crate) useful: [u64; 3],
    /// What the origin sent, by why.
    pub causes: BTreeMap<Cause, Lost>,
    /// And more closely.
    pub details: BTreeMap<(Cause, &'static str), u64>,
    pub(crate) stocked: i64,
    pub(crate) held: u64,
    pub(crate) abandoned: u64,
    pub(crate) links: [u64; 2],
    pub(crate) dropped: BTreeMap<String, u64>,
    pub(crate) failed: BTreeMap<String, u64>,
    pub(crate) present: i64,
    pub(crate) peak: i64,
    pub(crate) startups: Vec<f64>,
    pub(crate) stalls: u64,
    pub(crate) stalled: f64,
    pub(crate) played: u64,
    /// For charts: second, bytes of use from peers, from the origin.
    pub timeline: BTreeMap<u64, [u64; 2]>,
    pub(crate) now: Time,
}

impl Log {
    /// Of a run with so many visitors.
    pub fn new(people: usize) -> Self {
        Self {
            up: vec![0; people],
            signalling: vec![0; people],
            down: vec![0; people],
            sources: vec![[0; 2]; people],
            ..Self::default()
        }
    }

    pub(crate) fn comes(&mut self, now: Time, first: bool) {
        self.now = now;
        self.present += i64::from(first);
        self.peak = self.peak.max(self.present);
    }

    pub(crate) fn leaves(&mut self, now: Time, last: bool) {
        self.now = now;
        self.present -= i64::from(last);
    }

    pub(crate) fn page_ends(&mut self, _who: usize, page: &Page) {
        if let Some(player) = &page.player {
            self.played += 1;
            self.startups
                .extend(player.startup.map(|time| time as f64 / 1e6));
            self.stalls += u64::from(player.stalls);
            self.stalled += player.stalled as f64 / 1e6;
        }
    }

    pub(crate) fn asked(&mut self, at: Time, who: usize, content: Content, bytes: &Range<u64>) {
        self.now = at;
        self.asked.push(Asked {
            at,
            who,
            content,
            bytes: bytes.clone(),
        });
    }

    pub(crate) fn sample(&mut self, sample: Sample) {
        self.samples.push(sample);
    }

    pub(crate) fn signalling(&mut self, who: usize) {
        self.signalling[who] += 1;
    }

    /// Whether that was what the visitor gives at most.
    pub(crate) fn uploads(&mut self, who: usize, bytes: u64, cap: u64) -> bool {
        let before = self.up[who];
        self.up[who] += bytes;
        before < cap && self.up[who] >= cap
    }

    pub(crate) fn peer_sent(&mut self, to: usize, bytes: u64) {
        self.down[to] += bytes;
        self.came[0] += bytes;
    }

    pub(crate) fn origin_sent(&mut self, to: usize, bytes: u64) {
        self.sources[to][0] += bytes;
        self.came[1] += bytes;
    }

    /// The origin sent bytes because of this.
    pub(crate) fn lost(&mut self, why: Why, bytes: u64) {
        if bytes > 0 {
            let lost = self.causes.entry(why.cause).or_default();
            lost.bytes += bytes;
            lost.held += bytes * u64::from(why.held);
            lost.later += bytes * u64::from(why.later);
            lost.reachable += bytes * u64::from(why.reachable);
            if !why.detail.is_empty() {
                *self.details.entry((why.cause, why.detail)).or_default() += bytes;
            }
        }
    }

    pub(crate) fn useful(&mut self, to: usize, bytes: u64, source: usize) {
        self.sources[to][1] += bytes * u64::from(source != 2);
        self.useful[source] += bytes;
        let second = self.now / 1_000_000;
        self.timeline.entry(second).or_default()[usize::from(source == 2)] += bytes;
    }

    pub(crate) fn held(&mut self, bytes: u64) {
        self.held += bytes;
    }

    pub(crate) fn abandoned(&mut self) {
        self.abandoned += 1;
    }

    pub(crate) fn linked(&mut self, well: bool) {
        self.links[usize::from(!well)] += 1;
    }

    pub(crate) fn dropped(&mut self, why: DropReason) {
        *self.dropped.entry(why.to_string()).or_default() += 1;
    }

    pub(crate) fn failed(&mut self, why: FailReason) {
        *self.failed.entry(why.to_string()).or_default() += 1;
    }

    /// A content was fetched ahead (positive), and then shown (negative).
    pub(crate) fn stocked(&mut self, bytes: i64) {
        self.stocked += bytes;
    }

    /// Received twice or thrown away. What was fetched ahead is held, and served to others.
    pub(crate) fn waste(&self) -> u64 {
        let came: u64 = self.came.iter().sum();
        let kept = self.useful.iter().sum::<u64>() + self.stocked.max(0) as u64;
        came.saturating_sub(kept)
    }
}
