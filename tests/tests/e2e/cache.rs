//! The cache in a real browser against an origin that is scripted case by case, and counts.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, ensure};
use fugitive_tests::{
    browser::{Driver, Visitor},
    origin::{Fault, Origin, Script},
    records,
    site::Site,
};
use serde::Deserialize;
use serde_json::{Value, json};

/// A picture of one pixel.
const PICTURE: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"1\" height=\"1\"><rect width=\"1\" height=\"1\"/></svg>";

/// Loads pictures in this page and says which failed.
const SHOW: &str = "(urls) => Promise.all(urls.map((url) => new Promise((done) => {
  const image = new Image();
  image.onload = () => done();
  image.onerror = () => done(url);
  image.src = url;
}))).then((failed) => failed.filter(Boolean))";

/// A promise of the paths of all responses in the store.
fn stored() -> String {
    let resources = records::all("resources");
    format!("{resources}.then((all) => all.map(({{ url }}) => new URL(url).pathname))")
}

#[derive(Deserialize)]
struct Table {
    case: Vec<Case>,
}

#[derive(Clone, Deserialize)]
struct Case {
    section: String,
    response: Vec<String>,
    #[serde(default)]
    date: Option<toml::Value>,
    age: u64,
    #[serde(default)]
    request: Vec<String>,
    #[serde(default)]
    mode: String,
    verdict: String,
    #[serde(default = "yes")]
    browser: bool,
}

fn yes() -> bool {
    true
}

impl Case {
    /// Whether an element can make its second request.
    fn is_image(&self) -> bool {
        self.request.is_empty() && self.mode.is_empty()
    }

    fn condition(&self) -> Option<&'static str> {
        let has = |name: &str| self.response.iter().any(|line| line.starts_with(name));
        if has("etag") {
            return Some("if-none-match:");
        }
        has("last-modified").then_some("if-modified-since:")
    }

    /// The whole response of its origin, as of now.
    fn first(&self) -> Vec<u8> {
        let before = match &self.date {
            Some(toml::Value::Integer(seconds)) => *seconds,
            _ => 0,
        };
        let date = now() - before;
        let mut head = "HTTP/1.1 200 OK\r\nContent-Type: image/svg+xml\r\n".to_owned();
        if !matches!(self.date, Some(toml::Value::String(_))) {
            head += &format!("Date: {}\r\n", http_date(date));
        }
        if self.age > 0 {
            head += &format!("Age: {}\r\n", self.age);
        }
        for line in &self.response {
            let (name, value) = line.split_once(": ").unwrap_or((line, ""));
            let relative = value.strip_prefix('{').and_then(|v| v.strip_suffix('}'));
            let value = match relative.and_then(|seconds| seconds.parse::<i64>().ok()) {
                Some(seconds) => http_date(date + seconds),
                None => value.to_owned(),
            };
            head += &format!("{name}: {value}\r\n");
        }
        finish(&head, PICTURE)
    }

    fn script(&self, heads: Heads, path: String) -> Script {
        let case = self.clone();
        Script(Arc::new(move |head| {
            let mut heads = heads.lock().unwrap_or_else(PoisonError::into_inner);
            let seen = heads.entry(path.clone()).or_default();
            seen.push(head.to_ascii_lowercase());
            let is_conditional = seen.last().is_some_and(|head| {
                head.contains("\nif-none-match:") || head.contains("\nif-modified-since:")
            });
            match seen.len() {
                1 => case.first(),
                _ if case.verdict == "if-error" => finish("HTTP/1.1 503 Busy\r\n", ""),
                _ if is_conditional => format!(
                    "HTTP/1.1 304 Not Modified\r\nDate: {}\r\nCache-Control: max-age=600\r\n\
                     Connection: close\r\n\r\n",
                    http_date(now())
                )
                .into_bytes(),
                _ => finish(
                    "HTTP/1.1 200 OK\r\nContent-Type: image/svg+xml\r\nCache-Control: no-store\r\n",
                    PICTURE,
                ),
            }
        }))
    }
}

/// Heads of the requests for each path, in lower case.
type Heads = Arc<Mutex<BTreeMap<String, Vec<String>>>>;

fn finish(head: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("{head}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}").into_bytes()
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs() as i64)
}

fn http_date(seconds: i64) -> String {
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.max(0) as u64))
}

async fn show(visitor: &Visitor, paths: &[String]) -> Result<()> {
    let failed: Vec<String> = visitor.eval(&format!("({SHOW})({})", json!(paths))).await?;
    ensure!(failed.is_empty(), "not shown: {failed:?}");
    Ok(())
}

