//! Ten tabs of a site are one visitor: one has the swarm, and when it goes, hides or freezes another
//! has it.

use std::{
    fs,
    time::{Instant, SystemTime},
};

use anyhow::Result;
use fugitive_tests::{
    browser::{Driver, Visitor},
    origin::{Fault, Origin},
    site::{IMAGES, LINE, Site},
};
use serde_json::json;

/// Whether this tab holds the swarm: a lock of its own says which client it is.
const MINE: &str = "navigator.locks.request(`probe ${Math.random()}`, async ({ name }) => {
  const { held } = await navigator.locks.query();
  const whose = (name) => held.find((lock) => lock.name === name)?.clientId;
  return whose(name) === whose('fugitive:swarm');
})";

/// How many tabs hold the swarm, how many wait for it, and how many say that they can be asked.
const LOCKS: &str = "navigator.locks.query().then(({ held, pending }) => [
  held.filter(({ name }) => name === 'fugitive:swarm').length,
  pending.filter(({ name }) => name === 'fugitive:swarm').length,
  held.filter(({ name }) => name.startsWith('fugitive:client:')).length,
])";

/// The page keeps how many peers it had at least and at most.
const COUNT: &str = "(self.__peers = [], setInterval(async () =>
  __peers.push((await fugitive.stats()).peers), 20), null)";

/// A tab that other tabs hear nothing of.
const MUTE: &str = "self.BroadcastChannel = class {
  postMessage() {}
  close() {}
}";

/// The page keeps whether the swarm was taken from a tab that did not answer.
const HEAR: &str = "
  self.__isTaken = false;
  new BroadcastChannel('fugitive').onmessage = ({ data }) => (__isTaken ||= data.say === 'taken')";

/// When a tab's bridge took which step last, in milliseconds since 1970.
const STEPS: &str = "performance.getEntriesByType('mark')
  .filter(({ name }) => name.startsWith('fugitive:'))
  .map(({ name, startTime }) => [name, performance.timeOrigin + startTime])";

const STATE: &str = "Page.setWebLifecycleState";

/// A page whose engine runs in its window counts the group frames that come, and keeps what another one
/// has read.
const GROUPS: &str = "
  new BroadcastChannel('read').onmessage = ({ data }) => (self.__read = data);
  self.__groups = 0;
  const { createDataChannel } = RTCPeerConnection.prototype;
  RTCPeerConnection.prototype.createDataChannel = function (...args) {
    const channel = createDataChannel.apply(this, args);
    channel.addEventListener('message', ({ data }) => {
      if (new Uint8Array(data)[0] === 2) __groups += 1;
    });
    return channel;
  };";

/// Reads the first bytes of an answer, and the rest when the swarm has been handed over. The other page is
/// told how many group frames had come at its beginning, at the hand-over and at its end, and the hash.
const READ: &str = "(async () => {
  const handed = new Promise((done) => {
    new BroadcastChannel('fugitive').onmessage = ({ data }) => data.say === 'yours' && done();
  });
  const frames = [__groups];
  const reader = (await fugitive.fetch('/noise.mp4')).body.getReader();
  const parts = [(await reader.read()).value];
  handed.then(async () => {
    frames.push(__groups);
    for (let part; !(part = await reader.read()).done; ) parts.push(part.value);
    frames.push(__groups);
    const hash = await crypto.subtle.digest('SHA-256', await new Blob(parts).arrayBuffer());
    new BroadcastChannel('read').postMessage([frames, String(new Uint8Array(hash))]);
  });
})()";

async fn until_locks(visitor: &Visitor, held: usize, waiting: usize) -> Result<()> {
    let expected = json!([held, waiting, held]).to_string();
    visitor
        .until(&format!("JSON.stringify(await {LOCKS}) === '{expected}'"))
        .await
}

/// Another visitor, and one with one tab that has it as a peer.
async fn two(driver: &Driver, origin: &Origin) -> Result<(Visitor, Visitor)> {
    let other = Visitor::new(driver).await?;
    other.goto(&origin.url("/again.html")).await?;
    other.until_controlled().await?;
    other.until_held(IMAGES).await?;
    let tabs = Visitor::new(driver).await?;
    tabs.goto(&origin.url("/empty.html")).await?;
    tabs.until_peers(1).await?;
    Ok((other, tabs))
}

/// Waits until the tab in front has the swarm, and no other has a connection.
async fn one_set(other: &Visitor, tabs: &Visitor, origin: &Origin) -> Result<()> {
    tabs.until(MINE).await?;
    other.until("(await fugitive.stats()).peers === 1").await?;
    assert_eq!(origin.sockets().0, 2);
    Ok(())
}

