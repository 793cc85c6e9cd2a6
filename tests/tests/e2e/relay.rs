//! Visitors who meet by way of a TURN server alone.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use fugitive_distance::Distance;
use fugitive_server::config::Policy;
use fugitive_tests::{
    browser::{Driver, Visitor},
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
