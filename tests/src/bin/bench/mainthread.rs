//! What a page's main thread does for others while the page serves at full rate: a CPU profile of it,
//! with the engine in a worker of its own and, to see what that is worth, in the window.
//!
//! A task is a stretch of samples with a frame of ours on the stack and nothing else in between, so two
//! that follow each other at once count as one: no task of ours is longer than what is reported.

use std::{collections::HashMap, fs};

use anyhow::{Context, Result, ensure};
use fugitive_tests::{
    browser::{Driver, PATIENCE, Visitor},
    origin::{Fault, Origin},
    site::{LINE, Site},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::median;

const BYTES: usize = 20 << 20;
const RUNS: usize = 5;
/// Between two samples, in microseconds.
const EVERY: u32 = 100;
/// A task of ours is to take no longer, in milliseconds.
const BUDGET: f64 = 10.0;
const SIDES: [(&str, &str); 2] = [("worker", "/empty.html"), ("window", "/window.html")];

/// Runs it and prints its figures.
pub async fn mainthread() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let mut noise = vec![0; BYTES];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    fs::write(site.path("noise.mp4"), &noise)?;
    let line = LINE.replace(" async", " data-worker=off async");
    site.page_with("window.html", &line, "<p>nothing here</p>")?;
    let origin = Origin::start(&site).await?;
    let holder = Visitor::new(&driver).await?;
    holder.goto(&origin.url("/empty.html")).await?;
    holder.until_controlled().await?;
    holder.until_listed("/noise.mp4").await?;
    holder.fill("/noise.mp4", BYTES as u64).await?;
    origin.fault("/noise.mp4", Fault::Delay(PATIENCE));

    let mut seen: [Vec<Figures>; 2] = Default::default();
    for run in 0..RUNS {
        for side in [run % 2, (run + 1) % 2] {
            let (name, page) = SIDES[side];
            holder.goto(&origin.url(page)).await?;
            let figures = serve(&driver, &origin, &holder).await?;
            println!("run {run}, engine in the {name}: {figures:?}");
            seen[side].push(figures);
        }
    }
    holder.quit().await?;
    let of = |side: &[Figures], what: fn(&Figures) -> f64| {
        median(&mut side.iter().map(what).collect::<Vec<_>>())
    };
    let mut sides = serde_json::Map::new();
    for ((name, _), side) in SIDES.iter().zip(&seen) {
        let longest = side.iter().map(|figures| figures.longest);
        let figures = json!({
            "longest_task_ms": of(side, |figures| figures.longest)?,
            "longest_of_all_runs_ms": longest.fold(0.0, f64::max),
            "tasks_over_budget": side.iter().map(|figures| figures.over).sum::<usize>(),
            "ours_ms": of(side, |figures| figures.ours)?,
            "mb_s": of(side, |figures| figures.rate)?,
        });
        sides.insert((*name).into(), figures);
    }
    println!(
        "{}",
        json!({
            "bench": "mainthread",
            "runs": RUNS,
            "bytes": BYTES,
            "budget_ms": BUDGET,
            "sides": sides,
        })
    );
    Ok(())
}

/// Of one transfer.
#[derive(Debug)]
struct Figures {
    /// The longest task of ours, in milliseconds.
    longest: f64,
    /// How many were over the budget.
    over: usize,
    /// All of them, in milliseconds.
    ours: f64,
    /// Megabytes a second.
    rate: f64,
}

/// A newcomer is served all of it by the holder, whose main thread is looked at meanwhile.
async fn serve(driver: &Driver, origin: &Origin, holder: &Visitor) -> Result<Figures> {
    let second = Visitor::new(driver).await?;
    // From before the two meet: the connection itself is made in the window.
    let interval = json!({ "interval": EVERY });
    holder.cdp("Profiler.enable", json!({})).await?;
    holder.cdp("Profiler.setSamplingInterval", interval).await?;
    holder.cdp("Profiler.start", json!({})).await?;
    second.goto(&origin.url("/empty.html")).await?;
    second.until_peers(1).await?;
    let ms: f64 = second
        .eval(
            "(async () => {
               const began = performance.now();
               await (await fugitive.fetch('/noise.mp4')).arrayBuffer();
               return performance.now() - began;
             })()",
        )
        .await?;
    let answer: Value = holder.cdp("Profiler.stop", json!({})).await?;
    let served = second.served("/noise.mp4").await?;
    ensure!(
        served.iter().all(|(source, _)| source == "tier-1"),
        "not from the peer alone: {served:?}"
    );
    second.quit().await?;
    let profile: Profile = serde_json::from_value(answer["profile"].clone())?;
    let tasks = profile.ours().context("an empty profile")?;
    Ok(Figures {
        longest: tasks.iter().copied().fold(0.0, f64::max),
        over: tasks.iter().filter(|task| **task > BUDGET).count(),
        ours: tasks.iter().fold(0.0, |sum, task| sum + task),
        rate: BYTES as f64 / 1000.0 / ms,
    })
}

/// As `Profiler.stop` gives it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    nodes: Vec<Node>,
    samples: Vec<u64>,
    /// Since the sample before, in microseconds.
    time_deltas: Vec<f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    id: u64,
    call_frame: Frame,
    #[serde(default)]
    children: Vec<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Frame {
    function_name: String,
    url: String,
}

impl Profile {
    /// How long each task with a frame of ours took, in milliseconds; nothing without a sample.
    fn ours(&self) -> Option<Vec<f64>> {
        let mut is_ours = HashMap::new();
        // A node comes before its children.
        for node in &self.nodes {
            let own = node.call_frame.url.contains("/fugitive");
            let ours = *is_ours.entry(node.id).or_insert(own) || own;
            for child in &node.children {
                is_ours.insert(*child, ours);
            }
            is_ours.insert(node.id, ours);
        }
        let collects = |node: &&Node| node.call_frame.function_name == "(garbage collector)";
        let collector = self.nodes.iter().find(collects).map(|node| node.id);
        self.samples.first()?;
        let mut tasks = Vec::new();
        let mut task = None;
        for (at, sample) in self.samples.iter().enumerate() {
            // It lasts until the next one.
            let ms = self.time_deltas.get(at + 1).copied().unwrap_or(0.0) / 1000.0;
            let goes_on = task.is_some() && Some(*sample) == collector;
            if is_ours.get(sample) == Some(&true) || goes_on {
                *task.get_or_insert(0.0) += ms;
            } else {
                tasks.extend(task.take());
            }
        }
        tasks.extend(task);
        Some(tasks)
    }
}
