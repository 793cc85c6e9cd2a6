//! The manifest of a running server: scans the site, follows changes in it, serves the newest
//! edition. The site is served from the first moment on; the manifest appears when it is done.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fs::File,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use fugitive_core::{content::ContentId, manifest::Policy};
use notify::{
    EventKind, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode},
};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use warp::{
    Filter, Rejection,
    http::{
        HeaderName, HeaderValue, StatusCode,
        header::{
            ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, CACHE_CONTROL, RETRY_AFTER,
        },
    },
    reject,
    reply::Response,
};

use crate::{
    edition::Edition,
    entity::{self, Asked, Encoded, OnDisk},
    scan::{Found, Rules, Scanner},
    upstream::Entries,
};

/// A file that changed less than this ago is not listed yet.
const SETTLE: Duration = Duration::from_millis(500);
/// Changes come in flurries; wait until there was none for this long …
const CALM: Duration = Duration::from_millis(300);
/// … but not longer than this.
const PATIENCE: Duration = Duration::from_secs(2);
/// Scans without being told to, where the system cannot watch the folder.
const BLIND: Duration = Duration::from_secs(30);
/// Scans without being told to, in case that a change was missed.
const SOMETIMES: Duration = Duration::from_secs(600);
/// How long the first edition waits for files that are being written.
const FIRST: Duration = Duration::from_secs(3);
/// How long a request waits for the first edition before it is told to come again.
const WAIT: Duration = Duration::from_secs(5);
/// Whoever has an older index still finds its shards and outboards, this many editions back.
const EDITIONS: usize = 4;

