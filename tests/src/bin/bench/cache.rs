//! What a hit costs beside Workbox's and the browser's own cache, what is not media pays for a worker,
//! and what many stored resources cost. All sides are windows of one browser, taken in turns.

use std::{
    fs,
    ops::Range,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use fugitive_tests::{
    browser::{Driver, Visitor},
    npm,
    origin::Origin,
    site::Site,
};
use serde_json::{Value, json};
use thirtyfour::WindowHandle;

use crate::{gallery, median, others};

const WORKBOX: &str = "workbox-build@7.4.0";
/// What registers its worker.
pub const WORKBOX_LINE: &str = "<script>navigator.serviceWorker.register('/workbox.js')</script>";
/// Loads of each kind on each side.
const LOADS: usize = 60;
/// Stored resources.
const STORED: [usize; 3] = [100, 1_000, 10_000];
/// Pixels of the side of a square picture of 50 KB, and of one of a kilobyte.
const LARGE: usize = 130;
const SMALL: usize = 16;
/// What a worker does behind an answer is over, and in nobody's way.
pub const SETTLED: Duration = Duration::from_millis(50);
/// A worker that was told to stop has done so.
const STOPPED: Duration = Duration::from_millis(150);

/// In every page: how long something takes to load, in milliseconds.
const LOAD: &str = r"
performance.setResourceTimingBufferSize(10_000);
self.__load = (kind, url) => new Promise((done, failed) => {
  const began = performance.now();
  const end = () => done(performance.now() - began);
  if (kind === 'fetch') {
    fetch(url, { cache: 'no-store' }).then((answer) => answer.arrayBuffer()).then(end, failed);
    return;
  }
  const element = kind === 'image' ? new Image() : document.createElement(kind);
  element.onload = () => (end(), kind === 'image' || element.remove());
  element.onerror = () => failed(new Error(url));
  if (kind === 'link') element.rel = 'stylesheet';
  element[kind === 'link' ? 'href' : 'src'] = url;
  if (kind !== 'image') document.head.append(element);
});
";

/// Pages hear of them.
const COUNTED: &str = r"
self.__seen = [];
navigator.serviceWorker.addEventListener('message', ({ data }) => {
  if (data.seen) __seen.push(data.seen);
});
";

/// Runs it, or one part of it, and prints its figures.
pub async fn cache(part: Option<&str>) -> Result<()> {
    let is_wanted = |name| part.is_none_or(|part| part == name);
    let driver = Driver::start()?;
    let visitor = Visitor::new(&driver).await?;
    let home = visitor.window().await?;
    let mut figures = serde_json::Map::from_iter([("bench".to_owned(), json!("cache"))]);
    if is_wanted("hits") {
        figures.insert("hit_ms".into(), hits(&visitor, &home).await?);
    }
    if is_wanted("others") {
        figures.insert("not_media".into(), others::others(&visitor, &home).await?);
    }
    if is_wanted("stored") {
        figures.insert("hit_ms_beside".into(), stored(&visitor, &home).await?);
    }
    visitor.quit().await?;
    if is_wanted("gallery") {
        figures.insert("gallery_ms".into(), gallery::gallery(&driver).await?);
    }
    if is_wanted("store") {
        figures.insert("store".into(), store()?);
    }
    println!("{}", Value::Object(figures));
    Ok(())
}

/// A page in a window of its own.
pub struct Side {
    pub name: String,
    pub origin: Origin,
    _site: Site,
    pub window: WindowHandle,
}

impl Side {
    pub async fn open(visitor: &Visitor, name: &str, site: Site, page: &str) -> Result<Self> {
        let origin = Origin::unspared(&site).await?;
        Self::open_at(visitor, name, site, origin, page).await
    }

    pub async fn open_at(
        visitor: &Visitor,
        name: &str,
        site: Site,
        origin: Origin,
        page: &str,
    ) -> Result<Self> {
        let window = visitor.new_window().await?;
        for script in [LOAD, COUNTED, gallery::SHOW] {
            visitor.before_scripts(script).await?;
        }
        visitor.goto(&origin.url(page)).await?;
        Ok(Self {
            name: name.to_owned(),
            origin,
            _site: site,
            window,
        })
    }

    pub async fn load(&self, visitor: &Visitor, kind: &str, path: &str) -> Result<f64> {
        visitor.to_tab(self.window.clone()).await?;
        visitor
            .eval(&format!("__load({}, {})", json!(kind), json!(path)))
            .await
    }
}

/// An uncompressed picture of noise, each with its own.
fn picture(side: usize, number: usize) -> Vec<u8> {
    let row = (side * 3).next_multiple_of(4);
    let size = 54 + row * side;
    let mut bytes = vec![0; size];
    let mut noise = blake3::Hasher::new();
    noise.update(&number.to_le_bytes());
    noise.finalize_xof().fill(&mut bytes);
    let mut header = b"BM".to_vec();
    for word in [size, 0, 54, 40, side, side] {
        header.extend((word as u32).to_le_bytes());
    }
    header.extend([1, 0, 24, 0]);
    header.resize(54, 0);
    bytes[..54].copy_from_slice(&header);
    bytes
}

/// Pages with and without the line, and pictures.
pub fn site(pictures: usize) -> Result<Site> {
    let site = Site::new()?;
    site.page_with("plain.html", "", "<p>no worker</p>")?;
    for number in 0..pictures {
        fs::write(site.path(&format!("{number}.bmp")), picture(LARGE, number))?;
    }
    Ok(site)
}

pub fn path(number: usize) -> String {
    format!("/{number}.bmp")
}

/// A hit on each side: from the store of a worker that runs, from its memory, and with a worker that
/// must start.
async fn hits(visitor: &Visitor, home: &WindowHandle) -> Result<Value> {
    let all = 3 * LOADS + 1;
    let ours = Side::open(visitor, "fugitive", site(all)?, "/empty.html").await?;
    visitor.until_controlled().await?;
    visitor.until_listed(&path(all - 1)).await?;
    // A page of a site has images, and so the worker knows what they accept.
    ours.load(visitor, "image", &path(all - 1)).await?;
    fill(visitor, "fugitive.fetch", all).await?;
    visitor.until_held(all).await?;

    let made = site(all)?;
    workbox(&made)?;
    let theirs = Side::open(visitor, "workbox", made, "/workbox.html").await?;
    visitor.until_controlled().await?;
    fill(visitor, "fetch", all).await?;

    let none = Side::open(visitor, "http cache", site(all)?, "/plain.html").await?;
    fill(visitor, "fetch", all).await?;

    let sides = [&ours, &theirs, &none];
    let mut rows = serde_json::Map::new();
    for (group, name) in ["store", "memory", "cold"].into_iter().enumerate() {
        if name == "store" {
            stop(visitor, &sides, Some(&path(all - 1))).await?;
        }
        let mut taken: [Vec<f64>; 3] = Default::default();
        for number in 0..LOADS {
            let path = path(group * LOADS + number);
            for turn in 0..sides.len() {
                let side = (number + turn) % sides.len();
                if name == "cold" {
                    stop(visitor, &sides, None).await?;
                } else if name == "memory" {
                    visitor.to_tab(sides[side].window.clone()).await?;
                    let ask = ["fugitive.fetch", "fetch", "fetch"][side];
                    read(visitor, ask, &path).await?;
                }
                tokio::time::sleep(SETTLED).await;
                taken[side].push(sides[side].load(visitor, "image", &path).await?);
            }
        }
        let mut row = serde_json::Map::new();
        for (side, taken) in sides.iter().zip(&mut taken) {
            let middle = median(taken)?;
            println!("{name}, {}: {middle} ms", side.name);
            row.insert(side.name.clone(), json!(middle));
        }
        rows.insert(name.to_owned(), Value::Object(row));
    }
    // Each was what it is called.
    for side in sides {
        visitor.to_tab(side.window.clone()).await?;
        let (images, by_worker): (usize, usize) = visitor
            .eval(
                "(() => {
                   const images = performance.getEntriesByType('resource')
                     .filter(({ initiatorType }) => initiatorType === 'img');
                   return [images, images.filter(({ workerStart }) => workerStart > 0)]
                     .map(({ length }) => length);
                 })()",
            )
            .await?;
        let network: usize = side
            .origin
            .requests(".bmp")?
            .iter()
            .filter(|(_, bytes)| *bytes > 1)
            .count();
        println!(
            "{}: {images} images, {by_worker} by a worker; {network} from the origin",
            side.name
        );
        ensure!(network <= all, "{} asked the origin again", side.name);
        let expected = if side.name == "http cache" { 0 } else { images };
        ensure!(by_worker == expected, "{}: not by its worker", side.name);
    }
    close(visitor, home, vec![ours, theirs, none]).await?;
    Ok(Value::Object(rows))
}

