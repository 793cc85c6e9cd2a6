//! What happened in a run, added up.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    Time,
    bound::Bound,
    causes::{Share, details, shares},
    lateness::{self, Late},
    log::{Log, Sample},
    people::{Gives, Person},
    site::Site,
    stories::{Story, over, stories},
    workload::{Goals, Workload},
};

/// Some quantiles.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Quantiles {
    /// Median.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Mean.
    pub mean: f64,
}

impl Quantiles {
    /// Of these.
    pub fn of(mut values: Vec<f64>) -> Self {
        if values.is_empty() {
            return Self::default();
        }
        values.sort_by(f64::total_cmp);
        let at = |share: f64| values[((values.len() - 1) as f64 * share).round() as usize];
        Self {
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
            mean: values.iter().sum::<f64>() / values.len() as f64,
        }
    }
}

/// With peers and without.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Both {
    /// With.
    pub peers: Quantiles,
    /// Origin only.
    pub origin: Quantiles,
}

/// Of what came to those who mean well, the share that peers delivered.
fn offload_honest(people: &[Person], log: &Log) -> f64 {
    let honest = people.iter().zip(&log.sources);
    let honest = honest.filter(|(person, _)| matches!(person.gives, Gives::All | Gives::Nothing));
    let [origin, peers] = honest.fold([0, 0], |sum: [u64; 2], (_, came)| {
        [sum[0] + came[0], sum[1] + came[1]]
    });
    peers as f64 / (origin + peers).max(1) as f64
}

