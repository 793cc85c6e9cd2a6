//! A manifest for a live site: what visitors name is fetched by the server itself, judged, hashed
//! and listed, and looked at again when the origin's word for it runs out.
//!
//! A visitor's word is worth a look and nothing else. A resource is listed when the origin calls it
//! public (or the operator does, by its path) and gives the same bytes to a stranger and to somebody
//! with cookies, another browser and another language.

mod check;
mod fellows;
mod fetch;
mod judge;
mod listing;
mod pace;
mod share;
mod store;
mod trees;

use std::{
    collections::{BTreeMap, HashSet},
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use fugitive_core::manifest::{self, Entry};
use globset::{Glob, GlobSetBuilder};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use warp::{
    Filter, Rejection,
    http::{HeaderValue, StatusCode, Uri, header::ACCESS_CONTROL_ALLOW_ORIGIN},
    reply::Response,
};

use self::{
    check::Checker, fellows::Turn, fetch::Fetch, listing::Listing, pace::Pace, share::Cluster,
    store::Store, trees::Trees,
};
use crate::{
    clock::WallClock,
    cluster::{Backbone, Kind, ServerId},
    config, entity,
};

/// URLs that wait to be looked at.
const WAITING: usize = 1000;
/// The longest URL.
const LONGEST_URL: usize = 2048;
/// What a visitor may name at once, in bytes.
const LONGEST_CLAIM: u64 = 16 * 1024;
/// How often it is looked for what runs out.
const ROUND: Duration = Duration::from_secs(5);

/// What keeps it from working.
#[derive(Debug, thiserror::Error)]
pub enum BadUpstream {
    /// A site in the configuration.
    #[error("upstream: {0} is not an origin")]
    NoOrigin(String),
    /// A path in the configuration.
    #[error("upstream: {0}")]
    Pattern(#[from] globset::Error),
    /// Certificates, or the store.
    #[error("upstream: {0}")]
    Io(#[from] io::Error),
}

/// All that is listed, by key of the manifest.
pub type Entries = Arc<BTreeMap<String, Entry>>;

/// The way in for visitors' claims.
#[derive(Clone)]
pub struct Upstream {
    shared: Arc<Shared>,
}

struct Shared {
    sites: Vec<String>,
    /// Of these sites and the rules by which they are shared.
    follows: u64,
    checker: Checker,
    store: Store,
    state: Mutex<State>,
    queue: mpsc::Sender<(String, bool)>,
    letters: mpsc::Sender<Vec<u8>>,
    publish: watch::Sender<Entries>,
    clock: WallClock,
}

struct State {
    listing: Listing,
    trees: Trees,
    waiting: HashSet<String>,
    /// With other servers, if there may be any.
    cluster: Option<Cluster>,
}

impl Upstream {
    /// Begins with what an earlier run listed, and works until `end`. Outboards are written to `trees`.
    pub fn open(
        config: &config::Upstream,
        store: &Path,
        trees: &Path,
        clock: WallClock,
        end: CancellationToken,
    ) -> Result<(Self, watch::Receiver<Entries>), BadUpstream> {
        let origin = |site: &String| {
            let uri = site.trim_end_matches('/').parse::<Uri>().ok()?;
            let (scheme, authority) = (uri.scheme_str()?, uri.authority()?.as_str());
            let is_origin = uri.path() == "/" && uri.query().is_none() && !authority.contains('@');
            is_origin.then(|| format!("{scheme}://{authority}"))
        };
        let sites = config
            .sites
            .iter()
            .map(|site| origin(site).ok_or_else(|| BadUpstream::NoOrigin(site.clone())));
        let sites = sites.collect::<Result<Vec<_>, _>>()?;
        let mut paths = GlobSetBuilder::new();
        for path in &config.paths {
            paths.add(Glob::new(path)?);
        }
        let mut follows = blake3::Hasher::new();
        for rule in sites.iter().chain(&config.paths) {
            follows.update(rule.as_bytes()).update(b"\n");
        }
        let [a, b, c, d, e, f, g, h, ..] = *follows.finalize().as_bytes();
        let (store, listed) = Store::open(store)?;
        let (queue, waiting) = mpsc::channel(WAITING);
        let (letters, to_read) = mpsc::channel(share::LETTERS);
        let (publish, entries) = watch::channel(Entries::default());
        let shared = Arc::new(Shared {
            sites,
            follows: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            checker: Checker {
                fetch: Fetch::new(config.allow_private, config.longest_bytes)?,
                pace: Pace::new(config.per_second),
                paths: paths.build()?,
            },
            store,
            state: Mutex::new(State {
                listing: Listing::new(listed, config.most),
                trees: Trees::open(trees.to_owned())?,
                waiting: HashSet::new(),
                cluster: None,
            }),
            queue,
            letters,
            publish,
            clock,
        });
        shared.announce();
        let worker = shared.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = worker.work(waiting) => {}
                () = worker.share(to_read) => {}
                () = end.cancelled() => {}
            }
        });
        Ok((Self { shared }, entries))
    }

    /// Makes the manifest together with other servers that follow the same sites.
    pub fn join_cluster(&self, me: ServerId, backbone: Arc<dyn Backbone>) {
        let cluster = Cluster::new(me, backbone, self.shared.follows);
        self.shared.lock().cluster = Some(cluster);
    }

    /// Takes letters of other servers that are about a site; `false` if one is not.
    pub fn letters(&self) -> impl Fn(&[u8]) -> bool + Send + Sync + 'static {
        let letters = self.shared.letters.clone();
        move |letter| {
            let is_ours = letter.first() == Some(&(Kind::Site as u8));
            if is_ours {
                // What is lost shows in the next beat.
                let _ = letters.try_send(letter.to_vec());
            }
            is_ours
        }
    }

    /// A visitor names URLs, one a line; `differs` if it got other bytes than are listed.
    fn claimed(&self, lines: &str, differs: bool) {
        for url in lines.lines() {
            self.shared.claim(url, differs);
        }
    }
}

