//! `--check`: a visitor walks the whole demo and stays; a second one walks it too. What the second
//! one saw must have come from the first, and be what the origin has.
//!
//! The verdict counts bytes in the origin's access log, and compares the pixels that were rendered
//! with those of a third visitor for whom Fugitive is off. What Fugitive says of itself is printed,
//! not believed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use fugitive_tests::browser::{Driver, Visitor};

use crate::log::sent;

/// What must come from peers.
const SHARE: f64 = 0.95;
/// Videos are played so many times as fast as they are.
const PACE: f64 = 8.0;
const SOURCES: [&str; 5] = ["memory", "store", "tier-1", "tier-2", "network"];

/// The pixels of each picture, and of some frames of each video, as SHA-256 by URL.
const PIXELS: &str = r"(async () => {
  const canvas = document.createElement('canvas');
  const context = canvas.getContext('2d', { willReadFrequently: true });
  const pixels = async (shown, width, height) => {
    [canvas.width, canvas.height] = [width, height];
    context.drawImage(shown, 0, 0, width, height);
    const { data } = context.getImageData(0, 0, width, height);
    const hash = await crypto.subtle.digest('SHA-256', data);
    return [...new Uint8Array(hash)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
  };
  const seen = {};
  const picture = async (image) => {
    if (!image.naturalWidth) return 'not rendered';
    return pixels(image, image.naturalWidth, image.naturalHeight);
  };
  // An animation is compared by its first frame: a new image has not moved yet.
  const fresh = async (url) => {
    const image = new Image();
    image.src = url;
    await image.decode().catch(() => {});
    return picture(image);
  };
  for (const image of document.images) {
    const url = image.currentSrc;
    seen[url] = url.endsWith('.gif') ? await fresh(url) : await picture(image);
  }
  const behind = [...document.querySelectorAll('body, .band, .backdrop')]
    .map((element) => getComputedStyle(element).backgroundImage.match(/url\(.(.*?).\)/)?.[1])
    .filter(Boolean);
  const posters = [...document.querySelectorAll('video')].map(({ poster }) => poster);
  for (const url of [...behind, ...posters]) seen[url] = await fresh(url);
  for (const video of document.querySelectorAll('video')) {
    for (const part of [0.1, 0.45, 0.8]) {
      const time = Math.round(video.duration * part * 24) / 24 + 0.02;
      const there = new Promise((done) => (video.onseeked = done));
      video.currentTime = time;
      await there;
      const shown = new Promise((done) => video.requestVideoFrameCallback(done));
      await Promise.race([shown, new Promise((done) => setTimeout(done, 1500))]);
      seen[video.currentSrc + ' at ' + part] =
        await pixels(video, video.videoWidth, video.videoHeight);
    }
  }
  return seen;
})()";

/// Requests and bytes by source.
type Tally = BTreeMap<String, (u64, u64)>;

#[derive(Default)]
struct Walk {
    /// The worker is not in control on a first page, so that one is apart.
    first: Tally,
    rest: Tally,
    /// What was rendered, by URL, page by page.
    pixels: Vec<BTreeMap<String, String>>,
    /// From the network, by Fugitive's own account: URL and bytes.
    strays: Vec<(String, u64)>,
    /// What the console said, page by page.
    log: Vec<String>,
    took: Vec<Duration>,
}

