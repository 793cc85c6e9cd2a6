//! What a signal costs each server at several rates, all in turns: a machine that is slower for a while
//! is so for all of them.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;
use serde_json::{Value, json};

use super::{Bench, CONNECTIONS, Contender};
use crate::crowd::Crowd;

/// The offered rates, in signals a second. More than the last one the others do not hold on one core.
const RATES: [f64; 3] = [4000.0, 10_000.0, 20_000.0];
/// How often each has its turn, and for how long.
const TURNS: usize = 10;
const TURN: Duration = Duration::from_secs(1);
/// Who relays less of what is offered does not hold the rate, and what a signal costs there is not the
/// cost at this rate.
const HELD: f64 = 0.95;

/// Of one server at one rate.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Cost {
    cpu_us_per_signal: f64,
    /// Of it what the kernel spends to read it and to write it.
    system_us_per_signal: f64,
    relayed_of_offered: f64,
}

/// All of them at one rate.
#[derive(Default)]
pub(super) struct Point {
    offered: f64,
    costs: BTreeMap<Contender, Cost>,
}

impl Bench {
    /// With few connections.
    pub(super) async fn curve(&self, contenders: &[Contender]) -> anyhow::Result<Vec<Point>> {
        let mut all = Vec::new();
        for contender in contenders {
            let server = self.start(*contender)?;
            let crowd = Crowd::new(contender.dialect(), vec![server.address], 0);
            crowd.grow(CONNECTIONS[0]).await?;
            all.push((*contender, server, crowd));
        }
        let mut curve = Vec::new();
        for offered in RATES {
            let mut sums = vec![[0.0; 4]; all.len()];
            for _ in 0..TURNS {
                for ((_, server, crowd), sums) in all.iter().zip(&mut sums) {
                    let before = (server.cpu(), server.system_cpu());
                    let (talk, took) = crowd.talk(offered, 0.0, TURN).await;
                    sums[0] += server.cpu() - before.0;
                    sums[1] += server.system_cpu() - before.1;
                    sums[2] += talk.relayed.get() as f64;
                    sums[3] += offered * took;
                }
            }
            let costs = all.iter().zip(sums).map(|((contender, ..), sums)| {
                let [cpu, system, relayed, offered] = sums;
                let cost = Cost {
                    cpu_us_per_signal: cpu * 1e6 / relayed.max(1.0),
                    system_us_per_signal: system * 1e6 / relayed.max(1.0),
                    relayed_of_offered: relayed / offered,
                };
                (*contender, cost)
            });
            let costs = costs.collect();
            let point = Point { offered, costs };
            eprintln!("  {}", point.json());
            curve.push(point);
        }
        Ok(curve)
    }
}

impl Point {
    /// Ours by the best other that holds the rate, and beside it what of that is the kernel's share of
    /// ours, and all that the floor takes.
    pub(super) fn json(&self) -> Value {
        let is_other = |contender| !matches!(contender, Contender::Fugitive | Contender::Floor);
        let others = self
            .costs
            .iter()
            .filter(|(contender, cost)| is_other(**contender) && cost.relayed_of_offered >= HELD);
        let best = others.min_by(|a, b| a.1.cpu_us_per_signal.total_cmp(&b.1.cpu_us_per_signal));
        let by_best = |us: f64| best.map(|(_, best)| us / best.cpu_us_per_signal);
        let of = |contender| self.costs.get(&contender).copied().unwrap_or_default();
        let (ours, floor) = (of(Contender::Fugitive), of(Contender::Floor));
        let servers = self.costs.iter();
        let servers: BTreeMap<&str, &Cost> = servers.map(|(c, cost)| (c.name(), cost)).collect();
        json!({
            "offered_per_second": self.offered,
            "servers": servers,
            "best_other": best.map(|(best, _)| best.name()),
            "ours_to_the_best_other": by_best(ours.cpu_us_per_signal),
            "of_it_the_kernel": by_best(ours.system_us_per_signal),
            "floor_to_the_best_other": by_best(floor.cpu_us_per_signal),
            "above_the_floor_us": ours.cpu_us_per_signal - floor.cpu_us_per_signal,
        })
    }
}
