//! The panel: it shows what there is, moves nothing, and its buttons do what they say.

use std::time::Duration;

use anyhow::{Result, bail};
use fugitive_tests::{
    browser::{Driver, PATIENCE, Visitor},
    origin::Origin,
    reader::{Inside, SHIFTS, named, press},
    site::{IMAGES, STRICT, Site},
    visitors::DEVICE,
};
use serde_json::{Value, json};

const SOURCES: [(&str, &str); 5] = [
    ("memory", "Memory"),
    ("store", "This browser’s store"),
    ("tier-1", "Other visitors"),
    ("tier-2", "Visitors they know"),
    ("network", "This site’s server"),
];
const IS_THERE: &str = "document.querySelector('fugitive-panel')";
const HAS_FOCUS: &str = "document.activeElement?.localName === 'fugitive-panel'";

/// A site under a strict policy whose pages have the panel (`gallery.html`, `quiet.html`) or not
/// (`call.html`); on one of them the visitor is asked first (`ask.html`).
fn site() -> Result<Site> {
    let site = Site::new()?;
    let images: String = (0..IMAGES)
        .map(|n| format!("<img src=/image{n}.jpg width=160 height=120>\n"))
        .collect();
    let line = |more: &str| {
        format!("{STRICT}<script src=/fugitive.js data-consent=implied {more} async></script>")
    };
    site.page_with("gallery.html", &line("data-panel"), &images)?;
    site.page_with("quiet.html", &line("data-panel"), "<p>nothing here</p>")?;
    let ask = format!("{STRICT}<script src=/fugitive.js data-panel async></script>");
    site.page_with("ask.html", &ask, "<p>nothing here</p>")?;
    site.page_with("call.html", &line(""), "<button id=open>open</button>")?;
    Ok(site)
}

/// A visitor at a screen of this size.
async fn visitor(driver: &Driver, width: u32, height: u32, script: &str) -> Result<Visitor> {
    let visitor = Visitor::new(driver).await?;
    let screen =
        json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
    visitor
        .cdp("Emulation.setDeviceMetricsOverride", screen)
        .await?;
    visitor.before_scripts(SHIFTS).await?;
    visitor.before_scripts(script).await?;
    Ok(visitor)
}

async fn panel(visitor: &Visitor) -> Result<Inside> {
    Inside::of(visitor, "fugitive-panel").await
}

