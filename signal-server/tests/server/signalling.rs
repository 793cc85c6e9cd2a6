//! The signal socket, by clients that behave and clients that do not.

use std::{fs, time::Duration};

use fugitive_server::matchmaker::MOST_OFFERED;
use fugitive_signal::{IceServer, MAX_MESSAGE, ToClient, ToServer, encode};
use futures_util::SinkExt;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::{
    client::{connect, description, join, join_at, joining},
    cluster::say_until_heard,
    process::Process,
    running::{Running, until},
};

#[tokio::test(flavor = "multi_thread")]
async fn second_visitor_is_offered_the_first_and_they_talk() {
    let server = Running::with(&[], |config| {
        config.ice = vec![IceServer {
            urls: vec!["stun:127.0.0.1:3478".into()],
            username: None,
            credential: None,
        }];
    })
    .await;
    let mut raw = connect(&server, Some("https://site")).await.unwrap();
    raw.say(&joining("/", 4, None)).await;
    match raw.hear().await {
        Some(ToClient::Welcome { id, ice, .. }) => {
            assert_eq!(id.len(), 32);
            assert_eq!(ice[0].urls, ["stun:127.0.0.1:3478"]);
            raw.id = id;
        }
        other => panic!("{other:?}"),
    }
    let nobody = ToClient::Offered { peers: Vec::new() };
    assert_eq!(raw.hear().await, Some(nobody));
    let mut second = join(&server, "/", 4, None).await;
    assert_eq!(second.offered, std::slice::from_ref(&raw.id));
    let sdp = "v=0 ".repeat(5000);
    second
        .say(&ToServer::Signal {
            to: raw.id.clone(),
            signal: description(&sdp),
        })
        .await;
    let heard = raw.hear().await;
    let from = second.id.clone();
    let signal = description(&sdp);
    assert_eq!(heard, Some(ToClient::Signal { from, signal }));
    let to = second.id.clone();
    raw.say(&ToServer::Signal {
        to,
        signal: description("answer"),
    })
    .await;
    let from = raw.id.clone();
    let signal = description("answer");
    assert_eq!(second.hear().await, Some(ToClient::Signal { from, signal }));
}