/// Runs the check; an error says what did not hold.
pub async fn run(origin: &str, site: &Path, log: &Path) -> Result<()> {
    let driver = Driver::start()?;
    let origin = origin.trim_end_matches('/');

    eprintln!("check: a visitor without Fugitive, to compare with");
    let control = Visitor::new(&driver).await?;
    control.goto(&format!("{origin}/?fugitive=off")).await?;
    until_listed(&control).await?;
    let pages: Vec<String> = control
        .eval("[...new Set(['/', ...[...document.querySelectorAll('nav a')].map((a) => a.pathname)])]")
        .await?;
    let truth = walk(&control, origin, &pages, "?fugitive=off")
        .await?
        .pixels;
    control.quit().await?;

    eprintln!("check: the first visitor");
    let first = Visitor::new(&driver).await?;
    let first_walk = walk(&first, origin, &pages, "").await?;

    eprintln!("check: the second visitor");
    let second = Visitor::new(&driver).await?;
    let before = fs::metadata(log)?.len();
    let mut second_walk = walk(&second, origin, &pages[..1], "").await?;
    let connected = second.until_peers(1).await;
    let offset = fs::metadata(log)?.len();
    let rest = walk(&second, origin, &pages[1..], "").await?;
    second_walk.rest = rest.first;
    add(&mut second_walk.rest, &rest.rest);
    second_walk.pixels.extend(rest.pixels);
    second_walk.took.extend(rest.took);
    second_walk.strays = rest.strays;
    second_walk.log.extend(rest.log);

    report("first visitor", &first_walk);
    report("second visitor", &second_walk);
    first.quit().await?;
    second.quit().await?;

    // What the origin says it sent, against what was there to be rendered.
    let on_first_page = sent(log, before, Some(offset))?;
    let after = sent(log, offset, None)?;
    let first_urls: BTreeSet<String> = media(&truth[..1]);
    let urls: BTreeSet<String> = media(&truth[1..])
        .difference(&first_urls)
        .cloned()
        .collect();
    let mut total = 0;
    for path in &urls {
        let file = site.join(path.trim_start_matches('/'));
        total += fs::metadata(&file)
            .with_context(|| format!("no {}", file.display()))?
            .len();
    }
    let origin_bytes: u64 = after.media.values().sum();
    let share = 1.0 - origin_bytes as f64 / total as f64;
    println!();
    println!("by the access log, while the second visitor walked:");
    println!(
        "  first page       {:>8} media, {:>8} other",
        megabytes(on_first_page.media.values().sum()),
        megabytes(on_first_page.other)
    );
    println!(
        "  pages after it   {:>8} media, {:>8} other, of {} media in {} files",
        megabytes(origin_bytes),
        megabytes(after.other),
        megabytes(total),
        urls.len()
    );
    for (path, bytes) in &after.media {
        println!("    from the origin {:>8} {path}", megabytes(*bytes));
    }
    println!(
        "  from peers: {:.2} % of the bytes (at least {:.0} %)",
        share * 100.0,
        SHARE * 100.0
    );

    let mut wrong = Vec::new();
    compare("the first visitor", &truth, &first_walk.pixels, &mut wrong);
    compare(
        "the second visitor",
        &truth,
        &second_walk.pixels,
        &mut wrong,
    );
    let compared: usize = truth.iter().map(BTreeMap::len).sum();
    println!(
        "  rendered: {compared} pictures and frames compared twice, {} differ",
        wrong.len()
    );
    for line in &wrong {
        println!("    {line}");
    }
    if !wrong.is_empty() || share < SHARE {
        println!("by its own account the second visitor had from the network:");
        for (url, bytes) in &second_walk.strays {
            println!(
                "  {:>8} {}",
                megabytes(*bytes),
                url.trim_start_matches(origin)
            );
        }
        for (who, walk) in [("first", &first_walk), ("second", &second_walk)] {
            println!("the {who} visitor's console:");
            for line in &walk.log {
                println!("  {line}");
            }
        }
    }
    connected.context("the second visitor found no peer on its first page")?;
    ensure!(
        wrong.is_empty(),
        "what was rendered is not what the origin has"
    );
    ensure!(share >= SHARE, "too much came from the origin");
    println!("check passed");
    Ok(())
}

/// The manifest must list all before anybody can be filled by it.
async fn until_listed(visitor: &Visitor) -> Result<()> {
    visitor
        .until(
            "JSON.stringify(await (await fetch('/fugitive/manifest.json')).json()).includes('coast.mp4')",
        )
        .await
        .context("the manifest never lists the demo's media")
}

