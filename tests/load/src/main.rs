//! The binary `fugitive-load`: load for one server, or a bench of several.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};
use fugitive_load::{
    bench, bench_cluster,
    crowd::Crowd,
    dialect::{Dialect, Fugitive},
    floor,
    measure::Tally,
    others::{PeerJs, Tracker},
    process::own_cpu,
};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, BufReader, stdin},
    task::LocalSet,
};

/// Thousands of made-up visitors for a signal server. The last line of the output is JSON.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Visitors for any server: they join, talk, beat, navigate and leave.
    Load(Load),
    /// Our server beside others, each on one core, the visitors on another.
    Bench(bench::Programs),
    /// The least that a relay can cost, for the bench; of no other use.
    #[command(hide = true)]
    Floor {
        /// Where.
        #[arg(long)]
        listen: SocketAddr,
    },
    /// Several of our servers as one, over a NATS server.
    BenchCluster(bench_cluster::Programs),
}

#[derive(Args)]
struct Load {
    /// The servers, for instance `http://127.0.0.1:8080`; visitors go to them in turn.
    #[arg(long, value_name = "URL", required = true, value_delimiter = ',')]
    server: Vec<String>,
    /// How many visitors.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(2..=19_000))]
    peers: u32,
    /// Signals a second; half of them are calls and half answers.
    #[arg(long, default_value_t = 1000.0)]
    rate: f64,
    /// For how long.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Navigations a second. By default one for fifty signals.
    #[arg(long)]
    navigations: Option<f64>,
    /// What the server speaks.
    #[arg(long, value_enum, default_value_t = Speaks::Fugitive)]
    speaks: Speaks,
    /// The `Origin` that the visitors name; by default that of the first server.
    #[arg(long)]
    origin: Option<String>,
    /// How many peers each wants at its join.
    #[arg(long, default_value_t = 8)]
    want: u16,
    /// The number of the first visitor, for several generators at once.
    #[arg(long, default_value_t = 0)]
    first: usize,
    /// When all are there, say `ready` and wait for a line.
    #[arg(long)]
    hold: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Speaks {
    Fugitive,
    Peerjs,
    Tracker,
    Floor,
}

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let command = Cli::parse().command;
    let local = LocalSet::new();
    runtime.block_on(local.run_until(async {
        match command {
            Command::Load(load) => run(load).await,
            Command::Bench(programs) => bench::run(programs).await,
            Command::BenchCluster(programs) => bench_cluster::run(programs).await,
            Command::Floor { listen } => Ok(floor::serve(listen)?),
        }
    }))
}

async fn run(load: Load) -> anyhow::Result<()> {
    ensure!(
        load.rate >= 0.0 && load.seconds > 0.0 && load.seconds <= 86_400.0,
        "a rate and a time that can be"
    );
    let mut servers = Vec::new();
    for url in &load.server {
        servers.push(address(url).await.with_context(|| url.clone())?);
    }
    let origin = load
        .origin
        .unwrap_or_else(|| load.server[0].trim_end_matches('/').to_owned());
    let dialect: Box<dyn Dialect> = match load.speaks {
        Speaks::Fugitive => Box::new(Fugitive {
            origin,
            is_page_apart: false,
            want: load.want,
        }),
        Speaks::Peerjs => Box::new(PeerJs),
        Speaks::Tracker => Box::new(Tracker),
        Speaks::Floor => Box::new(floor::Floor),
    };
    let crowd = Crowd::new(dialect, servers, load.first);
    let peers = load.peers as usize;
    let arriving = std::time::Instant::now();
    crowd.grow(peers).await?;
    let arrived_in = arriving.elapsed().as_secs_f64();
    let arrivals = crowd.tally();
    if load.hold {
        println!("ready");
        let mut line = String::new();
        BufReader::new(stdin()).read_line(&mut line).await?;
    }
    let cpu = own_cpu();
    let navigations = load.navigations.unwrap_or(load.rate / 50.0);
    let time = Duration::from_secs_f64(load.seconds);
    let (talk, took) = crowd.talk(load.rate, navigations, time).await;
    let cpu = own_cpu() - cpu;
    let here = crowd.here();
    crowd.leave().await;
    println!("{}", report(&arrivals, arrived_in, &talk, took, cpu, here));
    Ok(())
}

fn report(
    arrivals: &Tally,
    arrived_in: f64,
    talk: &Tally,
    took: f64,
    cpu: f64,
    here: usize,
) -> serde_json::Value {
    let mut errors = arrivals.errors.borrow().clone();
    for (what, count) in talk.errors.borrow().iter() {
        *errors.entry(what.clone()).or_default() += count;
    }
    let joins = arrivals.join.borrow().percentiles();
    json!({
        "joined": joins.count,
        "joins_per_second": joins.count as f64 / arrived_in,
        "join_to_first_offer_ms": joins,
        "connected_at_the_end": here,
        "seconds": took,
        "sent_per_second": talk.sent.get() as f64 / took,
        "relayed_per_second": talk.relayed.get() as f64 / took,
        "unanswered": talk.sent.get().saturating_sub(talk.relayed.get()),
        "relay_ms": talk.relay.borrow().percentiles(),
        "resumed": talk.resume.borrow().percentiles().count,
        "resume_to_first_offer_ms": talk.resume.borrow().percentiles(),
        "generator_late_ms": talk.late.borrow().percentiles(),
        "generator_cpu_share": cpu / took,
        "errors": errors,
    })
}

async fn address(url: &str) -> anyhow::Result<SocketAddr> {
    let host = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("ws://"));
    let host = host.context("a URL begins with http:// or ws://")?;
    let host = host.split('/').next().unwrap_or(host);
    let host = if host.contains(':') {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    let mut found = tokio::net::lookup_host(host).await?;
    found.find(SocketAddr::is_ipv4).context("no address")
}
