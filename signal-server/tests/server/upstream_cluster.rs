//! The manifest of a live site in a cluster: one server fetches, all know.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use fugitive_core::{content::ContentId, manifest::Manifest};
use fugitive_server::{Config, clock::WallClock, outboard};

use crate::{
    cluster::Node,
    process::Process,
    running::{Running, bytes, set_clock, until},
    upstream::{FILM, Origin, follows, listed, name},
};

/// URLs: so many that each of two servers is to look at some.
const MANY: usize = 16;
/// Requests a second where they are to be few.
const PER_SECOND: u32 = 10;

fn paths() -> Vec<String> {
    let mut paths: Vec<String> = (0..MANY).map(|n| format!("/many/{n}.png")).collect();
    paths.sort_unstable();
    paths
}

fn urls(site: SocketAddr) -> String {
    let urls = paths()
        .into_iter()
        .map(|path| format!("http://{site}{path}\n"));
    urls.collect()
}

fn shares(config: &mut Config, node: &Node, site: SocketAddr) {
    follows(site, config);
    config.cluster = vec![node.url()];
    config.access.ticket_secret = Some("shared".into());
}

async fn server(clock: WallClock, node: &Node, site: SocketAddr) -> Running {
    Running::by(clock, &[], |config| shares(config, node, site)).await
}

/// Each path was asked for so often.
fn each(times: usize) -> BTreeMap<String, usize> {
    paths().into_iter().map(|path| (path, times)).collect()
}

/// How often the paths were asked for.
fn asked(origin: &Origin) -> BTreeMap<String, usize> {
    let mut asked = origin.asked.lock().unwrap().clone();
    asked.retain(|path, _| path.starts_with("/many/"));
    asked
}

/// What the process lists.
async fn listed_at(address: SocketAddr) -> Vec<String> {
    let url = format!("http://{address}/fugitive/manifest.json");
    let bytes = reqwest::get(url).await.unwrap().bytes().await.unwrap();
    let manifest: Manifest = serde_json::from_slice(&bytes).unwrap();
    manifest.entries.into_keys().collect()
}

/// Each of the two looks at something that the other lists then.
async fn know_each_other(here: SocketAddr, there: SocketAddr, site: SocketAddr) -> [String; 2] {
    let known = ["/good.png", "/named/a.png"].map(str::to_owned);
    for (server, path) in [here, there].iter().zip(&known) {
        let request = reqwest::Client::new()
            .post(format!("http://{server}/fugitive/seen"))
            .body(format!("http://{site}{path}"));
        assert_eq!(request.send().await.unwrap().status(), 202);
    }
    until("the servers know of each other", || async {
        listed_at(here).await == known && listed_at(there).await == known
    })
    .await;
    known
}

