//! Peers that lie, leave, are busy or hold only a part, in real browsers.

use std::time::Duration;

use anyhow::{Result, ensure};
use fugitive_tests::{
    browser::{Driver, PATIENCE, Visitor},
    origin::{Fault, Origin},
    site::{IMAGES, Site},
    visitors::{newcomer, see_the_same},
};
use serde_json::json;

/// Long enough for a peer to have lied before the origin answers; nothing is asserted of it.
const LATE: Duration = Duration::from_secs(2);

/// Runs in the page of a holder whose engine is in its window. Keeps what its channels send and
/// hear, and lets `LIE(bytes, send, connection)` send in the place of the real client.
const MEDDLE: &str = r"
(() => {
  self.__sent = [];
  self.__heard = [];
  const owners = new WeakMap();
  const { createDataChannel } = RTCPeerConnection.prototype;
  RTCPeerConnection.prototype.createDataChannel = function (...options) {
    const channel = createDataChannel.apply(this, options);
    owners.set(channel, this);
    channel.addEventListener('message', ({ data }) => {
      const bytes = new Uint8Array(data);
      // A control message is a map with one key: its kind.
      if (bytes[0] === 1) {
        const kind = bytes.subarray(3, 3 + (bytes[2] & 31));
        __heard.push(new TextDecoder().decode(kind));
      }
    });
    return channel;
  };
  const lie = LIE;
  const { send } = RTCDataChannel.prototype;
  RTCDataChannel.prototype.send = function (data) {
    const bytes = data instanceof ArrayBuffer ? new Uint8Array(data.slice()) : new Uint8Array(data);
    if (bytes[0] !== 2) return send.call(this, bytes);
    const first = new DataView(bytes.buffer).getUint32(8, true);
    __sent.push({ at: Date.now(), bytes: bytes.length, offset: first * 16384 });
    lie(bytes, (bytes) => send.call(this, bytes), owners.get(this));
  };
})();
";

pub const HONEST: &str = "(bytes, send) => send(bytes)";

/// A site that has a page whose engine runs in the window.
pub fn site() -> Result<Site> {
    let site = Site::new()?;
    let head = "<script src=\"/fugitive.js\" data-consent=implied data-worker=off async></script>";
    site.page_with("window.html", head, "<p>nothing here</p>")?;
    Ok(site)
}

/// A visitor who holds the gallery, and lies.
async fn liar(driver: &Driver, origin: &Origin, lie: &str) -> Result<Visitor> {
    let visitor = Visitor::new(driver).await?;
    visitor.before_scripts(&MEDDLE.replace("LIE", lie)).await?;
    visitor.goto(&origin.url("/")).await?;
    visitor.until_controlled().await?;
    visitor.until_images().await?;
    visitor.until_held(IMAGES).await?;
    visitor.goto(&origin.url("/window.html")).await?;
    Ok(visitor)
}

/// A visitor who holds a large resource, from the origin, and does this with what it sends.
pub async fn large_holder(
    driver: &Driver,
    origin: &Origin,
    lie: &str,
    (path, len): (&str, u64),
) -> Result<Visitor> {
    let visitor = Visitor::new(driver).await?;
    visitor.before_scripts(&MEDDLE.replace("LIE", lie)).await?;
    visitor.goto(&origin.url("/window.html")).await?;
    visitor.until_controlled().await?;
    visitor.fill(path, len).await?;
    Ok(visitor)
}