impl Shared {
    /// In seconds since 1970: freshness outlives the process.
    fn date(&self) -> u64 {
        self.clock.date().as_secs()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a URL looked at, here or by the server whose turn it is, if that can be worth it.
    fn claim(&self, url: &str, differs: bool) {
        if !self.is_allowed(url) {
            return;
        }
        let mut state = self.lock();
        let State {
            listing, cluster, ..
        } = &mut *state;
        if let Some(cluster) = cluster
            && let turn = cluster.fellows.turn(url)
            && turn != Turn::Ours
        {
            if listing.is_worth_a_look(url, differs, self.date()) {
                cluster.pass_on(url, differs, turn);
            }
            return;
        }
        self.look_soon(&mut state, url, differs);
    }

    fn look_soon(&self, state: &mut State, url: &str, differs: bool) {
        let is_worth_a_look = state.listing.is_worth_a_look(url, differs, self.date());
        if is_worth_a_look
            && !state.waiting.contains(url)
            && self.queue.try_send((url.to_owned(), differs)).is_ok()
        {
            state.waiting.insert(url.to_owned());
        }
    }

    /// Whether it is a plain URL of one of the sites.
    fn is_allowed(&self, url: &str) -> bool {
        let inside = |site: &String| {
            url.strip_prefix(site.as_str())
                .is_some_and(|path| path.starts_with('/'))
        };
        url.len() <= LONGEST_URL
            && self.sites.iter().any(inside)
            && !url.contains('#')
            && url.parse::<Uri>().is_ok()
    }

    async fn work(&self, mut waiting: mpsc::Receiver<(String, bool)>) {
        let mut round = tokio::time::interval(ROUND);
        loop {
            let claim = tokio::select! {
                claim = waiting.recv() => claim,
                _ = round.tick() => None,
            };
            match claim {
                Some((url, differs)) => self.look(&url, differs).await,
                None => {
                    for url in self.run_out() {
                        self.look(&url, false).await;
                    }
                }
            }
        }
    }

    /// What it is our turn to look at again.
    fn run_out(&self) -> Vec<String> {
        let now = self.date();
        let mut state = self.lock();
        let State { listing, trees, .. } = &mut *state;
        listing.tidy(now);
        trees.forget(&listing.long().map(|(id, _)| id).collect());
        let due = state.listing.due(now).filter(|url| match &state.cluster {
            Some(cluster) => cluster.fellows.turn(url) == Turn::Ours,
            None => true,
        });
        due.cloned().collect()
    }

    /// Looks at a URL and lists it, or lists it no more; by its bytes if somebody got others.
    async fn look(&self, url: &str, differs: bool) {
        let before = {
            let state = self.lock();
            let listed = state.listing.get(url).map(|listed| listed.entry.clone());
            // A hash tree that was lost is made again.
            let is_whole = |entry: &Entry| {
                let mut long = entry.iter().filter(|variant| variant.bao);
                long.all(|variant| state.trees.has(variant.id))
            };
            listed.filter(|entry| !differs && is_whole(entry))
        };
        let found = match url.parse::<Uri>() {
            Ok(uri) => self.checker.check(&uri, before.as_ref()).await,
            Err(_) => Err("not a URL".to_owned()),
        };
        let (found, why) = match found {
            Ok(found) => (Some(found), String::new()),
            Err(why) => (None, why),
        };
        let is_good = found.is_some();
        let is_news = {
            let now = self.date();
            let mut state = self.lock();
            let State {
                listing,
                trees,
                waiting,
                cluster,
            } = &mut *state;
            waiting.remove(url);
            let found = found.map(|mut good| {
                for (id, outboard) in good.outboards {
                    if !trees.keep(id, &outboard) {
                        let variants = good.entry.iter_mut();
                        let of_it = variants.filter(|variant| variant.id == id);
                        of_it.for_each(|variant| variant.bao = false);
                    }
                }
                (good.entry, good.fresh)
            });
            let me = cluster.as_ref().map_or(0, |cluster| cluster.me);
            let (record, is_news) = listing.found(url, found, me, now);
            if is_good || is_news {
                self.store.put([(url, listing.get(url))]);
            }
            if let Some(cluster) = cluster {
                cluster.fellows.done(url);
                cluster.tell_all(record);
            }
            is_news
        };
        match is_good {
            true if is_news => tracing::info!("upstream: {url} is listed"),
            true => {}
            false => tracing::info!("upstream: {url} is not listed: {why}"),
        }
        if is_news {
            self.announce();
        }
    }

    fn announce(&self) {
        let home = self.sites.first().map_or("", String::as_str);
        let state = self.lock();
        let entries = state.listing.all();
        let entries = entries.map(|(url, entry)| {
            let mut entry = entry.clone();
            for variant in &mut entry {
                variant.bao &= state.trees.has(variant.id);
            }
            (manifest::key(home, url).to_owned(), entry)
        });
        self.publish.send_replace(Arc::new(entries.collect()));
    }
}

/// `POST /fugitive/seen`: URLs, one a line, that a visitor got from the site. `/fugitive/differs`:
/// those whose bytes were not the listed ones. Neither says what became of it.
pub fn route(upstream: Upstream) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone {
    let kind = warp::path!("fugitive" / "seen")
        .map(|| false)
        .or(warp::path!("fugitive" / "differs").map(|| true))
        .unify();
    kind.and(warp::post())
        .and(warp::body::content_length_limit(LONGEST_CLAIM))
        .and(warp::body::bytes())
        .map(move |differs, body: bytes::Bytes| {
            if let Ok(lines) = std::str::from_utf8(&body) {
                upstream.claimed(lines, differs);
            }
            let mut reply = entity::bare(StatusCode::ACCEPTED);
            let all = HeaderValue::from_static("*");
            reply.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, all);
            reply
        })
}
