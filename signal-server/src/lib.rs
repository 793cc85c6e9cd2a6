//! The server of Fugitive: a static site, and beside it all that its visitors need to deliver it to
//! each other.
//!
//! A request walks through [`access_log`], then to the first that knows its path: [`signalling`]
//! (sockets around the pure [`matchmaker`]), [`client_files`], [`catalog`] (the manifest, kept up to
//! date by [`scan`], [`outboard`] and [`edition`]), and last [`site`]. [`entity`] turns what they
//! found into a reply.
//!
//! [`Server::open`] and [`Server::run`] make a server of a [`Config`]; [`Server::connection`] serves
//! one connection that the caller accepted, over any kind of stream.

#![warn(missing_docs)]

pub mod access;
pub mod access_log;
pub mod address;
pub mod admin;
pub mod backlog;
pub mod catalog;
pub mod client_files;
pub mod clock;
pub mod cluster;
pub mod config;
mod connection;
pub mod edition;
pub mod entity;
pub mod export;
pub mod frames;
pub mod geo;
pub mod hashes;
pub mod ice;
pub mod limits;
pub mod matchmaker;
pub mod metrics;
pub mod outboard;
pub mod scan;
pub mod signalling;
pub mod site;
pub mod socket;
pub mod stun;
pub mod ticket;
pub mod tls;
pub mod upstream;

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use fugitive_core::manifest::Policy;
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, UdpSocket},
    sync::watch,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use warp::{Filter, filters::BoxedFilter, http::StatusCode, reply::Response};

pub use crate::config::Config;
use crate::{
    access::{Access, BadAccess},
    access_log::AccessLog,
    catalog::{Catalog, Elsewhere},
    client_files::ClientFiles,
    clock::{Clocks, WallClock},
    config::BadLimit,
    connection::{Timeouts, tune},
    geo::{BadDatabase, Geo},
    ice::Ice,
    matchmaker::Rules,
    metrics::Metrics,
    signalling::{Known, Signalling},
    site::Site,
    tls::{BadTls, Certificate},
    upstream::{BadUpstream, Entries, Upstream},
};

