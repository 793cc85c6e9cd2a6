//! A manifest for a live site: what visitors name is fetched by the server itself, judged, hashed
//! and listed, and looked at again when the origin's word for it runs out.
//!
//! A visitor's word is worth a look and nothing else. A resource is listed when the origin calls it
//! public (or the operator does, by its path) and gives the same bytes to a stranger and to somebody
//! with cookies, another browser and another language.

mod fetch;
mod judge;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use fugitive_core::manifest::{self, Entry, Variant};
use globset::{Glob, GlobSet, GlobSetBuilder};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use warp::{
    Filter, Rejection,
    http::{
        HeaderName, HeaderValue, StatusCode, Uri,
        header::{
            ACCEPT_LANGUAGE, ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, COOKIE, ETAG,
            IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, USER_AGENT,
        },
    },
    reply::Response,
};

use self::{
    fetch::{Failed, Fetch, Fetched},
    judge::{Verdict, freshness, judge},
};
use crate::{clock::WallClock, config, entity};

/// URLs that wait to be looked at.
const WAITING: usize = 1000;
/// The longest URL.
const LONGEST_URL: usize = 2048;
/// What a visitor may name at once, in bytes.
const LONGEST_CLAIM: u64 = 16 * 1024;
/// What was looked at is not looked at again for a claim before this has passed.
const PAUSE: u64 = 60;
/// … nor, if it was not good, before this has.
const PENANCE: u64 = 10 * 60;
/// URLs that were not good and are remembered as such.
const MOST_BAD: usize = 10_000;
/// How often it is looked for what runs out.
const ROUND: Duration = Duration::from_secs(5);
/// The types that a resource may come in by `Accept`, beside its usual one.
const TYPES: [&str; 2] = ["image/avif", "image/webp"];

const LISTED: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("listed");

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

/// One URL that is listed.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Listed {
    entry: Entry,
    /// When it was looked at, in seconds since 1970.
    seen: u64,
    /// Until when the origin stands by it.
    until: u64,
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
    paths: GlobSet,
    fetch: Fetch,
    pace: DefaultDirectRateLimiter,
    most: usize,
    store: Database,
    state: Mutex<State>,
    queue: mpsc::Sender<String>,
    publish: watch::Sender<Entries>,
    clock: WallClock,
}

#[derive(Default)]
struct State {
    listed: HashMap<String, Listed>,
    /// Not good when it was looked at.
    bad: HashMap<String, u64>,
    waiting: HashSet<String>,
}