async fn read(visitor: &Visitor, ask: &str, path: &str) -> Result<()> {
    let path = json!(path);
    visitor
        .eval(&format!(
            "{ask}({path}).then((answer) => answer.arrayBuffer()).then(() => null)"
        ))
        .await
}

/// Closes pages before their origins end.
pub async fn close(visitor: &Visitor, home: &WindowHandle, sides: Vec<Side>) -> Result<()> {
    for side in sides {
        visitor.to_tab(side.window.clone()).await?;
        visitor.close_tab(home.clone()).await?;
    }
    Ok(())
}

async fn fill(visitor: &Visitor, ask: &str, pictures: usize) -> Result<()> {
    for number in 0..pictures {
        read(visitor, ask, &path(number)).await?;
    }
    Ok(())
}

/// Some at once, of those whose names begin so.
pub async fn fill_many(
    visitor: &Visitor,
    ask: &str,
    name: &str,
    numbers: Range<usize>,
) -> Result<()> {
    // A thousand at a time: no script runs for ever.
    for first in numbers.clone().step_by(1_000) {
        let last = numbers.end.min(first + 1_000);
        visitor
            .eval::<()>(&format!(
                "(async () => {{
                   let next = {first};
                   await Promise.all(Array.from({{ length: 8 }}, async () => {{
                     while (next < {last}) {{
                       const path = `/{name}${{next++}}.bmp`;
                       // Its shard of the manifest may still be on its way.
                       for (let answer; !answer || ({ask} !== fetch && !answer.headers.has('x-fugitive')); ) {{
                         answer = await {ask}(path);
                         await answer.arrayBuffer();
                       }}
                     }}
                   }}));
                 }})()"
            ))
            .await?;
    }
    Ok(())
}

