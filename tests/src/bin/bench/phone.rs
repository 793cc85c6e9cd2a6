//! How smooth a page is on a phone: a demo page at a phone's size on a main thread that is six times
//! slower, scrolled from top to bottom while its pictures come. Without the line, with it for the first
//! time, and with it when the pictures come from a peer; taken in turns.
//!
//! Chromium slows the page's own thread alone: workers and the network are as fast as ever.

use std::fs;

use anyhow::{Result, ensure};
use fugitive_tests::{
    browser::{Driver, Visitor},
    origin::Origin,
    site::{DEMO_LINE, LINE, Site},
};
use serde::Deserialize;
use serde_json::json;

use crate::median;

const PAGE: &str = "/sky.html";
const RUNS: usize = 5;
const SLOWER: u32 = 6;
const SIDES: [&str; 3] = ["without", "first", "peers"];
/// A frame that comes later than this after the one before is seen to be late, in milliseconds.
const LATE: f64 = 50.0;

/// Scrolls a few pixels a frame, and keeps how long after the one before each frame came.
const SCROLL: &str = r"
(() => {
  const gaps = (self.__gaps = []);
  let before;
  const frame = (now) => {
    if (before !== undefined) gaps.push(now - before);
    before = now;
    const { scrollHeight } = document.documentElement ?? {};
    self.__isBelow = document.readyState === 'complete' && scrollY + innerHeight >= scrollHeight - 2;
    if (document.readyState !== 'loading') scrollBy({ top: 12, behavior: 'instant' });
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
})();
";

/// Runs it and prints its figures.
pub async fn phone() -> Result<()> {
    let (without, with, driver) = (Site::demo()?, Site::demo()?, Driver::start()?);
    ensure!(without.rewrite(DEMO_LINE, "")? > 0, "no page has the line");
    ensure!(with.rewrite(DEMO_LINE, LINE)? > 0);
    fs::write(
        with.path("door.html"),
        format!("<!doctype html>{LINE}<p>nothing here</p>"),
    )?;
    let (without, with) = (Origin::start(&without).await?, Origin::start(&with).await?);
    let holder = Visitor::new(&driver).await?;
    holder.goto(&with.url(PAGE)).await?;
    holder.until_controlled().await?;
    holder.see_all(1.0).await?;
    let images: usize = holder
        .eval("new Set([...document.images].map(({ currentSrc }) => currentSrc)).size")
        .await?;
    holder.until_held(images).await?;

    let mut seen: [Vec<Frames>; 3] = Default::default();
    for run in 0..RUNS {
        for turn in 0..SIDES.len() {
            let side = (run + turn) % SIDES.len();
            let origin = if side == 0 { &without } else { &with };
            let frames = scroll(&driver, origin, SIDES[side] == "peers").await?;
            println!("run {run}, {}: {frames:?}", SIDES[side]);
            seen[side].push(frames);
        }
    }
    holder.quit().await?;
    let of = |side: &[Frames], what: fn(&Frames) -> f64| {
        median(&mut side.iter().map(what).collect::<Vec<_>>())
    };
    let mut sides = serde_json::Map::new();
    for (name, side) in SIDES.iter().zip(&seen) {
        let figures = json!({
            "p95_ms": of(side, |frames| frames.p95)?,
            "longest_ms": of(side, |frames| frames.longest)?,
            "late_frames": of(side, |frames| frames.late)?,
            "beyond_ms": of(side, |frames| frames.beyond)?,
        });
        sides.insert((*name).into(), figures);
    }
    println!(
        "{}",
        json!({
            "bench": "phone", "page": PAGE, "runs": RUNS, "slower": SLOWER, "late_ms": LATE, "sides": sides,
        })
    );
    Ok(())
}

/// Of one way down the page.
#[derive(Debug, Deserialize)]
struct Frames {
    /// After the one before, in milliseconds.
    p95: f64,
    longest: f64,
    /// How many were late.
    late: f64,
    /// By how much, all of them together, in milliseconds.
    beyond: f64,
}

async fn scroll(driver: &Driver, origin: &Origin, is_connected: bool) -> Result<Frames> {
    let visitor = Visitor::new(driver).await?;
    if is_connected {
        visitor.goto(&origin.url("/door.html")).await?;
        visitor.until_peers(1).await?;
    }
    for (method, parameters) in [
        (
            "Emulation.setDeviceMetricsOverride",
            json!({ "width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": true }),
        ),
        (
            "Emulation.setTouchEmulationEnabled",
            json!({ "enabled": true }),
        ),
        ("Emulation.setCPUThrottlingRate", json!({ "rate": SLOWER })),
    ] {
        visitor.cdp(method, parameters).await?;
    }
    visitor.before_scripts(SCROLL).await?;
    visitor.goto(&origin.url(PAGE)).await?;
    visitor
        .until("__isBelow && [...document.images].every(({ complete }) => complete)")
        .await?;
    let frames: Frames = visitor
        .eval(&format!(
            "(() => {{
               const sorted = Float64Array.from(__gaps).sort();
               const late = sorted.filter((gap) => gap > {LATE});
               return {{
                 p95: sorted[Math.floor(sorted.length * 0.95)],
                 longest: sorted.at(-1),
                 late: late.length,
                 beyond: late.reduce((sum, gap) => sum + gap - {LATE}, 0),
               }};
             }})()"
        ))
        .await?;
    if is_connected {
        // What is fetched ahead from the peer is in memory when the page comes to it.
        let served = visitor.all_served().await?;
        let is_from_peer = |source: &str| ["tier-1", "memory"].contains(&source);
        ensure!(
            served.iter().any(|one| is_from_peer(&one.source)),
            "nothing from the peer: {served:?}"
        );
    }
    visitor.quit().await?;
    Ok(frames)
}