const LISTED: [(HeaderName, &str); 3] = [
    (CACHE_CONTROL, "no-cache"),
    (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    (ACCESS_CONTROL_EXPOSE_HEADERS, "etag"),
];
const NAMED_BY_CONTENT: [(HeaderName, &str); 3] = [
    (CACHE_CONTROL, "public, max-age=31536000, immutable"),
    (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    (
        ACCESS_CONTROL_EXPOSE_HEADERS,
        "etag, content-length, content-range",
    ),
];

/// An edition, ready to be sent.
#[derive(Debug)]
struct Shelf {
    index: Encoded,
    /// Those of earlier editions too.
    shards: HashMap<ContentId, Arc<Encoded>>,
}

/// The manifest as it is now.
#[derive(Clone, Debug)]
pub struct Catalog {
    shelf: watch::Receiver<Option<Arc<Shelf>>>,
    outboards: [Arc<Path>; 2],
}

/// What is listed beside the folder's files.
pub struct Elsewhere {
    /// All of it.
    pub entries: watch::Receiver<Entries>,
    /// Where its outboards are.
    pub outboards: PathBuf,
}

impl Catalog {
    /// Begins to scan and goes on until `end`. The root must be canonical. Hashes are kept in a file
    /// if there is one for them.
    pub fn open(
        root: PathBuf,
        rules: Rules,
        outboards: PathBuf,
        hashes: Option<PathBuf>,
        elsewhere: Elsewhere,
        policy: watch::Receiver<Policy>,
        end: CancellationToken,
    ) -> Self {
        let (publish, shelf) = watch::channel(None);
        let catalog = Self {
            shelf,
            outboards: [outboards.clone().into(), elsewhere.outboards.into()],
        };
        let mut scanner = Scanner::live(root.clone(), rules, outboards, SETTLE);
        if let Some(hashes) = hashes {
            scanner = scanner.remember(&hashes);
        }
        tokio::spawn(async move {
            tokio::select! {
                () = follow(root, scanner, elsewhere.entries, policy, publish) => {}
                () = end.cancelled() => {}
            }
        });
        catalog
    }

    /// Waits for the next edition; `false` if there will be none.
    pub async fn changed(&mut self) -> bool {
        self.shelf.changed().await.is_ok()
    }

    async fn shelf(&self) -> Option<Arc<Shelf>> {
        let mut shelf = self.shelf.clone();
        let first = tokio::time::timeout(WAIT, shelf.wait_for(Option::is_some)).await;
        first.ok()?.ok()?.clone()
    }

    async fn reply(self, asked: Asked) -> Result<Response, Rejection> {
        let name = asked.path.strip_prefix("/fugitive/");
        let name = name.ok_or_else(reject::not_found)?;
        if name == "manifest.json" {
            return Ok(match self.shelf().await {
                Some(shelf) => shelf.index.reply(&asked, &LISTED),
                None => {
                    let mut reply = entity::bare(StatusCode::SERVICE_UNAVAILABLE);
                    reply
                        .headers_mut()
                        .insert(RETRY_AFTER, HeaderValue::from_static("5"));
                    reply
                }
            });
        }
        let id = |text: &str| text.parse::<ContentId>().ok();
        if let Some(name) = name.strip_prefix("shard/") {
            let shelf = self.shelf.borrow().clone();
            let shard = name
                .strip_suffix(".json")
                .and_then(id)
                .and_then(|id| shelf?.shards.get(&id).cloned());
            return Ok(match shard {
                Some(shard) => shard.reply(&asked, &NAMED_BY_CONTENT),
                None => entity::bare(StatusCode::NOT_FOUND),
            });
        }
        let id = name
            .strip_prefix("bao/")
            .and_then(id)
            .ok_or_else(reject::not_found)?;
        let [ours, elsewhere] = self.outboards.each_ref().map(|f| f.join(id.to_hex()));
        let outboard = tokio::task::spawn_blocking(move || {
            let file = File::open(ours).or_else(|_| File::open(elsewhere))?;
            OnDisk::immutable(file, &format!("\"{id}\""), "application/octet-stream")
        });
        match outboard.await.unwrap_or_else(|e| Err(io::Error::other(e))) {
            Ok(outboard) => Ok(entity::reply(outboard, &asked, &NAMED_BY_CONTENT)),
            Err(_) => Ok(entity::bare(StatusCode::NOT_FOUND)),
        }
    }
}

/// `/fugitive/manifest.json`, `/fugitive/shard/…`, `/fugitive/bao/…`.
pub fn route(catalog: Catalog) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone {
    entity::asked().and_then(move |asked| catalog.clone().reply(asked))
}

/// Tells that something in the folder changed. Stops when it is dropped.
fn watch_folder(root: &Path, changed: Arc<Notify>) -> notify::Result<impl Watcher + use<>> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let matters = event.map_or(true, |event| match event.kind {
            // Reading, ours first of all, changes nothing.
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
            EventKind::Access(_) => false,
            _ => true,
        });
        if matters {
            changed.notify_one();
        }
    })?;
    watcher.watch(root, RecursiveMode::Recursive)?;
    Ok(watcher)
}

