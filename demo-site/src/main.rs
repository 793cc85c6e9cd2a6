//! `./demo-site/run`, once everything is built: makes the media, starts the origin, says `ready`;
//! with `--check` or `--swarm` drives visitors over it and says what came from where, with `--perf` has
//! Lighthouse look at a page.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result};
use clap::Parser;
use fugitive_demo::{
    code, media,
    origin::{self, Demo},
    report,
};
use fugitive_distance::Distance;
use fugitive_server::config::Tls;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

/// The demo: a gallery whose visitors carry it.
#[derive(Parser)]
#[command(name = "demo-site/run")]
struct Args {
    /// Where to listen on 127.0.0.1; 0 takes any port that is free.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// One line for each request as the origin answered it, in Common Log Format.
    #[arg(long, value_name = "FILE")]
    access_log: Option<PathBuf>,
    /// The round trip to the origin, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    latency: u32,
    /// The origin's line, in Mbit/s.
    #[arg(long, value_name = "MBIT")]
    bandwidth: Option<f64>,
    /// Where to listen, with a certificate: what another device reaches.
    #[arg(long, value_name = "IP", requires = "tls_cert")]
    listen: Option<IpAddr>,
    /// The name in the certificate, by which another device reaches the demo.
    #[arg(long, value_name = "NAME", requires = "tls_cert")]
    host: Option<String>,
    /// A certificate with its chain, PEM: then there is a page with a code for a second device.
    #[arg(long, value_name = "FILE", requires_all = ["tls_key", "host"],
          conflicts_with_all = ["check", "swarm", "perf"])]
    tls_cert: Option<PathBuf>,
    /// Its key, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Drive two browsers over the demo and say what came from where; needs no display.
    #[arg(long)]
    check: bool,
    /// Have this many headless browsers walk the gallery, with a live table of what comes from where.
    #[arg(long, value_name = "N", conflicts_with = "check")]
    swarm: Option<usize>,
    /// End when each of the swarm has walked all pages so often; else it goes on until interrupted.
    #[arg(long, value_name = "N", requires = "swarm", default_value_t = usize::MAX, hide_default_value = true)]
    walks: usize,
    /// Have Lighthouse look at a page without Fugitive, with it and filled by another visitor, from three
    /// distances, and write a report.
    #[arg(long, conflicts_with_all = ["check", "swarm", "latency", "bandwidth"])]
    perf: bool,
    /// Loads of each kind.
    #[arg(long, value_name = "N", requires = "perf", default_value_t = 5)]
    runs: usize,
    /// From this distance alone: near (20 ms, 100 Mbit/s), middle (80 ms, 20) or far (300 ms, 1.6).
    #[arg(long, value_name = "HOW", requires = "perf", value_parser = ["near", "middle", "far"])]
    shaping: Vec<String>,
    /// The page that is looked at.
    #[arg(
        long,
        value_name = "PATH",
        requires = "perf",
        default_value = "/sky.html"
    )]
    page: String,
    /// Go on where an earlier report has ended.
    #[arg(long, requires = "perf")]
    resume: bool,
    /// Make the media and stop.
    #[arg(long, hide = true)]
    prepare: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<()> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let site = here.join("site");
    media::make(&site.join("media"))?;
    if args.prepare {
        return Ok(());
    }
    let target = here.join("../target");
    let report = target.join("perf");
    if args.perf {
        measure(args, report.clone()).await?;
        return report::place(&site, &report);
    }
    let client = target.join("client");
    let cache = target.join("demo-cache");
    std::fs::create_dir_all(&cache)?;
    let drives = args.check || args.swarm.is_some();
    // Browsers that are driven use a port that is free, unless they are told otherwise.
    let port = if drives && args.port == 8080 {
        0
    } else {
        args.port
    };
    let ip = args.listen.unwrap_or(Ipv4Addr::LOCALHOST.into());
    let listener = TcpListener::bind((ip, port))
        .await
        .with_context(|| format!("cannot listen on port {port}: try --port 0"))?;
    let address = listener.local_addr()?;
    let url = match &args.host {
        Some(host) => format!("https://{host}:{}/", address.port()),
        None => format!("http://{address}/"),
    };
    report::place(&site, &report)?;
    code::place(&site, args.host.is_some().then_some(&url))?;
    let distance = Distance {
        latency: Duration::from_millis(args.latency.into()),
        bandwidth: args.bandwidth.map(|mbit| mbit * 1e6),
    };
    let log = match (&args.access_log, drives) {
        (Some(file), _) => Some(file.clone()),
        (None, true) => Some(target.join("demo-access.log")),
        (None, false) => None,
    };
    let demo = Demo {
        site: site.clone(),
        client,
        cache,
        access_log: log.clone(),
        tls: Tls {
            chain: args.tls_cert.clone(),
            key: args.tls_key.clone(),
        },
        distance,
    };
    if drives {
        let Some(log) = log else { return Ok(()) };
        std::fs::write(&log, "")?;
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving = tokio::spawn(origin::serve(listener, demo, async move {
            drop(stopped.await);
        }));
        println!("ready {url}");
        let driven = tokio::select! {
            driven = drive(&args, &url, &site, &log) => driven,
            () = ended()? => Ok(()),
        };
        drop(stop);
        serving.await??;
        return driven;
    }
    println!("ready {url}");
    origin::serve(listener, demo, ended()?).await
}

/// Resolves when we are told to end.
fn ended() -> Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut end = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = end.recv() => {}
        }
    })
}

#[cfg(feature = "check")]
async fn measure(args: Args, folder: PathBuf) -> Result<()> {
    let measuring = fugitive_demo::perf::run(fugitive_demo::perf::Options {
        page: args.page,
        runs: args.runs,
        shapings: args.shaping,
        resume: args.resume,
        folder,
    });
    tokio::select! {
        measured = measuring => measured,
        () = ended()? => anyhow::bail!("interrupted: --resume goes on from here"),
    }
}

#[cfg(not(feature = "check"))]
async fn measure(_args: Args, _folder: PathBuf) -> Result<()> {
    anyhow::bail!("built without browsers to drive: use ./demo-site/run")
}

#[cfg(feature = "check")]
async fn drive(args: &Args, url: &str, site: &Path, log: &Path) -> Result<()> {
    match args.swarm {
        Some(count) => fugitive_demo::swarm::run(url, log, count, args.walks).await,
        None => fugitive_demo::check::run(url, site, log).await,
    }
}

#[cfg(not(feature = "check"))]
async fn drive(_args: &Args, _url: &str, _site: &Path, _log: &Path) -> Result<()> {
    anyhow::bail!("built without browsers to drive: use ./demo-site/run")
}
