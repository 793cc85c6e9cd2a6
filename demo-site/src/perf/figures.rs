//! The figures of all loads, and what they come to.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result, ensure};
use fugitive_tests::lighthouse::Load;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::cases::{Case, Shaping};

/// 97.5 % quantiles of Student's t with so many degrees of freedom, from one on.
const T: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
];

/// One load.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Run {
    /// How far away everybody was.
    pub shaping: Shaping,
    /// How the visitor came.
    pub case: Case,
    /// Which one of its kind, from zero.
    pub round: usize,
    /// What Lighthouse says.
    #[serde(flatten)]
    pub load: Load,
    /// Largest contentful paint by the page's own clock, in milliseconds.
    pub own_lcp: f64,
    /// What all of the browser's processes used of a core meanwhile, in milliseconds.
    pub cpu: f64,
    /// Body bytes that the origin sent, by its access log.
    pub origin: u64,
    /// Of those, images.
    pub media: u64,
    /// Whether a worker was in control before the page's first script ran.
    pub controlled: bool,
    /// When a connection to another visitor was open, in milliseconds from the start.
    pub connected: Option<f64>,
    /// Bytes that the worker gave to the page, by source.
    pub served: BTreeMap<String, u64>,
}

impl Run {
    /// Bytes from other visitors.
    pub fn from_peers(&self) -> u64 {
        self.served_by(&["tier-1", "tier-2"])
    }

    fn served_by(&self, sources: &[&str]) -> u64 {
        sources
            .iter()
            .filter_map(|name| self.served.get(*name))
            .sum()
    }

    /// Fails unless it was what its case says.
    pub fn prove(&self) -> Result<()> {
        let Self { case, served, .. } = self;
        let is_repeat = matches!(case, Case::Repeat | Case::Peers);
        ensure!(
            self.controlled == is_repeat,
            "{case:?}: a worker in control: {}",
            self.controlled
        );
        match case {
            Case::PlainFirst | Case::PlainRepeat => {
                ensure!(served.is_empty(), "{case:?}: a worker served {served:?}");
            }
            Case::First => {}
            Case::Repeat => {
                let held = self.served_by(&["store", "memory"]);
                ensure!(held > 0, "nothing from the store: {served:?}");
            }
            Case::Peers => {
                let held = self.served_by(&["store"]);
                ensure!(held == 0, "the store had something of it: {served:?}");
                ensure!(
                    self.from_peers() > 0,
                    "nothing from peers, connected after {:?} ms: {served:?}",
                    self.connected
                );
                // By the origin's own account, and not by that of whom it is to prove.
                let shown: u64 = served.values().sum();
                ensure!(
                    self.media < shown,
                    "the origin sent {} bytes of {shown} that were shown",
                    self.media
                );
            }
        }
        Ok(())
    }
}

/// What is told of each load.
pub struct Figure {
    /// In the JSON.
    pub key: &'static str,
    /// For people.
    pub name: &'static str,
    /// What it means, for people.
    pub about: &'static str,
    /// Of it.
    pub unit: Unit,
    /// Where it is.
    pub of: fn(&Run) -> f64,
}

/// Of a figure.
#[derive(Clone, Copy, PartialEq)]
pub enum Unit {
    /// From 0 to 100; more is better.
    Points,
    /// Less is better.
    Milliseconds,
    /// Less is better.
    Bytes,
}

impl Unit {
    /// For people.
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Points => format!("{value:.0}"),
            Self::Milliseconds if value >= 9_950.0 => format!("{:.1} s", value / 1e3),
            Self::Milliseconds if value >= 995.0 => format!("{:.2} s", value / 1e3),
            Self::Milliseconds => format!("{value:.0} ms"),
            Self::Bytes if value >= 999_500.0 => format!("{:.2} MB", value / 1e6),
            Self::Bytes => format!("{:.0} kB", value / 1e3),
        }
    }
}

/// All that are told of, the most telling first.
pub const FIGURES: [Figure; 8] = [
    Figure {
        key: "origin_bytes",
        name: "From the origin",
        about: "what the origin sent, page and all, by its access log",
        unit: Unit::Bytes,
        of: |run| run.origin as f64,
    },
    Figure {
        key: "lcp_ms",
        name: "Largest contentful paint",
        about: "when the largest picture or text of the first screen was there",
        unit: Unit::Milliseconds,
        of: |run| run.load.lcp,
    },
    Figure {
        key: "score",
        name: "Lighthouse performance",
        about: "out of 100",
        unit: Unit::Points,
        of: |run| run.load.score,
    },
    Figure {
        key: "load_ms",
        name: "Load event",
        about: "when all that the page asked for at once was there",
        unit: Unit::Milliseconds,
        of: |run| run.load.load,
    },
    Figure {
        key: "tbt_ms",
        name: "Total blocking time",
        about: "what tasks of the main thread took beyond 50 ms each",
        unit: Unit::Milliseconds,
        of: |run| run.load.tbt,
    },
    Figure {
        key: "main_thread_ms",
        name: "Main thread",
        about: "all that it did",
        unit: Unit::Milliseconds,
        of: |run| run.load.main_thread,
    },
    Figure {
        key: "cpu_ms",
        name: "CPU of the whole browser",
        about: "all of its processes, and Lighthouse's own tracing in them",
        unit: Unit::Milliseconds,
        of: |run| run.cpu,
    },
    Figure {
        key: "fcp_ms",
        name: "First contentful paint",
        about: "when something was there",
        unit: Unit::Milliseconds,
        of: |run| run.load.fcp,
    },
];

