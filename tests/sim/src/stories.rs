//! Why requests went as they did.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{Time, log::Sample, measure::Quantiles};

/// Requests that went alike.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Story {
    /// Of all requests.
    pub requests: f64,
    /// Of all their bytes.
    pub bytes: f64,
    /// Of their bytes, the share that peers delivered.
    pub from_peers: f64,
    /// The share for which a connected peer that serves held it when it was asked for.
    pub holder: f64,
    /// The share of all bytes that came from the origin instead: while nobody who could be connected
    /// to held them, while nobody who was connected did, and while somebody who was did.
    pub lost: [f64; 3],
    /// The round trip to the nearest of these, in milliseconds.
    pub holder_ms: Quantiles,
    /// To the last byte.
    pub regret: Quantiles,
}

pub(crate) fn stories(pairs: &[(&Sample, &Sample)]) -> BTreeMap<String, Story> {
    let mut told: BTreeMap<&str, Vec<(&Sample, &Sample)>> = BTreeMap::new();
    for pair in pairs {
        told.entry(&pair.0.story).or_default().push(*pair);
    }
    let bytes = |pairs: &[(&Sample, &Sample)]| pairs.iter().map(|(a, _)| a.bytes).sum::<u64>();
    let all = bytes(pairs).max(1) as f64;
    let story = |alike: Vec<(&Sample, &Sample)>| {
        let peers: u64 = alike.iter().map(|(a, _)| a.from[0] + a.from[1]).sum();
        let own = bytes(&alike).max(1) as f64;
        let mut lost = [0.0; 3];
        for (with, _) in &alike {
            let why = usize::from(with.somebody) + usize::from(with.near.is_some());
            lost[why] += with.from[2] as f64 / all;
        }
        let near: Vec<f64> = alike
            .iter()
            .filter_map(|(a, _)| a.near)
            .map(|way| way as f64 / 1e3)
            .collect();
        Story {
            requests: alike.len() as f64 / pairs.len() as f64,
            bytes: own / all,
            from_peers: peers as f64 / own,
            lost,
            holder: near.len() as f64 / alike.len() as f64,
            holder_ms: Quantiles::of(near),
            regret: Quantiles::of(alike.iter().map(|(a, b)| over(a.last, b.last)).collect()),
        }
    };
    let told = told.into_iter();
    told.map(|(name, alike)| (name.to_owned(), story(alike)))
        .collect()
}

/// How much longer, as a share.
pub(crate) fn over(with: Time, without: Time) -> f64 {
    (with as f64 - without as f64).max(0.0) / (without as f64).max(1.0)
}
