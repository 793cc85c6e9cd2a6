//! Eight visitors of the demo, one after the other, before an origin that is 40 ms away: what the
//! last one has from the others, how soon, and what happens when half of those are killed while it
//! watches. Once with the peers on the same machine, once with each of them behind a relay that is
//! late and narrow.
//!
//! Images are timed twice: those of the walk, where the pages' first wait until the page's connections
//! are there again, as the demo's policy spares the origin; and one after the other on a page that has
//! its connections.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use fugitive_distance::Distance;
use fugitive_server::config::Policy;
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
/// For how long requests wait for peers, in milliseconds, as in the demo.
const MAX_WAIT: u32 = 1_500;
/// All but the last one play videos so many times as fast as they are.
const HASTE: f64 = 8.0;
/// What is said of pages that have the line.
const CONSENT: &str = "data-consent=\"implied\"";
/// The page whose video is watched.
const FILM: &str = "/film.html";
/// Larger than any image, in bytes: above it are videos.
const LARGE: u64 = 3 << 20;

/// What most images of the web are below, in bytes.
const SMALL: u64 = 64 << 10;

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

/// How long the images of other pages take, one after the other, on a page that is there already; and
/// how large each is.
const IMAGES: &str = "(async () => {
  const images = new Set();
  for (const { href } of document.querySelectorAll('nav a')) {
    if (new URL(href).pathname === location.pathname) continue;
    const page = await (await fetch(href)).text();
    for (const image of new DOMParser().parseFromString(page, 'text/html').images) {
      if (image.src.includes('/media/')) images.add(image.src);
    }
  }
  const times = [];
  for (const url of images) {
    const image = new Image();
    const began = performance.now();
    await new Promise((loaded) => {
      image.onload = image.onerror = loaded;
      image.src = url;
    });
    const took = performance.now() - began;
    if (image.naturalWidth === 0) continue;
    times.push([took, (await (await fetch(url)).blob()).size]);
  }
  return times;
})()";

#[derive(Deserialize)]
struct Watched {
    stall: f64,
    at: f64,
    ended: bool,
    error: Option<String>,
}

/// Runs it, or one of its halves (`near`, `relayed`), and prints its figures.
pub async fn swarm(part: Option<&str>) -> Result<()> {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo-site/site");
    ensure!(
        demo.join("media").is_dir(),
        "the demo has no media yet: run ./demo-site/run once"
    );
    let driver = Driver::start()?;
    let is_run = |half| part.is_none_or(|part| part == half);
    let mut near = Value::Null;
    if is_run("near") {
        near = run(&driver, &Site::copy(&demo)?, None).await?;
    }
    let site = Site::copy(&demo)?;
    let relayed = [CONSENT, " data-relay-only"].concat();
    ensure!(site.rewrite(CONSENT, &relayed)? > 0, "no page has the line");
    let mut far = Value::Null;
    if is_run("relayed") {
        let turn = Turn::start(RELAY).await?;
        far = run(&driver, &site, Some(&turn)).await?;
    }
    println!(
        "{}",
        json!({ "bench": "swarm", "visitors": VISITORS, "near": near, "relayed": far })
    );
    Ok(())
}

async fn run(driver: &Driver, site: &Site, turn: Option<&Turn>) -> Result<Value> {
    println!("peers {}", turn.map_or("as they are", |_| "behind a relay"));
    let policy = Policy {
        max_wait_ms: MAX_WAIT,
        ..Policy::default()
    };
    let origin = Origin::far(policy, site, ORIGIN, turn).await?;
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

    // One image at a time: of somebody who has no Fugitive, and of somebody who has nothing yet.
    let alone = Visitor::new(driver).await?;
    alone.goto(&origin.url("/?fugitive=off")).await?;
    let without: Vec<(f64, u64)> = alone.eval(IMAGES).await?;
    alone.quit().await?;
    let watcher = enter(driver, &origin, VISITORS).await?;
    let with: Vec<(f64, u64)> = watcher.eval(IMAGES).await?;
    let (small, any) = (alone_ms(&with, SMALL)?, alone_ms(&with, LARGE)?);
    let (small_origin, any_origin) = (alone_ms(&without, SMALL)?, alone_ms(&without, LARGE)?);
    println!("  one image: {any:.0} ms, from the origin {any_origin:.0} ms");
    println!("  one small image: {small:.0} ms, from the origin {small_origin:.0} ms");

    // And who watches.
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
        "one_image_tier_1_ms": any,
        "one_image_origin_ms": any_origin,
        "one_small_image_tier_1_ms": small,
        "one_small_image_origin_ms": small_origin,
        "longest_stall_ms": watched.stall.round(),
        "film_from_origin_bytes": film,
    }))
}

/// The median of those that are not larger.
fn alone_ms(images: &[(f64, u64)], largest: u64) -> Result<f64> {
    let images = images.iter().filter(|(_, bytes)| *bytes <= largest);
    median(&mut images.map(|(ms, _)| *ms).collect::<Vec<f64>>())
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
