//! Other browsers: Firefox meets Chromium and its own kind; WebKitGTK, which has no WebRTC, has a store
//! and the network.

use std::time::Duration;

use anyhow::{Result, ensure};
use fugitive_tests::{
    browser::{Driver, Engine, Visitor},
    origin::{Fault, Origin},
    site::{IMAGES, Site},
};

/// Long enough for a peer to be sooner; nothing is asserted of it.
const LATE: Duration = Duration::from_secs(5);

/// The pictures of the gallery, by the bytes that the page can get.
async fn hashes(visitor: &Visitor, get: &str) -> Result<Vec<String>> {
    let mut hashes = Vec::new();
    for n in 0..IMAGES {
        hashes.push(
            visitor
                .body_hash(&format!("{get}('/image{n}.jpg')"))
                .await?,
        );
    }
    Ok(hashes)
}

/// As the origin has them.
async fn right(visitor: &Visitor) -> Result<Vec<String>> {
    hashes(visitor, "((url) => fetch(url, { cache: 'no-store' }))").await
}

/// A visitor of one kind holds the gallery, and one of another kind is filled from there.
async fn is_filled(holder: Engine, asker: Engine) -> Result<()> {
    let site = Site::new()?;
    let origin = Origin::start(&site).await?;
    let (holders, askers) = (Driver::of(holder)?, Driver::of(asker)?);
    let holder = Visitor::new(&holders).await?;
    holder.goto(&origin.url("/")).await?;
    holder.until_held(IMAGES).await?;
    let asker = Visitor::new(&askers).await?;
    asker.goto(&origin.url("/empty.html")).await?;
    asker.until_peers(1).await?;
    // However busy the machine is, peers are sooner.
    let paths: Vec<_> = (0..IMAGES).map(|n| format!("/image{n}.jpg")).collect();
    for path in &paths {
        origin.fault(path, Fault::Delay(LATE));
    }
    let got = hashes(&asker, "fugitive.fetch").await?;
    let served = asker.until_served(".jpg", IMAGES).await?;
    ensure!(
        served.iter().all(|(source, _)| source == "tier-1"),
        "not from the peer: {served:?}"
    );
    for path in &paths {
        origin.heal(path);
    }
    ensure!(got == right(&asker).await?);
    asker.goto(&origin.url("/again.html")).await?;
    ensure!(asker.until_images().await? as usize == IMAGES);
    // A part of a film, from the middle of it.
    let part = "{ headers: { range: 'bytes=300000-799999' } }";
    let film = |get: &str| format!("{get}('/film.mp4', {part})");
    holder.body_hash("fugitive.fetch('/film.mp4')").await?;
    let got = asker.body_hash(&film("fugitive.fetch")).await?;
    let control = format!("fetch('/film.mp4', {{ cache: 'no-store', ...{part} }})");
    ensure!(got == asker.body_hash(&control).await?);
    // Whoever leaves is missed at once.
    holder.quit().await?;
    asker.until("(await fugitive.stats()).peers === 0").await?;
    asker.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn firefox_is_filled_by_chromium() -> Result<()> {
    is_filled(Engine::Chromium, Engine::Firefox).await
}

#[tokio::test(flavor = "multi_thread")]
async fn chromium_is_filled_by_firefox() -> Result<()> {
    is_filled(Engine::Firefox, Engine::Chromium).await
}

#[tokio::test(flavor = "multi_thread")]
async fn firefox_is_filled_by_firefox() -> Result<()> {
    is_filled(Engine::Firefox, Engine::Firefox).await
}

/// Comes, comes again, and takes it away: what a browser must do that nobody meets.
async fn is_at_home(engine: Engine) -> Result<()> {
    let site = Site::new()?;
    let (origin, driver) = (Origin::start(&site).await?, Driver::of(engine)?);
    let visitor = Visitor::new(&driver).await?;
    visitor.goto(&origin.url("/")).await?;
    ensure!(visitor.until_images().await? as usize == IMAGES);
    ensure!(visitor.eval::<bool>("fugitive.ready").await?);
    let wanted = right(&visitor).await?;
    // Through the worker once, in case that the images were there before it.
    ensure!(hashes(&visitor, "fugitive.fetch").await? == wanted);
    visitor.until_held(IMAGES).await?;
    let before = origin.requests(".jpg")?.len();
    visitor.goto(&origin.url("/empty.html")).await?;
    ensure!(hashes(&visitor, "fugitive.fetch").await? == wanted);
    let served = visitor.until_served(".jpg", IMAGES).await?;
    ensure!(
        served
            .iter()
            .all(|(source, _)| ["memory", "store"].contains(&source.as_str())),
        "not from the store: {served:?}"
    );
    ensure!(
        origin.requests(".jpg")?.len() == before,
        "the origin was asked"
    );
    // A range of what is stored.
    let part = "{ headers: { range: 'bytes=1000-' } }";
    let got = visitor
        .body_hash(&format!("fugitive.fetch('/image1.jpg', {part})"))
        .await?;
    let control = format!("fetch('/image1.jpg', {{ cache: 'no-store', ...{part} }})");
    ensure!(got == visitor.body_hash(&control).await?);
    let is_part: bool = visitor
        .eval(
            "fetch('/image1.jpg', { method: 'HEAD' })
               .then(({ headers }) => headers.get('etag'))
               .then((etag) => fugitive.fetch('/image1.jpg',
                 { headers: { range: 'bytes=5-9', 'if-range': etag } }))
               .then(({ status, headers }) => status === 206 && headers.has('x-fugitive'))",
        )
        .await?;
    ensure!(is_part, "a part on a condition that holds");

    visitor.eval::<()>("fugitive.forget()").await?;
    visitor
        .until(
            "(await navigator.serviceWorker.getRegistrations()).length === 0 &&
             (await caches.keys()).length === 0 &&
             (await indexedDB.databases()).every(({ name }) => name !== 'fugitive')",
        )
        .await?;
    visitor.goto(&origin.url("/again.html")).await?;
    ensure!(visitor.until_images().await? as usize == IMAGES);
    ensure!(!visitor.eval::<bool>("fugitive.ready").await?);
    visitor.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn firefox_keeps_what_it_has_seen_and_lets_go_of_it() -> Result<()> {
    is_at_home(Engine::Firefox).await
}

#[tokio::test(flavor = "multi_thread")]
async fn webkit_without_connections_has_its_store_and_the_network() -> Result<()> {
    is_at_home(Engine::WebKit).await
}
