//! What the one line does to a page's Lighthouse performance: the demo's pages as they are, and the
//! same without the line, each loaded for the first time, taken in turns. Over HTTP/2, as sites are:
//! over HTTP/1.1 the line takes one of a browser's six connections, which Lighthouse's model of a slow
//! line counts as half a round trip.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use fugitive_tests::{
    certificate::Certificate,
    lighthouse::{Lighthouse, Load},
    origin::Origin,
    site::{DEMO_LINE, Site},
};
use serde_json::{Value, json};

use crate::median;

const PAGES: [&str; 6] = [
    "/index.html",
    "/film.html",
    "/sky.html",
    "/journal.html",
    "/prints.html",
    "/walls.html",
];
const RUNS: usize = 5;

/// Runs it and prints its figures.
pub async fn lighthouse() -> Result<()> {
    let lighthouse = Lighthouse::install()?;
    let (with, without) = (Site::demo()?, Site::demo()?);
    ensure!(without.rewrite(DEMO_LINE, "")? > 0, "no page has the line");
    let certificate = Certificate::new()?;
    let with = Origin::secure(&with, &certificate).await?;
    let without = Origin::secure(&without, &certificate).await?;

    let mut pages = BTreeMap::new();
    for page in PAGES {
        let mut seen: [Vec<Load>; 2] = Default::default();
        for run in 0..RUNS {
            for side in [run % 2, (run + 1) % 2] {
                let origin = [&without, &with][side];
                let load = lighthouse.anew(&origin.url(page), &certificate.trust())?;
                println!("{page} {} {load:?}", ["without", "with   "][side]);
                seen[side].push(load);
            }
        }
        let of = |side: &[Load], what: fn(&Load) -> f64| {
            median(&mut side.iter().map(what).collect::<Vec<_>>())
        };
        let mut row = serde_json::Map::new();
        for (name, side) in [("without", &seen[0]), ("with", &seen[1])] {
            row.insert(
                name.into(),
                json!({
                    "score": of(side, |load| load.score)?,
                    "lcp_ms": of(side, |load| load.lcp)?,
                    "tbt_ms": of(side, |load| load.tbt)?,
                    "fcp_ms": of(side, |load| load.fcp)?,
                    "speed_index_ms": of(side, |load| load.speed_index)?,
                    "shift": of(side, |load| load.shift)?,
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
