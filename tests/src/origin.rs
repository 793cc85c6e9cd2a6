//! The origin: the real server in-process, behind a proxy that does what a test tells it to.
//!
//! The proxy gives each request a connection of its own to the server, so that each can be met with
//! its own fault; WebSockets pass through untouched until they are cut.

use std::{
    collections::HashMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use fugitive_distance::{Distance, connections};
use fugitive_server::{Config, Server, config::Policy};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::{Notify, oneshot},
};

use crate::{certificate::Certificate, site::Site, turn::Turn};

/// The signalling socket's path.
pub const SIGNAL: &str = "/fugitive/signal";

type Answer = dyn Fn(&str) -> Vec<u8> + Send + Sync;

/// An answer as it goes over the wire, made for each request from its head.
#[derive(Clone)]
pub struct Script(pub Arc<Answer>);

impl std::fmt::Debug for Script {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Script")
    }
}

/// What happens to requests for a path.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This answer instead.
    Answer {
        /// Status line after the version, as in `500 Internal Server Error`.
        status: &'static str,
        /// More header lines, each with its CRLF.
        headers: String,
        /// Body.
        body: Vec<u8>,
    },
    /// What a test makes up; the connection ends after it.
    Script(Script),
    /// Nothing is ever answered.
    Stall,
    /// Answered after a while.
    Delay(Duration),
    /// The connection ends after this many bytes of the answer.
    CutAfter(usize),
    /// At most this many bytes a second.
    Slow(usize),
    /// The connection is refused.
    Refuse,
}

/// A running origin.
pub struct Origin {
    url: String,
    log: PathBuf,
    _folder: TempDir,
    faults: Arc<Faults>,
    stop: Option<oneshot::Sender<()>>,
}

#[derive(Default)]
struct Faults {
    by_path: Mutex<HashMap<String, Fault>>,
    cut: Notify,
    /// WebSockets that are open.
    sockets: AtomicUsize,
    /// WebSockets that were ever opened.
    opened: AtomicUsize,
}

impl Faults {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Fault>> {
        self.by_path.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Origin {
    /// Serves a site whose requests wait for peers, as the policy allows, though an origin on the same
    /// machine is always the nearest: what is asked of peers must not hang on which is faster today.
    pub async fn start(site: &Site) -> Result<Self> {
        Self::with(site, |config| config.spare_origin = true).await
    }

    /// Serves a site with the default policy, by which no request waits for a peer that is expected to
    /// be later than the origin.
    pub async fn unspared(site: &Site) -> Result<Self> {
        Self::with(site, |_| {}).await
    }

    /// Serves a site and lists, as `URL=FOLDER`, what other hosts serve of it.
    pub async fn listing(site: &Site, also_listed: Vec<String>) -> Result<Self> {
        Self::with(site, |config| {
            config.spare_origin = true;
            config.also_listed = also_listed;
        })
        .await
    }

    /// Serves a site by a configuration that a test may change.
    pub async fn with(site: &Site, change: impl FnOnce(&mut Config)) -> Result<Self> {
        let folder = TempDir::new()?;
        let log = log(&folder);
        let mut config = config(site, &log)?;
        change(&mut config);
        let (inner, stop) = serve(config).await?;
        let proxy = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", proxy.local_addr()?);
        let faults = Arc::new(Faults::default());
        let shared = faults.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = proxy.accept().await {
                let faults = shared.clone();
                tokio::spawn(async move {
                    // A browser that goes away in the middle is no error of the proxy's.
                    let _ = relay(client, inner, &faults).await;
                });
            }
        });
        Ok(Self {
            url,
            log,
            _folder: folder,
            faults,
            stop: Some(stop),
        })
    }

    /// A server beside a site that something else serves.
    pub async fn beside(config: Config) -> Result<Self> {
        let folder = TempDir::new()?;
        let config = Config {
            access_log: Some(log(&folder)),
            ..config
        };
        let (address, stop) = serve(config).await?;
        Ok(Self::faultless(format!("http://{address}"), folder, stop))
    }

