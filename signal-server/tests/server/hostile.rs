//! What a client may try, one line of the log for each, and what must come through all the same.

use std::{collections::BTreeMap, time::Duration};

use fugitive_server::config::Rate;
use fugitive_signal::{MAX_MESSAGE, Signal, ToClient, ToServer, encode};
use futures_util::SinkExt;
use jsonwebtoken::{Algorithm, EncodingKey};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::{MaybeTlsStream, tungstenite::Message};

use crate::{
    access::{SECRET, knock_at, token},
    client::{Client, connect, connect_to, description, join, join_at, joining},
    cluster::Node,
    process::Process,
    running::{Running, until},
};

/// Signals that a visitor sends in a row: fewer than are a flood.
const MANY: usize = 600;

#[tokio::test(flavor = "multi_thread")]
async fn each_trespass_has_one_line_in_the_log_and_the_server_goes_on() {
    let set = [
        "--set",
        "log=debug",
        "--set",
        "timeouts.head-seconds=1",
        "--set",
        "access.origins=[\"https://site\"]",
    ];
    let server = Process::start("127.0.0.1:0", &set);
    let at = server.address;
    let visitor = || join_at(at, "/", 0, None);
    let mut bystander = visitor().await;

    let closes = [
        (Message::binary(vec![0xc1; 50]), "unreadable message"),
        (Message::text("{}"), "text where MessagePack should be"),
        (
            Message::binary(vec![0; MAX_MESSAGE + 1]),
            "a message of 32769 bytes",
        ),
    ];
    for (message, line) in closes {
        let mut client = visitor().await;
        client.send(message).await;
        assert_ne!(client.refused().await, "");
        server.until_said(line).await;
        assert_eq!(server.said(line), 1, "{line}");
    }

    let mut flood = visitor().await;
    let beat = Message::binary(encode(&ToServer::Heartbeat {
        measured: Vec::new(),
        serves: None,
    }));
    for _ in 0..1_000_000 {
        // It is closed long before.
        if flood.socket.feed(beat.clone()).await.is_err() {
            break;
        }
    }
    server.until_said("too many messages").await;
    assert_eq!(server.said("too many messages"), 1);

    // What closes nothing.
    #[derive(serde::Serialize)]
    #[serde(rename_all = "kebab-case")]
    enum Later {
        Dance {},
    }
    let mut client = visitor().await;
    client.send(Message::binary(encode(&Later::Dance {}))).await;
    server.until_said("says \"dance\", which is ignored").await;
    let (to, signal) = (bystander.id.clone(), description("x"));
    client.say(&ToServer::Signal { to, signal }).await;
    assert!(matches!(
        client.hear().await,
        Some(ToClient::Refused { .. })
    ));
    server.until_said("no such peer was offered").await;
    assert_eq!(server.said("no such peer was offered"), 1);
    let mut forged = client.ticket.clone();
    let last = forged.pop().unwrap();
    forged.push(if last == '0' { '1' } else { '0' });
    let thief = join_at(at, "/", 0, Some(forged)).await;
    assert_ne!(thief.id, client.id);
    server.until_said("a ticket that is worth nothing").await;
    assert_eq!(server.said("a ticket that is worth nothing"), 1);

    // What does not even come in.
    assert!(connect_to(at, Some("https://other")).await.is_err());
    server.until_said("origin is not allowed").await;
    let mut slow = TcpStream::connect(at).await.unwrap();
    slow.write_all(b"GET /fugitive/signal HTTP/1.1\r\nhost:")
        .await
        .unwrap();
    let mut rest = Vec::new();
    let _ = slow.read_to_end(&mut rest).await;
    server.until_said("header").await;

    assert_eq!(server.said("panicked"), 0);
    bystander
        .say(&ToServer::More {
            want: 1,
            page: None,
        })
        .await;
    assert!(matches!(
        bystander.hear().await,
        Some(ToClient::Offered { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_has_a_line_and_crowds_one_for_all_without_an_address() {
    let set = [
        "--set",
        "access.trusted-proxies=[\"127.0.0.0/8\"]",
        "--set",
        "limits.joins-per-address={ per-second = 1, burst = 5 }",
    ];
    let server = Process::start("127.0.0.1:0", &set);
    let from = [("x-forwarded-for", "203.0.113.77")];
    let mut refused = 0;
    for _ in 0..200 {
        let knock = knock_at(server.address, "https://site", "", &from).await;
        refused += usize::from(knock.err() == Some(429));
    }
    assert!(refused > 100, "{refused}");
    server.until_said("too many joins of one address").await;
    assert_eq!(server.said("too many joins of one address"), 1);
    assert!(server.said("203.0.113.0") > 0);
    assert_eq!(server.said("203.0.113.77"), 0);

    let secret = format!("access.token-secret={SECRET}");
    let server = Process::start("127.0.0.1:0", &["--set", &secret]);
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let expired = token(Algorithm::HS256, &key, "https://site", -3600);
    for bad in ["?token=a.b.c", &expired] {
        let knock = knock_at(server.address, "https://site", bad, &[]).await;
        assert_eq!(knock.err(), Some(401));
    }
    until("both have their line", || async {
        server.said("join token") == 2
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_that_goes_and_comes_back_has_a_line_for_each() {
    let mut node = Node::start(None);
    let url = node.url();
    let secret = "access.ticket-secret=shared";
    let server = Process::start("127.0.0.1:0", &["--cluster", &url, "--set", secret]);
    server.until_said("NATS: connected").await;
    node.kill();
    server.until_said("NATS: disconnected").await;
    let mut alone = join_at(server.address, "/", 0, None).await;
    node.restart();
    until("it is back", || async {
        server.said("NATS: connected") == 2
    })
    .await;
    assert_eq!(server.said("NATS: disconnected"), 1);
    alone
        .say(&ToServer::More {
            want: 1,
            page: None,
        })
        .await;
    assert!(matches!(alone.hear().await, Some(ToClient::Offered { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_one_origin_are_limited_together_where_the_operator_says_so() {
    let server = Running::with(&[], |config| {
        config.limits.messages_per_origin = Rate::new(1, 30);
    })
    .await;
    let mut clients = [
        join(&server, "/", 0, None).await,
        join(&server, "/", 0, None).await,
    ];
    let mut elsewhere = connect(&server, Some("https://other")).await.unwrap();
    elsewhere.say(&joining("/", 0, None)).await;
    assert!(matches!(
        elsewhere.hear().await,
        Some(ToClient::Welcome { .. })
    ));
    for _ in 0..40 {
        for client in &mut clients {
            // It may be closed by now.
            let beat = ToServer::Heartbeat {
                measured: Vec::new(),
                serves: None,
            };
            let _ = client.socket.send(Message::binary(encode(&beat))).await;
        }
    }
    for client in clients {
        // What it sent after the end may cost it the reason.
        let why = client.refused().await;
        let limit = "too many messages of one origin";
        assert!(why.is_empty() || why == limit, "{why}");
    }
    elsewhere
        .say(&ToServer::More {
            want: 1,
            page: None,
        })
        .await;
    assert!(matches!(
        elsewhere.hear().await,
        Some(ToClient::Offered { .. })
    ));
}

/// Signals with a number each, of very different lengths.
fn numbered(number: usize) -> Signal {
    let length = number * 7919 % 25_000;
    description(&format!("{number} {}", "x".repeat(length)))
}

async fn talk(mut client: Client, to: String) -> Client {
    for number in 0..MANY {
        let (to, signal) = (to.clone(), numbered(number));
        client.say(&ToServer::Signal { to, signal }).await;
    }
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_peer_sends_another_arrives_whole_and_in_order_however_slowly_it_is_read() {
    let server = Running::start(&[]).await;
    let mut reader = join(&server, "/", 0, None).await;
    match reader.socket.get_ref() {
        // The kernel takes part of a message and no more.
        MaybeTlsStream::Plain(stream) => socket2::SockRef::from(stream)
            .set_recv_buffer_size(8192)
            .unwrap(),
        _ => panic!("no TLS here"),
    }
    let mut talkers = Vec::new();
    let mut heard = BTreeMap::new();
    for _ in 0..3 {
        let talker = join(&server, "/", 4, None).await;
        assert!(talker.offered.contains(&reader.id));
        heard.insert(talker.id.clone(), Vec::new());
        talkers.push(tokio::spawn(talk(talker, reader.id.clone())));
    }
    for count in 0.. {
        // A window that was full is asked about again after a pause that doubles.
        let next = timeout(Duration::from_secs(5), reader.next()).await;
        match next {
            Ok(Some(ToClient::Signal { from, signal })) => {
                heard.get_mut(&from).unwrap().push(signal);
            }
            Ok(Some(_)) => {}
            Ok(None) => panic!("closed"),
            Err(_) if talkers.iter().all(|talker| talker.is_finished()) => break,
            Err(_) => {}
        }
        // In bursts, so that it is now far behind and now not at all.
        if count % 100 == 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    for signals in heard.values() {
        assert!(signals.len() > 20, "{}", signals.len());
        let mut last = None;
        for signal in signals {
            let Signal::Description { sdp, .. } = signal else {
                panic!("{signal:?}")
            };
            let number: usize = sdp.split(' ').next().unwrap().parse().unwrap();
            assert!(last < Some(number), "{number} after {last:?}");
            assert!(*signal == numbered(number), "{number} is not what was sent");
            last = Some(number);
        }
    }
}
