//! What could have been reached at most: by any engine, with the same visitors.
//!
//! A byte can come from a peer only if somebody who is there, serves, and can be connected to holds
//! it by then; if the asking page has a worker; and if somebody's uplink has room for it. The bound
//! takes each of these as if the others cost nothing: everybody who asked for something before, or
//! brought it from an earlier visit, and has not left holds it at once, whoever is there can be
//! reached if any two of their NATs ever can, and uplinks are one pool, cut into windows of some
//! seconds.
//!
//! What is asked for before the page can have a connection at all can only come from a peer if the
//! request waits; [`Bound::without_waiting`] leaves that out.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    Time,
    link::SETUP_ROUND_TRIPS,
    log::Log,
    people::{Gives, Person},
    site::Content,
    workload::Workload,
};

/// Uplinks are pooled within this.
const WINDOW: Time = 10_000_000;

/// Shares of all bytes that were asked for.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Bound {
    /// Asked for by a page with a worker, behind a NAT that lets peers through.
    pub can_ask: f64,
    /// Of which somebody who serves was there and had it.
    pub somebody_has: f64,
    /// For which there was room on uplinks.
    pub reachable: f64,
    /// Of which the page could have a connection by then.
    pub without_waiting: f64,
    /// All uplinks of those who serve against what was asked for, over the run: above 1 there was
    /// enough.
    pub supply: f64,
}

/// Who was there before, and until when.
#[derive(Default)]
struct Holders {
    /// The two who stay longest.
    last: [(Time, usize); 2],
}

impl Holders {
    fn other_than(&self, who: usize) -> Time {
        let others = self.last.iter().filter(|(_, other)| *other != who);
        others.map(|(leaves, _)| *leaves).max().unwrap_or(0)
    }

    fn add(&mut self, who: usize, leaves: Time) {
        if let Some(own) = self.last.iter_mut().find(|(_, other)| *other == who) {
            own.0 = own.0.max(leaves);
        } else if leaves > self.last[1].0 {
            self.last[1] = (leaves, who);
        }
        self.last.sort_by(|a, b| b.cmp(a));
    }
}

/// From the requests of a run without peers.
pub fn bound(workload: &Workload, people: &[Person], log: &Log) -> Bound {
    let connects = |person: &Person| {
        let chances = &workload.nats[person.nat].connects;
        chances.iter().any(|chance| *chance > 0.0)
    };
    let serves = |person: &Person| person.gives == Gives::All && connects(person);
    let mut holders: BTreeMap<(Content, u64), Holders> = BTreeMap::new();
    let mut wanted: BTreeMap<Time, u64> = BTreeMap::new();
    let (mut all, mut can_ask, mut has, mut at_once) = (0, 0, 0, 0);
    let mut coming: Vec<usize> = (0..people.len())
        .filter(|who| serves(&people[*who]))
        .collect();
    coming.sort_by_key(|who| std::cmp::Reverse(people[*who].comes()));
    for asked in &log.asked {
        // Who has come by now brought what an earlier visit left.
        while let Some(who) = coming.pop_if(|who| people[*who].comes() <= asked.at) {
            for content in &people[who].before {
                let held = holders.entry((*content, 0)).or_default();
                held.add(who, people[who].leaves());
            }
        }
        let person = &people[asked.who];
        let bytes = asked.bytes.end - asked.bytes.start;
        all += bytes;
        let held = holders
            .entry((asked.content, asked.bytes.start))
            .or_default();
        if asked.at >= person.worker && connects(person) {
            can_ask += bytes;
            if held.other_than(asked.who) > asked.at {
                has += bytes;
                if asked.at >= connected(workload, person, asked.at) {
                    at_once += bytes;
                }
                *wanted.entry(asked.at / WINDOW).or_default() += bytes;
            }
        }
        if serves(person) {
            held.add(asked.who, person.leaves());
        }
    }
    let mut supply: BTreeMap<Time, f64> = BTreeMap::new();
    for person in people.iter().filter(|person| serves(person)) {
        let from = person.comes().max(person.worker);
        let to = person.leaves();
        for window in from / WINDOW..=to / WINDOW {
            let start = from.max(window * WINDOW);
            let end = to.min((window + 1) * WINDOW);
            *supply.entry(window).or_default() += end.saturating_sub(start) as f64 * person.up;
        }
    }
    let reachable: f64 = wanted
        .iter()
        .map(|(window, bytes)| (*bytes as f64).min(supply.get(window).copied().unwrap_or(0.0)))
        .sum();
    let share = |bytes: f64| bytes / (all.max(1) as f64);
    Bound {
        can_ask: share(can_ask as f64),
        somebody_has: share(has as f64),
        reachable: share(reachable),
        without_waiting: share(reachable.min(at_once as f64)),
        supply: share(supply.values().sum()),
    }
}

/// When a visitor has its first connection at the earliest, on the page where it is at this time:
/// the socket (three round trips, the last of which carries the join), an offer and its answer, and
/// what it takes to set a channel up with a near neighbour.
pub(crate) fn connected(workload: &Workload, person: &Person, at: Time) -> Time {
    let looks = if person.tabs {
        &person.looks[..]
    } else {
        let now = person.looks.iter().position(|look| at < look.left);
        now.map_or(&[][..], |now| &person.looks[now..])
    };
    let between = &workload.world.between_ms[person.region];
    let to_server = person.access + (between[workload.world.signal_region] * 1e3) as Time;
    let nearest = between.iter().copied().fold(f64::INFINITY, f64::min);
    let to_peer = person.access + (nearest * 1e3) as Time;
    let takes = 2.0 * (4.0 * to_server as f64 + SETUP_ROUND_TRIPS * to_peer as f64);
    let begins = looks.first().map_or(Time::MAX, |look| look.bridge);
    begins.saturating_add(takes as Time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_its_own_peer_and_who_left_holds_nothing() {
        let mut holders = Holders::default();
        holders.add(1, 100);
        assert_eq!(holders.other_than(1), 0);
        holders.add(2, 50);
        assert_eq!(holders.other_than(1), 50);
        assert_eq!(holders.other_than(2), 100);
        holders.add(3, 70);
        assert_eq!(holders.other_than(1), 70);
        holders.add(1, 120);
        assert_eq!(holders.other_than(9), 120);
    }
}
