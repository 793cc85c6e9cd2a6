//! The binary `fugitive`: serves a site, or writes what another server needs to serve it.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use fugitive_server::{
    Config, Server,
    client_files::ClientFiles,
    export,
    scan::{Progress, Rules},
};
use fugitive_signal::IceServer;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tracing_subscriber::EnvFilter;

/// A website's images and videos, delivered by its visitors to each other.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve a folder, with all that its visitors need to share it.
    Serve {
        /// The folder of the site.
        #[arg(long, value_name = "DIR")]
        site: PathBuf,
        /// Where to listen; port 0 takes any that is free.
        #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8080")]
        listen: SocketAddr,
        /// One line a request, in Common Log Format, with the bytes that went out.
        #[arg(long, value_name = "FILE")]
        access_log: Option<PathBuf>,
        /// Client files from this folder, not from the binary.
        #[arg(long, value_name = "DIR")]
        client: Option<PathBuf>,
        /// Keep hash trees here from one start to the next; a folder for this site alone.
        #[arg(long, value_name = "DIR")]
        cache: Option<PathBuf>,
        /// A STUN or TURN server that visitors use to find a way to each other.
        #[arg(long, value_name = "URL")]
        ice: Vec<String>,
        #[command(flatten)]
        listed: Listed,
    },
    /// Write the manifest into a site's folder, for hosting it anywhere.
    Manifest {
        /// The folder of the site.
        dir: PathBuf,
        #[command(flatten)]
        listed: Listed,
    },
    /// Write the client files, for hosting them anywhere.
    Client {
        /// Where to.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

/// The manifest publishes the names of all files that it lists.
#[derive(Args)]
struct Listed {
    /// List only what matches.
    #[arg(long, value_name = "GLOB")]
    include: Vec<String>,
    /// Never list what matches.
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
}

struct Bar(ProgressBar);

impl Progress for Bar {
    fn start(&self, _: u64, bytes: u64) {
        self.0.set_length(bytes);
    }
    fn hashed(&self, bytes: u64) {
        self.0.inc(bytes);
    }
}

fn main() -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_env("FUGITIVE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
    match Cli::parse().command {
        Command::Serve {
            site,
            listen,
            access_log,
            client,
            cache,
            ice,
            listed,
        } => {
            let ice = ice.into_iter().map(|url| IceServer {
                urls: vec![url],
                username: None,
                credential: None,
            });
            let config = Config {
                site,
                access_log,
                client,
                include: listed.include,
                exclude: listed.exclude,
                cache,
                ice: ice.collect(),
            };
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()?;
            runtime.block_on(serve(config, listen))?;
            // A scan of a large site does not hold up the end.
            runtime.shutdown_timeout(Duration::from_millis(100));
            Ok(())
        }
        Command::Manifest { dir, listed } => {
            let rules = Rules::new(&listed.include, &listed.exclude)?;
            let style = "{bar:40} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}";
            let bar = ProgressBar::new(0).with_style(ProgressStyle::with_template(style)?);
            let written = export::write(&dir, rules, &Bar(bar.clone()))
                .with_context(|| format!("cannot write the manifest of {}", dir.display()))?;
            bar.finish();
            eprintln!(
                "{} resources, {} shards, {} outboards in {}",
                written.resources,
                written.shards,
                written.outboards,
                dir.join("fugitive").display()
            );
            Ok(())
        }
        Command::Client { out } => {
            let count = ClientFiles::Embedded
                .write(&out)
                .with_context(|| format!("cannot write to {}", out.display()))?;
            anyhow::ensure!(count > 0, "this binary was built without client files");
            eprintln!("{count} files in {}", out.display());
            Ok(())
        }
    }
}

async fn serve(config: Config, listen: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen}"))?;
    let address = listener.local_addr()?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let server = Server::open(config)?;
    println!("ready http://{address}/");
    server
        .run(listener, async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("closing");
        })
        .await;
    Ok(())
}
