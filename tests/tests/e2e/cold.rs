//! What a worker that has just been started answers before its wasm runs, and what it leaves to that.

use anyhow::Result;
use fugitive_tests::{
    browser::{Driver, Visitor},
    origin::Origin,
    records,
    site::{IMAGES, Site},
};
use serde_json::json;

/// No wasm starts from now on: that which is installed is none.
const BREAK: &str = "(async () => {
  const name = (await caches.keys()).find((name) => name.startsWith('fugitive-'));
  const cache = await caches.open(name);
  const [wasm] = await cache.keys();
  await cache.put(wasm, new Response('none', { headers: { 'content-type': 'application/wasm' } }));
})().then(() => null)";

/// Shows one picture more; resolves when it can be seen.
const SHOW: &str = "(url) => new Promise((done, failed) => {
  document.querySelector('#shown')?.remove();
  const image = new Image();
  image.id = 'shown';
  image.onload = () => done(null);
  image.onerror = () => failed(new Error(`not shown: ${url}`));
  image.src = url;
  document.body.append(image);
})";

/// A page that says nothing to the worker, which would start it.
const SILENT: &str = "/silent.html";

/// A drawing that is kept deflated.
const DRAWING: &str = "/drawing.svg";

/// A visitor who holds the site's pictures.
async fn holder(driver: &Driver, origin: &Origin) -> Result<Visitor> {
    let visitor = Visitor::new(driver).await?;
    visitor.goto(&origin.url("/empty.html")).await?;
    visitor.until_controlled().await?;
    visitor.goto(&origin.url("/")).await?;
    visitor.until_images().await?;
    show(&visitor, DRAWING).await?;
    let held = IMAGES + 1;
    visitor.until_held(held).await?;
    // And has word of each for a worker that starts.
    let resources = records::all("resources");
    visitor
        .until(&format!(
            "(await {resources}).filter(({{ cold }}) => cold).length === {held}"
        ))
        .await?;
    visitor.goto(&origin.url(SILENT)).await?;
    Ok(visitor)
}

fn site() -> Result<Site> {
    let site = Site::new()?;
    site.page_with("silent.html", "", "<p>no line</p>")?;
    let lines = "<path d='M0 0h4v4z'/>".repeat(2_000);
    std::fs::write(
        site.path(&DRAWING[1..]),
        format!("<svg xmlns='http://www.w3.org/2000/svg' width='4' height='4'>{lines}</svg>"),
    )?;
    Ok(site)
}

async fn show(visitor: &Visitor, path: &str) -> Result<()> {
    visitor.eval(&format!("({SHOW})({})", json!(path))).await
}

/// A page without pictures; nothing is at hand but what the store has, and no worker runs.
async fn cool(visitor: &Visitor, origin: &Origin, page: &str) -> Result<()> {
    visitor.goto(&origin.url(page)).await?;
    visitor.clear_cache().await?;
    visitor.stop_workers().await
}

