//! `./demo-site/run`, once everything is built: makes the media, starts the origin, says `ready`;
//! with `--check` drives two visitors over it and says what came from where.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result};
use clap::Parser;
use fugitive_demo::{
    media,
    origin::{self, Distance},
};
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
    /// Drive two browsers over the demo and say what came from where; needs no display.
    #[arg(long)]
    check: bool,
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
    let client = target.join("client");
    let cache = target.join("demo-cache");
    std::fs::create_dir_all(&cache)?;
    // The check uses a port that is free, unless it is told otherwise by one that is not.
    let port = if args.check && args.port == 8080 {
        0
    } else {
        args.port
    };
    let listener = TcpListener::bind(("127.0.0.1", port))
        .await
        .with_context(|| format!("cannot listen on port {port}: try --port 0"))?;
    let url = format!("http://{}/", listener.local_addr()?);
    let distance = Distance {
        latency: Duration::from_millis(args.latency.into()),
        bandwidth: args.bandwidth.map(|mbit| mbit * 1e6),
    };
    let log = match (&args.access_log, args.check) {
        (Some(file), _) => Some(file.clone()),
        (None, true) => Some(target.join("demo-access.log")),
        (None, false) => None,
    };
    if args.check {
        let Some(log) = log else { return Ok(()) };
        std::fs::write(&log, "")?;
        let log_too = Some(log.clone());
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving = tokio::spawn(origin::serve(
            listener,
            site.clone(),
            client,
            cache,
            log_too,
            distance,
            async move { drop(stopped.await) },
        ));
        println!("ready {url}");
        let checked = check(&url, &site, &log).await;
        drop(stop);
        serving.await??;
        return checked;
    }
    let (mut interrupt, mut end) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    println!("ready {url}");
    origin::serve(listener, site, client, cache, log, distance, async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = end.recv() => {}
        }
    })
    .await
}

#[cfg(feature = "check")]
async fn check(url: &str, site: &Path, log: &Path) -> Result<()> {
    fugitive_demo::check::run(url, site, log).await
}

#[cfg(not(feature = "check"))]
async fn check(_url: &str, _site: &Path, _log: &Path) -> Result<()> {
    anyhow::bail!("built without the check: use ./demo-site/run --check")
}
