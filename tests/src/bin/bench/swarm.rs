//! Eight visitors of the demo, one after the other, before an origin that is 40 ms away: what the
//! last one has from the others, how soon, and what happens when half of those are killed while it
//! watches. Once with the peers on the same machine, once with each of them behind a relay that is
//! late and narrow.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use fugitive_distance::Distance;
use fugitive_tests::{
    browser::{Driver, Served, Visitor},
    origin::Origin,
    site::Site,
    turn::Turn,
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::median;

const VISITORS: usize = 8;
const ORIGIN: Distance = Distance {
    latency: Duration::from_millis(40),
    bandwidth: Some(100e6),
};
/// Between two visitors that are relayed lie two such ways.
const RELAY: Distance = Distance {
    latency: Duration::from_millis(15),
    bandwidth: Some(10e6),
};
/// All but the last one play videos so many times as fast as they are.
const HASTE: f64 = 8.0;
/// What is said of pages that have the line.
const CONSENT: &str = "data-consent=\"implied\"";
/// The page whose video is watched.
const FILM: &str = "/film.html";
/// Larger than any image, in bytes: above it are videos.
const LARGE: u64 = 3 << 20;

/// Keeps the longest time for which the first video should have gone on and did not.
const WATCH: &str = "(async () => {
  const video = document.querySelector('video');
  video.scrollIntoView();
  video.muted = true;
  const watched = (self.__watched = { stall: 0, at: 0, ended: false, error: null });
  video.onerror = () => (watched.error = video.error.message);
  await video.play();
  let moved = performance.now();
  const look = () => {
    const now = performance.now();
    if (video.currentTime !== watched.at) [watched.at, moved] = [video.currentTime, now];
    watched.ended = video.ended;
    if (!video.ended) watched.stall = Math.max(watched.stall, now - moved);
    if (!video.ended) setTimeout(look, 10);
  };
  look();
})()";

#[derive(Deserialize)]
struct Watched {
    stall: f64,
    at: f64,
    ended: bool,
    error: Option<String>,
}

/// Runs it and prints its figures.
pub async fn swarm() -> Result<()> {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo-site/site");
    ensure!(
        demo.join("media").is_dir(),
        "the demo has no media yet: run ./demo-site/run once"
    );
    let driver = Driver::start()?;
    let near = run(&driver, &Site::copy(&demo)?, None).await?;
    let site = Site::copy(&demo)?;
    let relayed = [CONSENT, " data-relay-only"].concat();
    ensure!(site.rewrite(CONSENT, &relayed)? > 0, "no page has the line");
    let turn = Turn::start(RELAY).await?;
    let far = run(&driver, &site, Some(&turn)).await?;
    println!(
        "{}",
        json!({ "bench": "swarm", "visitors": VISITORS, "near": near, "relayed": far })
    );
    Ok(())
}

async fn run(driver: &Driver, site: &Site, turn: Option<&Turn>) -> Result<Value> {
    println!("peers {}", turn.map_or("as they are", |_| "behind a relay"));
    let origin = Origin::far(site, ORIGIN, turn).await?;
    let mut visitors: Vec<Visitor> = Vec::new();
    let (mut network, mut tier_1) = (Vec::new(), Vec::new());
    let (mut whole, mut share) = (0, 0.0);
    for number in 0..VISITORS {
        let visitor = enter(driver, &origin, number).await?;
        let before = origin.sent_below("/media/")?;
        let pace = if number + 1 < VISITORS { HASTE } else { 1.0 };
        let served = walk(&visitor, &origin, pace).await?;
        let sent = origin.sent_below("/media/")? - before;
        if number == 0 {
            whole = sent;
        }
        share = 1.0 - sent as f64 / whole as f64;
        println!(
            "  visitor {number}: {:.2} % not from the origin",
            share * 100.0
        );
        let images = served.iter().filter(|served| served.bytes < LARGE);
        for Served { source, ms, .. } in images {
            match source.as_str() {
                "network" if number == 0 => network.push(*ms),
                "tier-1" => tier_1.push(*ms),
                _ => {}
            }
        }
        visitors.push(visitor);
    }

    // Somebody who has nothing yet, and watches.
    let watcher = enter(driver, &origin, VISITORS).await?;
    watcher.goto(&origin.url(FILM)).await?;
    let before = origin.sent_below("/media/")?;
    watcher.eval::<()>(WATCH).await?;
    watcher.until("__watched.at > 2").await?;
    for visitor in visitors.drain(..VISITORS / 2) {
        visitor.kill()?;
    }
    let watched = loop {
        let watched: Watched = watcher.eval("__watched").await?;
        if watched.ended || watched.error.is_some() {
            break watched;
        }
        ensure!(watched.stall < 30_000.0, "stuck at {} s", watched.at);
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    ensure!(
        watched.error.is_none(),
        "the video broke: {:?}",
        watched.error
    );
    let film = origin.sent_below("/media/")? - before;
    println!(
        "  longest stall {:.0} ms, {film} bytes from the origin",
        watched.stall
    );
    visitors.push(watcher);
    for visitor in visitors {
        visitor.quit().await?;
    }
    let (images, network) = (tier_1.len(), median(&mut network)?);
    Ok(json!({
        "last_from_peers": share,
        "image_tier_1_ms": median(&mut tier_1)?,
        "image_origin_ms": network,
        "images": images,
        "longest_stall_ms": watched.stall.round(),
        "film_from_origin_bytes": film,
    }))
}

/// A visitor on the first page, whose worker is in control; with a peer, if there can be one.
async fn enter(driver: &Driver, origin: &Origin, number: usize) -> Result<Visitor> {
    let visitor = Visitor::new(driver).await?;
    visitor.goto(&origin.url("/")).await?;
    visitor.until_controlled().await?;
    if number > 0 {
        let met = visitor.until_peers(1).await;
        met.with_context(|| format!("visitor {number} meets nobody"))?;
    }
    Ok(visitor)
}

/// All pages but the first, and what was served on them.
async fn walk(visitor: &Visitor, origin: &Origin, pace: f64) -> Result<Vec<Served>> {
    let pages: Vec<String> = visitor
        .eval(
            "[...new Set([...document.querySelectorAll('nav a')].map((a) => a.pathname))]
               .filter((path) => path !== location.pathname)",
        )
        .await?;
    let mut all = Vec::new();
    for page in &pages {
        visitor.goto(&origin.url(page)).await?;
        let seen = visitor.see_all(pace).await;
        seen.with_context(|| format!("{page} does not load"))?;
        let served = visitor.all_served().await?;
        all.extend(
            served
                .into_iter()
                .filter(|served| !served.url.ends_with(".svg")),
        );
    }
    Ok(all)
}
