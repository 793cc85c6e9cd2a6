//! Back and forth: a page with us enters the back/forward cache whenever it would without us, and is
//! a visitor again when it comes back.

use anyhow::Result;
use fugitive_tests::{
    browser::{Driver, Visitor},
    origin::Origin,
    site::{IMAGES, Site},
};
use serde_json::Value;

/// Keeps whether a page that is shown came out of the back/forward cache.
const SHOWN: &str =
    "addEventListener('pageshow', ({ persisted }) => (self.__persisted = persisted))";

/// Whether the browser has a back/forward cache at all is for it to say.
const ARGS: &[&str] = &["--enable-features=BackForwardCache"];

/// Away and back; whether the page was kept, and if not, why.
async fn there_and_back(visitor: &Visitor, away: &str) -> Result<(bool, Value)> {
    let here: String = visitor.eval("location.pathname").await?;
    visitor.goto(away).await?;
    visitor.eval::<()>("void history.back()").await?;
    visitor
        .until(&format!(
            "location.pathname === '{here}' && self.__persisted !== undefined &&
             document.readyState === 'complete'"
        ))
        .await?;
    let kept = visitor.eval("self.__persisted").await?;
    let why = visitor
        .eval("performance.getEntriesByType('navigation')[0].notRestoredReasons?.toJSON() ?? null")
        .await?;
    Ok((kept, why))
}

#[tokio::test(flavor = "multi_thread")]
async fn page_that_is_kept_without_us_is_kept_with_us_and_has_peers_again() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::chromium()?);
    site.page_with("away.html", "", "<p>nothing of ours</p>")?;
    let origin = Origin::start(&site).await?;
    let away = origin.url("/away.html");

    let without = Visitor::with_args(&driver, ARGS).await?;
    without.before_scripts(SHOWN).await?;
    without
        .goto(&origin.url("/again.html?fugitive=off"))
        .await?;
    without.until_images().await?;
    let (kept, why) = there_and_back(&without, &away).await?;
    assert!(kept, "this browser keeps no page: {why}");
    without.quit().await?;

    let other = Visitor::new(&driver).await?;
    other.goto(&origin.url("/empty.html")).await?;
    other.until_controlled().await?;
    let visitor = Visitor::with_args(&driver, ARGS).await?;
    visitor.before_scripts(SHOWN).await?;
    visitor.goto(&origin.url("/again.html")).await?;
    // With all that could be in the way: a worker, a socket, locks, a connection.
    visitor.until_peers(1).await?;
    visitor.until_held(IMAGES).await?;
    let (kept, why) = there_and_back(&visitor, &away).await?;
    assert!(kept, "{why}");
    visitor.until_peers(1).await?;
    visitor.quit().await?;
    other.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn page_that_goes_away_lets_go_of_locks_and_connections_at_once() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::chromium()?);
    site.page_with("away.html", "", "<p>nothing of ours</p>")?;
    let origin = Origin::start(&site).await?;
    let other = Visitor::new(&driver).await?;
    other.goto(&origin.url("/empty.html")).await?;
    other.until_controlled().await?;
    let visitor = Visitor::with_args(&driver, ARGS).await?;
    visitor.goto(&origin.url("/empty.html")).await?;
    visitor.until_peers(1).await?;
    other.until_peers(1).await?;
    visitor.goto(&origin.url("/away.html")).await?;
    // The page is still there, kept by the browser, and holds nothing.
    let held: Vec<String> = visitor
        .eval(
            "navigator.locks.query().then(({ held }) => held.map(({ name }) => name)
               .filter((name) => name.startsWith('fugitive:')))",
        )
        .await?;
    assert!(held.is_empty(), "{held:?}");
    other.until("(await fugitive.stats()).peers === 0").await?;
    visitor.quit().await?;
    other.quit().await
}
