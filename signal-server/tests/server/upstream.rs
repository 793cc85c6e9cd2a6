//! A manifest for a live site: what visitors name is looked at, and only what everybody gets alike
//! is listed.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use fugitive_core::content::ContentId;
use fugitive_server::config::Config;
use tokio::net::TcpListener;
use warp::{
    Filter,
    http::{HeaderMap, Response},
};

use crate::running::{Running, bytes, set_clock, until};

/// Of a film, in bytes.
pub const FILM: usize = 3 << 20;

/// A site with one page of each kind of trouble.
#[derive(Default)]
pub struct Origin {
    requests: AtomicUsize,
    /// By path.
    pub asked: Mutex<BTreeMap<String, usize>>,
    /// It does not want to be shared any more.
    pub forbids: AtomicBool,
    /// What was good has changed, and its validator has not.
    pub has_changed: AtomicBool,
}

impl Origin {
    pub async fn start(self: &Arc<Self>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let origin = self.clone();
        let answers = warp::path::full()
            .and(warp::header::headers_cloned())
            .map(move |path: warp::path::FullPath, headers| origin.answer(path.as_str(), &headers));
        tokio::spawn(warp::serve(answers).incoming(listener).run());
        address
    }

    fn answer(&self, path: &str, headers: &HeaderMap) -> Response<Vec<u8>> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let asked = |name: &str| {
            headers
                .get(name)
                .map_or("", |value| value.to_str().unwrap())
        };
        let good = || {
            Response::builder()
                .header("content-type", "image/png")
                .header("cache-control", "public, max-age=60")
        };
        *self.asked.lock().unwrap().entry(path.into()).or_default() += 1;
        let reply = match path {
            _ if self.forbids.load(Ordering::Relaxed) => {
                good().header("cache-control", "private").body(Vec::new())
            }
            "/film.mp4" => Response::builder()
                .header("cache-control", "public, max-age=600")
                .header("content-type", "video/mp4")
                .body(bytes(FILM)),
            _ if path.starts_with("/many/") => {
                let many = Response::builder()
                    .header("cache-control", "public, max-age=600")
                    .header("content-type", "image/png")
                    .header("etag", "\"1\"");
                match self.has_changed.load(Ordering::Relaxed) {
                    _ if asked("if-none-match") == "\"1\"" => many.status(304).body(Vec::new()),
                    true => many.body(b"changed".to_vec()),
                    false => many.body(path.into()),
                }
            }
            "/good.png" => good().header("etag", "\"1\"").body(b"good".to_vec()),
            "/named/a.png" => Response::builder()
                .header("content-type", "image/png")
                .body(b"named".to_vec()),
            "/mine.png" => good().body(asked("cookie").into()),
            "/agent.png" => good().body(asked("user-agent").into()),
            "/hints.png" => good().body(asked("dpr").into()),
            "/sets.png" => good().header("set-cookie", "a=b").body(b"x".to_vec()),
            "/private.png" => Response::builder()
                .header("content-type", "image/png")
                .header("cache-control", "private")
                .body(b"x".to_vec()),
            "/page.html" => Response::builder()
                .header("content-type", "text/html")
                .header("cache-control", "public")
                .body(b"x".to_vec()),
            "/away.png" => good()
                .status(302)
                .header("location", "/good.png")
                .body(Vec::new()),
            "/long.png" => good().body(vec![0; 2000]),
            "/kinds.jpg" => {
                let kind = match asked("accept").split(',').next() {
                    Some("image/avif") => "image/avif",
                    _ => "image/jpeg",
                };
                Response::builder()
                    .header("content-type", kind)
                    .header("cache-control", "public")
                    .header("vary", "Accept")
                    .body(kind.into())
            }
            _ => Response::builder().status(404).body(Vec::new()),
        };
        reply.unwrap()
    }
}

pub async fn name(server: &Running, to: &str, urls: &str) {
    let request = reqwest::Client::new()
        .post(server.url(to))
        .body(urls.to_owned());
    assert_eq!(request.send().await.unwrap().status(), 202);
}

pub async fn listed(server: &Running) -> Vec<String> {
    server.manifest().await.entries.into_keys().collect()
}

