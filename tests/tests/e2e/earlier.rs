//! Visitors who come back: what they saw in an earlier visit is found where it was.

use anyhow::Result;
use fugitive_tests::{
    browser::{Driver, PATIENCE, Visitor},
    origin::{Fault, Origin},
    site::{IMAGES, LINE, Site},
};

#[tokio::test(flavor = "multi_thread")]
async fn images_come_from_who_saw_their_page_in_an_earlier_visit_and_is_elsewhere() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let images: String = (0..IMAGES)
        .map(|n| format!("<img src=/image{n}.jpg>"))
        .collect();
    // Whoever is here meets one other visitor, and no more.
    let one = LINE.replace(
        " async",
        " data-min-peers=1 data-target-peers=1 data-max-peers=1 async",
    );
    site.page_with("few.html", &one, "")?;
    // When a test says so, since who has just come waits for peers no longer than is good for a page.
    let show = format!("void (document.body.innerHTML = '{images}')");
    site.page("elsewhere.html", "<p>nothing here</p>")?;
    // The worker without anybody else.
    let alone = LINE.replace("consent=implied", "consent=required");
    site.page_with("alone.html", &alone, "<p>nothing here</p>")?;
    let origin = Origin::start(&site).await?;

    let back = Visitor::new(&driver).await?;
    back.goto(&origin.url("/few.html")).await?;
    back.until_controlled().await?;
    back.eval::<()>(&show).await?;
    back.until_held(IMAGES).await?;
    let kept = |page: &str| {
        let been = "JSON.parse(localStorage.getItem('fugitive:been'))?.pages[0]";
        format!("{been} === '{page}'")
    };
    back.until(&kept("/few.html")).await?;
    // Another tab is another visit.
    let before = back.new_tab().await?;
    let after = back.window().await?;
    back.to_tab(before).await?;
    back.close_tab(after).await?;
    let mut others = Vec::new();
    for _ in 0..3 {
        let other = Visitor::new(&driver).await?;
        other.goto(&origin.url("/elsewhere.html")).await?;
        others.push(other);
    }
    back.goto(&origin.url("/elsewhere.html")).await?;
    back.until_peers(3).await?;
    // Kept when the signal server has answered. Earlier pages are said when this one serves, which it
    // does not while it loads.
    back.until(&kept("/elsewhere.html")).await?;
    back.until("(await fugitive.stats()).quiet == null").await?;

    let newcomer = Visitor::new(&driver).await?;
    newcomer.goto(&origin.url("/alone.html")).await?;
    newcomer.until_controlled().await?;
    for n in 0..IMAGES {
        origin.fault(&format!("/image{n}.jpg"), Fault::Delay(PATIENCE));
    }
    newcomer.goto(&origin.url("/few.html")).await?;
    newcomer.until_peers(1).await?;
    newcomer.eval::<()>(&show).await?;
    assert_eq!(newcomer.until_images().await? as usize, IMAGES);
    for n in 0..IMAGES {
        let served = newcomer.until_served(&format!("/image{n}.jpg"), 1).await?;
        assert_eq!(served[0].0, "tier-1");
    }
    for visitor in others.into_iter().chain([back, newcomer]) {
        visitor.quit().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_on_the_page_that_a_pressed_link_opens_is_met_before_it_opens() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    // Whoever has met one other visitor looks for nobody more.
    let one = LINE.replace(
        " async",
        " data-min-peers=1 data-target-peers=1 data-max-peers=4 async",
    );
    let show = "void (document.body.innerHTML = '<img src=/image0.jpg>')";
    site.page_with("item.html", &one, "<p>an item</p>")?;
    let links = "<a href=/item.html>here</a>\n<a href=/item.html target=_blank>in a tab</a>";
    site.page_with("list.html", &one, links)?;
    let origin = Origin::start(&site).await?;
    let mut there = Vec::new();
    for _ in 0..2 {
        let visitor = Visitor::new(&driver).await?;
        visitor.goto(&origin.url("/item.html")).await?;
        visitor.until_controlled().await?;
        visitor.eval::<()>(show).await?;
        visitor.until_held(1).await?;
        let serves = "(await fugitive.stats()).quiet == null";
        visitor.until(serves).await?;
        there.push(visitor);
    }
    for visitor in &there {
        visitor.until("(await fugitive.stats()).peers > 0").await?;
    }
    let mut here = Vec::new();
    for _ in 0..2 {
        let visitor = Visitor::new(&driver).await?;
        visitor.goto(&origin.url("/list.html")).await?;
        visitor.until("(await fugitive.stats()).peers > 0").await?;
        here.push(visitor);
    }
    // The last one met who is on its page, and nobody who has the image.
    let [_, last] = &here[..] else { unreachable!() };
    last.until_peers(1).await?;
    origin.fault("/image0.jpg", Fault::Delay(PATIENCE));
    let press = |link: &str| {
        let event = "new PointerEvent('pointerdown', { bubbles: true, pointerType: 'mouse' })";
        format!("void document.querySelector('{link}').dispatchEvent({event})")
    };
    // With this page its connections go: nothing is said of it, or the worker would not hear of it again
    // within a second.
    last.eval::<()>(&press("a:not([target])")).await?;
    last.eval::<()>(&press("a[target]")).await?;
    last.until_peers(2).await?;
    last.body_hash("fugitive.fetch('/image0.jpg')").await?;
    assert_eq!(last.until_served("/image0.jpg", 1).await?[0].0, "tier-1");
    for visitor in there.into_iter().chain(here) {
        visitor.quit().await?;
    }
    Ok(())
}
