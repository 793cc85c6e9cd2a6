//! A live site, of which the server beside it learns from the visitors what they may share.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use fugitive_core::content::ContentId;
use fugitive_server::{Config, config::Upstream};
use fugitive_tests::{
    browser::{Driver, PATIENCE, Visitor},
    origin::Origin,
    site::{IMAGES, LINE, Site},
    visitors::see_the_same,
};
use serde_json::json;

/// What the server lists of a path, from a page.
fn listed(manifest: &str, path: &str) -> String {
    format!(
        "(await (await fetch({}, {{ cache: 'no-store' }})).json()).entries[{}]?.[0].id",
        json!(manifest),
        json!(path)
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_visitors_got_is_shared_and_what_changed_is_looked_at_again() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    // It knows nothing of what lies beside it.
    let origin = Origin::start(&site).await?;
    let upstream = Upstream {
        sites: vec![origin.url("")],
        paths: vec!["/**".to_owned()],
        allow_private: true,
        ..Upstream::default()
    };
    let server = Origin::beside(Config {
        upstream,
        spare_origin: true,
        ..Config::default()
    })
    .await?;
    let manifest = server.url("/fugitive/manifest.json");
    let more = format!(
        "data-manifest={manifest} data-signal={} async",
        server.url("/fugitive/signal")
    );
    ensure!(site.rewrite("async", &more)? > 0 && LINE.contains(" async"));

    let first = Visitor::new(&driver).await?;
    first.goto(&origin.url("/empty.html")).await?;
    first.until_controlled().await?;
    first.goto(&origin.url("/again.html")).await?;
    first.until_images().await?;
    let served = first.until_served(".jpg", IMAGES).await?;
    ensure!(served.iter().all(|(source, _)| source == "network"));
    for n in 0..IMAGES {
        let path = format!("/image{n}.jpg");
        let id = ContentId::of(&fs::read(site.path(&path[1..]))?).to_hex();
        let is_listed = format!("{} === '{id}'", listed(&manifest, &path));
        first.until(&is_listed).await?;
    }

    // Who comes now has what it gets for others too.
    let holder = Visitor::new(&driver).await?;
    holder.goto(&origin.url("/again.html")).await?;
    holder.until_held(IMAGES).await?;
    let asker = Visitor::new(&driver).await?;
    asker.goto(&origin.url("/empty.html")).await?;
    asker.until_peers(1).await?;
    asker.goto(&origin.url("/again.html")).await?;
    asker.until_images().await?;
    see_the_same(&asker, &holder).await?;
    let served = asker.until_served(".jpg", IMAGES).await?;
    ensure!(
        // The first one may be its only peer, and the holder that one's.
        served.iter().all(|(source, _)| source.starts_with("tier-")),
        "not from peers: {served:?}"
    );
    asker.quit().await?;
    holder.quit().await?;

    // The site changes a picture, and the server has no folder to see it in.
    let mut bytes = fs::read(site.path("image0.jpg"))?;
    bytes.extend_from_slice(b"another");
    fs::write(site.path("image0.jpg"), &bytes)?;
    let late = Visitor::new(&driver).await?;
    late.goto(&origin.url("/empty.html")).await?;
    late.until_controlled().await?;
    let got = late.body_hash("fugitive.fetch('/image0.jpg')").await?;
    let control = late.body_hash("fetch('/image0.jpg', { cache: 'no-store' })");
    ensure!(got == control.await?, "not as it is now");
    // It is told, and looks again, though not as often as anybody wants.
    let began = Instant::now();
    while server.requests("/fugitive/differs")?.is_empty() {
        ensure!(began.elapsed() < PATIENCE, "nobody said that it differs");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    late.quit().await?;
    first.quit().await
}
