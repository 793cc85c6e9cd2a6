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