async fn follow(
    root: PathBuf,
    mut scanner: Scanner,
    mut elsewhere: watch::Receiver<Entries>,
    mut policy: watch::Receiver<Policy>,
    publish: watch::Sender<Option<Arc<Shelf>>>,
) {
    let changed = Arc::new(Notify::new());
    // Before the first scan, so that no change falls between the two. Watching a large folder
    // takes a while, too.
    let watched = {
        let (root, changed) = (root.clone(), changed.clone());
        tokio::task::spawn_blocking(move || watch_folder(&root, changed)).await
    };
    let (watcher, interval) = match watched {
        Ok(Ok(watcher)) => (Some(watcher), SOMETIMES),
        Ok(Err(error)) => {
            tracing::warn!(
                "manifest: cannot watch {}, looking every {BLIND:?}: {error}",
                root.display()
            );
            (None, BLIND)
        }
        Err(_) => (None, BLIND),
    };
    let begun = Instant::now();
    let mut last: Option<(Found, Policy)> = None;
    let mut history = History::default();
    loop {
        let scan = tokio::task::spawn_blocking(move || {
            let found = scanner.scan(SystemTime::now(), &());
            (scanner, found)
        });
        let Ok((back, found)) = scan.await else {
            tracing::error!("manifest: the scan broke off; the manifest stays as it is");
            return;
        };
        scanner = back;
        let mut unsettled = false;
        match found {
            Ok(mut found) => {
                for (key, entry) in elsewhere.borrow_and_update().iter() {
                    let entry = || entry.clone();
                    found.entries.entry(key.clone()).or_insert_with(entry);
                }
                unsettled = found.unsettled;
                let too_early = last.is_none() && unsettled && begun.elapsed() < FIRST;
                let stated = policy.borrow_and_update().clone();
                let news = last.as_ref().is_none_or(|(last, policy)| {
                    last.entries != found.entries || *policy != stated
                });
                if news && !too_early {
                    match history.shelve(&found, stated.clone()).await {
                        Ok(shelf) => {
                            let shards = shelf.shards.len();
                            tracing::info!(
                                "manifest: {} resources, {shards} shards kept",
                                found.entries.len()
                            );
                            publish.send_replace(Some(Arc::new(shelf)));
                            if let Err(error) = scanner.forget(&history.outboards()) {
                                tracing::warn!("manifest: old outboards stay: {error}");
                            }
                            last = Some((found, stated));
                        }
                        Err(error) => tracing::error!("manifest: {error}"),
                    }
                }
            }
            Err(error) => tracing::warn!("manifest: {}: {error}", root.display()),
        }
        let pause = if unsettled { SETTLE } else { interval };
        let news = async {
            tokio::select! {
                () = changed.notified() => {}
                // Nothing comes from elsewhere where nobody looks there.
                Ok(()) = elsewhere.changed() => {}
                Ok(()) = policy.changed() => {}
                else => std::future::pending().await,
            }
        };
        if tokio::time::timeout(pause, news).await.is_ok() {
            let flurry = Instant::now();
            while flurry.elapsed() < PATIENCE
                && tokio::time::timeout(CALM, changed.notified()).await.is_ok()
            {}
        }
        let _ = &watcher;
    }
}

/// What an edition named.
struct Past {
    shards: HashMap<ContentId, Arc<Encoded>>,
    outboards: HashSet<ContentId>,
}

/// The last few editions.
#[derive(Default)]
struct History {
    editions: VecDeque<Past>,
}

impl History {
    async fn shelve(&mut self, found: &Found, policy: Policy) -> io::Result<Shelf> {
        let edition = Edition::of(&found.entries, policy)?;
        let known = self.shards();
        let packed = tokio::task::spawn_blocking(move || {
            let shards = edition
                .shards
                .into_iter()
                .map(|(id, bytes)| match known.get(&id) {
                    Some(shard) => Ok((id, shard.clone())),
                    None => Ok((id, Arc::new(json(bytes)?))),
                })
                .collect::<io::Result<HashMap<_, _>>>()?;
            Ok::<_, io::Error>((json(edition.index)?, shards))
        });
        let (index, shards) = packed.await.map_err(io::Error::other)??;
        let outboards = found.outboards();
        self.editions.push_front(Past { shards, outboards });
        self.editions.truncate(EDITIONS);
        Ok(Shelf {
            index,
            shards: self.shards(),
        })
    }

    fn shards(&self) -> HashMap<ContentId, Arc<Encoded>> {
        let shards = self.editions.iter().flat_map(|past| &past.shards);
        shards.map(|(id, shard)| (*id, shard.clone())).collect()
    }

    fn outboards(&self) -> HashSet<ContentId> {
        self.editions
            .iter()
            .flat_map(|past| &past.outboards)
            .copied()
            .collect()
    }
}

fn json(bytes: Vec<u8>) -> io::Result<Encoded> {
    let mut br = Vec::new();
    let params = brotli::enc::BrotliEncoderParams {
        quality: 5,
        ..Default::default()
    };
    brotli::BrotliCompress(&mut bytes.as_slice(), &mut br, &params)?;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&bytes)?;
    Ok(Encoded {
        tag: ContentId::of(&bytes).to_hex()[..32].to_owned(),
        br: Some(br.into()),
        gzip: Some(gzip.finish()?.into()),
        mime: "application/json",
        identity: Bytes::from(bytes),
    })
}