/// A median, and the least and the most.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The middle one, or between the two in the middle.
    pub median: f64,
    /// The least.
    pub low: f64,
    /// The most.
    pub high: f64,
}

impl Spread {
    /// Of these; nothing of none.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (low, high) = (*values.first()?, *values.last()?);
        let half = values.len() / 2;
        let median = match values.len() % 2 {
            0 => f64::midpoint(values[half - 1], values[half]),
            _ => values[half],
        };
        Some(Self { median, low, high })
    }
}

/// A mean difference, and the 95 % interval around it by Student's t.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// Of the differences.
    pub mean: f64,
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// Of pairs.
    pub pairs: usize,
}

impl Interval {
    /// Of paired differences; one says nothing of how they differ.
    pub fn of(differences: &[f64]) -> Option<Self> {
        let pairs = differences.len();
        let freedom = pairs.checked_sub(1).filter(|freedom| *freedom > 0)?;
        let mean = differences.iter().sum::<f64>() / pairs as f64;
        let squares = differences.iter().map(|one| (one - mean).powi(2));
        let deviation = (squares.sum::<f64>() / freedom as f64).sqrt();
        // Beyond the table it is nearer to the normal distribution than what follows is to it.
        let t = T.get(freedom - 1).copied().unwrap_or(2.042);
        let half = t * deviation / (pairs as f64).sqrt();
        Some(Self {
            mean,
            low: mean - half,
            high: mean + half,
            pairs,
        })
    }

    /// What it comes to, where more is better.
    pub fn verdict(self) -> &'static str {
        match self {
            Self { high, .. } if high < 0.0 => "Fugitive costs points",
            Self { low, .. } if low > 0.0 => "Fugitive wins points",
            _ => "no difference can be told",
        }
    }
}

/// All loads of a page.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Figures {
    /// The path of the page.
    pub page: String,
    /// What measured it.
    pub lighthouse: String,
    /// One by one.
    pub runs: Vec<Run>,
}

impl Figures {
    /// None yet.
    pub fn new(page: &str) -> Self {
        Self {
            page: page.to_owned(),
            lighthouse: fugitive_tests::lighthouse::VERSION.to_owned(),
            runs: Vec::new(),
        }
    }

    /// What an earlier run has written.
    pub fn read(file: &Path) -> Result<Self> {
        let text = fs::read(file).with_context(|| format!("no {}", file.display()))?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// With what it comes to; whole, or not at all.
    pub fn write(&self, file: &Path) -> Result<()> {
        let mut all = serde_json::to_value(self)?;
        all["summary"] = self.summary();
        all["score_difference"] = self
            .difference(&Shaping::ALL)
            .map_or(Value::Null, |all| json!(all));
        let part = file.with_extension("part");
        fs::write(&part, serde_json::to_vec_pretty(&all)?)?;
        Ok(fs::rename(part, file)?)
    }

    /// Whether this load is among them.
    pub fn has(&self, shaping: Shaping, case: Case, round: usize) -> bool {
        self.of(shaping, case).any(|run| run.round == round)
    }

    /// The loads of a kind.
    pub fn of(&self, shaping: Shaping, case: Case) -> impl Iterator<Item = &Run> {
        let is_it = move |run: &&Run| run.shaping == shaping && run.case == case;
        self.runs.iter().filter(is_it)
    }

    /// One figure of the loads of a kind.
    pub fn spread(&self, shaping: Shaping, case: Case, figure: &Figure) -> Option<Spread> {
        Spread::of(self.of(shaping, case).map(figure.of).collect())
    }

    /// Those that there is something of.
    pub fn shapings(&self) -> Vec<Shaping> {
        let is_there = |shaping: &Shaping| self.runs.iter().any(|run| run.shaping == *shaping);
        Shaping::ALL.into_iter().filter(is_there).collect()
    }

    /// What Fugitive does to the score of a first visit, pair by pair: the two of a round.
    pub fn difference(&self, shapings: &[Shaping]) -> Option<Interval> {
        let mut differences = Vec::new();
        for shaping in shapings {
            for with in self.of(*shaping, Case::First) {
                let mut without = self.of(*shaping, Case::PlainFirst);
                if let Some(without) = without.find(|other| other.round == with.round) {
                    differences.push(with.load.score - without.load.score);
                }
            }
        }
        Interval::of(&differences)
    }

    fn summary(&self) -> Value {
        let rows = self.shapings().into_iter().map(|shaping| {
            let (ms, mbit) = shaping.measures();
            let cases: BTreeMap<_, _> = Case::ALL
                .into_iter()
                .map(|case| {
                    let all = FIGURES
                        .iter()
                        .map(|figure| (figure.key, self.spread(shaping, case, figure)));
                    (case, all.collect::<BTreeMap<_, _>>())
                })
                .collect();
            json!({
                "shaping": shaping,
                "latency_ms": ms,
                "mbit_s": mbit,
                "cases": cases,
                "score_difference": self.difference(&[shaping]),
            })
        });
        rows.collect()
    }
}

#[cfg(test)]
pub mod tests;