#[tokio::test(flavor = "multi_thread")]
async fn one_server_fetches_and_all_list_it_until_the_origin_forbids() {
    let origin = Arc::new(Origin::default());
    let site = origin.start().await;
    let node = Node::start(None);
    let (clock, ahead) = set_clock();
    let here = server(clock.clone(), &node, site).await;
    let there = server(clock.clone(), &node, site).await;
    let known = know_each_other(here.address, there.address, site).await;

    name(&here, "/fugitive/seen", &urls(site)).await;
    name(&there, "/fugitive/seen", &urls(site)).await;
    let mut expected = paths();
    expected.extend(known);
    expected.sort_unstable();
    until("all is listed at both", || async {
        listed(&here).await == expected && listed(&there).await == expected
    })
    .await;
    // As a stranger and as somebody, and by one of the two servers.
    assert_eq!(asked(&origin), each(2));

    // What visitors of whichever server got otherwise is looked at once more, by one.
    origin.has_changed.store(true, Ordering::Relaxed);
    ahead.store(61, Ordering::Relaxed);
    name(&there, "/fugitive/differs", &urls(site)).await;
    let is_new = async |server: &Running| {
        let entries = server.manifest().await.entries;
        let new = ContentId::of(b"changed");
        paths().iter().all(|path| entries[path][0].id == new)
    };
    until("all know the new bytes", || async {
        is_new(&here).await && is_new(&there).await
    })
    .await;
    assert_eq!(asked(&origin), each(4));

    // Who comes later asks the servers and not the origin.
    let third = server(clock, &node, site).await;
    until("it has caught up", || async {
        listed(&third).await == expected
    })
    .await;
    assert_eq!(asked(&origin), each(4));

    origin.forbids.store(true, Ordering::Relaxed);
    ahead.store(3600, Ordering::Relaxed);
    until("nobody lists what is forbidden", || async {
        let all = [&here, &there, &third];
        let mut left = 0;
        for server in all {
            left += listed(server).await.len();
        }
        left == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_together_ask_the_origin_no_faster_than_one_may() {
    let origin = Arc::new(Origin::default());
    let site = origin.start().await;
    let node = Node::start(None);
    let begun = Instant::now();
    let [here, there] = [&node; 2].map(|node| {
        Running::with(&[], |config| {
            shares(config, node, site);
            config.upstream.per_second = PER_SECOND.try_into().unwrap();
        })
    });
    let (here, there) = (here.await, there.await);
    know_each_other(here.address, there.address, site).await;
    // What was not asked for until now is made up for, for a second.
    let before = origin.asked.lock().unwrap().values().sum::<usize>();
    let named = Instant::now();
    name(&here, "/fugitive/seen", &urls(site)).await;
    name(&there, "/fugitive/seen", &urls(site)).await;
    until("all is asked for", || async { asked(&origin) == each(2) }).await;
    // A slow machine takes longer, which this allows for; only who asks too fast is found.
    let most = |since: Instant| PER_SECOND as f64 * (since.elapsed().as_secs_f64() + 1.0) + 2.0;
    let made = origin.asked.lock().unwrap().values().sum::<usize>();
    assert!((made - before) as f64 <= most(named), "{made} - {before}");
    assert!(made as f64 <= most(begun), "{made}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_server_looked_at_others_go_on_with_and_it_learns_what_was_withdrawn() {
    let origin = Arc::new(Origin::default());
    let site = origin.start().await;
    let node = Node::start(None);
    let (clock, ahead) = set_clock();
    let here = server(clock, &node, site).await;
    let cache = tempfile::tempdir().unwrap();
    let (url, upstream) = (node.url(), format!("http://{site}"));
    let arguments = [
        "--cluster",
        &url,
        "--upstream",
        &upstream,
        "--cache",
        cache.path().to_str().unwrap(),
        "--set",
        "access.ticket-secret=shared",
        "--set",
        "upstream.allow-private=true",
        "--set",
        "upstream.paths=[\"/named/**\"]",
        "--set",
        "upstream.per-second=1000",
    ];
    let mut there = Process::start("127.0.0.1:0", &arguments);
    let known = know_each_other(here.address, there.address, site).await;
    name(&here, "/fugitive/seen", &urls(site)).await;
    let mut expected = paths();
    expected.extend(known);
    expected.sort_unstable();
    until("all is listed at both", || async {
        listed(&here).await == expected && listed_at(there.address).await == expected
    })
    .await;
    assert!(there.said("/many/") > 0, "some was its turn");
    there.kill();

    // By the clock of the other the origin's word for it runs out.
    ahead.store(700, Ordering::Relaxed);
    until("all of it is looked at again", || async {
        asked(&origin).values().all(|times| *times >= 3)
    })
    .await;
    until("all of it is still good", || async {
        listed(&here).await == expected
    })
    .await;
    origin.forbids.store(true, Ordering::Relaxed);
    ahead.store(1400, Ordering::Relaxed);
    until("nothing is listed", || async {
        listed(&here).await.is_empty()
    })
    .await;
    // It has kept what it listed, and by its clock the origin stands by it.
    let there = Process::start("127.0.0.1:0", &arguments);
    there.until_said("told by another server").await;
    until("it knows what was withdrawn", || async {
        listed_at(there.address).await.is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hash_tree_of_a_film_is_at_every_server_and_the_film_was_fetched_by_one() {
    let origin = Arc::new(Origin::default());
    let site = origin.start().await;
    let node = Node::start(None);
    let [here, there] = [&node; 2].map(|node| {
        Running::with(&[], |config| {
            shares(config, node, site);
            config.upstream.longest_bytes = 1 << 30;
        })
    });
    let (here, there) = (here.await, there.await);
    know_each_other(here.address, there.address, site).await;
    name(&here, "/fugitive/seen", &format!("http://{site}/film.mp4")).await;
    let film = bytes(FILM);
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, &film).unwrap();
    let (id, tree) = outboard::hash(&file, FILM as u64, &|_| {}).unwrap();
    for server in [&here, &there] {
        until("it is listed with a hash tree", || async {
            let entries = server.manifest().await.entries;
            let film = entries.get("/film.mp4").map(|entry| &entry[0]);
            film.is_some_and(|film| film.bao && film.id == id)
        })
        .await;
        let served = server.get(&format!("/fugitive/bao/{id}")).await;
        assert_eq!(served.status(), 200);
        assert!(served.bytes().await.unwrap() == *tree.as_ref().unwrap());
    }
    assert_eq!(origin.asked.lock().unwrap()["/film.mp4"], 2);
}
