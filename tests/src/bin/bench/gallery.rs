//! What a page with many stored images takes, which are asked for all at once: those that a script adds to a
//! page that is open, and those of a page that is opened. All sides are taken in turns.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use fugitive_tests::{
    browser::{Driver, Visitor},
    site::{LINE, Site},
};
use serde_json::{Value, json};

use crate::{
    cache::{SETTLED, Side, WORKBOX_LINE, close, fill_many, path, site, stop, workbox},
    median,
};

/// Images that a page shows, of 50 KB each.
const IMAGES: usize = 24;
/// Pages on each side, each with images of its own.
const LOADS: usize = 50;

/// In every page: how long its images took, from the first request to the last `load`, in milliseconds, and
/// how many of them came by a worker.
pub const SHOW: &str = r"
self.__show = (first, count) => new Promise((done, failed) => {
  const began = performance.now();
  const urls = Array.from({ length: count }, (_, n) => new URL(`/${first + n}.bmp`, location).href);
  let left = count;
  for (const url of urls) {
    const image = new Image();
    image.onload = () => {
      if (--left) return;
      const took = performance.now() - began;
      // What is known of the last one is not there yet.
      setTimeout(() => done([took, __byWorker(urls)]), 10);
    };
    image.onerror = () => failed(new Error(url));
    image.src = url;
  }
});
self.__images = (urls) => performance.getEntriesByType('resource')
  .filter(({ name, initiatorType }) => initiatorType === 'img' && urls.includes(name));
self.__byWorker = (urls) => __images(urls).filter(({ workerStart }) => workerStart > 0).length;
self.__loaded = new Map();
document.addEventListener('load', ({ target }) => __loaded.set(target.src, performance.now()), true);
self.__opened = () => {
  const urls = [...document.images].map(({ src }) => src);
  const asked = __images(urls).map(({ startTime }) => startTime);
  const loaded = urls.map((url) => __loaded.get(url) ?? NaN);
  return [Math.max(...loaded) - Math.min(...asked), __byWorker(urls)];
};
";

/// How the images come into a page.
#[derive(Clone, Copy, PartialEq)]
enum How {
    ByScript,
    ByPage,
}

/// Both ways, each in a browser of its own: together they are more than its cache takes.
pub async fn gallery(driver: &Driver) -> Result<Value> {
    let mut rows = serde_json::Map::new();
    for (name, how) in [("script", How::ByScript), ("page", How::ByPage)] {
        let visitor = Visitor::new(driver).await?;
        rows.insert(name.to_owned(), shown(&visitor, name, how).await?);
        visitor.quit().await?;
    }
    Ok(Value::Object(rows))
}

/// Pages of images, and two images more.
fn pages(line: &str) -> Result<Site> {
    let site = site(LOADS * IMAGES + 2)?;
    for number in 0..LOADS {
        let images: String = (number * IMAGES..(number + 1) * IMAGES)
            .map(|image| format!("<img src={} width=130 height=130>\n", path(image)))
            .collect();
        site.page_with(&page(number), line, &images)?;
    }
    Ok(site)
}

fn page(number: usize) -> String {
    format!("gallery{number}.html")
}

/// How often each origin was asked for an image.
fn asked(sides: &[&Side]) -> Result<Vec<usize>> {
    let asked = |side: &&Side| Ok(side.origin.requests(".bmp")?.len());
    sides.iter().map(asked).collect()
}

async fn shown(visitor: &Visitor, name: &str, how: How) -> Result<Value> {
    let home = visitor.window().await?;
    let all = LOADS * IMAGES + 2;
    let ours = Side::open(visitor, "fugitive", pages(LINE)?, "/empty.html").await?;
    visitor.until_controlled().await?;
    visitor.until_listed(&path(all - 1)).await?;
    // A page of a site has images, and so the worker knows what they accept.
    ours.load(visitor, "image", &path(all - 1)).await?;
    fill_many(visitor, "fugitive.fetch", "", 0..all).await?;
    visitor.until_held(all).await?;

    let made = pages(WORKBOX_LINE)?;
    workbox(&made)?;
    let theirs = Side::open(visitor, "workbox", made, "/workbox.html").await?;
    visitor.until_controlled().await?;
    fill_many(visitor, "fetch", "", 0..all).await?;

    let none = Side::open(visitor, "http cache", pages("")?, "/plain.html").await?;
    fill_many(visitor, "fetch", "", 0..all).await?;

    let sides = [&ours, &theirs, &none];
    // Nothing of what is shown is in a worker's memory.
    stop(visitor, &sides, Some(&path(all - 2))).await?;
    let before = asked(&sides)?;
    let mut taken: [Vec<f64>; 3] = Default::default();
    let mut served = Vec::new();
    for number in 0..LOADS {
        for turn in 0..sides.len() {
            let side = (number + turn) % sides.len();
            visitor.to_tab(sides[side].window.clone()).await?;
            tokio::time::sleep(SETTLED).await;
            let (ms, by_worker): (f64, usize) = match how {
                How::ByScript => {
                    let show = format!("__show({}, {IMAGES})", number * IMAGES);
                    visitor.eval(&show).await?
                }
                How::ByPage => {
                    let url = sides[side].origin.url(&format!("/{}", page(number)));
                    visitor.goto(&url).await?;
                    visitor.eval("__opened()").await?
                }
            };
            let expected = if side == 2 { 0 } else { IMAGES };
            ensure!(
                by_worker == expected,
                "{}: {by_worker} of {IMAGES} by a worker",
                sides[side].name
            );
            taken[side].push(ms);
            if side == 0 && (how == How::ByPage || number == LOADS - 1) {
                served.extend(visitor.all_served().await?);
            }
        }
    }
    let from_store: BTreeSet<_> = served
        .iter()
        .filter(|served| served.source == "store")
        .map(|served| &served.url)
        .collect();
    let is_from_store = |image| from_store.contains(&ours.origin.url(&path(image)));
    let others = (0..LOADS * IMAGES).filter(|image| !is_from_store(*image));
    let others = others.count();
    ensure!(others == 0, "{others} images were not from the store");
    ensure!(asked(&sides)? == before, "an origin was asked again");
    let mut row = serde_json::Map::new();
    let middles: Vec<f64> = taken
        .iter_mut()
        .map(|taken| median(taken))
        .collect::<Result<_>>()?;
    for (side, middle) in sides.iter().zip(&middles) {
        println!("{IMAGES} images, {name}, {}: {middle} ms", side.name);
        row.insert(side.name.clone(), json!(middle));
    }
    for (to, other) in [("to_workbox", 1), ("to_http_cache", 2)] {
        let other = middles.get(other).context("no such side")?;
        row.insert(
            to.to_owned(),
            json!((middles[0] / other * 100.0).round() / 100.0),
        );
    }
    close(visitor, &home, vec![ours, theirs, none]).await?;
    Ok(Value::Object(row))
}
