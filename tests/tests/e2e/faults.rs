//! Whatever breaks, the page ends as it would without us: each fault in a real browser, over real
//! sockets.

use anyhow::Result;
use fugitive_tests::{
    browser::{Driver, PATIENCE, Visitor},
    origin::{Fault, Origin, SIGNAL},
    site::{IMAGES, Site},
};

const MANIFEST: &str = "/fugitive/manifest.json";

fn answer(status: &'static str, body: &str) -> Fault {
    Fault::Answer {
        status,
        headers: "Content-Type: application/json\r\n".to_owned(),
        body: body.as_bytes().to_vec(),
    }
}

/// A visitor under the worker's control, on a page without media.
async fn controlled(driver: &Driver, origin: &Origin) -> Result<Visitor> {
    let visitor = Visitor::new(driver).await?;
    visitor.goto(&origin.url("/empty.html")).await?;
    visitor.until_controlled().await?;
    Ok(visitor)
}

/// A visitor who holds the gallery and waits on a page without media.
async fn holder(driver: &Driver, origin: &Origin) -> Result<Visitor> {
    let visitor = controlled(driver, origin).await?;
    visitor.goto(&origin.url("/")).await?;
    visitor.until_images().await?;
    visitor.until_held(IMAGES).await?;
    visitor.goto(&origin.url("/empty.html")).await?;
    Ok(visitor)
}

/// What the gallery looks like to somebody who is left alone.
async fn gallery_without_us(driver: &Driver, origin: &Origin) -> Result<Vec<String>> {
    let control = Visitor::new(driver).await?;
    control.goto(&origin.url("/?fugitive=off")).await?;
    let pixels = gallery(&control).await?;
    control.quit().await?;
    Ok(pixels)
}

async fn gallery(visitor: &Visitor) -> Result<Vec<String>> {
    visitor.until_images().await?;
    let mut pixels = Vec::new();
    for n in 0..IMAGES {
        pixels.push(visitor.pixels(&format!("#i{n}")).await?);
    }
    Ok(pixels)
}

