//! What the one line does to a page's Lighthouse performance: the demo's pages as they are, and the
//! same without the line, each loaded for the first time, taken in turns. Over HTTP/2, as sites are:
//! over HTTP/1.1 the line takes one of a browser's six connections, which Lighthouse's model of a slow
//! line counts as half a round trip.

use std::{collections::BTreeMap, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use fugitive_tests::{origin::Origin, site::Site};
use serde_json::{Value, json};

use crate::{median, npm};

/// Pinned: scores of two versions can't be compared.
const LIGHTHOUSE: &str = "lighthouse@13.5.0";
const PAGES: [&str; 3] = ["/index.html", "/film.html", "/sky.html"];
const RUNS: usize = 5;
const LINE: &str = "<script src=\"/fugitive.js\" data-consent=\"implied\" data-upload=\"25000000\" data-panel async></script>";

/// Runs it and prints its figures.
pub async fn lighthouse() -> Result<()> {
    let home = npm(LIGHTHOUSE)?;
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo-site/site");
    ensure!(
        demo.join("media").is_dir(),
        "the demo has no media yet: run ./demo-site/run once"
    );
    let (with, without) = (Site::copy(&demo)?, Site::copy(&demo)?);
    ensure!(without.rewrite(LINE, "")? > 0, "no page has the line");
    let with = Origin::secure(&with).await?;
    let without = Origin::secure(&without).await?;

    let mut pages = BTreeMap::new();
    for page in PAGES {
        let mut seen: [Vec<Figures>; 2] = Default::default();
        for run in 0..RUNS {
            for side in [run % 2, (run + 1) % 2] {
                let origin = [&without, &with][side];
                let figures = measure(&home, &origin.url(page))?;
                println!("{page} {} {figures:?}", ["without", "with   "][side]);
                seen[side].push(figures);
            }
        }
        let of = |side: &[Figures], what: fn(&Figures) -> f64| {
            median(&mut side.iter().map(what).collect::<Vec<_>>())
        };
        let mut row = serde_json::Map::new();
        for (name, side) in [("without", &seen[0]), ("with", &seen[1])] {
            row.insert(
                name.into(),
                json!({
                    "score": of(side, |figures| figures.score)?,
                    "lcp_ms": of(side, |figures| figures.lcp)?,
                    "tbt_ms": of(side, |figures| figures.tbt)?,
                }),
            );
        }
        pages.insert(page, Value::Object(row));
    }
    println!(
        "{}",
        json!({ "bench": "lighthouse", "runs": RUNS, "pages": pages })
    );
    Ok(())
}

#[derive(Debug)]
struct Figures {
    score: f64,
    lcp: f64,
    tbt: f64,
}

fn measure(home: &Path, url: &str) -> Result<Figures> {
    let done = Command::new("node")
        .arg(home.join("node_modules/lighthouse/cli/index.js"))
        .args([
            url,
            "--output=json",
            "--quiet",
            "--only-categories=performance",
        ])
        .arg(
            "--chrome-flags=--headless=new --no-sandbox --disable-gpu --disable-quic \
             --no-first-run --disable-background-networking --disable-component-update \
             --disable-sync --ignore-certificate-errors",
        )
        .env("CHROME_PATH", "/usr/bin/chromium")
        .output()
        .context("node does not start")?;
    ensure!(
        done.status.success(),
        "lighthouse failed: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    let report: Value = serde_json::from_slice(&done.stdout)?;
    let number = |pointer: &str| {
        report
            .pointer(pointer)
            .and_then(Value::as_f64)
            .with_context(|| format!("the report has no {pointer}"))
    };
    Ok(Figures {
        score: number("/categories/performance/score")? * 100.0,
        lcp: number("/audits/largest-contentful-paint/numericValue")?,
        tbt: number("/audits/total-blocking-time/numericValue")?,
    })
}