impl Upstream {
    /// Begins with what an earlier run listed, and works until `end`.
    pub fn open(
        config: &config::Upstream,
        store: &Path,
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
        let database = Database::create(store).map_err(io::Error::other)?;
        let listed = load(&database).map_err(io::Error::other)?;
        let (queue, waiting) = mpsc::channel(WAITING);
        let (publish, entries) = watch::channel(Entries::default());
        let per_second = config.per_second.max(std::num::NonZeroU32::MIN);
        let shared = Arc::new(Shared {
            sites,
            paths: paths.build()?,
            fetch: Fetch::new(config.allow_private, config.longest_bytes)?,
            pace: RateLimiter::direct(Quota::per_second(per_second)),
            most: config.most,
            store: database,
            state: Mutex::new(State {
                listed,
                ..State::default()
            }),
            queue,
            publish,
            clock,
        });
        shared.announce();
        let worker = shared.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = worker.work(waiting) => {}
                () = end.cancelled() => {}
            }
        });
        Ok((Self { shared }, entries))
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

    /// Has a URL looked at, if that can be worth it.
    fn claim(&self, url: &str, differs: bool) {
        let now = self.date();
        if url.len() > LONGEST_URL || !self.is_allowed(url) {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let too_early = match (state.listed.get(url), state.bad.get(url)) {
            (Some(listed), _) => !differs || within(PAUSE, listed.seen, now),
            (None, Some(bad)) => within(PENANCE, *bad, now),
            (None, None) => state.listed.len() >= self.most,
        };
        if !too_early && !state.waiting.contains(url) && self.queue.try_send(url.to_owned()).is_ok()
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
        self.sites.iter().any(inside) && !url.contains('#') && url.parse::<Uri>().is_ok()
    }

    async fn work(&self, mut waiting: mpsc::Receiver<String>) {
        let mut round = tokio::time::interval(ROUND);
        loop {
            let url = tokio::select! {
                url = waiting.recv() => url,
                _ = round.tick() => None,
            };
            let due = match url {
                Some(url) => vec![url],
                None => self.run_out(),
            };
            for url in due {
                self.look(&url).await;
            }
        }
    }

    /// What was looked at in the future is due: the clock was set back, and nobody knows for how
    /// long it was right.
    fn run_out(&self) -> Vec<String> {
        let now = self.date();
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let due = state
            .listed
            .iter()
            .filter(|(_, listed)| listed.until <= now || listed.seen > now);
        due.map(|(url, _)| url.clone()).collect()
    }

    /// Looks at a URL and lists it, or lists it no more.
    async fn look(&self, url: &str) {
        let before = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.waiting.remove(url);
            state.listed.get(url).cloned()
        };
        let found = match url.parse::<Uri>() {
            Ok(uri) => self.check(&uri, before.as_ref()).await,
            Err(_) => Err("not a URL".to_owned()),
        };
        let now = self.date();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match found {
            Ok((entry, fresh)) => {
                let listed = Listed {
                    entry,
                    seen: now,
                    until: now.saturating_add(fresh.as_secs()),
                };
                self.store(url, Some(&listed));
                let is_news = before.is_none_or(|before| before.entry != listed.entry);
                state.listed.insert(url.to_owned(), listed);
                state.bad.remove(url);
                drop(state);
                if is_news {
                    tracing::info!("upstream: {url} is listed");
                    self.announce();
                }
            }
            Err(why) => {
                if state.bad.len() >= MOST_BAD {
                    state.bad.clear();
                }
                state.bad.insert(url.to_owned(), now);
                let was_listed = state.listed.remove(url).is_some();
                drop(state);
                tracing::info!("upstream: {url} is not listed: {why}");
                if was_listed {
                    self.store(url, None);
                    self.announce();
                }
            }
        }
    }

    /// What may be listed for a URL, and for how long.
    async fn check(&self, uri: &Uri, before: Option<&Listed>) -> Result<(Entry, Duration), String> {
        let is_named = self.paths.is_match(uri.path());
        // Validators hold for one variant; with several all are looked at anew.
        if let Some(Listed { entry, .. }) = before
            && let [variant] = entry.as_slice()
            && let Some(condition) = condition(variant)
        {
            let got = self.get(uri, "*/*", &[condition]).await;
            let got = got.map_err(|error| error.to_string())?;
            if got.status == StatusCode::NOT_MODIFIED {
                let says_more = got.headers.contains_key(CACHE_CONTROL);
                let fresh = freshness(&got.headers, is_named || !says_more)?;
                return Ok((entry.clone(), fresh));
            }
        }
        let (usual, verdict) = self.twice(uri, "*/*", is_named).await?;
        let mut fresh = verdict.fresh;
        let mut entry = Vec::new();
        if verdict.varies {
            for kind in TYPES {
                let accept = format!("{kind},*/*;q=0.8");
                let (other, verdict) = self.twice(uri, &accept, is_named).await?;
                if verdict.mime == kind && other.id != usual.id {
                    fresh = fresh.min(verdict.fresh);
                    entry.push(variant(&other, verdict, Some(kind.to_owned())));
                }
            }
        }
        entry.push(variant(&usual, verdict, None));
        Ok((entry, fresh))
    }

    /// As a stranger, and as somebody: both must get the same.
    async fn twice(
        &self,
        uri: &Uri,
        accept: &str,
        is_named: bool,
    ) -> Result<(Fetched, Verdict), String> {
        let ask = |more: Vec<(HeaderName, HeaderValue)>| async move {
            let got = self.get(uri, accept, &more).await;
            let got = got.map_err(|error| error.to_string())?;
            let verdict = judge(got.status, &got.headers, is_named)?;
            Ok::<_, String>((got, verdict))
        };
        let stranger = ask(Vec::new()).await?;
        let somebody = ask(somebody()).await?;
        match stranger.0.id == somebody.0.id && stranger.1.mime == somebody.1.mime {
            true => Ok(stranger),
            false => Err("not everybody gets the same".to_owned()),
        }
    }

    async fn get(
        &self,
        uri: &Uri,
        accept: &str,
        more: &[(HeaderName, HeaderValue)],
    ) -> Result<Fetched, Failed> {
        self.pace.until_ready().await;
        self.fetch.get(uri, accept, more).await
    }

    fn announce(&self) {
        let home = self.sites.first().map_or("", String::as_str);
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = state
            .listed
            .iter()
            .map(|(url, listed)| (manifest::key(home, url).to_owned(), listed.entry.clone()));
        let entries = entries.collect();
        self.publish.send_replace(Arc::new(entries));
    }

    /// What cannot be stored is looked at anew by the next run.
    fn store(&self, url: &str, listed: Option<&Listed>) {
        let stored = || {
            let write = self.store.begin_write().map_err(io::Error::other)?;
            {
                let mut table = write.open_table(LISTED).map_err(io::Error::other)?;
                match listed {
                    Some(listed) => {
                        let bytes = serde_json::to_vec(listed)?;
                        table
                            .insert(url, bytes.as_slice())
                            .map_err(io::Error::other)?;
                    }
                    None => {
                        table.remove(url).map_err(io::Error::other)?;
                    }
                }
            }
            write.commit().map_err(io::Error::other)
        };
        if let Err(error) = stored() {
            tracing::warn!("upstream: not stored: {error}");
        }
    }
}

