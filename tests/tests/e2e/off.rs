//! However Fugitive is switched off: nothing is asked of it from then on, and nothing of it is left.

use anyhow::Result;
use fugitive_tests::{
    browser::{Driver, Visitor},
    origin::{Fault, Origin},
    site::{IMAGES, Site},
};

const MANIFEST: &str = "/fugitive/manifest.json";
const SCRIPT: &str = "/fugitive-sw.js";

/// What there is of us: workers, caches, databases, locks.
const LEFT: &str = "(async () => {
  const { held, pending } = await navigator.locks.query();
  return [
    ...(await navigator.serviceWorker.getRegistrations()).map(({ scope }) => scope),
    ...(await caches.keys()),
    ...(await indexedDB.databases()).map(({ name }) => name),
    ...[...held, ...pending].map(({ name }) => name),
  ];
})()";

fn answer(status: &'static str, body: &str) -> Fault {
    Fault::Answer {
        status,
        headers: "Content-Type: application/json\r\n".to_owned(),
        body: body.as_bytes().to_vec(),
    }
}

/// A visitor who holds the gallery, has a peer, and stays on a page.
async fn visitor(driver: &Driver, origin: &Origin) -> Result<Visitor> {
    let visitor = Visitor::new(driver).await?;
    visitor.goto(&origin.url("/again.html")).await?;
    visitor.until_peers(1).await?;
    visitor.until_held(IMAGES).await?;
    Ok(visitor)
}

async fn peer(driver: &Driver, origin: &Origin) -> Result<Visitor> {
    let peer = Visitor::new(driver).await?;
    peer.goto(&origin.url("/empty.html")).await?;
    peer.until_controlled().await?;
    Ok(peer)
}

/// Nothing is there any more, while the page is still open, and nobody is connected.
async fn until_nothing_is_left(visitor: &Visitor, peer: &Visitor) -> Result<()> {
    visitor
        .until(&format!("(await {LEFT}).length === 0"))
        .await?;
    peer.until("(await fugitive.stats()).peers === 0").await
}

/// The page that was open, and its worker, however often that starts, are as without us.
async fn is_inert(visitor: &Visitor, origin: &Origin) -> Result<()> {
    for _ in 0..2 {
        let before = origin.requests("/image2.jpg")?.len();
        let shown: bool = visitor
            .eval(
                "fetch('/image2.jpg', { cache: 'reload' }).then(() => new Promise((done) => {
                   const image = new Image();
                   image.onload = () => done(true);
                   image.onerror = () => done(false);
                   image.src = '/image2.jpg?' + Math.random();
                 }))",
            )
            .await?;
        assert!(shown);
        assert!(origin.requests("/image2.jpg")?.len() >= before + 2);
        visitor.stop_workers().await?;
    }
    let left: Vec<String> = visitor.eval(LEFT).await?;
    assert!(left.is_empty(), "{left:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn visitor_who_wants_it_forgotten_is_left_alone_until_a_yes() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let peer = peer(&driver, &origin).await?;
    let visitor = visitor(&driver, &origin).await?;
    visitor.eval::<()>("fugitive.forget()").await?;
    until_nothing_is_left(&visitor, &peer).await?;
    assert!(
        visitor
            .eval::<bool>("fugitive.stats().then(({ peers }) => !peers)")
            .await?
    );
    is_inert(&visitor, &origin).await?;
    let kept: Vec<String> = visitor
        .eval("[...Object.keys(localStorage), ...Object.keys(sessionStorage)]")
        .await?;
    assert_eq!(kept, ["fugitive:off"]);

    visitor.goto(&origin.url("/again.html")).await?;
    assert!(!visitor.eval::<bool>("fugitive.ready").await?);
    let left: Vec<String> = visitor.eval(LEFT).await?;
    assert!(left.is_empty(), "{left:?}");
    // What a page's own code asks of it still works.
    let hash = visitor.body_hash("fugitive.fetch('/image1.jpg')").await?;
    assert_eq!(hash, visitor.body_hash("fetch('/image1.jpg')").await?);

    visitor.eval::<()>("fugitive.consent(true)").await?;
    visitor.goto(&origin.url("/again.html")).await?;
    visitor.until_peers(1).await?;
    visitor.quit().await?;
    peer.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn address_that_says_off_takes_everything_away() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let peer = peer(&driver, &origin).await?;
    let visitor = visitor(&driver, &origin).await?;
    visitor
        .goto(&origin.url("/again.html?fugitive=off"))
        .await?;
    until_nothing_is_left(&visitor, &peer).await?;
    is_inert(&visitor, &origin).await?;
    visitor.quit().await?;
    peer.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn manifest_that_says_off_takes_everything_away_and_nothing_comes_back() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let peer = peer(&driver, &origin).await?;
    let visitor = visitor(&driver, &origin).await?;
    let off = r#"{"version":1,"policy":{"enabled":false}}"#;
    origin.fault(MANIFEST, answer("200 OK", off));
    // The server sees that something changed, and has every visitor look at the manifest.
    std::fs::copy(site.path("image5.jpg"), site.path("image0.jpg"))?;
    visitor
        .until(&format!("(await {LEFT}).length === 0"))
        .await?;
    peer.until(&format!("(await {LEFT}).length === 0")).await?;
    is_inert(&visitor, &origin).await?;

    for page in [&visitor, &peer] {
        page.goto(&origin.url("/again.html")).await?;
        assert!(!page.eval::<bool>("fugitive.ready").await?);
        page.until(&format!("(await {LEFT}).length === 0")).await?;
    }
    origin.heal(MANIFEST);
    visitor.goto(&origin.url("/again.html")).await?;
    visitor.until_controlled().await?;
    visitor.quit().await?;
    peer.quit().await
}