/// Fails unless an image comes from the peer, and from nowhere else.
async fn is_served(tabs: &Visitor, image: usize) -> Result<()> {
    let path = format!("/image{image}.jpg");
    tabs.body_hash(&format!("fugitive.fetch('{path}')")).await?;
    let served = tabs.until_served(&path, 1).await?;
    assert_eq!(served[0].0, "tier-1");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_tabs_are_one_visitor_with_one_set_of_connections() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let (other, tabs) = two(&driver, &origin).await?;
    for _ in 1..10 {
        tabs.new_tab().await?;
        tabs.goto(&origin.url("/empty.html")).await?;
        tabs.until_controlled().await?;
    }
    until_locks(&tabs, 1, 9).await?;
    other.until("(await fugitive.stats()).peers === 1").await?;
    assert_eq!(origin.sockets().0, 2);
    tabs.until_peers(1).await?;
    is_served(&tabs, 0).await?;
    // Another profile is another visitor.
    let stranger = Visitor::new(&driver).await?;
    stranger.goto(&origin.url("/empty.html")).await?;
    stranger.until_peers(2).await?;
    until_locks(&stranger, 1, 0).await?;
    stranger.quit().await?;
    other.quit().await?;
    tabs.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn tab_that_is_closed_or_crashes_is_followed_by_another() -> Result<()> {
    for end in ["Page.close", "Page.crash"] {
        let (site, driver) = (Site::new()?, Driver::chromium()?);
        site.page_with("away.html", "", "<p>nothing of ours</p>")?;
        let origin = Origin::start(&site).await?;
        let (other, tabs) = two(&driver, &origin).await?;
        let first = tabs.new_tab().await?;
        tabs.goto(&origin.url("/empty.html")).await?;
        tabs.until(MINE).await?;
        until_locks(&tabs, 1, 1).await?;
        let holder = tabs.window().await?;
        tabs.new_tab().await?;
        tabs.goto(&origin.url("/away.html")).await?;
        // How long it takes is told, and not judged.
        let (began, at) = (Instant::now(), SystemTime::now());
        tabs.tell(&holder, end).await?;
        until_locks(&tabs, 1, 0).await?;
        println!("{end}: followed after {:?}", began.elapsed());
        other.until("(await fugitive.stats()).peers === 1").await?;
        assert_eq!(origin.sockets().0, 2);
        tabs.to_tab(first).await?;
        assert!(tabs.eval::<bool>(MINE).await?);
        let parts: Vec<(String, f64)> = tabs.eval(STEPS).await?;
        let at = at.duration_since(SystemTime::UNIX_EPOCH)?.as_secs_f64() * 1000.0;
        for (step, when) in parts {
            println!("{end}: {step} after {:.0} ms", when - at);
        }
        is_served(&tabs, 0).await?;
        other.quit().await?;
        tabs.quit().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn swarm_follows_the_tab_that_is_seen_without_a_gap_and_not_at_every_turn() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let (other, tabs) = two(&driver, &origin).await?;
    assert!(tabs.eval::<bool>(MINE).await?);
    other.eval::<()>(COUNT).await?;
    let began = Instant::now();
    let first = tabs.new_tab().await?;
    tabs.goto(&origin.url("/empty.html")).await?;
    tabs.until(MINE).await?;
    println!(
        "moved after {:?}, with the page's own load",
        began.elapsed()
    );
    is_served(&tabs, 0).await?;
    // The old one drains, and then waits for its turn as all do.
    until_locks(&tabs, 1, 1).await?;
    other.until("(await fugitive.stats()).peers === 1").await?;
    let (least, most): (u32, u32) = other
        .eval("[Math.min(...__peers), Math.max(...__peers)]")
        .await?;
    assert_eq!((least, most), (1, 2), "connections overlap");

    // Back again, and too soon: the hidden tab keeps it and says for how long.
    let second = tabs.window().await?;
    tabs.to_tab(first).await?;
    tabs.eval::<()>(
        "new Promise((kept) => {
           const channel = new BroadcastChannel('fugitive');
           channel.onmessage = ({ data: { say, after } }) => {
             if (say === 'keep' && after > 0 && after <= 30000) kept(null);
           };
           document.dispatchEvent(new Event('visibilitychange'));
         })",
    )
    .await?;
    assert!(!tabs.eval::<bool>(MINE).await?);
    is_served(&tabs, 1).await?;
    tabs.to_tab(second).await?;
    assert!(tabs.eval::<bool>(MINE).await?);
    other.quit().await?;
    tabs.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_begun_before_the_swarm_moves_ends_over_the_old_tab_and_nothing_new_begins_there()
-> Result<()> {
    let (site, driver) = (Site::new()?, Driver::chromium()?);
    let mut noise = vec![0; 16 << 20];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    fs::write(site.path("noise.mp4"), &noise)?;
    let line = LINE.replace("async", "data-worker=off async");
    site.page_with("window.html", &line, "<p>nothing here</p>")?;
    let origin = Origin::start(&site).await?;
    let (other, tabs) = two(&driver, &origin).await?;
    other.until_listed("/noise.mp4").await?;
    other.fill("/noise.mp4", noise.len() as u64).await?;
    let expected: String = other
        .eval(
            "fetch('/noise.mp4').then((answer) => answer.arrayBuffer())
               .then((bytes) => crypto.subtle.digest('SHA-256', bytes))
               .then((hash) => String(new Uint8Array(hash)))",
        )
        .await?;
    origin.fault("/noise.mp4", Fault::Stall);

    tabs.before_scripts(GROUPS).await?;
    tabs.goto(&origin.url("/window.html")).await?;
    tabs.until_peers(1).await?;
    tabs.eval::<()>(READ).await?;
    other.eval::<()>(COUNT).await?;
    let first = tabs.new_tab().await?;
    tabs.before_scripts(GROUPS).await?;
    tabs.goto(&origin.url("/window.html")).await?;
    tabs.until(MINE).await?;
    tabs.until("self.__read").await?;
    let ([before, handed, end], hash): ([u64; 3], String) = tabs.eval("__read").await?;
    assert_eq!(hash, expected);
    assert!(before < handed && handed < end, "{before} {handed} {end}");
    assert_eq!(tabs.eval::<u64>("__groups").await?, 0, "by the new one");

    // What is new goes over the new one, and there is never a moment with none or with two.
    is_served(&tabs, 0).await?;
    assert!(tabs.eval::<u64>("__groups").await? > 0);
    until_locks(&tabs, 1, 1).await?;
    other.until("(await fugitive.stats()).peers === 1").await?;
    let (least, most): (u32, u32) = other
        .eval("[Math.min(...__peers), Math.max(...__peers)]")
        .await?;
    assert_eq!((least, most), (1, 2), "connections overlap");
    tabs.to_tab(first).await?;
    assert_eq!(tabs.eval::<u64>("__groups").await?, end, "by the old one");
    other.quit().await?;
    tabs.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn frozen_tab_lets_go_and_waits_for_its_turn_when_it_thaws() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::chromium()?);
    site.page_with("away.html", "", "<p>nothing of ours</p>")?;
    let origin = Origin::start(&site).await?;
    let (other, tabs) = two(&driver, &origin).await?;
    let holder = tabs.window().await?;
    tabs.new_tab().await?;
    tabs.goto(&origin.url("/away.html")).await?;
    let began = Instant::now();
    tabs.tell_with(&holder, STATE, json!({ "state": "frozen" }))
        .await?;
    until_locks(&tabs, 0, 0).await?;
    println!("let go after {:?}", began.elapsed());
    tabs.goto(&origin.url("/empty.html")).await?;
    tabs.until(MINE).await?;
    tabs.until_peers(1).await?;
    is_served(&tabs, 0).await?;
    tabs.tell_with(&holder, STATE, json!({ "state": "active" }))
        .await?;
    until_locks(&tabs, 1, 1).await?;
    one_set(&other, &tabs, &origin).await?;
    other.quit().await?;
    tabs.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn tab_that_does_not_answer_has_it_taken_away_and_lets_go() -> Result<()> {
    let (site, driver) = (Site::new()?, Driver::start()?);
    let line = LINE.replace("async", "data-worker=off async");
    site.page_with("mute.html", &line, "<p>says nothing</p>")?;
    let origin = Origin::start(&site).await?;
    let (other, tabs) = two(&driver, &origin).await?;
    tabs.before_scripts(MUTE).await?;
    tabs.goto(&origin.url("/mute.html")).await?;
    tabs.until_peers(1).await?;
    tabs.new_tab().await?;
    tabs.before_scripts(HEAR).await?;
    tabs.goto(&origin.url("/empty.html")).await?;
    tabs.until(MINE).await?;
    tabs.until("__isTaken").await?;
    until_locks(&tabs, 1, 1).await?;
    one_set(&other, &tabs, &origin).await?;
    is_served(&tabs, 0).await?;
    other.quit().await?;
    tabs.quit().await
}