async fn walk(visitor: &Visitor, origin: &str, pages: &[String], query: &str) -> Result<Walk> {
    let mut walk = Walk::default();
    for (number, page) in pages.iter().enumerate() {
        let began = Instant::now();
        visitor.goto(&format!("{origin}{page}{query}")).await?;
        let seen = visitor.see_all(PACE).await;
        seen.with_context(|| format!("{page} does not load"))?;
        walk.took.push(began.elapsed());
        if number == 0 && query.is_empty() {
            adopted(visitor).await?;
        }
        // The walk's own events are counted before the comparison looks at pictures again.
        let served = visitor.all_served().await?;
        let tally = if number == 0 {
            &mut walk.first
        } else {
            &mut walk.rest
        };
        for event in served {
            let (requests, bytes) = tally.entry(event.source.clone()).or_default();
            *requests += 1;
            *bytes += event.bytes;
            if event.source == "network" {
                walk.strays.push((event.url, event.bytes));
            }
        }
        let said = visitor.log().await?.into_iter();
        walk.log.extend(said.map(|line| format!("{page} {line}")));
        let pixels: BTreeMap<String, String> = visitor.at_length(PIXELS).await?;
        eprintln!("  {page:<18} {:>5.1} s", began.elapsed().as_secs_f64());
        walk.pixels.push(pixels);
    }
    Ok(walk)
}

/// Waits until the worker is in control and the first page's images are in the store.
async fn adopted(visitor: &Visitor) -> Result<()> {
    visitor.until_controlled().await?;
    let images: usize = visitor
        .eval("new Set([...document.images].map(({ currentSrc }) => currentSrc)).size")
        .await?;
    visitor.until_held(images).await
}

fn add(to: &mut Tally, from: &Tally) {
    for (source, (requests, bytes)) in from {
        let sum = to.entry(source.clone()).or_default();
        sum.0 += requests;
        sum.1 += bytes;
    }
}

fn report(who: &str, walk: &Walk) {
    println!();
    println!(
        "{who:<16} {:>9} {:>10}   {:>9} {:>10}",
        "first", "page", "the", "rest"
    );
    println!(
        "{:<16} {:>9} {:>10}   {:>9} {:>10}",
        "", "requests", "bytes", "requests", "bytes"
    );
    for source in SOURCES {
        let (first_requests, first_bytes) = walk.first.get(source).copied().unwrap_or_default();
        let (requests, bytes) = walk.rest.get(source).copied().unwrap_or_default();
        println!(
            "{source:<16} {first_requests:>9} {:>10}   {requests:>9} {:>10}",
            megabytes(first_bytes),
            megabytes(bytes)
        );
    }
    let seconds: f64 = walk.took.iter().map(Duration::as_secs_f64).sum();
    println!(
        "{:<16} {seconds:.1} s for {} pages",
        "walked in",
        walk.took.len()
    );
}

fn megabytes(bytes: u64) -> String {
    format!("{:.2} MB", bytes as f64 / 1e6)
}

/// Paths of the media that these pages render.
fn media(pages: &[BTreeMap<String, String>]) -> BTreeSet<String> {
    pages
        .iter()
        .flat_map(BTreeMap::keys)
        .filter_map(|key| {
            let url = key.split(" at ").next()?;
            let path = &url[url.find("/media/")?..];
            Some(path.to_owned())
        })
        .collect()
}

fn compare(
    who: &str,
    truth: &[BTreeMap<String, String>],
    seen: &[BTreeMap<String, String>],
    wrong: &mut Vec<String>,
) {
    for (expected, found) in truth.iter().zip(seen) {
        for (url, hash) in expected {
            match found.get(url) {
                Some(other) if other == hash && hash != "not rendered" => {}
                Some(other) if other == "not rendered" => {
                    wrong.push(format!("{who}: {url} is not rendered"));
                }
                Some(_) => wrong.push(format!("{who}: {url} differs")),
                None => wrong.push(format!("{who}: {url} is missing")),
            }
        }
    }
}
