//! A server on a port of its own, with a site in a folder of its own.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use fugitive_core::manifest::Manifest;
use fugitive_server::{Config, Server, clock::WallClock};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};

pub struct Running {
    pub address: SocketAddr,
    pub folder: TempDir,
    pub server: Server,
    pub config: Config,
    running: JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

/// Writes a file as one that has been there for a while.
pub fn put(site: &std::path::Path, name: &str, bytes: &[u8]) {
    static AGE: AtomicU64 = AtomicU64::new(100);
    let path = site.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    let age = Duration::from_secs(AGE.fetch_add(1, Ordering::Relaxed));
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(SystemTime::now() - age).unwrap();
}

/// A wall clock that a test sets, by seconds.
pub fn set_clock() -> (WallClock, Arc<AtomicI64>) {
    let ahead = Arc::new(AtomicI64::new(0));
    let read = ahead.clone();
    let clock = WallClock::new(move || {
        let ahead = read.load(Ordering::Relaxed);
        let by = Duration::from_secs(ahead.unsigned_abs());
        match ahead < 0 {
            true => SystemTime::now() - by,
            false => SystemTime::now() + by,
        }
    });
    (clock, ahead)
}

/// Bytes that do not repeat.
pub fn bytes(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new()
        .update(&len.to_le_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

impl Running {
    /// With these files, and a configuration that the test may change.
    pub async fn with(files: &[(&str, &[u8])], change: impl FnOnce(&mut Config)) -> Self {
        Self::by(WallClock::default(), files, change).await
    }

    /// … by a clock of the test's.
    pub async fn by(
        clock: WallClock,
        files: &[(&str, &[u8])],
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let site = folder.path().join("site");
        fs::create_dir(&site).unwrap();
        for (name, bytes) in files {
            put(&site, name, bytes);
        }
        let mut config = Config {
            site,
            access_log: Some(folder.path().join("access.log")),
            ..Config::default()
        };
        change(&mut config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::open_by(config.clone(), clock).unwrap();
        let (stop, told) = oneshot::channel();
        let stopped = async {
            // Only when it is said: a test's server may outlive its handle.
            if told.await.is_err() {
                std::future::pending().await
            }
        };
        let running = tokio::spawn(server.clone().run(listener, stopped));
        Self {
            address,
            folder,
            server,
            config,
            running,
            stop,
        }
    }

    pub async fn start(files: &[(&str, &[u8])]) -> Self {
        Self::with(files, |_| {}).await
    }

    /// Ends it, and waits until it has.
    pub async fn end(self) {
        self.stop.send(()).unwrap();
        self.running.await.unwrap();
    }

    pub fn site(&self) -> PathBuf {
        self.folder.path().join("site")
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub async fn get(&self, path: &str) -> reqwest::Response {
        self.get_with(path, &[]).await
    }

    pub async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> reqwest::Response {
        let mut request = reqwest::Client::new().get(self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    }

    pub async fn head(&self, path: &str) -> reqwest::Response {
        let request = reqwest::Client::new().head(self.url(path));
        request.send().await.unwrap()
    }

    /// The status for a request target that no client library would send as it is.
    pub async fn status_of(&self, target: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer)
    }

    pub async fn manifest(&self) -> Manifest {
        let response = self.get("/fugitive/manifest.json").await;
        assert_eq!(response.status(), 200);
        serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
    }

    /// The access log once it has so many lines.
    pub async fn log(&self, lines: usize) -> Vec<String> {
        let path = self.folder.path().join("access.log");
        let mut text = String::new();
        for _ in 0..100 {
            text = fs::read_to_string(&path).unwrap();
            if text.lines().count() >= lines {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        text.lines().map(str::to_owned).collect()
    }
}

/// Waits until it is so, and fails if that takes too long.
pub async fn until<F: Future<Output = bool>>(what: &str, mut so: impl FnMut() -> F) {
    for _ in 0..600 {
        if so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never: {what}");
}

pub fn header<'a>(response: &'a reqwest::Response, name: &str) -> &'a str {
    let value = response.headers().get(name);
    value.map_or("", |value| value.to_str().unwrap())
}