/// Waits until the console has a line of ours with this in it.
async fn until_said(visitor: &Visitor, what: &str) -> Result<()> {
    let mut log = Vec::new();
    for _ in 0..PATIENCE.as_millis() / 100 {
        log.extend(visitor.log().await?);
        let says = |line: &&String| line.contains("fugitive: ") && line.contains(what);
        let lines = log.iter().filter(says).count();
        if lines > 0 {
            ensure!(lines == 1, "said more than once: {log:#?}");
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!("nothing says {what:?}: {log:#?}")
}

async fn asked(liar: &Visitor) -> Result<usize> {
    liar.eval("__heard.filter((kind) => kind === 'ask' || kind === 'pull').length")
        .await
}

fn network(path: &str) -> String {
    format!("fetch('{path}', {{ cache: 'no-store' }})")
}

fn ours(path: &str) -> String {
    format!("fugitive.fetch('{path}')")
}

/// What must outlive the visitors, and the visitors: liar and second.
type Ended = (Site, Origin, Driver, [Visitor; 2]);

/// What a lie in the place of the first group frame must come to.
async fn comes_to_nothing(lie: &str, reason: &str) -> Result<Ended> {
    let (site, driver) = (site()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let liar = liar(&driver, &origin, lie).await?;
    let second = newcomer(&driver, &origin).await?;
    let right = second.body_hash(&network("/image5.jpg")).await?;

    origin.fault("/image5.jpg", Fault::Delay(LATE));
    assert_eq!(second.body_hash(&ours("/image5.jpg")).await?, right);
    let served = second.until_served("/image5.jpg", 1).await?;
    let len = std::fs::metadata(site.path("image5.jpg"))?.len();
    assert_eq!(served, [("network".to_owned(), len)]);
    // Without a question before, where it had said what it holds.
    let heard: Vec<String> = liar.eval("__heard").await?;
    assert!(heard.iter().any(|kind| kind == "pull"), "{heard:?}");
    until_said(&second, reason).await?;

    // What was kept is right, also for a worker that has nothing in memory.
    second.until_held(1).await?;
    second.stop_workers().await?;
    assert_eq!(second.body_hash(&ours("/image5.jpg")).await?, right);
    assert_eq!(
        second
            .until_served("/image5.jpg", 2)
            .await?
            .last()
            .map(|s| &*s.0),
        Some("store")
    );

    // The liar has this one as well, and is not asked.
    let before = asked(&liar).await?;
    second.body_hash(&ours("/image4.jpg")).await?;
    assert_eq!(second.until_served("/image4.jpg", 1).await?[0].0, "network");
    assert_eq!(asked(&liar).await?, before);

    Ok((site, origin, driver, [liar, second]))
}

async fn quit((.., visitors): Ended) -> Result<()> {
    for visitor in visitors {
        visitor.quit().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_group_is_never_shown_stored_or_served_and_its_sender_is_banned() -> Result<()> {
    let ended = comes_to_nothing(
        "(bytes, send) => { bytes[bytes.length - 1] ^= 1; send(bytes); }",
        "sent groups that do not verify",
    )
    .await?;
    // Who comes later gets the right bytes from the second visitor.
    let (_site, origin, driver, [liar, second]) = ended;
    let right = second.body_hash(&network("/image5.jpg")).await?;
    liar.quit().await?;
    origin.fault("/image5.jpg", Fault::Delay(PATIENCE));
    let third = newcomer(&driver, &origin).await?;
    assert_eq!(third.body_hash(&ours("/image5.jpg")).await?, right);
    assert_eq!(third.until_served("/image5.jpg", 1).await?[0].0, "tier-1");
    second.quit().await?;
    third.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn group_that_was_never_asked_for_bans_its_sender() -> Result<()> {
    let ended = comes_to_nothing(
        "(bytes, send) => { bytes[7] ^= 0x40; send(bytes); }",
        "sent groups that were not asked for",
    );
    quit(ended.await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn truncated_frame_bans_its_sender() -> Result<()> {
    let ended = comes_to_nothing(
        "(bytes, send) => send(bytes.subarray(0, bytes.length - 1))",
        "group frame does not parse",
    );
    quit(ended.await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn oversized_message_bans_its_sender() -> Result<()> {
    // A browser sends no more than 256 KiB at once, which is below the limit for groups.
    let ended = comes_to_nothing(
        "(bytes, send) => send(new Uint8Array(262144).fill(1))",
        "message of 262144 bytes",
    );
    quit(ended.await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_bans_its_sender() -> Result<()> {
    let ended = comes_to_nothing(
        "(bytes, send) => send(crypto.getRandomValues(new Uint8Array(5000)).fill(9, 0, 1))",
        "message of unknown shape 9",
    );
    quit(ended.await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn text_bans_its_sender() -> Result<()> {
    let ended = comes_to_nothing("(bytes, send) => send('groups')", "sent text");
    quit(ended.await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn image_of_a_liar_is_rendered_as_the_origin_has_it() -> Result<()> {
    let (site, driver) = (site()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let lie = "(bytes, send) => { bytes[bytes.length - 1] ^= 1; send(bytes); }";
    let liar = liar(&driver, &origin, lie).await?;
    let second = newcomer(&driver, &origin).await?;
    for n in 0..IMAGES {
        origin.fault(&format!("/image{n}.jpg"), Fault::Delay(LATE));
    }
    second.goto(&origin.url("/again.html")).await?;
    second.until_images().await?;
    let control = Visitor::new(&driver).await?;
    control.goto(&origin.url("/?fugitive=off")).await?;
    control.until_images().await?;
    see_the_same(&second, &control).await?;
    liar.quit().await?;
    second.quit().await?;
    control.quit().await
}

/// A film whose sender does this from its 50th frame on plays to its end as the origin has it.
async fn film_goes_on(lie: &str, reason: Option<&str>) -> Result<()> {
    let (site, driver) = (site()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let len = std::fs::metadata(site.path("film.mp4"))?.len();
    let lie = format!("(bytes, send, own) => __sent.length < 50 ? send(bytes) : ({lie})");
    let liar = large_holder(&driver, &origin, &lie, ("/film.mp4", len)).await?;
    let second = newcomer(&driver, &origin).await?;
    let right = second.body_hash(&network("/film.mp4")).await?;
    origin.fault("/film.mp4", Fault::Delay(LATE));

    second.goto(&origin.url("/video.html")).await?;
    second
        .until("v.error === null && v.buffered.length && v.buffered.end(0) >= v.duration - 0.1")
        .await?;
    // An event names the source of most of an answer's bytes; the totals name every source.
    let (peers, network): (f64, f64) = second
        .eval("fugitive.stats().then((all) => [all['tier-1'].bytes, all.network.bytes])")
        .await?;
    assert!(peers > 0.0 && network > 0.0, "{peers} {network}");
    if let Some(reason) = reason {
        until_said(&second, reason).await?;
    }
    let control = Visitor::new(&driver).await?;
    origin.heal("/film.mp4");
    control
        .goto(&origin.url("/video.html?fugitive=off"))
        .await?;
    control.until("v.readyState >= 2").await?;
    // Just after the beginning of a frame, so that rounding can not choose another one.
    for at in [0.53, 1.53, 6.21] {
        second.until_same_frame(&control, "#v", at).await?;
    }
    assert_eq!(second.body_hash(&ours("/film.mp4")).await?, right);
    liar.quit().await?;
    second.quit().await?;
    control.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn film_goes_on_when_its_sender_begins_to_lie() -> Result<()> {
    film_goes_on(
        "bytes[bytes.length - 1] ^= 1, send(bytes)",
        Some("sent groups that do not verify"),
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn film_goes_on_when_its_sender_closes_in_the_middle() -> Result<()> {
    film_goes_on("own.close()", None).await
}

/// The store knows that this visitor had peers.
const KNOWS_PEERS: &str = "new Promise((done, failed) => {
  const opening = indexedDB.open('fugitive');
  opening.onerror = failed;
  opening.onsuccess = () => {
    const database = opening.result;
    const pace = database.transaction('meta').objectStore('meta').get('pace');
    pace.onerror = failed;
    pace.onsuccess = () => {
      database.close();
      done(JSON.stringify(pace.result ?? null).includes('\"had_peers\":true'));
    };
  };
})";

/// Nine tenths of the main thread's time are gone.
const BUSY: &str = "void setInterval(() => {
  const began = performance.now();
  while (performance.now() - began < 45);
}, 50)";

#[tokio::test(flavor = "multi_thread")]
async fn page_whose_main_thread_is_busy_still_serves() -> Result<()> {
    let (site, driver) = (site()?, Driver::start()?);
    // Small ones, because they are waited for least.
    let film = std::fs::read(site.path("film.mp4"))?;
    let rounds = 20;
    for (n, part) in film.chunks(100_000).take(2 * rounds).enumerate() {
        std::fs::write(site.path(&format!("small{n}.jpg")), part)?;
    }
    let origin = Origin::start(&site).await?;
    let len = film.len() as u64;
    let holder = Visitor::new(&driver).await?;
    holder.goto(&origin.url("/empty.html")).await?;
    holder.until_controlled().await?;
    holder.fill("/film.mp4", len).await?;
    for n in 0..2 * rounds {
        holder.body_hash(&ours(&format!("/small{n}.jpg"))).await?;
    }
    holder.until_held(2 * rounds + 1).await?;
    holder.eval::<()>(BUSY).await?;

    let second = newcomer(&driver, &origin).await?;
    let right = second.body_hash(&network("/film.mp4")).await?;
    origin.fault("/film.mp4", Fault::Delay(PATIENCE));
    assert_eq!(second.body_hash(&ours("/film.mp4")).await?, right);
    let served = second.until_served("/film.mp4", 1).await?;
    assert_eq!(served, [("tier-1".to_owned(), len)]);
    second.quit().await?;

    // Figures, not a promise: what a busy asker makes of the first request of a new instance.
    origin.heal("/film.mp4");
    let asker = newcomer(&driver, &origin).await?;
    for busy in [false, true] {
        if busy {
            asker.eval::<()>(BUSY).await?;
        }
        // What an instance learnt is there for the next one.
        asker.until(KNOWS_PEERS).await?;
        let mut missed = 0;
        for round in 0..rounds {
            asker.stop_workers().await?;
            let path = format!("/small{}.jpg", if busy { rounds + round } else { round });
            let before = origin.requests(&path)?.len();
            asker.body_hash(&ours(&path)).await?;
            missed += origin.requests(&path)?.len() - before;
        }
        println!(
            "first request of a new worker instance, asking page {}, holder busy: \
             {missed} of {rounds} missed the deadline",
            if busy { "busy 90 %" } else { "idle" }
        );
    }
    holder.quit().await?;
    asker.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_holds_only_the_middle_of_a_film_serves_that_middle() -> Result<()> {
    let (site, driver) = (site()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let len = std::fs::metadata(site.path("film.mp4"))?.len();
    let range = |start: u64, end: u64| json!({ "headers": { "range": format!("bytes={start}-{}", end - 1) } });
    let first = Visitor::new(&driver).await?;
    first.goto(&origin.url("/empty.html")).await?;
    first.until_controlled().await?;
    let part = range(3_000_000, 5_000_000);
    first
        .body_hash(&format!("fugitive.fetch('/film.mp4', {part})"))
        .await?;
    // The whole groups of it.
    let (start, end) = (3_000_000_u64.div_ceil(16_384), 5_000_000 / 16_384);
    for _ in 0..100 {
        if first.runs(len).await? == [(start, end)] {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(first.runs(len).await?, [(start, end)]);
    assert!(!origin.requests(".mp4")?.is_empty());

    let second = newcomer(&driver, &origin).await?;
    let part = range(start * 16_384, end * 16_384);
    let right = second
        .body_hash(&format!("fetch('/film.mp4', {part})"))
        .await?;
    origin.fault("/film.mp4", Fault::Delay(PATIENCE));
    let got = second
        .body_hash(&format!("fugitive.fetch('/film.mp4', {part})"))
        .await?;
    assert_eq!(got, right);
    let served = second.until_served("/film.mp4", 1).await?;
    assert_eq!(served, [("tier-1".to_owned(), (end - start) * 16_384)]);
    first.quit().await?;
    second.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_tabs_one_holds_the_swarm_and_the_other_takes_over() -> Result<()> {
    let (site, driver) = (site()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let holder = liar(&driver, &origin, HONEST).await?;
    let tabs = newcomer(&driver, &origin).await?;
    for n in 0..IMAGES {
        origin.fault(&format!("/image{n}.jpg"), Fault::Delay(PATIENCE));
    }
    let first = tabs.new_tab().await?;
    tabs.goto(&origin.url("/empty.html")).await?;
    tabs.until_controlled().await?;
    let swarm = "(await navigator.locks.query())";
    let of = |state: &str| {
        format!("{swarm}.{state}.filter(({{ name }}) => name === 'fugitive:swarm').length")
    };
    tabs.until(&format!("{} === 1 && {} === 1", of("held"), of("pending")))
        .await?;
    // The second tab is served over the first one's connections.
    tabs.until_peers(1).await?;
    tabs.body_hash(&ours("/image0.jpg")).await?;
    assert_eq!(tabs.until_served("/image0.jpg", 1).await?[0].0, "tier-1");

    let second = tabs.window().await?;
    tabs.to_tab(first).await?;
    tabs.close_tab(second).await?;
    tabs.until(&format!("{} === 1 && {} === 0", of("held"), of("pending")))
        .await?;
    tabs.until_peers(1).await?;
    tabs.body_hash(&ours("/image1.jpg")).await?;
    assert_eq!(tabs.until_served("/image1.jpg", 1).await?[0].0, "tier-1");
    holder.quit().await?;
    tabs.quit().await
}