/// Waits until something holds of the panel.
async fn until(visitor: &Visitor, what: &str, holds: impl Fn(&Inside) -> bool) -> Result<Inside> {
    let mut last = String::new();
    for _ in 0..PATIENCE.as_millis() / 100 {
        let panel = panel(visitor).await?;
        if holds(&panel) {
            return Ok(panel);
        }
        last = panel.text();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("never {what}, but {last}")
}

/// The numbers of each row of a table, by what the row is called.
fn rows(table: &Inside) -> Vec<(String, Vec<f64>)> {
    let body = table.all("tbody").remove(0);
    let number = |data: &Inside| data.attribute("value")?.parse().ok();
    let row = |row: Inside| {
        let numbers = row.all("data").iter().filter_map(number).collect();
        (row.all("th")[0].text(), numbers)
    };
    body.all("tr").into_iter().map(row).collect()
}

async fn until_state(visitor: &Visitor, state: &str) -> Result<()> {
    let says = |panel: &Inside| {
        let parts = panel.all("p");
        let mut states = parts
            .iter()
            .filter(|part| part.attribute("role") == Some("status"));
        states.any(|part| part.text() == state)
    };
    until(visitor, state, says).await.map(drop)
}

/// Nothing moved, and the page's policy had nothing against what was done.
async fn assert_unobtrusive(visitor: &Visitor) -> Result<()> {
    assert_eq!(visitor.eval::<Vec<String>>("__shifts").await?, [""; 0]);
    let log = visitor.log().await?;
    let is_refused = |line: &String| line.contains("Security Policy");
    assert!(!log.iter().any(is_refused), "{log:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn panel_shows_whom_we_know_and_where_everything_came_from() -> Result<()> {
    let (site, driver) = (site()?, Driver::chromium()?);
    let origin = Origin::start(&site).await?;
    let first = Visitor::new(&driver).await?;
    first.goto(&origin.url("/")).await?;
    first.until_controlled().await?;
    first.until_held(IMAGES).await?;
    first.goto(&origin.url("/empty.html")).await?;
    let second = visitor(&driver, 1280, 900, "").await?;
    second.goto(&origin.url("/quiet.html")).await?;
    second.until_peers(1).await?;
    second.goto(&origin.url("/gallery.html")).await?;
    second.until_images().await?;
    second.until_served(".jpg", IMAGES).await?;

    second.until(IS_THERE).await?;
    assert_eq!(named(&second, "dialog").await?, ["How images reach you"]);
    // There is no more to come: what is shown is what is said.
    let said: Vec<Vec<f64>> = second
        .eval(&format!(
            "fugitive.stats().then((stats) => {}.map((source) =>
               [stats[source].requests, stats[source].bytes]))",
            json!(SOURCES.map(|(source, _)| source))
        ))
        .await?;
    let expected: Vec<(String, Vec<f64>)> = SOURCES
        .iter()
        .zip(said)
        .map(|((_, name), numbers)| (String::from(*name), numbers))
        .collect();
    assert!(expected[2].1[1] > 0.0, "{expected:?}");
    let is_said = |panel: &Inside| {
        let tables = panel.all("table");
        tables.first().is_some_and(|table| rows(table) == expected)
    };
    until(&second, &format!("{expected:?}"), is_said).await?;
    let is_known = |panel: &Inside| {
        let known = panel.all("table").get(1).map(rows).unwrap_or_default();
        // Latency, received, given.
        matches!(&known[..], [(number, values)] if number == "1" && values.len() == 3 && values[1] > 0.0)
    };
    until(&second, "one peer and what came from it", is_known).await?;

    // Each image is outlined while it is open, and not when it is closed.
    let outlined = "[...document.images].filter((image) => image.dataset.fugitiveSource ===
        fugitive.served.get(image.currentSrc).source &&
        getComputedStyle(image).outlineWidth === '4px').length";
    second.until(&format!("{outlined} === {IMAGES}")).await?;
    assert_unobtrusive(&second).await?;
    second.eval::<()>("fugitive.showPanel(false)").await?;
    let left = "document.querySelectorAll('[data-fugitive-source]').length
        + document.adoptedStyleSheets.length";
    second.until(&format!("{left} === 0")).await?;
    first.quit().await?;
    second.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn panel_says_why_nothing_is_passed_on() -> Result<()> {
    let (site, driver) = (site()?, Driver::chromium()?);
    let origin = Origin::start(&site).await?;
    let visitor = visitor(&driver, 1280, 900, DEVICE).await?;
    visitor.goto(&origin.url("/quiet.html")).await?;
    visitor.until(IS_THERE).await?;
    until_state(&visitor, "Passes on what you have seen.").await?;
    visitor.eval::<Value>("__charge(0.22)").await?;
    until_state(&visitor, "Passes nothing on: battery 22%").await?;
    visitor.eval::<Value>("__charge(1)").await?;
    until_state(&visitor, "Passes on what you have seen.").await?;
    visitor.eval::<()>("__line({ saveData: true })").await?;
    until_state(&visitor, "Passes nothing on: data saver").await?;
    assert_unobtrusive(&visitor).await?;
    visitor.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn panel_is_a_button_while_the_visitor_is_asked() -> Result<()> {
    let (site, driver) = (site()?, Driver::chromium()?);
    let origin = Origin::start(&site).await?;
    let visitor = visitor(&driver, 1280, 900, "").await?;
    visitor.goto(&origin.url("/ask.html")).await?;
    visitor.until(IS_THERE).await?;
    visitor
        .until("document.querySelector('fugitive-consent')")
        .await?;
    assert_eq!(
        named(&visitor, "dialog").await?,
        ["Images from other visitors?"]
    );
    visitor.eval::<()>("fugitive.consent(true)").await?;
    visitor.goto(&origin.url("/ask.html")).await?;
    until_state(&visitor, "Passes on what you have seen.").await?;
    assert_eq!(named(&visitor, "dialog").await?, ["How images reach you"]);
    visitor.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn keyboard_opens_pauses_forgets_and_closes() -> Result<()> {
    let (site, driver) = (site()?, Driver::chromium()?);
    let origin = Origin::start(&site).await?;
    let visitor = visitor(&driver, 1280, 900, "").await?;
    visitor.goto(&origin.url("/call.html")).await?;
    visitor.until_controlled().await?;
    visitor.until("!(await fugitive.stats()).quiet").await?;
    assert!(!visitor.eval::<bool>(&format!("!!{IS_THERE}")).await?);
    visitor
        .eval::<()>("(document.querySelector('#open').focus(), fugitive.showPanel())")
        .await?;
    visitor.until(HAS_FOCUS).await?;
    until_state(&visitor, "Passes on what you have seen.").await?;
    assert_eq!(
        named(&visitor, "button").await?,
        ["open", "Close", "Pause", "Forget all"]
    );
    assert_eq!(named(&visitor, "switch").await?.len(), 2);

    press(&visitor, "Tab", 9).await?;
    press(&visitor, "Enter", 13).await?;
    until_state(&visitor, "Passes nothing on: paused").await?;
    let quiet = "fugitive.stats().then(({ quiet }) => quiet ?? '')";
    assert_eq!(visitor.eval::<String>(quiet).await?, "paused");
    press(&visitor, "Enter", 13).await?;
    until_state(&visitor, "Passes on what you have seen.").await?;

    press(&visitor, "Escape", 27).await?;
    visitor.until(&format!("!{IS_THERE}")).await?;
    visitor
        .until("document.activeElement.id === 'open'")
        .await?;
    visitor.eval::<()>("fugitive.showPanel()").await?;
    visitor.until(HAS_FOCUS).await?;
    for _ in 0..2 {
        press(&visitor, "Tab", 9).await?;
    }
    press(&visitor, "Enter", 13).await?;
    until_state(
        &visitor,
        "Forgotten. Nothing stays in this browser but that wish.",
    )
    .await?;
    let left = "(async () => [
      ...(await navigator.serviceWorker.getRegistrations()).map(() => 'worker'),
      ...(await indexedDB.databases()).map(({ name }) => name),
      ...(await caches.keys()),
      ...Object.keys(localStorage),
      ...Object.keys(sessionStorage),
    ])()";
    visitor
        .until(&format!("(await {left}).join() === 'fugitive:off'"))
        .await?;
    assert_unobtrusive(&visitor).await?;
    visitor.goto(&origin.url("/quiet.html")).await?;
    assert_eq!(visitor.eval::<Vec<String>>(left).await?, ["fugitive:off"]);
    visitor.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_forgotten_by_mistake_is_used_again_on_the_next_page() -> Result<()> {
    let (site, driver) = (site()?, Driver::chromium()?);
    let origin = Origin::start(&site).await?;
    let visitor = visitor(&driver, 1280, 900, "").await?;
    visitor.goto(&origin.url("/call.html")).await?;
    visitor.until_controlled().await?;
    visitor.eval::<()>("fugitive.showPanel()").await?;
    visitor.until(HAS_FOCUS).await?;
    until_state(&visitor, "Passes on what you have seen.").await?;
    // Pressed twice, as it happens.
    for key in [("Tab", 9), ("Tab", 9), ("Enter", 13), ("Enter", 13)] {
        press(&visitor, key.0, key.1).await?;
    }
    until_state(
        &visitor,
        "Forgotten. Nothing stays in this browser but that wish.",
    )
    .await?;
    until(&visitor, "Undo", |panel| panel.text().contains("Undo")).await?;
    let kept = "Object.keys(localStorage).join()";
    assert_eq!(visitor.eval::<String>(kept).await?, "fugitive:off");
    visitor.until(HAS_FOCUS).await?;
    press(&visitor, "Tab", 9).await?;
    press(&visitor, "Enter", 13).await?;
    until_state(
        &visitor,
        "Undone. The next page is as your first one here was.",
    )
    .await?;
    assert_eq!(visitor.eval::<String>(kept).await?, "");
    assert_unobtrusive(&visitor).await?;
    visitor.goto(&origin.url("/call.html")).await?;
    visitor.until_controlled().await?;
    visitor.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn narrow_screen_has_a_button_and_the_choice_is_kept() -> Result<()> {
    let (site, driver) = (site()?, Driver::chromium()?);
    let origin = Origin::start(&site).await?;
    let visitor = visitor(&driver, 360, 640, "").await?;
    visitor.goto(&origin.url("/quiet.html")).await?;
    visitor.until(IS_THERE).await?;
    assert_eq!(named(&visitor, "dialog").await?, [""; 0]);
    press(&visitor, "Tab", 9).await?;
    visitor.until(HAS_FOCUS).await?;
    press(&visitor, "Enter", 13).await?;
    for _ in 0..2 {
        let open = until(&visitor, "open", |panel| {
            let boxes = panel.all("section");
            boxes
                .iter()
                .any(|shown| shown.attribute("hidden").is_none())
        });
        let shown = open.await?.all("section").remove(0);
        let place = shown.place(&visitor).await;
        let is_within = |[left, top, right, bottom]: [f64; 4]| {
            left >= 0.0 && top >= 0.0 && right <= 360.0 && bottom <= 640.0 && right - left > 300.0
        };
        assert!(place.is_some_and(is_within), "{place:?}");
        let width: f64 = visitor.eval("document.documentElement.scrollWidth").await?;
        assert_eq!(width, 360.0);
        assert_unobtrusive(&visitor).await?;
        visitor.goto(&origin.url("/quiet.html")).await?;
    }
    visitor.until(IS_THERE).await?;
    press(&visitor, "Tab", 9).await?;
    press(&visitor, "Escape", 27).await?;
    until(&visitor, "closed", |panel| {
        let boxes = panel.all("section");
        boxes
            .iter()
            .all(|shown| shown.attribute("hidden").is_some())
    })
    .await?;
    visitor.until(HAS_FOCUS).await?;
    visitor.quit().await
}