#[tokio::test(flavor = "multi_thread")]
async fn gone_is_said_when_a_peer_leaves_closes_or_breaks_off() {
    let server = Running::start(&[]).await;
    let mut first = join(&server, "/", 0, None).await;
    for way in 0..3 {
        let mut other = join(&server, "/", 4, None).await;
        let id = other.id.clone();
        match way {
            0 => other.say(&ToServer::Leave {}).await,
            1 => other.socket.close(None).await.unwrap(),
            _ => drop(other),
        }
        assert_eq!(first.hear().await, Some(ToClient::Gone { peer: id }));
        assert!(first.silent().await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn message_to_a_stranger_is_refused() {
    let server = Running::start(&[]).await;
    let mut first = join(&server, "/", 0, None).await;
    let mut second = join(&server, "/", 0, None).await;
    second
        .say(&ToServer::Signal {
            to: first.id.clone(),
            signal: description("x"),
        })
        .await;
    assert!(matches!(
        second.hear().await,
        Some(ToClient::Refused { .. })
    ));
    assert!(first.silent().await);
    second
        .say(&ToServer::More {
            want: 1,
            page: None,
        })
        .await;
    let peers = vec![first.id.clone()];
    assert_eq!(second.hear().await, Some(ToClient::Offered { peers }));
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_closes_its_sender_and_nobody_else() {
    let server = Running::start(&[]).await;
    let mut bystander = join(&server, "/", 0, None).await;
    for garbage in [
        Message::binary(vec![0xc1; 50]),
        Message::binary(Vec::new()),
        Message::binary(
            encode(&ToServer::More {
                want: 1,
                page: None,
            })[..4]
                .to_vec(),
        ),
        Message::text("{\"join\": 1}"),
        Message::binary(b"\x81\xa4join\x01".to_vec()),
    ] {
        let mut client = join(&server, "/", 0, None).await;
        client.send(garbage.clone()).await;
        assert_ne!(client.refused().await, "", "{garbage:?}");
    }
    assert!(bystander.silent().await);
    bystander
        .say(&ToServer::More {
            want: 1,
            page: None,
        })
        .await;
    assert!(bystander.hear().await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn oversized_message_closes_its_sender() {
    let server = Running::start(&[]).await;
    let mut client = join(&server, "/", 0, None).await;
    let to = client.id.clone();
    let signal = description(&"x".repeat(MAX_MESSAGE));
    client.say(&ToServer::Signal { to, signal }).await;
    client.refused().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kind_of_a_later_version_is_ignored() {
    #[derive(serde::Serialize)]
    #[serde(rename_all = "kebab-case")]
    enum Later {
        Dance { with: String },
    }
    let server = Running::start(&[]).await;
    let mut client = join(&server, "/", 0, None).await;
    let later = encode(&Later::Dance { with: "me".into() });
    client.send(Message::binary(later)).await;
    client
        .say(&ToServer::More {
            want: 1,
            page: None,
        })
        .await;
    let peers = Vec::new();
    assert_eq!(client.hear().await, Some(ToClient::Offered { peers }));
}

#[tokio::test(flavor = "multi_thread")]
async fn client_that_never_reads_is_dropped_with_a_line_and_holds_up_nobody() {
    let server = Process::start("127.0.0.1:0", &[]);
    let at = server.address;
    let deaf = join_at(at, "/", 0, None).await;
    // One alone may not have so much waiting.
    let mut talkers = Vec::new();
    for _ in 0..6 {
        talkers.push(join_at(at, "/", 16, None).await);
        assert!(talkers.last().unwrap().offered.contains(&deaf.id));
    }
    let mut third = join_at(at, "/", 0, None).await;
    let signal = ToServer::Signal {
        to: deaf.id.clone(),
        signal: description(&"x".repeat(30_000)),
    };
    let mut sent = 0;
    let gone = 'talk: loop {
        for talker in &mut talkers {
            talker.say(&signal).await;
            sent += 1;
            assert!(sent < 5000, "never dropped");
            let pause = Duration::from_millis(2);
            while let Ok(next) = timeout(pause, talker.hear()).await {
                match next {
                    Some(ToClient::Refused { .. }) => {}
                    other => break 'talk other,
                }
            }
        }
    };
    let peer = deaf.id.clone();
    assert_eq!(gone, Some(ToClient::Gone { peer }));
    server.until_said("it does not read").await;
    assert_eq!(server.said("it does not read"), 1);
    third
        .say(&ToServer::More {
            want: 4,
            page: None,
        })
        .await;
    assert!(matches!(third.hear().await, Some(ToClient::Offered { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_sender_does_not_fill_the_queue_of_another_and_is_told_so() {
    let server = Running::start(&[]).await;
    let mut slow = join(&server, "/", 0, None).await;
    let mut talker = join(&server, "/", 4, None).await;
    let mut other = join(&server, "/", 4, None).await;
    let to = |sdp: &str| ToServer::Signal {
        to: slow.id.clone(),
        signal: description(sdp),
    };
    let (long, short) = (to(&"x".repeat(30_000)), to("x"));
    let mut sent = 0;
    // What the kernel takes comes first.
    let told = loop {
        talker.say(&long).await;
        sent += 1;
        assert!(sent < 900, "never refused");
        if let Ok(told) = timeout(Duration::from_millis(2), talker.hear()).await {
            break told;
        }
    };
    assert!(
        matches!(&told, Some(ToClient::Refused { why }) if why.contains("waits")),
        "{told:?}"
    );
    // There is room for what others send, and the talker has room again once it was read.
    other.say(&short).await;
    let (mut heard, from) = (0, other.id.clone());
    loop {
        match slow.hear().await {
            Some(ToClient::Signal { from, .. }) if from == talker.id => heard += 1,
            Some(ToClient::Signal { from: who, .. }) if who == from => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(heard < sent, "what was refused is not relayed");
    say_until_heard(&mut talker, &mut slow).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flood_closes_its_sender() {
    let server = Running::start(&[]).await;
    let mut client = join(&server, "/", 0, None).await;
    let beat = Message::binary(encode(&ToServer::Heartbeat {
        measured: Vec::new(),
        serves: None,
    }));
    for _ in 0..3000 {
        if client.socket.feed(beat.clone()).await.is_err() {
            break;
        }
    }
    let _ = client.socket.flush().await;
    let mut last = None;
    while let Some(message) = client.hear().await {
        last = Some(message);
    }
    let why = "too many messages".into();
    assert!(last.is_none() || last == Some(ToClient::Refused { why }));
}

#[tokio::test(flavor = "multi_thread")]
async fn ticket_keeps_the_id_over_a_navigation() {
    let server = Running::start(&[]).await;
    let mut neighbour = join(&server, "/", 0, None).await;
    let mut old = join(&server, "/", 1, None).await;
    let (id, ticket) = (old.id.clone(), old.ticket.clone());
    old.say(&ToServer::Leave {}).await;
    let peer = id.clone();
    assert_eq!(neighbour.hear().await, Some(ToClient::Gone { peer }));
    let back = join(&server, "/next", 4, Some(ticket)).await;
    assert_eq!(back.id, id);
    assert_eq!(back.offered, std::slice::from_ref(&neighbour.id));
    assert!(neighbour.silent().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_socket_of_a_client_that_is_back_is_closed_quietly() {
    let server = Running::start(&[]).await;
    let mut neighbour = join(&server, "/", 0, None).await;
    let old = join(&server, "/", 1, None).await;
    let back = join(&server, "/next", 4, Some(old.ticket.clone())).await;
    assert_eq!(back.id, old.id);
    old.refused().await;
    assert!(neighbour.silent().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_ticket_is_worth_nothing() {
    let server = Running::start(&[]).await;
    let mut victim = join(&server, "/", 0, None).await;
    let mut forged = victim.ticket.clone();
    let last = forged.pop().unwrap();
    forged.push(if last == '0' { '1' } else { '0' });
    let thief = join(&server, "/", 0, Some(forged)).await;
    assert_ne!(thief.id, victim.id);
    let long = join(&server, "/", 0, Some("x".repeat(20_000))).await;
    assert_ne!(long.id, victim.id);
    assert!(victim.silent().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn handshake_without_an_origin_is_refused() {
    let server = Running::start(&[]).await;
    for origin in [None, Some("null")] {
        match connect(&server, origin).await.err() {
            Some(Error::Http(response)) => assert_eq!(response.status(), 403),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_origin_is_another_world() {
    let server = Running::start(&[]).await;
    let _here = join(&server, "/", 0, None).await;
    let mut there = connect(&server, Some("https://other")).await.unwrap();
    there.say(&joining("/", 9, None)).await;
    there.hear().await;
    let peers = Vec::new();
    assert_eq!(there.hear().await, Some(ToClient::Offered { peers }));
}

#[tokio::test(flavor = "multi_thread")]
async fn change_in_the_folder_is_told_to_all() {
    let server = Running::start(&[("a.png", b"x")]).await;
    server.manifest().await;
    let mut clients = [
        join(&server, "/", 0, None).await,
        join(&server, "/", 0, None).await,
    ];
    fs::write(server.site().join("b.png"), b"new").unwrap();
    for client in &mut clients {
        let news = timeout(Duration::from_secs(10), client.next());
        assert_eq!(news.await.unwrap(), Some(ToClient::Manifest {}));
    }
    until("the manifest is the new one", || async {
        server.manifest().await.entries.contains_key("/b.png")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crowd_on_one_page_is_paired() {
    let server = Running::start(&[]).await;
    let mut crowd = Vec::new();
    for _ in 0..200 {
        crowd.push(join(&server, "/", 8, None).await);
    }
    assert!(crowd[20..].iter().all(|client| client.offered.len() == 8));
    assert!(crowd.iter().all(|c| c.offered.len() <= MOST_OFFERED));
}
