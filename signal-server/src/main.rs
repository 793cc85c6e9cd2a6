//! The binary `fugitive`: serves a site, or writes what another server needs to serve it.

mod top;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use fugitive_core::manifest::Policy;
use fugitive_server::{
    Config, Server,
    client_files::ClientFiles,
    config::{self, BadConfig, LogFormat},
    export,
    scan::{Progress, Rules},
};
use fugitive_signal::IceServer;
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Serialize, Serializer};
use tokio::{
    net::{TcpListener, UdpSocket},
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
    Serve(Box<Serve>),
    /// Write the manifest into a site's folder, for hosting it anywhere.
    Manifest {
        /// The folder of the site.
        dir: PathBuf,
        /// The path of its pages, where it is not at the root of its host.
        #[arg(long, value_name = "PATH", default_value = "/")]
        base: String,
        #[command(flatten)]
        listed: Listed,
    },
    /// Watch a server: contexts, peers and rates, live.
    Top {
        /// What its `admin` says.
        #[arg(value_name = "ADDR:PORT", default_value = "127.0.0.1:9090")]
        server: String,
    },
    /// Print every setting with its default, as a file to begin from.
    Config,
    /// Write the client files, for hosting them anywhere.
    Client {
        /// Where to.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// As a package of npm: the files in `client`, and a module that puts them into a page.
        #[arg(long)]
        npm: bool,
    },
}

/// What is not given here comes from the environment, the file, or is as `fugitive config` says.
#[derive(Args, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Serve {
    /// The configuration; SIGHUP reads it again.
    #[arg(long, value_name = "FILE", env = "FUGITIVE_CONFIG")]
    #[serde(skip)]
    config: Option<PathBuf>,
    /// Any setting, as in the file: `limits.peers-per-address=50`.
    #[arg(long, value_name = "KEY=VALUE")]
    #[serde(skip)]
    set: Vec<String>,
    /// The folder of the site.
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    site: Option<PathBuf>,
    /// A live site instead: its manifest is made of what visitors name. Others than the first are
    /// its helpers.
    #[arg(long, value_name = "ORIGIN")]
    #[serde(skip)]
    upstream: Vec<String>,
    /// Where to listen; port 0 takes any that is free.
    #[arg(long, value_name = "ADDR:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<SocketAddr>,
    /// One line a request, in Common Log Format, with the bytes that went out.
    #[arg(long, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    access_log: Option<PathBuf>,
    /// Client files from this folder, not from the binary.
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<PathBuf>,
    /// Keep hash trees here from one start to the next; a folder for this site alone.
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    cache: Option<PathBuf>,
    /// A STUN or TURN server that visitors use to find a way to each other.
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "as_servers")]
    ice: Vec<String>,
    /// NATS servers, over which this server and others are one.
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cluster: Vec<String>,
    #[command(flatten)]
    #[serde(flatten)]
    listed: Listed,
}

fn as_servers<S: Serializer>(urls: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(urls.iter().map(|url| IceServer {
        urls: vec![url.clone()],
        username: None,
        credential: None,
    }))
}

impl Serve {
    fn settings(&self) -> Result<Config, BadConfig> {
        let mut config = config::read(self.config.as_deref(), &self.set, self)?;
        if !self.upstream.is_empty() {
            config.upstream.sites.clone_from(&self.upstream);
        }
        Ok(config)
    }
}

/// The manifest publishes the names of all files that it lists.
#[derive(Args, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Listed {
    /// List only what matches.
    #[arg(long, value_name = "GLOB")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    include: Vec<String>,
    /// Never list what matches.
    #[arg(long, value_name = "GLOB")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    exclude: Vec<String>,
    /// List a folder that another host serves, by whole URLs.
    #[arg(long, value_name = "URL=FOLDER")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    also_listed: Vec<String>,
    /// Have requests wait for peers up to 0.8 s, though the origin may be faster.
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    spare_origin: bool,
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

fn log(config: &Config) {
    let filter = EnvFilter::try_new(&config.log).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    match config.log_format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Serve(given) => {
            let config = given.settings()?;
            log(&config);
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()?;
            runtime.block_on(serve(config, *given))?;
            // A scan of a large site does not hold up the end.
            runtime.shutdown_timeout(Duration::from_millis(100));
            Ok(())
        }
        Command::Top { server } => top::run(&server),
        Command::Config => {
            print!("{}", config::REFERENCE);
            Ok(())
        }
        Command::Manifest { dir, base, listed } => {
            let config = config::read(None, &[], BTreeMap::<(), ()>::new())?;
            log(&config);
            let rules = Rules::new(&listed.include, &listed.exclude)?;
            let rules = rules.also(&listed.also_listed)?.below(&base);
            let style = "{bar:40} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}";
            let bar = ProgressBar::new(0).with_style(ProgressStyle::with_template(style)?);
            let policy = Policy {
                spare_origin: listed.spare_origin || config.spare_origin,
                ..config.stated_policy()?
            };
            let written = export::write(&dir, rules, policy, &Bar(bar.clone()))
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
        Command::Client { out, npm } => {
            let files = ClientFiles::Embedded;
            let written = if npm {
                files.write_package(&out)
            } else {
                files.write(&out)
            };
            let count = written.with_context(|| format!("cannot write to {}", out.display()))?;
            anyhow::ensure!(count > 0, "this binary was built without client files");
            eprintln!("{count} files in {}", out.display());
            Ok(())
        }
    }
}

async fn serve(config: Config, given: Serve) -> anyhow::Result<()> {
    let listen = config.listen;
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen}"))?;
    let address = listener.local_addr()?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let stun = match config.stun {
        Some(stun) => {
            let socket = UdpSocket::bind(stun).await;
            Some(socket.with_context(|| format!("cannot answer STUN on {stun}"))?)
        }
        None => None,
    };
    let admin = match config.admin {
        Some(admin) => {
            let listener = TcpListener::bind(admin).await;
            Some(listener.with_context(|| format!("cannot listen on {admin}"))?)
        }
        None => None,
    };
    let scheme = if config.tls.chain.is_some() {
        "https"
    } else {
        "http"
    };
    let drain = Duration::from_secs(config.drain_seconds.into());
    let server = Server::open(config)?;
    if let Some(stun) = stun {
        server.stun(stun);
    }
    if let Some(admin) = admin {
        tracing::info!("metrics on http://{}/metrics", admin.local_addr()?);
        server.admin(admin);
    }
    println!("ready {scheme}://{address}/");
    let reloaded = server.clone();
    tokio::spawn(async move {
        while hang_up.recv().await.is_some() {
            let read = given.settings().map_err(anyhow::Error::from);
            match read.and_then(|config| Ok(reloaded.reload(&config)?)) {
                Ok(()) => tracing::info!("configuration read again"),
                Err(error) => tracing::error!("the configuration stays as it was: {error:#}"),
            }
        }
    });
    let drained = server.clone();
    server
        .run(listener, async move {
            tokio::select! {
                _ = terminate.recv() => {
                    // A second signal has no patience.
                    tokio::select! {
                        () = drained.drain(drain) => {}
                        _ = terminate.recv() => {}
                        _ = interrupt.recv() => {}
                    }
                }
                _ = interrupt.recv() => {}
            }
            tracing::info!("closing");
        })
        .await;
    Ok(())
}