/// No worker runs, or only one that was woken.
pub async fn stop(visitor: &Visitor, sides: &[&Side], wake: Option<&str>) -> Result<()> {
    visitor.stop_workers().await?;
    tokio::time::sleep(STOPPED).await;
    if let Some(path) = wake {
        for side in sides {
            side.load(visitor, "image", path).await?;
        }
    }
    Ok(())
}

/// The same site with Workbox's CacheFirst.
pub fn workbox(site: &Site) -> Result<()> {
    let home = npm::install(WORKBOX)?;
    let made = Command::new("node")
        .current_dir(&home)
        .arg("-e")
        .arg(
            "const [folder] = process.argv.slice(1);
             require('workbox-build').generateSW({
               swDest: `${folder}/workbox.js`, globDirectory: folder, globPatterns: [],
               inlineWorkboxRuntime: true, sourcemap: false, skipWaiting: true, clientsClaim: true,
               runtimeCaching: [{ urlPattern: /\\.bmp$/, handler: 'CacheFirst' }],
             }).then(({ warnings }) => warnings.forEach((warning) => console.error(warning)));",
        )
        .arg(site.folder())
        .status()
        .context("node does not start")?;
    ensure!(made.success(), "generateSW failed");
    site.page_with("workbox.html", WORKBOX_LINE, "<p>Workbox</p>")
}

/// A hit beside so many other stored resources.
async fn stored(visitor: &Visitor, home: &WindowHandle) -> Result<Value> {
    let mut sides = Vec::new();
    for stored in STORED {
        let made = site(LOADS + 1)?;
        for number in 0..stored {
            let file = made.path(&format!("small{number}.bmp"));
            fs::write(file, picture(SMALL, number))?;
        }
        let side = Side::open(visitor, &stored.to_string(), made, "/empty.html").await?;
        visitor.until_controlled().await?;
        visitor.until_listed("/small0.bmp").await?;
        fill_many(visitor, "fugitive.fetch", "small", 0..stored).await?;
        fill(visitor, "fugitive.fetch", LOADS + 1).await?;
        visitor.until_held(stored + LOADS + 1).await?;
        println!("{stored} are stored");
        sides.push(side);
    }
    let all: Vec<_> = sides.iter().collect();
    stop(visitor, &all, Some(&path(LOADS))).await?;
    let mut taken: [Vec<f64>; STORED.len()] = Default::default();
    for number in 0..LOADS {
        for turn in 0..all.len() {
            let side = (number + turn) % all.len();
            taken[side].push(all[side].load(visitor, "image", &path(number)).await?);
        }
    }
    let mut row = serde_json::Map::new();
    for (side, taken) in all.iter().zip(&mut taken) {
        let middle = median(taken)?;
        println!("hit beside {} stored: {middle} ms", side.name);
        row.insert(side.name.clone(), json!(middle));
    }
    close(visitor, home, sides).await?;
    Ok(Value::Object(row))
}

/// What the store alone takes for a hit and for an eviction, by a bench of its own: what it does in
/// the worker no page can time.
fn store() -> Result<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let done = Command::new(root.join("target/debug/fugitive-pack"))
        // It takes the first of these away.
        .args(["test", "--", "-p", "fugitive-store", "--test", "cost"])
        .args(["--", "--nocapture"])
        .stderr(Stdio::inherit())
        .output()
        .context("fugitive-pack does not start")?;
    let said = String::from_utf8_lossy(&done.stdout);
    let cost = said.lines().find_map(|line| line.split_once("cost: "));
    let (_, cost) = cost.with_context(|| format!("no figures of the store: {said}"))?;
    println!("store: {cost}");
    Ok(serde_json::from_str(cost)?)
}
