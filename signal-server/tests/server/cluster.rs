//! Several servers as one, over real NATS nodes that are killed, restarted and cut off.

use std::{
    net::TcpListener as StdListener,
    process::{Child, Command, Stdio},
    time::Duration,
};

use fugitive_server::{Config, Server, Unable};
use fugitive_signal::{ToClient, ToServer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};

use crate::{
    client::{Client, description, join, join_at, joining},
    process::Process,
    running::{Running, put},
};

/// Longer than a lost server takes to be noticed.
const PATIENCE: Duration = Duration::from_secs(30);

fn free_port() -> u16 {
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A NATS server; killed with this.
pub struct Node {
    child: Child,
    port: u16,
    routes: u16,
    to: Option<u16>,
}

impl Node {
    pub fn start(to: Option<u16>) -> Self {
        Self::start_at(free_port(), free_port(), to)
    }

    /// With a route to another, if that is given.
    fn start_at(port: u16, routes: u16, to: Option<u16>) -> Self {
        let route = to.map_or(String::new(), |to| format!("nats://127.0.0.1:{to}"));
        let child = Command::new("nats-server")
            .args(["-a", "127.0.0.1", "-p", &port.to_string()])
            .args(["--cluster_name", "test", "--no_advertise"])
            .args(["--cluster", &format!("nats://127.0.0.1:{routes}")])
            .args(["--routes", &route])
            .stderr(Stdio::null())
            .spawn()
            .expect("nats-server is installed");
        for _ in 0..200 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        Self {
            child,
            port,
            routes,
            to,
        }
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn restart(&mut self) {
        *self = Self::start_at(self.port, self.routes, self.to);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub async fn server(nodes: &[&Node]) -> Running {
    server_with(nodes, |_| {}).await
}

/// With a configuration that the test may change.
pub async fn server_with(nodes: &[&Node], change: impl FnOnce(&mut Config)) -> Running {
    let urls = nodes.iter().map(|node| node.url()).collect();
    Running::with(&[], |config| {
        config.cluster = urls;
        config.access.ticket_secret = Some("shared".into());
        change(config);
    })
    .await
}

/// What a client is told next that is not an empty offer.
pub async fn news(client: &mut Client) -> Option<ToClient> {
    let news = async {
        loop {
            match client.next().await {
                Some(ToClient::Manifest {}) => {}
                Some(ToClient::Offered { peers }) if peers.is_empty() => {}
                other => return other,
            }
        }
    };
    timeout(PATIENCE, news).await.expect("some news")
}

pub fn is_offer_of(news: &Option<ToClient>, peer: &str) -> bool {
    matches!(news, Some(ToClient::Offered { peers }) if *peers == [peer])
}

/// Waits until one of the two is offered the other; tells whether that is the first.
async fn paired(a: &mut Client, b: &mut Client) -> bool {
    let (a_id, b_id) = (a.id.clone(), b.id.clone());
    tokio::select! {
        news = news(a) => {
            assert!(is_offer_of(&news, &b_id), "{news:?}");
            true
        }
        news = news(b) => {
            assert!(is_offer_of(&news, &a_id), "{news:?}");
            false
        }
    }
}

/// Both ways, until it arrives: what is lost on the way is not said again by anybody else.
async fn talk(a: &mut Client, b: &mut Client) {
    for _ in 0..2 {
        say_until_heard(a, b).await;
        say_until_heard(b, a).await;
    }
}

pub async fn say_until_heard(from: &mut Client, to: &mut Client) {
    for _ in 0..100 {
        from.say(&ToServer::Signal {
            to: to.id.clone(),
            signal: description("hello"),
        })
        .await;
        let heard = timeout(Duration::from_millis(300), async {
            loop {
                if let Some(ToClient::Signal { from: who, signal }) = news(to).await {
                    return who == from.id && signal == description("hello");
                }
            }
        });
        if heard.await == Ok(true) {
            return;
        }
    }
    panic!("{} never hears {}", to.id, from.id);
}

async fn wait_for_gone(client: &mut Client, peer: &str) {
    let gone = ToClient::Gone { peer: peer.into() };
    loop {
        match news(client).await {
            Some(news) if news == gone => return,
            Some(ToClient::Signal { .. } | ToClient::Offered { .. } | ToClient::Refused { .. }) => {
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_of_different_servers_are_paired_and_talk_and_hear_that_the_other_left() {
    let node = Node::start(None);
    let (here, there) = (server(&[&node]).await, server(&[&node]).await);
    let mut a = join(&here, "/", 4, None).await;
    let mut b = join(&there, "/", 4, None).await;
    paired(&mut a, &mut b).await;
    talk(&mut a, &mut b).await;
    let id = b.id.clone();
    drop(b);
    wait_for_gone(&mut a, &id).await;
    let mut c = join(&there, "/", 4, None).await;
    paired(&mut a, &mut c).await;
    a.say(&ToServer::Leave {}).await;
    wait_for_gone(&mut c, &a.id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_origin_stays_another_world_and_strangers_are_not_reached() {
    let node = Node::start(None);
    let (here, there) = (server(&[&node]).await, server(&[&node]).await);
    let mut a = join(&here, "/", 4, None).await;
    let mut b = join(&there, "/", 4, None).await;
    let mut stranger = join(&there, "/", 0, None).await;
    let mut other = crate::client::connect(&there, Some("https://other"))
        .await
        .unwrap();
    other.say(&joining("/", 9, None)).await;
    // By then all have asked. Whose question comes first is offered the other.
    let offers = |told: Option<ToClient>, id: &String| matches!(told, Some(ToClient::Offered { peers }) if peers.contains(id));
    while !tokio::select! {
        told = news(&mut a) => offers(told, &b.id),
        told = news(&mut b) => offers(told, &a.id),
    } {}
    a.say(&ToServer::Signal {
        to: "0f".repeat(16),
        signal: description("x"),
    })
    .await;
    loop {
        match news(&mut a).await {
            Some(ToClient::Refused { .. }) => break,
            Some(ToClient::Offered { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    let nobody = ToClient::Offered { peers: Vec::new() };
    assert!(matches!(other.hear().await, Some(ToClient::Welcome { .. })));
    assert_eq!(other.hear().await, Some(nobody));
    assert!(other.silent().await);
    assert!(stranger.silent().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn visitor_who_moves_to_another_server_keeps_its_id_and_its_friends() {
    let node = Node::start(None);
    let (here, there) = (server(&[&node]).await, server(&[&node]).await);
    let mut friend = join(&here, "/", 0, None).await;
    let mut mover = join(&here, "/", 1, None).await;
    assert_eq!(mover.offered, [friend.id.clone()]);
    mover.say(&ToServer::Leave {}).await;
    wait_for_gone(&mut friend, &mover.id).await;
    let mut back = join(&there, "/next", 4, Some(mover.ticket.clone())).await;
    assert_eq!(back.id, mover.id);
    let news = news(&mut back).await;
    assert!(is_offer_of(&news, &friend.id), "{news:?}");
    talk(&mut back, &mut friend).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_killed_and_restarted_is_a_pause_and_no_end() {
    let mut node = Node::start(None);
    let (here, there) = (server(&[&node]).await, server(&[&node]).await);
    let mut a = join(&here, "/", 4, None).await;
    let mut b = join(&there, "/", 4, None).await;
    paired(&mut a, &mut b).await;
    node.kill();
    // At home all goes on.
    let mut c = join(&here, "/", 1, None).await;
    assert_eq!(c.offered, [a.id.clone()]);
    talk(&mut c, &mut a).await;
    node.restart();
    talk(&mut a, &mut b).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_nats_node_of_two_may_be_lost() {
    let first = Node::start(None);
    let mut second = Node::start(Some(first.routes));
    // Each knows both, and begins with another.
    let (here, there) = (
        server(&[&first, &second]).await,
        server(&[&second, &first]).await,
    );
    let mut a = join(&here, "/", 4, None).await;
    let mut b = join(&there, "/", 4, None).await;
    paired(&mut a, &mut b).await;
    second.kill();
    talk(&mut a, &mut b).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_of_a_server_that_is_killed_are_gone_and_come_back_to_another() {
    let node = Node::start(None);
    let here = server(&[&node]).await;
    let url = node.url();
    let arguments = ["--cluster", &url, "--set", "access.ticket-secret=shared"];
    let mut process = Process::start("127.0.0.1:0", &arguments);
    let mut a = join(&here, "/", 4, None).await;
    let mut b = join_at(process.address, "/", 4, None).await;
    paired(&mut a, &mut b).await;
    process.kill();
    wait_for_gone(&mut a, &b.id).await;
    let mut back = join(&here, "/", 4, Some(b.ticket.clone())).await;
    assert_eq!(back.id, b.id);
    assert_eq!(back.offered, [a.id.clone()]);
    talk(&mut back, &mut a).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_sender_does_not_fill_the_queue_of_a_peer_at_another_server() {
    let node = Node::start(None);
    let (here, there) = (server(&[&node]).await, server(&[&node]).await);
    let mut slow = join(&there, "/", 0, None).await;
    let mut talker = join(&here, "/", 4, None).await;
    let offer = news(&mut talker).await;
    assert!(is_offer_of(&offer, &slow.id), "{offer:?}");
    let to = slow.id.clone();
    let signal = description(&"x".repeat(30_000));
    let long = ToServer::Signal { to, signal };
    let mut sent = 0;
    let told = loop {
        talker.say(&long).await;
        sent += 1;
        assert!(sent < 900, "never refused");
        if let Ok(told) = timeout(Duration::from_millis(2), news(&mut talker)).await {
            break told;
        }
    };
    assert!(
        matches!(&told, Some(ToClient::Refused { why }) if why.contains("waits")),
        "{told:?}"
    );
    say_until_heard(&mut talker, &mut slow).await;
}

/// A way between two nodes that can be cut.
async fn way(to: u16) -> (u16, watch::Sender<bool>) {
    let (open, is_open) = watch::channel(true);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut from, _) = listener.accept().await.unwrap();
            let mut is_open = is_open.clone();
            tokio::spawn(async move {
                if !*is_open.borrow_and_update() {
                    return;
                }
                let mut to = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut from, &mut to) => {}
                    _ = is_open.changed() => {}
                }
            });
        }
    });
    (port, open)
}

#[tokio::test(flavor = "multi_thread")]
async fn halves_that_are_cut_off_work_alone_and_become_one_again() {
    let first = Node::start(None);
    let (port, open) = way(first.routes).await;
    let second = Node::start(Some(port));
    let (here, there) = (server(&[&first]).await, server(&[&second]).await);
    let mut a = join(&here, "/", 4, None).await;
    let mut b = join(&there, "/", 4, None).await;
    paired(&mut a, &mut b).await;
    open.send(false).unwrap();
    wait_for_gone(&mut a, &b.id).await;
    wait_for_gone(&mut b, &a.id).await;
    let mut c = join(&there, "/", 1, None).await;
    assert_eq!(c.offered, [b.id.clone()]);
    talk(&mut b, &mut c).await;
    open.send(true).unwrap();
    // Whoever wants peers finds them, as soon as the nodes found each other.
    let found = async {
        loop {
            a.say(&ToServer::More {
                want: 1,
                page: None,
            })
            .await;
            let news = timeout(Duration::from_secs(1), news(&mut a)).await;
            if let Ok(Some(ToClient::Offered { peers })) = news {
                return peers;
            }
        }
    };
    let peers = timeout(PATIENCE, found).await.unwrap();
    assert!(peers.iter().all(|peer| [&b.id, &c.id].contains(&peer)));
    let one = if peers.contains(&b.id) {
        &mut b
    } else {
        &mut c
    };
    talk(&mut a, one).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cluster_without_a_secret_of_tickets_does_not_start() {
    let site = tempfile::tempdir().unwrap();
    put(site.path(), "index.html", b"top");
    let config = Config {
        site: site.path().into(),
        cluster: vec!["nats://127.0.0.1:1".into()],
        ..Config::default()
    };
    assert!(matches!(Server::open(config), Err(Unable::NoSecret)));
}
