//! `--swarm N`: so many headless visitors walk the gallery, each in its own order, and a table says
//! what comes from where while they do.

use std::{
    io::{IsTerminal, Write, stdout},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Result, ensure};
use fugitive_tests::browser::{Driver, Visitor};
use serde::Deserialize;

use crate::log::sent;

/// The table is drawn this often where it can be drawn over, and elsewhere told this often.
const DRAWN: Duration = Duration::from_millis(500);
const TOLD: Duration = Duration::from_secs(5);
/// Between two visitors' first pages, so that the later ones find somebody.
const APART: Duration = Duration::from_secs(3);
/// Down the page, at the pace of somebody who looks at pictures.
const SCROLL: &str = r"(async () => {
  const rest = (ms) => new Promise((done) => setTimeout(done, ms));
  for (let y = 0; y < document.documentElement.scrollHeight; y += innerHeight / 2) {
    scrollTo(0, y);
    await rest(400);
  }
  for (const video of document.querySelectorAll('video')) {
    video.muted = true;
    await video.play().catch(() => {});
    await rest(4000);
  }
  const images = [...document.images];
  return images.filter((image) => image.complete && !image.naturalWidth).length;
})()";

#[derive(Clone, Copy, Default, Deserialize)]
struct Count {
    bytes: f64,
}

/// Of `fugitive.stats()`.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Stats {
    memory: Count,
    store: Count,
    tier_1: Count,
    tier_2: Count,
    network: Count,
    peers: u32,
    uploaded_today: f64,
}

/// A line of the table.
#[derive(Clone, Default)]
struct Seen {
    page: String,
    pages: usize,
    stats: Stats,
}

type Table = Arc<Mutex<Vec<Seen>>>;

/// Sends `count` visitors on their way; each walks all pages `walks` times, or until all is over.
pub async fn run(origin: &str, log: &Path, count: usize, walks: usize) -> Result<()> {
    let driver = Arc::new(Driver::start()?);
    let origin = origin.trim_end_matches('/');
    let table: Table = Arc::new(Mutex::new(vec![Seen::default(); count]));
    let mut visitors = tokio::task::JoinSet::new();
    for number in 0..count {
        let (driver, table, origin) = (driver.clone(), table.clone(), origin.to_owned());
        visitors.spawn(async move {
            tokio::time::sleep(APART * number as u32).await;
            visit(&driver, &origin, number, walks, &table).await
        });
    }
    let is_terminal = stdout().is_terminal();
    let mut tick = tokio::time::interval(if is_terminal { DRAWN } else { TOLD });
    let mut broken = 0;
    loop {
        tokio::select! {
            _ = tick.tick() => draw(&table, log, is_terminal)?,
            ended = visitors.join_next() => match ended {
                Some(ended) => broken += ended??,
                None => break,
            },
        }
    }
    draw(&table, log, false)?;
    ensure!(broken == 0, "{broken} images were not rendered");
    Ok(())
}

/// One visitor's whole walk; says how many images were broken.
async fn visit(
    driver: &Driver,
    origin: &str,
    number: usize,
    walks: usize,
    table: &Table,
) -> Result<usize> {
    let visitor = Visitor::new(driver).await?;
    visitor.goto(&format!("{origin}/")).await?;
    let mut pages: Vec<String> = visitor
        .eval("[...new Set(['/', ...[...document.querySelectorAll('nav a')].map((a) => a.pathname)])]")
        .await?;
    visitor.until_controlled().await?;
    let mut order = fastrand::Rng::with_seed(number as u64);
    let mut broken = 0;
    for walk in 0..walks {
        if walk + number > 0 {
            order.shuffle(&mut pages);
        }
        for page in &pages {
            visitor.goto(&format!("{origin}{page}")).await?;
            broken += visitor.eval::<usize>(SCROLL).await?;
            let stats = visitor.eval("fugitive.stats()").await?;
            let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
            let seen = &mut table[number];
            (seen.page, seen.stats) = (page.clone(), stats);
            seen.pages += 1;
        }
    }
    visitor.quit().await?;
    Ok(broken)
}

fn draw(table: &Table, log: &Path, over: bool) -> Result<()> {
    let table = table.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut out = stdout().lock();
    if over {
        write!(out, "\x1b[H\x1b[2J")?;
    }
    writeln!(
        out,
        "{:>7} {:<18} {:>5} {:>5} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "visitor", "page", "pages", "peers", "store", "tier-1", "tier-2", "network", "sent"
    )?;
    let (mut peers, mut all) = (0.0, 0.0);
    for (number, Seen { page, pages, stats }) in table.iter().enumerate() {
        let from_peers = stats.tier_1.bytes + stats.tier_2.bytes;
        peers += from_peers;
        all += from_peers + stats.network.bytes;
        writeln!(
            out,
            "{:>7} {page:<18} {pages:>5} {:>5} {:>9} {:>9} {:>9} {:>9} {:>9}",
            number + 1,
            stats.peers,
            megabytes(stats.memory.bytes + stats.store.bytes),
            megabytes(stats.tier_1.bytes),
            megabytes(stats.tier_2.bytes),
            megabytes(stats.network.bytes),
            megabytes(stats.uploaded_today),
        )?;
    }
    let origin: u64 = sent(log, 0, None)?.media.values().sum();
    let share = 100.0 * peers / f64::max(all, 1.0);
    writeln!(
        out,
        "by their own account {share:.1} % of what was not held came from peers; by the access log the origin sent {} of media",
        megabytes(origin as f64)
    )?;
    Ok(out.flush()?)
}

fn megabytes(bytes: f64) -> String {
    format!("{:.1} MB", bytes / 1e6)
}
