//! What is not media, with our worker and without one.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::Result;
use fugitive_tests::{
    browser::Visitor,
    origin::{Fault, Origin},
    site::Site,
};
use serde_json::{Value, json};
use thirtyfour::WindowHandle;

use crate::{
    cache::{Side, close, path, site},
    median,
};

/// Loads of each kind that is not media, on each side.
const PAIRS: usize = 100;
/// The same where the origin is so far away, which is where most visitors are.
const PAIRS_AWAY: usize = 60;
const AWAY: Duration = Duration::from_millis(20);
const KINDS: [(&str, &str); 4] = [
    ("fetch", "/other.json"),
    ("script", "/other.js"),
    ("link", "/other.css"),
    ("iframe", "/plain.html"),
];

/// Before a worker's own script: tells every page of every fetch event.
const COUNTER: &str = r"
addEventListener('fetch', ({ request }) => {
  clients.matchAll().then((all) => all.forEach((page) => page.postMessage({ seen: request.url })));
});
";

/// A worker that has the browser go past it for all that ours has it go past for, and does nothing
/// else: what a browser takes for having a worker at all.
const BYPASSED: &str = r"
addEventListener('install', (event) => {
  skipWaiting();
  const media = ['image', 'video', 'audio'].map((requestDestination) => ({ requestDestination }));
  event.addRoutes({ condition: { not: { or: media } }, source: 'network' });
});
addEventListener('activate', (event) => event.waitUntil(clients.claim()));
addEventListener('fetch', () => {});
";

/// What is not media, on a page with the worker, on one without, and on one with a worker that does
/// nothing.
pub async fn others(visitor: &Visitor, home: &WindowHandle) -> Result<Value> {
    let made = || -> Result<Site> {
        let site = site(1)?;
        let text = "/* nothing */\n".repeat(1_500);
        fs::write(site.path("other.js"), &text)?;
        fs::write(site.path("other.css"), &text)?;
        fs::write(
            site.path("other.json"),
            format!("[{}0]", "0,".repeat(10_000)),
        )?;
        Ok(site)
    };
    let site = made()?;
    let origin = Origin::unspared(&site).await?;
    let client = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/client");
    let script = fs::read(client.join("fugitive-sw.js"))?;
    origin.fault(
        "/fugitive-sw.js",
        Fault::Answer {
            status: "200 OK",
            headers: "Content-Type: text/javascript\r\n".into(),
            body: [COUNTER.as_bytes(), &script].concat(),
        },
    );
    let with = Side::open_at(visitor, "with", site, origin, "/empty.html").await?;
    visitor.until_controlled().await?;
    let without = Side::open(visitor, "without", made()?, "/plain.html").await?;
    let site = made()?;
    fs::write(site.path("bypassed.js"), BYPASSED)?;
    let line = "<script>navigator.serviceWorker.register('/bypassed.js')</script>";
    site.page_with("bypassed.html", line, "<p>a worker that does nothing</p>")?;
    let bypassed = Side::open(visitor, "bypassed", site, "/bypassed.html").await?;
    visitor.until_controlled().await?;
    let sides = [&without, &with, &bypassed];

    let near = compare(visitor, &sides, PAIRS).await?;
    for side in sides {
        for (_, path) in KINDS {
            side.origin.fault(path, Fault::Delay(AWAY));
        }
    }
    println!("the same, {} ms later from the origin:", AWAY.as_millis());
    let far = compare(visitor, &sides, PAIRS_AWAY).await?;
    visitor.to_tab(with.window.clone()).await?;
    let seen: Vec<String> = visitor.eval("__seen").await?;
    // The counter counts.
    with.load(visitor, "image", &path(0)).await?;
    visitor
        .until(&format!("__seen.length === {}", seen.len() + 1))
        .await?;
    println!("{} fetch events", seen.len());
    close(visitor, home, vec![with, without, bypassed]).await?;
    Ok(json!({ "events": seen.len(), "near": near, "far": far }))
}

/// How long each kind takes with the worker (in the middle), on a page with none, and on one with a worker
/// that does nothing.
async fn compare(visitor: &Visitor, sides: &[&Side; 3], pairs: usize) -> Result<Value> {
    let mut rows = serde_json::Map::new();
    // Against no worker, and against one that does nothing.
    let mut relative: [Vec<f64>; 2] = Default::default();
    for (kind, path) in KINDS {
        let mut taken: [Vec<f64>; 3] = Default::default();
        for number in 0..pairs {
            for turn in 0..sides.len() {
                let side = (number + turn) % sides.len();
                let path = format!("{path}?{pairs}-{number}");
                taken[side].push(sides[side].load(visitor, kind, &path).await?);
            }
        }
        let [without, with, bypassed] = [0, 1, 2].map(|side| median(&mut taken[side].clone()));
        let (without, with, bypassed) = (without?, with?, bypassed?);
        let differences = [0, 2].map(|side| -> Vec<_> {
            let pairs = taken[1].iter().zip(&taken[side]);
            pairs
                .map(|(with, other)| (with - other) / without)
                .collect()
        });
        println!(
            "{kind}: without {without} ms, with {with} ms, {}; with a worker that does nothing {bypassed} ms, {}",
            percent(interval(&differences[0])),
            percent(interval(&differences[1]))
        );
        rows.insert(
            kind.to_owned(),
            json!({
                "without_ms": without, "with_ms": with, "bypassed_ms": bypassed,
                "interval": interval(&differences[0]),
                "interval_to_bypassed": interval(&differences[1]),
            }),
        );
        for (all, differences) in relative.iter_mut().zip(differences) {
            all.extend(differences);
        }
    }
    let [to_none, to_bypassed] = relative.each_ref().map(|all| interval(all));
    println!(
        "all: {} to no worker, {} to one that does nothing",
        percent(to_none),
        percent(to_bypassed)
    );
    rows.insert("pairs".into(), json!(relative[0].len()));
    rows.insert("interval".into(), json!(to_none));
    rows.insert("interval_to_bypassed".into(), json!(to_bypassed));
    Ok(Value::Object(rows))
}

fn percent([from, to]: [f64; 2]) -> String {
    format!("{:+.1} % to {:+.1} %", from * 100.0, to * 100.0)
}

/// The 95 % interval of the median of what differs, by bootstrap with a fixed seed.
fn interval(differences: &[f64]) -> [f64; 2] {
    const RESAMPLES: usize = 2_000;
    let mut noise = blake3::Hasher::new().finalize_xof();
    let mut middles = Vec::with_capacity(RESAMPLES);
    let mut word = [0; 4];
    for _ in 0..RESAMPLES {
        let mut drawn: Vec<_> = (0..differences.len())
            .map(|_| {
                noise.fill(&mut word);
                differences[u32::from_le_bytes(word) as usize % differences.len()]
            })
            .collect();
        drawn.sort_by(f64::total_cmp);
        middles.push(drawn[drawn.len() / 2]);
    }
    middles.sort_by(f64::total_cmp);
    let at = |part: f64| {
        let value = middles[(part * (RESAMPLES - 1) as f64) as usize];
        (value * 10_000.0).round() / 10_000.0
    };
    [at(0.025), at(0.975)]
}
