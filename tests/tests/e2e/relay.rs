//! Visitors who meet by way of a TURN server alone.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use fugitive_distance::Distance;
use fugitive_server::config::Policy;
use fugitive_tests::{
    browser::{Driver, PATIENCE, Visitor},
    origin::Origin,
    site::{IMAGES, Site},
    turn::Turn,
    visitors::see_the_same,
};

/// Keeps all connections that the page makes.
const KEEP: &str = r"
self.__connections = [];
self.RTCPeerConnection = class extends RTCPeerConnection {
  constructor(...given) {
    super(...given);
    __connections.push(this);
  }
};
";
/// Counts how often another way to a peer was looked for.
const RESTARTS: &str = r"
self.__restarts = 0;
RTCPeerConnection.prototype.restartIce = new Proxy(RTCPeerConnection.prototype.restartIce, {
  apply: (restart, connection, given) => (__restarts++, restart.apply(connection, given)),
});
";
/// Which kinds of own addresses any of them had.
const KINDS: &str = "(async () => {
  const kinds = new Set();
  for (const connection of __connections) {
    for (const told of (await connection.getStats()).values()) {
      if (told.type === 'local-candidate') kinds.add(told.candidateType);
    }
  }
  return [...kinds];
})()";

#[tokio::test(flavor = "multi_thread")]
async fn who_shows_no_peer_an_address_is_filled_by_way_of_turn_alone() -> Result<()> {
    let site = Site::new()?;
    let relayed = "data-consent=implied data-relay-only";
    ensure!(site.rewrite("data-consent=implied", relayed)? > 0);
    let turn = Turn::start(Distance::default()).await?;
    let origin = Origin::far(Policy::default(), &site, Distance::default(), Some(&turn)).await?;
    let driver = Driver::start()?;

    let first = Visitor::new(&driver).await?;
    first.goto(&origin.url("/")).await?;
    first.until_held(IMAGES).await?;
    let second = Visitor::new(&driver).await?;
    second.before_scripts(KEEP).await?;
    second.goto(&origin.url("/empty.html")).await?;
    second.until_peers(1).await?;
    let before = origin.sent(".jpg")?;
    second.goto(&origin.url("/")).await?;
    second.until_images().await?;
    see_the_same(&second, &first).await?;
    let served = second.until_served(".jpg", IMAGES).await?;
    ensure!(
        served.iter().any(|(source, _)| source == "tier-1"),
        "nothing from the peer: {served:?}"
    );
    let fetched = served.iter().filter(|(source, _)| source == "network");
    let fetched: u64 = fetched.map(|(_, bytes)| bytes).sum();
    ensure!(
        origin.sent(".jpg")? - before <= fetched,
        "fetched in secret"
    );
    let kinds: BTreeSet<String> = second.eval(KINDS).await?;
    ensure!(kinds == ["relay".to_owned()].into(), "{kinds:?}");
    first.quit().await?;
    second.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn way_that_breaks_is_found_anew_with_the_same_connection() -> Result<()> {
    let site = Site::new()?;
    let relayed = "data-consent=implied data-relay-only";
    ensure!(site.rewrite("data-consent=implied", relayed)? > 0);
    let mut turn = Turn::start(Distance::default()).await?;
    let origin = Origin::far(Policy::default(), &site, Distance::default(), Some(&turn)).await?;
    let driver = Driver::start()?;
    let mut visitors = Vec::new();
    for page in ["/", "/empty.html"] {
        let visitor = Visitor::new(&driver).await?;
        visitor.before_scripts(KEEP).await?;
        visitor.before_scripts(RESTARTS).await?;
        visitor.goto(&origin.url(page)).await?;
        visitor.until_controlled().await?;
        visitors.push(visitor);
    }
    let [first, second] = &visitors[..] else {
        unreachable!()
    };
    first.until_held(IMAGES).await?;
    // Who comes for the first time has a page that began without us.
    second.goto(&origin.url("/empty.html")).await?;
    second.until_peers(1).await?;
    let before: usize = second.eval("__connections.length").await?;

    // All that it relays for is gone, and nobody is told.
    turn.begin_anew()?;
    let mut restarts = 0;
    let began = Instant::now();
    while restarts == 0 {
        ensure!(began.elapsed() < PATIENCE, "nobody looks for another way");
        tokio::time::sleep(Duration::from_millis(100)).await;
        restarts = 0;
        for visitor in &visitors {
            restarts += visitor.eval::<u32>("__restarts").await?;
        }
    }
    second.until_peers(1).await?;
    // What nobody but the first one has in hand comes by the way that was found.
    let body = second.body_hash("fugitive.fetch('/image0.jpg')").await?;
    ensure!(body == first.body_hash("fugitive.fetch('/image0.jpg')").await?);
    let served = second.until_served("/image0.jpg", 1).await?;
    ensure!(served[0].0 == "tier-1", "{served:?}");
    let after: usize = second.eval("__connections.length").await?;
    ensure!(before == after, "{before} connections, and then {after}");
    for visitor in visitors {
        visitor.quit().await?;
    }
    Ok(())
}