/// The store says that this was missing for the first time more than an hour ago.
async fn an_hour_later(visitor: &Visitor, which: usize) -> Result<()> {
    visitor
        .until(&format!(
            "new Promise((done, failed) => {{
               const opening = indexedDB.open('fugitive');
               opening.onerror = failed;
               opening.onsuccess = () => {{
                 const database = opening.result;
                 const meta = database.transaction('meta', 'readwrite').objectStore('meta');
                 const absence = meta.get('absence');
                 absence.onsuccess = () => {{
                   const times = absence.result ?? [0, 0, 0];
                   const isMissing = times[{which}] > 0;
                   if (isMissing) times[{which}] = Date.now() - 3_700_000;
                   // So that the script is asked for with the next look.
                   else times[2] = 0;
                   const put = meta.put(times, 'absence');
                   put.onsuccess = () => (database.close(), done(isMissing));
                 }};
               }};
             }})"
        ))
        .await
}

async fn is_taken_away_after_an_hour(path: &str, status: &'static str, which: usize) -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let peer = peer(&driver, &origin).await?;
    let visitor = visitor(&driver, &origin).await?;
    // Gone for the visitor alone, whose worker asks when it is told to.
    peer.goto("about:blank").await?;
    origin.fault(path, answer(status, "gone"));
    let look = |n: usize| {
        let name = format!("new{which}{n}.jpg");
        std::fs::copy(site.path("image5.jpg"), site.path(&name))
    };
    look(0)?;
    an_hour_later(&visitor, which).await?;
    // A minute's absence takes nothing away.
    let left: Vec<String> = visitor.eval(LEFT).await?;
    assert!(left.len() >= 4, "{left:?}");
    look(1)?;
    visitor
        .until(&format!("(await {LEFT}).length === 0"))
        .await?;
    is_inert(&visitor, &origin).await?;
    visitor.quit().await?;
    peer.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn manifest_that_was_there_and_is_gone_for_an_hour_takes_everything_away() -> Result<()> {
    is_taken_away_after_an_hour(MANIFEST, "410 Gone", 0).await
}

#[tokio::test(flavor = "multi_thread")]
async fn worker_script_that_is_gone_for_an_hour_takes_everything_away() -> Result<()> {
    is_taken_away_after_an_hour(SCRIPT, "404 Not Found", 1).await
}
