//! `bench NAME`: what the project claims to be good at, beside a peer in the same run. Each prints
//! readable lines as it goes and one JSON line last; none of them asserts a time.

use anyhow::{Context, Result, bail};

mod cache;
mod gallery;
mod lighthouse;
mod mainthread;
mod navigation;
mod others;
mod phone;
mod swarm;
mod transfer;

#[tokio::main]
async fn main() -> Result<()> {
    let part = std::env::args().nth(2);
    match std::env::args().nth(1).as_deref() {
        Some("cache") => cache::cache(part.as_deref()).await,
        Some("transfer") => transfer::transfer().await,
        Some("lighthouse") => lighthouse::lighthouse().await,
        Some("mainthread") => mainthread::mainthread().await,
        Some("phone") => phone::phone().await,
        Some("swarm") => swarm::swarm(part.as_deref()).await,
        Some("return") => navigation::navigation().await,
        _ => bail!("usage: bench cache|transfer|lighthouse|mainthread|phone|swarm|return"),
    }
}

fn median(values: &mut [f64]) -> Result<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.get(values.len() / 2).context("no runs")?;
    Ok((middle * 100.0).round() / 100.0)
}