pub fn follows(site: SocketAddr, config: &mut Config) {
    config.upstream.sites = vec![format!("http://{site}")];
    config.upstream.paths = vec!["/named/**".into()];
    config.upstream.allow_private = true;
    config.upstream.longest_bytes = 1000;
    config.upstream.per_second = 1000.try_into().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_public_and_alike_for_everybody_is_listed_and_outlives_the_server() {
    let origin = Arc::new(Origin::default());
    let site = origin.start().await;
    let cache = tempfile::tempdir().unwrap();
    let configure = |config: &mut Config| {
        follows(site, config);
        config.cache = Some(cache.path().to_owned());
    };
    let server = Running::with(&[], configure).await;
    let names = [
        "good.png",
        "named/a.png",
        "mine.png",
        "agent.png",
        "hints.png",
        "sets.png",
        "private.png",
        "page.html",
        "away.png",
        "long.png",
        "kinds.jpg",
        "missing.png",
    ];
    let urls = names.map(|name| format!("http://{site}/{name}\n")).concat();
    // Elsewhere, with a name and a password, by another scheme, and no URL at all.
    let wild =
        format!("http://127.0.0.1:1/x.png\nhttp://{site}@evil/\nfile:///etc/passwd\n\u{0}\n");
    name(&server, "/fugitive/seen", &wild).await;
    name(&server, "/fugitive/seen", &urls).await;
    let expected = ["/good.png", "/kinds.jpg", "/named/a.png"];
    until("all that is good is listed", || async {
        listed(&server).await == expected
    })
    .await;
    let manifest = server.manifest().await;
    let good = &manifest.entries["/good.png"][0];
    assert_eq!((good.id, good.len), (ContentId::of(b"good"), 4));
    assert_eq!(good.etag.as_deref(), Some("\"1\""));
    let kinds = &manifest.entries["/kinds.jpg"];
    assert_eq!(kinds.len(), 2);
    assert_eq!(kinds[0].accept.as_deref(), Some("image/avif"));
    assert_eq!(kinds[0].id, ContentId::of(b"image/avif"));
    assert_eq!(
        (kinds[1].accept.as_deref(), kinds[1].mime.as_str()),
        (None, "image/jpeg")
    );

    // Naming it once more costs the origin nothing.
    let before = origin.requests.load(Ordering::Relaxed);
    name(&server, "/fugitive/seen", &urls).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(origin.requests.load(Ordering::Relaxed), before);

    server.end().await;
    let store = cache.path().join("upstream.redb");
    until("the store is free", || async {
        redb::Database::create(&store).is_ok()
    })
    .await;
    let again = Running::with(&[], configure).await;
    assert_eq!(listed(&again).await, expected);
    assert_eq!(origin.requests.load(Ordering::Relaxed), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_listed_is_looked_at_again_when_the_clock_is_set_back() {
    let origin = Arc::new(Origin::default());
    let site = origin.start().await;
    let (clock, ahead) = set_clock();
    let server = Running::by(clock, &[], |config| follows(site, config)).await;
    name(
        &server,
        "/fugitive/seen",
        &format!("http://{site}/good.png"),
    )
    .await;
    until("it is listed", || async {
        listed(&server).await == ["/good.png"]
    })
    .await;
    let before = origin.requests.load(Ordering::Relaxed);
    // By that clock the origin stands by it for a day and a minute.
    ahead.store(-24 * 60 * 60, Ordering::Relaxed);
    until("it is looked at", || async {
        origin.requests.load(Ordering::Relaxed) > before
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn private_address_is_not_fetched_from_unless_the_operator_says_so() {
    let origin = Arc::new(Origin::default());
    let site = origin.start().await;
    let by_name = format!("http://localhost:{}", site.port());
    let server = Running::with(&[], |config| {
        follows(site, config);
        config.upstream.sites.push(by_name.clone());
        config.upstream.allow_private = false;
    })
    .await;
    name(
        &server,
        "/fugitive/seen",
        &format!("http://{site}/good.png\n{by_name}/good.png"),
    )
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(origin.requests.load(Ordering::Relaxed), 0);
    assert!(listed(&server).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn claim_that_is_too_long_is_refused_and_a_flood_of_claims_is_bounded() {
    let origin = Arc::new(Origin::default());
    let site = origin.start().await;
    let server = Running::with(&[], |config| {
        follows(site, config);
        config.upstream.per_second = 10.try_into().unwrap();
    })
    .await;
    let long = "x".repeat(20_000);
    let request = reqwest::Client::new()
        .post(server.url("/fugitive/seen"))
        .body(long);
    assert_ne!(request.send().await.unwrap().status(), 202);
    for i in 0..20 {
        let urls = (0..300).map(|j| format!("http://{site}/{i}/{j}.png\n"));
        name(&server, "/fugitive/seen", &urls.collect::<String>()).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let made = origin.requests.load(Ordering::Relaxed);
    assert!((1..100).contains(&made), "{made}");
    assert_eq!(server.get("/fugitive/manifest.json").await.status(), 200);
}