/// A visitor under the worker's control, on a page without media.
pub async fn controlled(driver: &Driver, origin: &Origin) -> Result<Visitor> {
    let visitor = Visitor::new(driver).await?;
    visitor.goto(&origin.url("/empty.html")).await?;
    visitor.until_controlled().await?;
    Ok(visitor)
}

/// Another page, with nothing left of what the browser itself has cached: what is not asked for again
/// can only have come from us.
async fn turn(visitor: &Visitor, origin: &Origin) -> Result<()> {
    visitor.clear_cache().await?;
    visitor.goto(&origin.url("/empty.html")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_case_of_the_table_reaches_the_origin_as_its_section_says() -> Result<()> {
    every_case(false).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_case_of_the_table_is_the_same_to_a_worker_that_starts() -> Result<()> {
    every_case(true).await
}

/// The second request of each is made of a worker that runs, or of one that is started by it.
async fn every_case(is_cold: bool) -> Result<()> {
    let table: Table = toml::from_str(include_str!("../../../sw/core/src/cache/table.toml"))?;
    let cases = table.case.into_iter().filter(|case| case.browser);
    let cases: Vec<(String, Case)> = cases
        .enumerate()
        .map(|(n, case)| (format!("/case{n}.svg"), case))
        .collect();
    assert!(cases.len() > 40);
    let (site, driver) = (Site::new()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let heads = Heads::default();
    for (path, case) in &cases {
        let script = case.script(heads.clone(), path.clone());
        origin.fault(path, Fault::Script(script));
    }
    let seen = |path: &str| {
        let heads = heads.lock().unwrap_or_else(PoisonError::into_inner);
        heads.get(path).cloned().unwrap_or_default()
    };
    let paths = |which: &dyn Fn(&Case) -> bool| -> Vec<String> {
        let cases = cases.iter().filter(|(_, case)| which(case));
        cases.map(|(path, _)| path.clone()).collect()
    };

    let visitor = controlled(&driver, &origin).await?;
    show(&visitor, &paths(&|_| true)).await?;
    let kept = paths(&|case| case.verdict != "not-stored");
    visitor
        .until(&format!(
            "{}.then((stored) => {}.every((path) => stored.includes(path)))",
            stored(),
            json!(kept)
        ))
        .await?;

    turn(&visitor, &origin).await?;
    if is_cold {
        visitor.stop_workers().await?;
    }
    show(&visitor, &paths(&Case::is_image)).await?;
    for (path, case) in cases.iter().filter(|(_, case)| !case.is_image()) {
        let headers: BTreeMap<_, _> = case
            .request
            .iter()
            .filter_map(|line| line.split_once(": "))
            .collect();
        let mode = if case.mode.is_empty() {
            "default"
        } else {
            &case.mode
        };
        let init = json!({ "headers": headers, "cache": mode, "mode": "same-origin" });
        visitor
            .eval::<()>(&format!(
                "fugitive.fetch({}, {init}).then((r) => r.blob()).then(() => null)",
                json!(path)
            ))
            .await
            .with_context(|| case.section.clone())?;
    }
    for (path, case) in &cases {
        if case.verdict == "while-revalidating" {
            // Asked about behind the answer.
            let began = std::time::Instant::now();
            while seen(path).len() < 2 && began.elapsed() < fugitive_tests::browser::PATIENCE {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        let (section, requests) = (&case.section, seen(path));
        let is_used = matches!(&*case.verdict, "fresh" | "while-revalidating");
        let served = visitor.until_served(path, is_used.into()).await?;
        let sources: Vec<_> = served.iter().map(|(source, _)| source.as_str()).collect();
        let is_ours = matches!(sources[..], ["memory" | "store"]);
        let conditional = |head: &String| case.condition().is_some_and(|name| head.contains(name));
        match case.verdict.as_str() {
            "fresh" => {
                assert_eq!(requests.len(), 1, "{section}");
                assert!(is_ours, "{section}: {sources:?}");
            }
            "while-revalidating" | "if-error" => {
                assert_eq!(requests.len(), 2, "{section}");
                assert!(conditional(&requests[1]), "{section}");
                assert!(is_ours, "{section}: {sources:?}");
            }
            "stale" => {
                assert_eq!(requests.len(), 2, "{section}: {requests:?}");
                let asked = conditional(&requests[1]);
                assert_eq!(asked, case.condition().is_some(), "{section}");
                assert_eq!(is_ours, asked, "{section}: {sources:?}");
            }
            "other" => assert_eq!(requests.len(), 2, "{section}"),
            "not-stored" => assert_eq!(sources, ["network"], "{section}"),
            unknown => panic!("{section}: {unknown}"),
        }
    }

    // What a 304 said counts from now on, in another instance of the worker too.
    turn(&visitor, &origin).await?;
    visitor.stop_workers().await?;
    let renewed = |case: &Case| {
        let is_asked = matches!(case.verdict.as_str(), "stale" | "while-revalidating");
        let is_usable = !case.response.iter().any(|line| line.starts_with("pragma"));
        case.is_image() && is_asked && case.condition().is_some() && is_usable
    };
    let young = paths(&renewed);
    assert!(young.len() > 10);
    show(&visitor, &young).await?;
    for path in &young {
        assert_eq!(seen(path).len(), 2, "{path}");
        assert_eq!(visitor.until_served(path, 1).await?[0].0, "store", "{path}");
    }
    visitor.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn hard_reload_is_the_end_of_what_was_stored() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::chromium()?);
    site.page("now.html", "<img src=/now.svg>")?;
    let origin = Origin::start(&site).await?;
    let version = Arc::new(Mutex::new(0));
    let made = version.clone();
    origin.fault(
        "/now.svg",
        Fault::Script(Script(Arc::new(move |_| {
            let mut version = made.lock().unwrap_or_else(PoisonError::into_inner);
            *version += 1;
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: image/svg+xml\r\nCache-Control: max-age=600\r\n\
                 Date: {}\r\n",
                http_date(now())
            );
            finish(
                &head,
                &PICTURE.replace("<rect", &format!("<rect id=\"v{version}\"")),
            )
        }))),
    );
    let text = "fugitive.fetch('/now.svg').then((response) => response.text())";
    let visitor = controlled(&driver, &origin).await?;
    visitor.goto(&origin.url("/now.html")).await?;
    visitor.until_images().await?;
    visitor
        .until(&format!(
            "{}.then((paths) => paths.includes('/now.svg'))",
            stored()
        ))
        .await?;
    assert!(visitor.eval::<String>(text).await?.contains("v1"));
    visitor
        .cdp("Page.reload", json!({ "ignoreCache": true }))
        .await?;
    visitor
        .until("!navigator.serviceWorker.controller && document.readyState === 'complete'")
        .await?;
    visitor
        .until(&format!(
            "{}.then((paths) => !paths.includes('/now.svg'))",
            stored()
        ))
        .await?;
    visitor.goto(&origin.url("/now.html")).await?;
    visitor.until_controlled().await?;
    visitor.until_images().await?;
    assert!(visitor.eval::<String>(text).await?.contains("v2"));
    visitor.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn hit_that_the_manifest_proves_has_the_headers_that_it_came_with() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::chromium()?);
    let origin = Origin::start(&site).await?;
    origin.fault(
        "/own.svg",
        Fault::Script(Script(Arc::new(|_| {
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: image/svg+xml\r\nX-Own: yes\r\n\
                 Cache-Control: max-age=600\r\nDate: {}\r\n",
                http_date(now())
            );
            finish(&head, PICTURE)
        }))),
    );
    let own = "fugitive.fetch('/own.svg').then(({ headers }) => headers.get('x-own') ?? '')";
    let picture = ["/own.svg".to_owned()];
    let visitor = controlled(&driver, &origin).await?;
    show(&visitor, &picture).await?;
    let resources = records::all("resources");
    visitor
        .until(&format!("(await {resources}).length === 1"))
        .await?;
    // Stored before the manifest listed it, so with the origin's own headers.
    std::fs::write(site.path("own.svg"), PICTURE)?;
    visitor
        .until(&format!(
            "{own}.then(async () => (await {resources})[0].listed)"
        ))
        .await?;
    let before = origin.requests("/own.svg")?.len();
    for is_by_name_first in [false, true] {
        turn(&visitor, &origin).await?;
        visitor.stop_workers().await?;
        // Its wasm runs before the picture is asked for.
        visitor.eval::<Value>("fugitive.stats()").await?;
        if !is_by_name_first {
            show(&visitor, &picture).await?;
        }
        assert_eq!(visitor.eval::<String>(own).await?, "yes");
        show(&visitor, &picture).await?;
        assert_eq!(visitor.until_served("/own.svg", 1).await?[0].0, "store");
        assert_eq!(visitor.eval::<String>(own).await?, "yes");
    }
    assert_eq!(origin.requests("/own.svg")?.len(), before);
    visitor.quit().await
}
