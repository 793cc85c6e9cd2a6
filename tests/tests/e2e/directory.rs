//! What is large is found through the signal server's directory.

use anyhow::Result;
use fugitive_tests::{
    browser::{Driver, PATIENCE, Visitor},
    origin::{Fault, Origin},
    site::{LINE, Site},
};

/// In bytes.
const GROUP: u64 = 16_384;
/// The part of the film that is asked for second.
const START: u64 = GROUP * 100;
const END: u64 = GROUP * 300;

/// Notes which kinds of messages the engine in the window sends to the signal server and hears from it,
/// and keeps all from it whom pairing offers but for the first `OFFERS` times.
const UNPAIRED: &str = r"
(() => {
  self.__said = [];
  self.__heard = [];
  let left = OFFERS;
  const text = (data) => new TextDecoder('latin1').decode(data);
  // A message is a map with one key: its kind.
  const kind = (data) => /^..([a-z]+)/s.exec(text(data))[1];
  self.WebSocket = class extends WebSocket {
    constructor(...given) {
      super(...given);
      this.addEventListener('message', (event) => {
        __heard.push(kind(event.data));
        const offers = __heard.at(-1) === 'offered' && /[0-9a-f]{32}/.test(text(event.data));
        if (offers && left-- <= 0) event.stopImmediatePropagation();
      });
    }
    send(data) {
      __said.push(kind(data));
      super.send(data);
    }
  };
})();
";

/// A visitor on this page whom pairing brings somebody so many times at most.
async fn unpaired(driver: &Driver, origin: &Origin, page: &str, offers: u32) -> Result<Visitor> {
    let visitor = Visitor::new(driver).await?;
    let script = UNPAIRED.replace("OFFERS", &offers.to_string());
    visitor.before_scripts(&script).await?;
    visitor.goto(&origin.url(page)).await?;
    visitor.until_controlled().await?;
    visitor.until("__heard.includes('welcome')").await?;
    Ok(visitor)
}

/// A site with two pages, whose server knows who holds its film.
async fn two_pages(site: &Site) -> Result<Origin> {
    let in_window = LINE.replace(" async", " data-worker=off async");
    for page in ["here.html", "there.html"] {
        site.page_with(page, &in_window, "<p>nothing here</p>")?;
    }
    Origin::with(site, |config| {
        config.spare_origin = true;
        config.directory.over_bytes = 1 << 20;
    })
    .await
}

/// Somebody who holds the film, and has said so.
async fn holder(driver: &Driver, origin: &Origin, site: &Site) -> Result<Visitor> {
    let len = std::fs::metadata(site.path("film.mp4"))?.len();
    let holder = unpaired(driver, origin, "/here.html", 0).await?;
    holder.fill("/film.mp4", len).await?;
    holder.until("__said.includes('hold')").await?;
    Ok(holder)
}

/// What `fetch` is given for these bytes of the film.
fn part(from: u64, to: u64) -> String {
    let range = format!("bytes={from}-{}", to - 1);
    format!("'/film.mp4', {{ headers: {{ range: '{range}' }} }}")
}

/// What is asked for second comes from peers, and is right.
async fn has_the_rest_from_peers(asker: &Visitor, origin: &Origin, right: &str) -> Result<()> {
    origin.fault("/film.mp4", Fault::Delay(PATIENCE));
    let next = format!("fugitive.fetch({})", part(START, END));
    assert_eq!(asker.body_hash(&next).await?, right);
    let served = asker.until_served("/film.mp4", 2).await?;
    assert_eq!(served[1], ("tier-1".to_owned(), END - START));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_holder_of_a_film_is_found_through_the_directory_from_another_page() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let origin = two_pages(&site).await?;

    // Somebody who holds nothing, and whom nobody else comes to.
    let other = unpaired(&driver, &origin, "/there.html", 0).await?;
    let asker = unpaired(&driver, &origin, "/there.html", 1).await?;
    asker.until_peers(1).await?;
    let holder = holder(&driver, &origin, &site).await?;
    let right = asker
        .body_hash(&format!("fetch({})", part(START, END)))
        .await?;
    let peers = "fugitive.stats().then(({ peers }) => peers)";
    assert_eq!(asker.eval::<u32>(peers).await?, 1);

    // What nobody is known to hold comes from the network; meanwhile the server names the holder.
    let first = format!("fugitive.fetch({})", part(0, GROUP));
    asker.body_hash(&first).await?;
    asker.until("__said.includes('find')").await?;
    asker.until_peers(2).await?;
    has_the_rest_from_peers(&asker, &origin, &right).await?;
    other.quit().await?;
    holder.quit().await?;
    asker.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn visitor_whom_nobody_was_offered_finds_the_holder_of_a_film() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let origin = two_pages(&site).await?;
    // Nobody else is there when it comes, and so it is told.
    let asker = unpaired(&driver, &origin, "/there.html", 0).await?;
    asker.until("__heard.includes('offered')").await?;
    let holder = holder(&driver, &origin, &site).await?;
    let right = asker
        .body_hash(&format!("fetch({})", part(START, END)))
        .await?;
    let first = format!("fugitive.fetch({})", part(0, GROUP));
    asker.body_hash(&first).await?;
    asker.until_peers(1).await?;
    has_the_rest_from_peers(&asker, &origin, &right).await?;
    holder.quit().await?;
    asker.quit().await
}
