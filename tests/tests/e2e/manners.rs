//! What a visitor's device, line and wishes allow, in real browsers: nothing is served where it is
//! not welcome, from the moment on at which it is not.

use std::time::Duration;

use anyhow::Result;
use fugitive_tests::{
    browser::{Driver, Visitor},
    origin::{Fault, Origin},
    site::{IMAGES, Site},
    visitors::{DEVICE, newcomer},
};

/// Long enough for a peer to be the first, where one serves; nothing is asserted of it.
const LATE: Duration = Duration::from_secs(3);

/// A visitor who holds the gallery and waits on this page without media.
async fn holder(driver: &Driver, origin: &Origin, script: &str, page: &str) -> Result<Visitor> {
    let visitor = Visitor::new(driver).await?;
    visitor.before_scripts(script).await?;
    visitor.goto(&origin.url("/")).await?;
    visitor.until_controlled().await?;
    visitor.until_images().await?;
    visitor.until_held(IMAGES).await?;
    visitor.goto(&origin.url(page)).await?;
    Ok(visitor)
}

async fn until_quiet(visitor: &Visitor, why: Option<&str>) -> Result<()> {
    let why = serde_json::json!(why);
    visitor
        .until(&format!(
            "fugitive.stats().then(({{ peers, quiet }}) => peers > 0 && quiet === {why})"
        ))
        .await
}

/// From where the visitor gets an image that a peer has.
async fn source(visitor: &Visitor, origin: &Origin, image: usize) -> Result<String> {
    let path = format!("/image{image}.jpg");
    origin.fault(&path, Fault::Delay(LATE));
    visitor
        .body_hash(&format!("fugitive.fetch('{path}')"))
        .await?;
    origin.heal(&path);
    Ok(visitor.until_served(&path, 1).await?.remove(0).0)
}

