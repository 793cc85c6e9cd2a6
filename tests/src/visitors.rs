//! Visitors as several scenarios need them.

use anyhow::{Result, ensure};

use crate::{
    browser::{Driver, Visitor},
    origin::Origin,
    site::IMAGES,
};

/// A visitor who has been on a page without media and has a peer.
pub async fn newcomer(driver: &Driver, origin: &Origin) -> Result<Visitor> {
    let visitor = Visitor::new(driver).await?;
    visitor.goto(&origin.url("/empty.html")).await?;
    visitor.until_peers(1).await?;
    Ok(visitor)
}

/// Fails unless every image of a gallery is rendered as for another visitor.
pub async fn see_the_same(visitor: &Visitor, other: &Visitor) -> Result<()> {
    for n in 0..IMAGES {
        let selector = format!("#i{n}");
        let (ours, theirs) = (visitor.pixels(&selector), other.pixels(&selector));
        ensure!(ours.await? == theirs.await?, "{selector} differs");
    }
    Ok(())
}