#[tokio::test(flavor = "multi_thread")]
async fn signal_server_that_is_down_costs_nothing_and_is_found_when_it_comes() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    origin.fault(SIGNAL, Fault::Refuse);
    let first = holder(&driver, &origin).await?;
    let second = controlled(&driver, &origin).await?;
    second.goto(&origin.url("/")).await?;
    assert_eq!(
        gallery(&second).await?,
        gallery_without_us(&driver, &origin).await?
    );
    let served = second.served("/image0.jpg").await?;
    assert!(served.iter().all(|(source, _)| source == "network"));

    second.goto(&origin.url("/empty.html")).await?;
    origin.heal(SIGNAL);
    second.until_peers(1).await?;
    first.quit().await?;
    second.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn signal_server_that_dies_leaves_peers_connected() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let first = holder(&driver, &origin).await?;
    let second = controlled(&driver, &origin).await?;
    second.until_peers(1).await?;
    origin.fault(SIGNAL, Fault::Refuse);
    origin.cut_sockets();
    origin.fault("/image1.jpg", Fault::Delay(PATIENCE));
    let hash = second.body_hash("fugitive.fetch('/image1.jpg')").await?;
    origin.heal("/image1.jpg");
    let right = second
        .body_hash("fetch('/image1.jpg', { cache: 'no-store' })")
        .await?;
    assert_eq!(hash, right);
    assert_eq!(second.until_served("/image1.jpg", 1).await?[0].0, "tier-1");
    first.quit().await?;
    second.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn worker_that_was_stopped_goes_on_with_peers_and_store() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let first = holder(&driver, &origin).await?;
    let second = controlled(&driver, &origin).await?;
    second.until_peers(1).await?;
    first.stop_workers().await?;
    second.stop_workers().await?;
    for n in 0..IMAGES {
        origin.fault(&format!("/image{n}.jpg"), Fault::Delay(PATIENCE));
    }
    let hash = second.body_hash("fugitive.fetch('/image3.jpg')").await?;
    assert_eq!(second.until_served("/image3.jpg", 1).await?[0].0, "tier-1");
    second.until_held(1).await?;
    second.stop_workers().await?;
    let again = second.body_hash("fugitive.fetch('/image3.jpg')").await?;
    assert_eq!(hash, again);
    assert_eq!(second.until_served("/image3.jpg", 2).await?[1].0, "store");
    first.quit().await?;
    second.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn database_deleted_under_us_is_missed_and_made_again() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let visitor = holder(&driver, &origin).await?;
    visitor
        .until(
            "new Promise((done, failed) => {
               const gone = indexedDB.deleteDatabase('fugitive');
               gone.onsuccess = () => done(true);
               gone.onerror = failed;
             })",
        )
        .await?;
    visitor.goto(&origin.url("/again.html")).await?;
    assert_eq!(
        gallery(&visitor).await?,
        gallery_without_us(&driver, &origin).await?
    );
    // The gallery came from the worker's memory; what is new is stored again.
    visitor.body_hash("fugitive.fetch('/film.mp4')").await?;
    visitor.until_held(1).await?;
    visitor.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn caches_that_the_site_cleared_with_its_own_are_filled_again() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let visitor = holder(&driver, &origin).await?;
    visitor
        .until(
            "caches.keys()
               .then((all) => Promise.all(all.map((name) => caches.delete(name))))
               .then((gone) => gone.length > 0 && gone.every(Boolean))",
        )
        .await?;
    visitor.stop_workers().await?;
    visitor.goto(&origin.url("/again.html")).await?;
    assert_eq!(
        gallery(&visitor).await?,
        gallery_without_us(&driver, &origin).await?
    );
    let filled = "caches.keys().then((all) => all.some((name) => name.startsWith('fugitive-')))";
    visitor.until(filled).await?;
    visitor.goto(&origin.url("/empty.html")).await?;
    visitor.body_hash("fugitive.fetch('/image1.jpg')").await?;
    let served = visitor.until_served("/image1.jpg", 1).await?;
    assert!(["memory", "store"].contains(&&*served[0].0), "{served:?}");
    visitor.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn manifest_that_is_missing_malformed_or_from_the_future_is_no_manifest() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let right = gallery_without_us(&driver, &origin).await?;
    for fault in [
        answer("404 Not Found", "nothing"),
        answer("200 OK", "{ this is not JSON"),
        answer(
            "200 OK",
            r#"{"version":1,"entries":{"/image0.jpg":"what"}}"#,
        ),
        answer("200 OK", r#"{"version":99}"#),
        Fault::Refuse,
        Fault::CutAfter(100),
    ] {
        origin.fault(MANIFEST, fault.clone());
        let visitor = controlled(&driver, &origin).await?;
        visitor.goto(&origin.url("/")).await?;
        assert_eq!(gallery(&visitor).await?, right, "{fault:?}");
        visitor.quit().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn manifest_that_lies_about_length_or_hash_is_not_believed() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let right = gallery_without_us(&driver, &origin).await?;
    let film = std::fs::metadata(site.path("film.mp4"))?.len();
    let other = "00".repeat(32);
    for (len, hash) in [(5, &other), (1 << 30, &other), (70_000, &other)] {
        let entry =
            |len: u64, mime: &str| format!(r#"[{{"id":"{hash}","len":{len},"type":"{mime}"}}]"#);
        let images: String = (0..IMAGES)
            .map(|n| format!(r#""/image{n}.jpg":{},"#, entry(len, "image/jpeg")))
            .collect();
        let film = entry(len, "video/mp4");
        let text = format!(r#"{{"version":1,"entries":{{{images}"/film.mp4":{film}}}}}"#);
        origin.fault(MANIFEST, answer("200 OK", &text));
        let visitor = controlled(&driver, &origin).await?;
        visitor.goto(&origin.url("/")).await?;
        assert_eq!(gallery(&visitor).await?, right, "{len}");
        visitor.goto(&origin.url("/video.html")).await?;
        visitor.until("v.readyState >= 2 && !v.error").await?;
        visitor
            .until(
                "new Promise((done) => { v.onseeked = () => done(true); v.currentTime = 6.21; })",
            )
            .await?;
        visitor.quit().await?;
    }
    assert!(film > 1 << 20);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn file_that_changed_on_the_origin_is_shown_as_it_is_now() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let visitor = holder(&driver, &origin).await?;
    // The bridge is there to be told.
    visitor
        .until(
            "(await navigator.locks.query()).held.some(({ name }) =>
               name.startsWith('fugitive:client:'))",
        )
        .await?;
    std::fs::copy(site.path("image5.jpg"), site.path("image0.jpg"))?;
    // The server sees the change, tells the bridge, and the worker asks for the manifest.
    visitor
        .until(
            "fetch('/fugitive/manifest.json').then((r) => r.json()).then(({ entries }) =>
               entries['/image0.jpg'][0].id === entries['/image5.jpg'][0].id)",
        )
        .await?;
    visitor
        .until(
            "fugitive.fetch('/image0.jpg').then(async (r) => r.headers.has('x-fugitive') &&
               (await r.blob()).size === (await (await fetch('/image5.jpg')).blob()).size)",
        )
        .await?;
    // Within its max-age the browser's own cache would show the old one, with us or without.
    visitor.clear_cache().await?;
    visitor.goto(&origin.url("/")).await?;
    visitor.until_images().await?;
    assert_eq!(visitor.pixels("#i0").await?, visitor.pixels("#i5").await?);
    visitor.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn origin_that_fails_or_stalls_is_no_worse_than_without_us_and_peers_stand_in() -> Result<()>
{
    let (site, driver) = (Site::new()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let first = holder(&driver, &origin).await?;
    let second = controlled(&driver, &origin).await?;
    second.until_peers(1).await?;
    origin.fault("/image0.jpg", answer("500 Internal Server Error", "no"));
    origin.fault("/image1.jpg", Fault::Stall);
    origin.fault("/image2.jpg", Fault::Refuse);
    for n in 0..3 {
        let from_peers = format!("fugitive.fetch('/image{n}.jpg')");
        let hash = second.body_hash(&from_peers).await?;
        let held = first.body_hash(&from_peers).await?;
        assert_eq!(hash, held);
    }
    first.quit().await?;

    // Nobody has these: what the origin says is what the page gets.
    let alone = controlled(&driver, &origin).await?;
    let told: Vec<String> = alone
        .eval(
            "Promise.all(['/image0.jpg', '/image2.jpg', '/nowhere.jpg'].map((url) =>
               new Promise((done) => {
                 const image = new Image();
                 image.onload = () => done('load');
                 image.onerror = () => done('error');
                 image.src = url;
               })))",
        )
        .await?;
    assert_eq!(told, ["error", "error", "error"]);
    second.quit().await?;
    alone.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn answer_that_breaks_off_goes_on_where_it_stopped() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let visitor = controlled(&driver, &origin).await?;
    let right = visitor
        .body_hash("fetch('/film.mp4', { cache: 'no-store' })")
        .await?;
    // Each answer ends after 1.2 MB; what is asked for at once is less, but for the last piece.
    origin.fault("/film.mp4", Fault::CutAfter(1_200_000));
    let got =
        visitor.body_hash("fugitive.fetch('/film.mp4', { headers: { range: 'bytes=0-2999999' } })");
    let part = visitor
        .body_hash("fetch('/film.mp4', { headers: { range: 'bytes=0-2999999' } })")
        .await;
    let got = got.await?;
    origin.heal("/film.mp4");
    assert!(part.is_err() || part.is_ok_and(|part| part != right));
    let control = visitor
        .body_hash(
            "fetch('/film.mp4', { cache: 'no-store', headers: { range: 'bytes=0-2999999' } })",
        )
        .await?;
    assert_eq!(got, control);
    visitor.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn images_of_another_host_under_a_strict_policy_are_left_alone() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let elsewhere = Origin::start(&site).await?;
    let other = elsewhere.url("");
    site.page_with(
        "strict.html",
        &format!(
            "<meta http-equiv=Content-Security-Policy content=\"default-src 'self'; \
             img-src {other}; connect-src 'self'; script-src 'self' 'wasm-unsafe-eval'\">\
             <script src=/fugitive.js data-consent=implied async></script>"
        ),
        &format!("<img id=a src={other}/image0.jpg><img id=b src={other}/image1.jpg>"),
    )?;
    let visitor = holder(&driver, &origin).await?;
    visitor.goto(&origin.url("/strict.html")).await?;
    assert_eq!(visitor.until_images().await?, 2);
    assert_eq!(elsewhere.requests(".jpg")?.len(), 2);
    visitor.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn bridge_that_goes_away_while_the_worker_waits_costs_a_deadline() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let first = holder(&driver, &origin).await?;
    let second = controlled(&driver, &origin).await?;
    second.until_peers(1).await?;
    // A second tab, which has no bridge: that of the first one answers for it until it is closed.
    let bridge = second.new_tab().await?;
    second.goto(&origin.url("/empty.html")).await?;
    second.until_controlled().await?;
    let tab = second.window().await?;
    second.to_tab(bridge).await?;
    second.close_tab(tab).await?;
    second.goto(&origin.url("/again.html")).await?;
    assert_eq!(
        gallery(&second).await?,
        gallery_without_us(&driver, &origin).await?
    );
    first.quit().await?;
    second.quit().await
}