    /// Serves a site as most are: over HTTP/2, and by the default policy. There are no faults.
    pub async fn secure(site: &Site, certificate: &Certificate) -> Result<Self> {
        let folder = TempDir::new()?;
        let config = Config {
            tls: certificate.write(folder.path())?,
            ..config(site, &log(&folder))?
        };
        let (address, stop) = serve(config).await?;
        Ok(Self::faultless(format!("https://{address}"), folder, stop))
    }

    /// Serves a site from so far away, sparing the origin, to visitors whom `turn` may relay. There are
    /// no faults.
    pub async fn far(
        policy: Policy,
        site: &Site,
        distance: Distance,
        turn: Option<&Turn>,
    ) -> Result<Self> {
        let folder = TempDir::new()?;
        let config = Config {
            policy,
            ..config(site, &log(&folder))?
        };
        Self::at(folder, config, distance, turn).await
    }

    /// The same over HTTP/2.
    pub async fn far_and_secure(
        policy: Policy,
        certificate: &Certificate,
        site: &Site,
        distance: Distance,
        turn: Option<&Turn>,
    ) -> Result<Self> {
        let folder = TempDir::new()?;
        let config = Config {
            policy,
            tls: certificate.write(folder.path())?,
            ..config(site, &log(&folder))?
        };
        Self::at(folder, config, distance, turn).await
    }

    async fn at(
        folder: TempDir,
        config: Config,
        distance: Distance,
        turn: Option<&Turn>,
    ) -> Result<Self> {
        let scheme = match config.tls.chain {
            Some(_) => "https",
            None => "http",
        };
        let server = Server::open(Config {
            spare_origin: true,
            turn: turn.map(Turn::config).unwrap_or_default(),
            ..config
        })?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("{scheme}://{}", listener.local_addr()?);
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(async move {
            let serve = |stream, remote| {
                tokio::spawn(server.clone().connection(stream, remote));
            };
            tokio::select! {
                failed = connections(listener, distance, serve) => eprintln!("server: {failed:?}"),
                _ = stopped => {}
            }
            server.close().await;
        });
        Ok(Self::faultless(url, folder, stop))
    }

    fn faultless(url: String, folder: TempDir, stop: oneshot::Sender<()>) -> Self {
        Self {
            url,
            log: log(&folder),
            _folder: folder,
            faults: Arc::default(),
            stop: Some(stop),
        }
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// From now on requests for this path meet this fault.
    pub fn fault(&self, path: &str, fault: Fault) {
        self.faults.lock().insert(path.to_owned(), fault);
    }

    /// Requests for this path are answered as they should be again.
    pub fn heal(&self, path: &str) {
        self.faults.lock().remove(path);
    }

    /// Ends every WebSocket that is open.
    pub fn cut_sockets(&self) {
        self.faults.cut.notify_waiters();
    }

    /// WebSockets that are open now, and that ever were.
    pub fn sockets(&self) -> (usize, usize) {
        let read = |count: &AtomicUsize| count.load(Ordering::SeqCst);
        (read(&self.faults.sockets), read(&self.faults.opened))
    }

    /// Requests that the server answered for paths with this ending: status and body bytes.
    pub fn requests(&self, ending: &str) -> Result<Vec<(u16, u64)>> {
        self.answered(|path| path.ends_with(ending))
    }

    fn answered(&self, counts: impl Fn(&str) -> bool) -> Result<Vec<(u16, u64)>> {
        let text = fs::read_to_string(&self.log)?;
        Ok(text
            .lines()
            .filter_map(|line| {
                let mut quoted = line.split('"');
                let path = quoted.nth(1)?.split(' ').nth(1)?.split('?').next()?;
                let mut numbers = quoted.next()?.split_whitespace();
                let status = numbers.next()?.parse().ok()?;
                let bytes = numbers.next()?.parse().unwrap_or(0);
                counts(path).then_some((status, bytes))
            })
            .collect())
    }

    /// Body bytes that the server sent for paths with this ending.
    pub fn sent(&self, ending: &str) -> Result<u64> {
        Ok(self.requests(ending)?.iter().map(|(_, bytes)| bytes).sum())
    }

    /// Body bytes that the server sent for paths with this start.
    pub fn sent_below(&self, start: &str) -> Result<u64> {
        let answers = self.answered(|path| path.starts_with(start))?;
        Ok(answers.iter().map(|(_, bytes)| bytes).sum())
    }
}

/// A server, and what ends it.
async fn serve(config: Config) -> Result<(SocketAddr, oneshot::Sender<()>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(async move {
        let stopped = async {
            let _ = stopped.await;
        };
        if let Err(error) = fugitive_server::serve(config, listener, stopped).await {
            eprintln!("server: {error}");
        }
    });
    Ok((address, stop))
}

fn log(folder: &TempDir) -> PathBuf {
    folder.path().join("access.log")
}

fn config(site: &Site, log: &Path) -> Result<Config> {
    fs::write(log, "")?;
    Ok(Config {
        site: site.folder().to_owned(),
        access_log: Some(log.to_owned()),
        client: Some(PathBuf::from(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../target/client"
        ))),
        ..Config::default()
    })
}