#[tokio::test(flavor = "multi_thread")]
async fn hits_are_answered_before_the_wasm_runs() -> Result<()> {
    let (site, driver) = (site()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let visitor = holder(&driver, &origin).await?;
    visitor.eval::<()>(BREAK).await?;
    let mut paths: Vec<_> = (0..IMAGES).map(|n| format!("/image{n}.jpg")).collect();
    paths.push(DRAWING.to_owned());
    for path in paths {
        let before = origin.requests(&path)?.len();
        cool(&visitor, &origin, SILENT).await?;
        show(&visitor, &path).await?;
        let ours = visitor.pixels("#shown").await?;
        assert_eq!(origin.requests(&path)?.len(), before, "{path}");

        let theirs = format!("{path}?never-seen");
        show(&visitor, &theirs).await?;
        assert_eq!(visitor.pixels("#shown").await?, ours, "{path}");
        assert_eq!(origin.requests(&path)?.len(), before + 1);
    }
    visitor.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_not_certain_waits_for_the_wasm() -> Result<()> {
    let (site, driver) = (site()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let visitor = holder(&driver, &origin).await?;
    visitor.eval::<()>(BREAK).await?;
    let asked_by = async |page: &str| -> Result<usize> {
        let before = origin.requests("/image0.jpg")?.len();
        cool(&visitor, &origin, page).await?;
        show(&visitor, "/image0.jpg").await?;
        Ok(origin.requests("/image0.jpg")?.len() - before)
    };
    let asked = async || asked_by(SILENT).await;
    assert_eq!(asked().await?, 0);
    for (store, what, back) in [
        // Its time is over, by its own word and by the manifest's.
        (
            "resources",
            "record.was = record.cold; record.cold = { ...record.cold, until: 0, proven: 0 }",
            "record.cold = record.was",
        ),
        (
            "resources",
            "record.cold.accept += ',image/new'",
            "record.cold.accept = record.cold.accept.replace(',image/new', '')",
        ),
        // The clock went back.
        (
            "resources",
            "record.stored_at += 1e7; record.cold.proven = 0",
            "record.stored_at -= 1e7; record.cold.proven = record.was.proven",
        ),
        // The last instance knew another manifest.
        (
            "meta",
            "if (record.at) record.id += 'x'",
            "if (record.at) record.id = record.id.slice(0, -1)",
        ),
        // Damage, in the bytes and in the words before them.
        (
            "blocks",
            "record[record.length >> 1] ^= 1",
            "record[record.length >> 1] ^= 1",
        ),
        ("blocks", "record[11] ^= 64", "record[11] ^= 64"),
    ] {
        visitor.change_records(store, what).await?;
        assert_eq!(asked().await?, 1, "{what}");
        visitor.change_records(store, back).await?;
        assert_eq!(asked().await?, 0, "{back}");
    }
    // Of a page that wants nothing of us.
    assert_eq!(asked_by("/silent.html?fugitive=off").await?, 1);
    visitor.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_without_the_wasm_is_counted() -> Result<()> {
    let (site, driver) = (site()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let visitor = holder(&driver, &origin).await?;
    cool(&visitor, &origin, SILENT).await?;
    show(&visitor, "/image0.jpg").await?;
    visitor.goto(&origin.url("/empty.html")).await?;
    visitor
        .until("fugitive.stats().then(({ store }) => store.requests === 1)")
        .await?;
    assert_eq!(origin.requests("/image0.jpg")?.len(), 1);
    visitor.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn page_that_is_off_is_so_whatever_its_requests_say_of_it() -> Result<()> {
    let (site, driver) = (site()?, Driver::start()?);
    let policies = ["origin", "no-referrer", "same-origin"];
    for policy in policies {
        let head =
            format!("<meta name=referrer content={policy}><link rel=stylesheet href=/style.css>");
        site.page_with(&format!("{policy}.html"), &head, "<p>no line</p>")?;
    }
    let style = ".styled { width: 9px; height: 9px; background: url(/image1.jpg) }";
    std::fs::write(site.path("style.css"), style)?;
    let origin = Origin::start(&site).await?;
    let visitor = holder(&driver, &origin).await?;
    for is_cold in [true, false] {
        for policy in policies {
            for (search, expected) in [("?fugitive=off", 2), ("", 0)] {
                let what = format!("{policy}{search}, cold: {is_cold}");
                let asked = || -> Result<usize> {
                    Ok(origin.requests("/image0.jpg")?.len()
                        + origin.requests("/image1.jpg")?.len())
                };
                let before = asked()?;
                let url = origin.url(&format!("/{policy}.html{search}"));
                visitor.goto(&url).await?;
                visitor.clear_cache().await?;
                if is_cold {
                    visitor.stop_workers().await?;
                }
                // The style sheet's first: of the page nothing is known yet.
                visitor
                    .eval::<()>("void (document.querySelector('p').className = 'styled')")
                    .await?;
                visitor
                    .until(
                        "performance.getEntriesByType('resource')
                           .some(({ name, responseEnd }) => name.endsWith('/image1.jpg') && responseEnd > 0)",
                    )
                    .await?;
                show(&visitor, "/image0.jpg").await?;
                assert_eq!(asked()? - before, expected, "{what}");
            }
        }
    }
    visitor.quit().await
}
