//! A site where every click is a new page: nothing is lost on the way, and a page that is only made
//! ready in case it is visited meets nobody.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use fugitive_tests::{
    browser::{Driver, PATIENCE, Visitor},
    origin::Origin,
    site::{IMAGES, LINE, Site},
};

const CLICKS: usize = 20;
/// Images of each page, which no other page has.
const EACH: usize = 3;

/// Which picture an image of a page is.
fn picture(page: usize, n: usize) -> usize {
    (page + n) % IMAGES
}

/// Pages that lead from one to the next.
fn walk() -> Result<Site> {
    let site = Site::new()?;
    for page in 0..=CLICKS {
        let mut body = format!("<a id=next href=/page{}.html>next</a>\n", page + 1);
        for n in 0..EACH {
            let mut bytes = fs::read(site.path(&format!("image{}.jpg", picture(page, n))))?;
            // Nobody looks behind the end of an image, but its hash is another one.
            bytes.extend_from_slice(format!("{page} {n}").as_bytes());
            fs::write(site.path(&format!("walk{page}-{n}.jpg")), bytes)?;
            body += &format!("<img id=w{n} src=/walk{page}-{n}.jpg width=160 height=120>\n");
        }
        site.page(&format!("page{page}.html"), &body)?;
    }
    Ok(site)
}

/// Clicks, and is on the next page.
async fn click(visitor: &Visitor, to: usize) -> Result<()> {
    visitor
        .eval::<()>("void document.querySelector('#next').click()")
        .await?;
    let there =
        format!("location.pathname === '/page{to}.html' && document.querySelector('#next')");
    visitor.until(&there).await
}

#[tokio::test(flavor = "multi_thread")]
async fn walk_of_twenty_clicks_loses_nothing() -> Result<()> {
    let (site, driver) = (walk()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let control = Visitor::new(&driver).await?;
    control
        .goto(&origin.url("/again.html?fugitive=off"))
        .await?;
    control.until_images().await?;
    let mut pictures = Vec::new();
    for n in 0..IMAGES {
        pictures.push(control.pixels(&format!("#i{n}")).await?);
    }
    control.quit().await?;
    // Another visitor has gone the same way.
    let other = Visitor::new(&driver).await?;
    other.goto(&origin.url("/page0.html")).await?;
    other.until_controlled().await?;
    for page in 1..=CLICKS {
        click(&other, page).await?;
        other.until_images().await?;
    }
    other.until_held(CLICKS * EACH).await?;

    let visitor = Visitor::new(&driver).await?;
    visitor.goto(&origin.url("/empty.html")).await?;
    visitor.until_peers(1).await?;
    visitor.goto(&origin.url("/page0.html")).await?;
    let (mut failures, mut sources) = (Vec::new(), Vec::new());
    for page in 0..=CLICKS {
        if page > 0 {
            click(&visitor, page).await?;
        }
        visitor.until("document.readyState === 'complete'").await?;
        for n in 0..EACH {
            let shown = visitor.pixels(&format!("#w{n}")).await;
            if !shown.is_ok_and(|shown| shown == pictures[picture(page, n)]) {
                failures.push((page, n));
            }
        }
        sources.extend(
            visitor
                .served(".jpg")
                .await?
                .into_iter()
                .map(|(from, _)| from),
        );
    }
    let of = |from: &str| sources.iter().filter(|source| *source == from).count();
    println!(
        "{} images, of which {} from the peer, {} from the origin",
        sources.len(),
        of("tier-1"),
        of("network")
    );
    assert!(failures.is_empty(), "{failures:?}");

    // In a hurry: no page is waited for but the last one.
    visitor.goto(&origin.url("/page0.html")).await?;
    for page in 1..=CLICKS {
        click(&visitor, page).await?;
    }
    assert_eq!(visitor.until_images().await?, EACH as u32);
    visitor.until_peers(1).await?;
    visitor.quit().await?;
    other.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn page_that_goes_without_a_word_costs_the_next_one_nothing() -> Result<()> {
    let (site, driver) = (walk()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let other = Visitor::new(&driver).await?;
    other.goto(&origin.url("/page0.html")).await?;
    other.until_controlled().await?;
    click(&other, 1).await?;
    other.until_images().await?;
    other.until_held(EACH).await?;

    let visitor = Visitor::new(&driver).await?;
    visitor.goto(&origin.url("/empty.html")).await?;
    visitor.until_peers(1).await?;
    visitor
        .eval::<()>("void (navigator.serviceWorker.controller.postMessage = () => {})")
        .await?;
    visitor.goto(&origin.url("/page1.html")).await?;
    visitor.until_images().await?;
    for n in 0..EACH {
        let served = visitor.until_served(&format!("/walk1-{n}.jpg"), 1).await?;
        let is_peers = |(source, _): &(String, u64)| source == "tier-1";
        assert!(served.iter().all(is_peers), "{n}: {served:?}");
    }
    visitor.quit().await?;
    other.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn page_that_is_prerendered_meets_nobody_until_it_is_visited() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::chromium()?);
    // It tells the origin when all of ours that comes without its being visited is there.
    let ready = "<script>setInterval(() => performance.getEntriesByType('resource')
        .some(({ name }) => name.includes('/bridge-')) && fetch('/ready.txt'), 50)</script>";
    site.page_with("next.html", &[ready, LINE].concat(), "<p>next</p>")?;
    let rules = "<script type=speculationrules>
        { \"prerender\": [{ \"urls\": [\"/next.html\"], \"eagerness\": \"immediate\" }] }</script>";
    site.page(
        "rules.html",
        &format!("{rules}<a id=next href=/next.html>next</a>"),
    )?;
    let origin = Origin::start(&site).await?;
    let other = Visitor::new(&driver).await?;
    other.goto(&origin.url("/empty.html")).await?;
    other.until_controlled().await?;
    let visitor = Visitor::new(&driver).await?;
    visitor.goto(&origin.url("/empty.html")).await?;
    visitor.until_peers(1).await?;
    visitor.goto(&origin.url("/rules.html")).await?;
    visitor.until_peers(1).await?;
    let (_, before) = origin.sockets();
    // More than once: what follows upon the bridge's coming has had its turn.
    let began = Instant::now();
    while origin.requests("/ready.txt")?.len() < 3 {
        ensure!(began.elapsed() < PATIENCE, "never prerendered");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let waiting: usize = visitor
        .eval(
            "navigator.locks.query().then(({ pending }) => pending
               .filter(({ name }) => name === 'fugitive:swarm').length)",
        )
        .await?;
    assert_eq!((waiting, origin.sockets().1), (0, before));

    visitor
        .eval::<()>("void document.querySelector('#next').click()")
        .await?;
    visitor
        .until(
            "location.pathname === '/next.html' &&
             performance.getEntriesByType('navigation')[0].activationStart > 0",
        )
        .await?;
    visitor.until_peers(1).await?;
    assert_eq!(origin.sockets().1, before + 1);
    other.until("(await fugitive.stats()).peers === 1").await?;
    visitor.quit().await?;
    other.quit().await
}