/// What is printed as JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Its line.
    pub about: String,
    /// Visitors.
    pub peers: usize,
    /// At the same time.
    pub peak_at_once: i64,
    /// Of virtual time.
    pub seconds: f64,
    /// In both runs.
    pub events: u64,
    /// Requests that ended in both runs.
    pub requests: usize,
    /// Bytes that were of use.
    pub bytes: u64,
    /// Of all bytes that came over the network and of those that the origin sent in vain, the share
    /// that peers delivered.
    pub offload: f64,
    /// The same of what came to those who neither pollute nor free-ride.
    pub offload_honest: f64,
    /// By peers of ours.
    pub tier1: f64,
    /// By peers of peers.
    pub tier2: f64,
    /// What was reachable, as the same share.
    pub bound: Bound,
    /// The offload as a share of what was reachable.
    pub of_bound: f64,
    /// In milliseconds.
    pub ttfb_ms: Both,
    /// In milliseconds.
    pub ttlb_ms: Both,
    /// How much later a request ended, as a share of the origin-only time.
    pub regret: Quantiles,
    /// The same to the first byte.
    pub regret_first: Quantiles,
    /// How much later all that a page asked for at once was there.
    pub regret_page: Quantiles,
    /// Why pages were late, of those that were.
    pub late_pages: Vec<(&'static str, Late)>,
    /// The share of requests that ended no later than the origin alone would have ended them.
    pub not_slower: f64,
    /// The share of all bytes that came, which were of no use.
    pub wasted: f64,
    /// Of these, by peers.
    pub wasted_peers: f64,
    /// Of all bytes that came, the share that was fetched ahead and never shown.
    pub ahead_in_vain: f64,
    /// Wrong bytes that the engine gave out as verified.
    pub wrong_bytes: u64,
    /// Sent to peers by a visitor, in bytes.
    pub upload: Quantiles,
    /// Of what visitors sent: 0 all the same, 1 one sent all.
    pub gini: f64,
    /// The same among those who would serve.
    pub gini_serving: f64,
    /// What became of requests with peers: their share, and their regret.
    pub stories: BTreeMap<String, Story>,
    /// Why the rest of the bytes came from the origin: with the offload these are all of them.
    pub causes: Vec<(&'static str, Share)>,
    /// Some of these more closely.
    pub details: Vec<(&'static str, &'static str, f64)>,
    /// Between a visitor and the signal server, both ways.
    pub signalling: Quantiles,
    /// Connections that opened, and that did not.
    pub links: [u64; 2],
    /// The site.
    pub unique_bytes: u64,
    /// From the start of a video to the first picture, in seconds.
    pub startup_s: Both,
    /// Seconds of standing still for each view, with peers and without.
    pub stalled_s: [f64; 2],
    /// Why peers were dropped.
    pub dropped: BTreeMap<String, u64>,
    /// Why wants failed.
    pub failed: BTreeMap<String, u64>,
    /// Which goals are not reached.
    pub missed: Vec<String>,
    /// For charts.
    #[serde(skip)]
    pub curves: Curves,
}

/// For charts.
#[derive(Clone, Debug, Default)]
pub struct Curves {
    /// To the first byte in ms, sorted: with peers, without.
    pub first: [Vec<f64>; 2],
    /// To the last byte.
    pub last: [Vec<f64>; 2],
    /// Sorted.
    pub regret: Vec<f64>,
    /// Sorted, in MB.
    pub up: Vec<f64>,
    /// Sorted.
    pub signalling: Vec<f64>,
    /// Second; MB from peers; from the origin.
    pub timeline: Vec<(f64, f64, f64)>,
}

impl Figures {
    /// From a run without peers and one with.
    pub fn new(
        workload: &Workload,
        site: &Site,
        people: &[Person],
        alone: &Log,
        together: &Log,
        bound: Bound,
    ) -> Self {
        let key = |sample: &Sample| (sample.at.who, sample.at.look, sample.number);
        let before: BTreeMap<_, &Sample> = alone.samples.iter().map(|s| (key(s), s)).collect();
        let pairs: Vec<(&Sample, &Sample)> = together
            .samples
            .iter()
            .filter_map(|with| Some((with, *before.get(&key(with))?)))
            .collect();
        let ms = |time: Time| time as f64 / 1e3;
        let [first, last] = [|s: &Sample| s.first, |s: &Sample| s.last];
        let column = |get: fn(&Sample) -> Time, with: bool| -> Vec<f64> {
            let mut column: Vec<f64> = pairs
                .iter()
                .map(|(a, b)| ms(get(if with { a } else { b })))
                .collect();
            column.sort_by(f64::total_cmp);
            column
        };
        let both = |get: fn(&Sample) -> Time| Both {
            peers: Quantiles::of(column(get, true)),
            origin: Quantiles::of(column(get, false)),
        };
        let regret = |get: fn(&Sample) -> Time| -> Vec<f64> {
            let mut regret: Vec<f64> = pairs.iter().map(|(a, b)| over(get(a), get(b))).collect();
            regret.sort_by(f64::total_cmp);
            regret
        };
        let (regret_page, late_pages) = lateness::pages(&pairs, people);
        let not_slower = pairs.iter().filter(|(a, b)| a.last <= b.last).count();

        let peers = together.useful[0] + together.useful[1];
        let total = (peers + together.came[1]).max(1) as f64;
        let came = together.came.iter().sum::<u64>().max(1) as f64;
        let serving: Vec<f64> = people
            .iter()
            .zip(&together.up)
            .filter(|(person, _)| person.gives == Gives::All)
            .map(|(_, up)| *up as f64)
            .collect();
        let up: Vec<f64> = together.up.iter().map(|up| *up as f64).collect();
        let offload = peers as f64 / total;
        let mut figures = Self {
            about: workload.about.clone(),
            peers: people.len(),
            peak_at_once: together.peak,
            seconds: together.seconds,
            events: alone.events + together.events,
            requests: pairs.len(),
            bytes: together.useful.iter().sum(),
            offload,
            offload_honest: offload_honest(people, together),
            tier1: together.useful[0] as f64 / total,
            tier2: together.useful[1] as f64 / total,
            of_bound: offload / bound.reachable.max(1e-9),
            bound,
            ttfb_ms: both(first),
            ttlb_ms: both(last),
            regret: Quantiles::of(regret(last)),
            regret_first: Quantiles::of(regret(first)),
            regret_page: Quantiles::of(regret_page),
            late_pages,
            not_slower: not_slower as f64 / pairs.len().max(1) as f64,
            wasted: together.waste() as f64 / came,
            wasted_peers: together.came[0].saturating_sub(peers + together.stocked.max(0) as u64)
                as f64
                / came,
            ahead_in_vain: together.stocked.max(0) as f64 / came,
            wrong_bytes: together.wrong,
            upload: Quantiles::of(up.clone()),
            gini: gini(up),
            gini_serving: gini(serving),
            stories: stories(&pairs),
            causes: shares(&together.causes, total),
            details: details(&together.details, total),
            signalling: Quantiles::of(together.signalling.iter().map(|n| f64::from(*n)).collect()),
            links: together.links,
            unique_bytes: site.unique_bytes(),
            startup_s: Both {
                peers: Quantiles::of(together.startups.clone()),
                origin: Quantiles::of(alone.startups.clone()),
            },
            stalled_s: [together, alone].map(|log| log.stalled / log.played.max(1) as f64),
            dropped: together.dropped.clone(),
            failed: together.failed.clone(),
            missed: Vec::new(),
            curves: Curves {
                first: [column(first, true), column(first, false)],
                last: [column(last, true), column(last, false)],
                regret: regret(last),
                up: sorted(together.up.iter().map(|up| *up as f64 / 1e6)),
                signalling: sorted(together.signalling.iter().map(|n| f64::from(*n))),
                timeline: timeline(&together.timeline),
            },
        };
        figures.missed = figures.misses(&workload.goals);
        figures
    }

    /// Which goals this does not reach.
    fn misses(&self, goals: &Goals) -> Vec<String> {
        let mut missed = Vec::new();
        if goals.offload.is_some_and(|goal| self.offload < goal) {
            missed.push("offload".into());
        }
        if goals.regret_p95.is_some_and(|goal| self.regret.p95 > goal) {
            missed.push("regret-p95".into());
        }
        if goals.wasted.is_some_and(|goal| self.wasted > goal) {
            missed.push("wasted".into());
        }
        if self.wrong_bytes > 0 {
            missed.push("wrong-bytes".into());
        }
        missed
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// In steps that make some two hundred.
fn timeline(log: &BTreeMap<u64, [u64; 2]>) -> Vec<(f64, f64, f64)> {
    let end = log.last_key_value().map_or(1, |(second, _)| second + 1);
    let step = (end / 200).max(1);
    let mut steps: BTreeMap<u64, [u64; 2]> = BTreeMap::new();
    for (second, [peers, origin]) in log {
        let entry = steps.entry(second / step * step).or_default();
        entry[0] += peers;
        entry[1] += origin;
    }
    steps
        .into_iter()
        .map(|(s, [p, o])| (s as f64, p as f64 / 1e6, o as f64 / 1e6))
        .collect()
}

/// Of a distribution (Gini, 1912).
pub fn gini(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let (count, sum) = (values.len() as f64, values.iter().sum::<f64>());
    if sum <= 0.0 {
        return 0.0;
    }
    let ranked: f64 = values
        .iter()
        .enumerate()
        .map(|(index, value)| (index as f64 + 1.0) * value)
        .sum();
    2.0 * ranked / (count * sum) - (count + 1.0) / count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gini_is_nothing_where_all_give_the_same_and_near_one_where_one_gives_all() {
        assert!(gini(vec![3.0; 50]).abs() < 1e-9);
        let mut one = vec![0.0; 100];
        one[7] = 5.0;
        assert!((gini(one) - 0.99).abs() < 1e-9);
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_values() {
        let quantiles = Quantiles::of((0..=100).rev().map(f64::from).collect());
        assert_eq!((quantiles.p50, quantiles.p95), (50.0, 95.0));
    }
}