/// How long answers may take to end once the server is told to.
const GRACE: Duration = Duration::from_secs(3);

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum Unable {
    /// The folder of the site is not there.
    #[error("cannot serve {0}: {1}")]
    Site(PathBuf, io::Error),
    /// The access log cannot be written.
    #[error("cannot write to {0}: {1}")]
    AccessLog(PathBuf, io::Error),
    /// No place for outboards.
    #[error("no place for outboards: {0}")]
    Cache(io::Error),
    /// Who may join.
    #[error(transparent)]
    Access(#[from] BadAccess),
    /// Where visitors are.
    #[error(transparent)]
    Geo(#[from] BadDatabase),
    /// The certificate.
    #[error(transparent)]
    Tls(#[from] BadTls),
    /// A live site.
    #[error(transparent)]
    Upstream(#[from] BadUpstream),
    /// Half of what TLS needs.
    #[error("tls needs both a chain and a key")]
    HalfTls,
    /// `include` or `exclude`.
    #[error("not a pattern: {0}")]
    Pattern(#[from] globset::Error),
    /// `also-listed`.
    #[error("also-listed: {0}")]
    Also(io::Error),
    /// `policy.manners`.
    #[error(transparent)]
    Policy(#[from] BadLimit),
    /// Servers of a cluster must know each other's visitors.
    #[error("a cluster needs a secret of tickets (access.ticket-secret), the same for all servers")]
    NoSecret,
}

/// A server that is ready to take connections.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

struct Shared {
    routes: BoxedFilter<(Response,)>,
    access: Arc<ArcSwap<Access>>,
    signalling: Signalling,
    metrics: Arc<Metrics>,
    certificate: Option<Arc<Certificate>>,
    tls: Option<TlsAcceptor>,
    access_log: Option<Arc<AccessLog>>,
    policy: watch::Sender<Policy>,
    timeouts: Timeouts,
    clock: WallClock,
    end: CancellationToken,
    connections: TaskTracker,
    /// Removed with the server.
    _temporary: Option<TempDir>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

impl Server {
    /// Opens all that the configuration names and begins to scan the site. Needs a tokio runtime
    /// with several threads.
    pub fn open(config: Config) -> Result<Self, Unable> {
        Self::open_by(config, WallClock::default())
    }

    /// … by a clock of the caller's.
    pub fn open_by(config: Config, clock: WallClock) -> Result<Self, Unable> {
        address::show_whole(config.log_addresses);
        let access = Access::new(&config, None, clock.clone())?;
        let access = Arc::new(ArcSwap::from_pointee(access));
        let access_log = match config.access_log.clone() {
            Some(path) => match AccessLog::open(&path) {
                Ok(log) => Some(Arc::new(log)),
                Err(error) => return Err(Unable::AccessLog(path, error)),
            },
            None => None,
        };
        let listed = scan::Rules::new(&config.include, &config.exclude)?;
        let listed = listed.also(&config.also_listed).map_err(Unable::Also)?;
        let (outboards, temporary) = match config.cache.clone() {
            Some(folder) => (folder, None),
            None => {
                let folder = tempfile::Builder::new().prefix("fugitive-").tempdir();
                let folder = folder.map_err(Unable::Cache)?;
                (folder.path().to_owned(), Some(folder))
            }
        };
        let folder = match config.site.as_os_str().is_empty() {
            // The site is elsewhere: nothing of it is served from here.
            true => outboards.join("empty"),
            false => config.site.clone(),
        };
        if folder != config.site {
            std::fs::create_dir_all(&folder).map_err(Unable::Cache)?;
        }
        let site = Site::new(&folder).map_err(|e| Unable::Site(config.site.clone(), e))?;
        let site = Arc::new(site);
        let store = outboards.join("upstream.redb");
        let trees = outboards.join("upstream");
        let outboards = outboards.join("bao");
        std::fs::create_dir_all(&outboards).map_err(Unable::Cache)?;

        let timeouts = Timeouts {
            head: Duration::from_secs(config.timeouts.head_seconds),
            stalled: Duration::from_secs(config.timeouts.stalled_seconds),
        };
        let end = CancellationToken::new();
        let (upstream, entries) = match config.upstream.sites.is_empty() {
            true => (None, watch::channel(Entries::default()).1),
            false => {
                let (clock, end) = (clock.clone(), end.clone());
                let (upstream, entries) =
                    Upstream::open(&config.upstream, &store, &trees, clock, end)?;
                (Some(upstream), entries)
            }
        };
        let hashes = config.cache.as_ref().map(|cache| cache.join("hashes.redb"));
        let root = site.root().to_owned();
        let (policy, stated) = watch::channel(config.stated_policy()?);
        let ending = end.clone();
        let elsewhere = Elsewhere {
            entries,
            outboards: trees,
        };
        let catalog = Catalog::open(root, listed, outboards, hashes, elsewhere, stated, ending);
        let secret = config.access.ticket_secret.as_deref();
        let (known, rules) = settings(&config)?;
        let metrics = Metrics::new();
        let clocks = Clocks::new(clock.clone());
        let (counted, ending) = (metrics.clone(), end.clone());
        let signalling = Signalling::new(known, rules, secret, clocks, counted, ending);
        if !config.cluster.is_empty() {
            secret.ok_or(Unable::NoSecret)?;
            let upstream = upstream.as_ref();
            cluster::join(config.cluster.clone(), &signalling, upstream, end.clone());
        }
        let (mut news, telling) = (catalog.clone(), signalling.clone());
        tokio::spawn(async move {
            while news.changed().await {
                telling.manifest_changed();
            }
        });
        let client = match config.client.clone() {
            Some(folder) => ClientFiles::Folder(folder),
            None => ClientFiles::Embedded,
        };

        let certificate = match (config.tls.chain.clone(), config.tls.key.clone()) {
            (Some(chain), Some(key)) => Some(Certificate::open(chain, key)?),
            (None, None) => None,
            _ => return Err(Unable::HalfTls),
        };
        let tls = match &certificate {
            Some(certificate) => {
                tokio::spawn(certificate.clone().follow(end.clone()));
                Some(certificate.clone().acceptor()?)
            }
            None => None,
        };

        // What is below `/fugitive/` and known to nobody is not for the site to answer.
        let reserved = warp::path("fugitive")
            .and(warp::path::param::<String>())
            .map(|_| entity::bare(StatusCode::NOT_FOUND));
        let draining = access.clone();
        let health =
            warp::path("fugitive").and(admin::health(move || draining.load().is_draining()));
        let claims = match upstream {
            Some(upstream) => upstream::route(upstream).boxed(),
            None => warp::any()
                .and_then(|| async { Err(warp::reject::not_found()) })
                .boxed(),
        };
        let routes = signalling::route(signalling.clone(), access.clone())
            .or(client_files::route(client))
            .unify()
            .or(catalog::route(catalog))
            .unify()
            .or(health)
            .unify()
            .or(claims)
            .unify()
            .or(reserved)
            .unify()
            .or(site::route(site))
            .unify()
            .boxed();
        Ok(Self {
            shared: Arc::new(Shared {
                routes,
                access,
                signalling,
                metrics,
                certificate,
                tls,
                access_log,
                policy,
                timeouts,
                clock,
                end,
                connections: TaskTracker::new(),
                _temporary: temporary,
            }),
        })
    }

    /// Goes on by another configuration, as far as that is possible without a new start. What is
    /// connected stays so.
    pub fn reload(&self, config: &Config) -> Result<(), Unable> {
        let clock = self.shared.clock.clone();
        let access = Access::new(config, Some(&self.shared.access.load()), clock)?;
        let (known, rules) = settings(config)?;
        let policy = config.stated_policy()?;
        address::show_whole(config.log_addresses);
        self.shared.access.store(Arc::new(access));
        if let Some(certificate) = &self.shared.certificate {
            certificate.reload()?;
        }
        self.shared.signalling.configure(known, rules);
        self.shared.policy.send_if_modified(|stated| {
            let is_new = *stated != policy;
            *stated = policy;
            is_new
        });
        Ok(())
    }

    /// What was counted, as Prometheus reads it.
    pub fn metrics(&self) -> String {
        let (counts, largest) = self.shared.signalling.counts();
        self.shared.metrics.text(counts, &largest)
    }

    /// Whether nobody joins any more.
    pub fn is_draining(&self) -> bool {
        self.shared.access.load().is_draining()
    }

    /// Answers the operator as long as the server runs.
    pub fn admin(&self, listener: TcpListener) {
        let end = self.shared.end.clone();
        let serving = warp::serve(admin::route(self.clone())).incoming(listener);
        tokio::spawn(serving.graceful(end.cancelled_owned()).run());
    }

    /// Answers STUN requests as long as the server runs.
    pub fn stun(&self, socket: UdpSocket) {
        tokio::spawn(stun::serve(socket, self.shared.end.clone()));
    }

    /// Takes connections until `shutdown`, then gives those that are busy a moment to end.
    pub async fn run(self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = &mut shutdown => break,
            };
            match accepted {
                Ok((stream, remote)) => {
                    tune(&stream);
                    tokio::spawn(self.clone().connection(stream, remote));
                }
                Err(error) => {
                    // Out of file descriptors, most likely: it gets no better by hurrying.
                    tracing::warn!("cannot accept: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        self.close().await;
    }

    /// Lets nobody join any more and asks those who have to go elsewhere, spread over so much time.
    /// Returns when they are gone, or late. Files are served as before.
    pub async fn drain(&self, spread: Duration) {
        self.shared.access.load().drain();
        self.shared.signalling.drain(spread).await;
    }

    /// Ends all connections: at once those that are idle, and sockets; after a moment the others.
    pub async fn close(&self) {
        self.shared.access.load().drain();
        self.shared.signalling.close().await;
        self.shared.end.cancel();
        self.shared.connections.close();
        let _ = tokio::time::timeout(GRACE, self.shared.connections.wait()).await;
    }
}

/// What the configuration means for signalling.
fn settings(config: &Config) -> Result<(Known, Rules), Unable> {
    let known = Known {
        ice: Ice::new(config),
        geo: Geo::open(&config.geo)?,
    };
    let directory = &config.directory;
    let rules = Rules {
        silence: config.timeouts.silence_seconds * 1000,
        hold_over: directory.enabled.then_some(directory.over_bytes),
        most_holds: directory.most,
        threshold: config.threshold,
    };
    Ok((known, rules))
}

/// Opens a server and runs it until `shutdown`.
pub async fn serve(
    config: Config,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Unable> {
    Server::open(config)?.run(listener, shutdown).await;
    Ok(())
}