fn load(database: &Database) -> Result<HashMap<String, Listed>, redb::Error> {
    let read = database.begin_read()?;
    let table = match read.open_table(LISTED) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(HashMap::new()),
        Err(error) => return Err(error.into()),
    };
    let mut listed = HashMap::new();
    for row in table.iter()? {
        let (url, bytes) = row?;
        // Of a version that wrote it otherwise: looked at anew when somebody names it.
        if let Ok(one) = serde_json::from_slice(bytes.value()) {
            listed.insert(url.value().to_owned(), one);
        }
    }
    Ok(listed)
}

fn variant(got: &Fetched, verdict: Verdict, accept: Option<String>) -> Variant {
    let header = |name: HeaderName| {
        let value = got.headers.get(name)?.to_str().ok()?;
        Some(value.to_owned())
    };
    Variant {
        id: got.id,
        len: got.len,
        mime: verdict.mime,
        cache: header(CACHE_CONTROL),
        etag: header(ETAG),
        modified: header(LAST_MODIFIED),
        accept,
        bao: false,
    }
}

fn condition(variant: &Variant) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = match (&variant.etag, &variant.modified) {
        (Some(etag), _) => (IF_NONE_MATCH, etag),
        (None, Some(modified)) => (IF_MODIFIED_SINCE, modified),
        (None, None) => return None,
    };
    Some((name, HeaderValue::from_str(value).ok()?))
}

/// What makes a request somebody's: nothing of it may make a difference.
fn somebody() -> Vec<(HeaderName, HeaderValue)> {
    let named = |name, value| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    };
    vec![
        (COOKIE, HeaderValue::from_static("session=fugitive; user=1")),
        (
            USER_AGENT,
            HeaderValue::from_static(
                "Mozilla/5.0 (Linux; Android 15; Mobile) AppleWebKit/537.36 Chrome/150.0.0.0",
            ),
        ),
        (ACCEPT_LANGUAGE, HeaderValue::from_static("fi,de;q=0.5")),
        named("save-data", "on"),
        named("sec-ch-ua-mobile", "?1"),
        named("sec-ch-ua-platform", "\"Android\""),
        named("sec-ch-dpr", "3"),
        named("dpr", "3"),
        named("sec-ch-width", "320"),
        named("width", "320"),
        named("sec-ch-viewport-width", "320"),
        named("viewport-width", "320"),
    ]
}

/// Whether `now` is so many seconds after `then` at most, and not before it.
fn within(seconds: u64, then: u64, now: u64) -> bool {
    now.checked_sub(then).is_some_and(|since| since < seconds)
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