impl Drop for Origin {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }
}

async fn relay(mut client: TcpStream, inner: SocketAddr, faults: &Faults) -> Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if client.read_buf(&mut head).await? == 0 || head.len() > 64 * 1024 {
            return Ok(());
        }
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let path = text.split(' ').nth(1).unwrap_or_default();
    let path = path.split('?').next().unwrap_or_default();
    let fault = faults.lock().get(path).cloned();
    let is_socket = text.to_ascii_lowercase().contains("upgrade: websocket");
    match &fault {
        Some(Fault::Refuse) => return Ok(()),
        Some(Fault::Stall) => {
            tokio::time::sleep(Duration::from_secs(120)).await;
            return Ok(());
        }
        Some(Fault::Answer {
            status,
            headers,
            body,
        }) => {
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n"
            );
            client.write_all(head.as_bytes()).await?;
            client.write_all(body).await?;
            return Ok(());
        }
        Some(Fault::Script(Script(answer))) => {
            client.write_all(&answer(&text)).await?;
            return Ok(());
        }
        Some(Fault::Delay(time)) => {
            // Who goes away meanwhile never reaches the server, and its log.
            tokio::select! {
                () = tokio::time::sleep(*time) => {}
                _ = client.read_u8() => return Ok(()),
            }
        }
        Some(Fault::CutAfter(_) | Fault::Slow(_)) | None => {}
    }
    let mut server = TcpStream::connect(inner).await?;
    if is_socket {
        server.write_all(&head).await?;
        faults.opened.fetch_add(1, Ordering::SeqCst);
        faults.sockets.fetch_add(1, Ordering::SeqCst);
        tokio::select! {
            _ = copy_bidirectional(&mut client, &mut server) => {}
            () = faults.cut.notified() => {}
        }
        faults.sockets.fetch_sub(1, Ordering::SeqCst);
        return Ok(());
    }
    // One request a connection, so that the next one meets its own fault.
    let kept = text
        .split("\r\n")
        .filter(|line| !line.to_ascii_lowercase().starts_with("connection:"))
        .collect::<Vec<_>>()
        .join("\r\n");
    let once = kept.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    server.write_all(once.as_bytes()).await?;
    match fault {
        Some(Fault::CutAfter(bytes)) => {
            let mut left = bytes;
            let mut piece = vec![0; 16 * 1024];
            while left > 0 {
                let read = server.read(&mut piece).await?;
                if read == 0 {
                    break;
                }
                let send = read.min(left);
                client.write_all(&piece[..send]).await?;
                left -= send;
            }
        }
        Some(Fault::Slow(bytes_a_second)) => {
            let mut piece = vec![0; (bytes_a_second / 20).max(1)];
            loop {
                let read = server.read(&mut piece).await?;
                if read == 0 {
                    break;
                }
                client.write_all(&piece[..read]).await?;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        _ => {
            copy_bidirectional(&mut client, &mut server).await?;
        }
    }
    Ok(())
}