#[tokio::test(flavor = "multi_thread")]
async fn battery_that_runs_low_in_the_middle_of_a_film_ends_serving_at_once() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let len = std::fs::metadata(site.path("film.mp4"))?.len();
    // In the window, where a test can see what is sent, and slowly enough to be in the middle.
    let line = "<script src=/fugitive.js data-consent=implied data-worker=off data-upload=1000000 \
                async></script>";
    site.page_with("slow.html", line, "<p>nothing here</p>")?;
    let origin = Origin::start(&site).await?;
    let holder = Visitor::new(&driver).await?;
    holder.before_scripts(DEVICE).await?;
    holder.goto(&origin.url("/slow.html")).await?;
    holder.until_controlled().await?;
    holder.fill("/film.mp4", len).await?;
    let second = newcomer(&driver, &origin).await?;
    let network = "fetch('/film.mp4', { cache: 'no-store' })";
    let right = second.body_hash(network).await?;
    origin.fault("/film.mp4", Fault::Delay(LATE));
    second
        .eval::<()>("void (self.__film = fugitive.fetch('/film.mp4'))")
        .await?;
    // The page reads as the bytes come.
    second
        .eval::<()>("void (self.__all = __film.then((response) => response.arrayBuffer()))")
        .await?;
    holder.until("__frames > 5").await?;

    let frames: u64 = holder.eval("__charge(0.2)").await?;
    until_quiet(&holder, Some("battery 20 %")).await?;
    let got = second
        .body_hash("__all.then((bytes) => new Response(bytes))")
        .await?;
    assert_eq!(got, right);
    let (peers, network): (f64, f64) = second
        .eval("fugitive.stats().then((all) => [all['tier-1'].bytes, all.network.bytes])")
        .await?;
    assert!(peers > 0.0 && network > 0.0, "{peers} {network}");
    assert_eq!(holder.eval::<u64>("__frames").await?, frames);

    // Plugged in, it serves again.
    holder.eval::<u64>("__charge(0.2, true)").await?;
    until_quiet(&holder, None).await?;
    let third = newcomer(&driver, &origin).await?;
    third.eval::<()>("void fugitive.fetch('/film.mp4')").await?;
    holder.until(&format!("__frames > {frames}")).await?;
    holder.quit().await?;
    second.quit().await?;
    third.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn line_that_is_paid_for_by_the_byte_serves_nobody() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let holder = holder(&driver, &origin, DEVICE, "/empty.html").await?;
    let second = newcomer(&driver, &origin).await?;
    until_quiet(&holder, None).await?;
    assert_eq!(source(&second, &origin, 0).await?, "tier-1");
    for (image, change, why) in [
        (1, "{ type: 'cellular' }", "cellular"),
        (2, "{ type: 'wifi', saveData: true }", "data saver"),
    ] {
        holder.eval::<()>(&format!("__line({change})")).await?;
        until_quiet(&holder, Some(why)).await?;
        assert_eq!(source(&second, &origin, image).await?, "network", "{why}");
    }
    // How fast it is does not say what it is.
    let slow = "__line({ type: 'ethernet', effectiveType: '2g', saveData: false })";
    holder.eval::<()>(slow).await?;
    until_quiet(&holder, None).await?;
    assert_eq!(source(&second, &origin, 3).await?, "tier-1");
    holder.quit().await?;
    second.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn privacy_control_wants_a_yes_of_the_visitors_own() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let control = "Object.defineProperty(navigator, 'globalPrivacyControl', { value: true })";
    let holder = holder(&driver, &origin, control, "/empty.html").await?;
    let second = newcomer(&driver, &origin).await?;
    until_quiet(&holder, Some("Global Privacy Control")).await?;
    assert_eq!(source(&second, &origin, 0).await?, "network");
    holder.eval::<()>("fugitive.consent(true)").await?;
    until_quiet(&holder, None).await?;
    assert_eq!(source(&second, &origin, 1).await?, "tier-1");
    holder.quit().await?;
    second.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn days_bytes_are_counted_over_pages_and_then_it_is_enough() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    // Less than two of the images; what is counted is whole groups.
    let len = std::fs::metadata(site.path("image0.jpg"))?.len();
    let line = format!(
        "<script src=/fugitive.js data-consent=implied data-daily={} async></script>",
        len + 20_000
    );
    site.page_with("little.html", &line, "<p>nothing here</p>")?;
    let origin = Origin::start(&site).await?;
    let holder = holder(&driver, &origin, DEVICE, "/little.html").await?;
    let second = newcomer(&driver, &origin).await?;
    until_quiet(&holder, None).await?;
    assert_eq!(source(&second, &origin, 0).await?, "tier-1");
    let given = "fugitive.stats().then((all) => all['uploaded-today'])";
    holder.until(&format!("await {given} >= {len} / 2")).await?;
    // Written down, and read by the next page.
    let kept = "new Promise((done) => {
      const opening = indexedDB.open('fugitive');
      opening.onsuccess = () => {
        const database = opening.result;
        const ledger = database.transaction('meta').objectStore('meta').get('ledger');
        ledger.onsuccess = () => (database.close(), done(ledger.result?.bytes ?? 0));
      };
    })";
    let at_first: f64 = holder.eval(given).await?;
    holder.until(&format!("await {kept} >= {at_first}")).await?;
    holder.goto(&origin.url("/little.html")).await?;
    until_quiet(&holder, None).await?;
    holder
        .until(&format!("await {given} >= {at_first}"))
        .await?;

    second.until_peers(1).await?;
    source(&second, &origin, 1).await?;
    until_quiet(&holder, Some("enough for today")).await?;
    let cap = "fugitive.stats().then((all) => all['upload-cap'])";
    assert_eq!(holder.eval::<u64>(cap).await?, len + 20_000);
    assert_eq!(source(&second, &origin, 2).await?, "network");
    holder.goto(&origin.url("/little.html")).await?;
    until_quiet(&holder, Some("enough for today")).await?;
    holder.quit().await?;
    second.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn hidden_tab_serves_only_where_it_is_the_only_one() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let holder = holder(&driver, &origin, DEVICE, "/empty.html").await?;
    let second = newcomer(&driver, &origin).await?;
    until_quiet(&holder, None).await?;
    let front = holder.new_tab().await?;
    // One that is seen would take over.
    holder
        .before_scripts("Object.defineProperty(document, 'visibilityState', { value: 'hidden' })")
        .await?;
    holder.goto(&origin.url("/empty.html")).await?;
    holder.until_controlled().await?;
    until_quiet(&holder, Some("another tab is open")).await?;
    assert_eq!(source(&second, &origin, 0).await?, "network");
    holder.close_tab(front).await?;
    until_quiet(&holder, None).await?;
    assert_eq!(source(&second, &origin, 1).await?, "tier-1");
    holder.quit().await?;
    second.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn page_that_still_loads_serves_nobody() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    // A driver would wait for a page that really is not done.
    let loading = "
      let isLoading = location.pathname === '/again.html';
      Object.defineProperty(document, 'readyState', {
        get: () => isLoading ? 'interactive' : 'complete',
      });
      self.__loaded = () => {
        isLoading = false;
        document.dispatchEvent(new Event('readystatechange'));
      };";
    let holder = holder(&driver, &origin, loading, "/again.html").await?;
    let second = newcomer(&driver, &origin).await?;
    until_quiet(&holder, Some("the page loads")).await?;
    holder.eval::<()>("__loaded()").await?;
    until_quiet(&holder, None).await?;
    assert_eq!(source(&second, &origin, 0).await?, "tier-1");
    holder.quit().await?;
    second.quit().await
}
