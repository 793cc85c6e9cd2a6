//! What breaks in the middle: frames, servers, clocks.

use std::{sync::atomic::Ordering, time::Duration};

use fugitive_core::content::ContentId;
use fugitive_signal::{ToClient, ToServer};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::{
    MaybeTlsStream,
    tungstenite::{
        Message,
        protocol::frame::{
            Frame,
            coding::{Data, OpCode},
        },
    },
};

use crate::{
    client::{Client, connect_to, description, join, join_at, joining},
    process::Process,
    running::{Running, set_clock, until},
};

const DAY: i64 = 24 * 60 * 60;

/// The beginning of a frame of 30,000 bytes.
const HALF: [u8; 11] = [0x82, 0xfe, 0x75, 0x30, 1, 2, 3, 4, 5, 6, 7];

fn fragment(opcode: Data, payload: &'static [u8]) -> Message {
    Message::Frame(Frame::message(payload, OpCode::Data(opcode), false))
}

async fn write(client: &mut Client, bytes: &[u8]) {
    client.socket.get_mut().write_all(bytes).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_frame_ends_its_sender_with_a_line_and_nothing_is_left_of_it() {
    let set = ["--set", "timeouts.silence-seconds=2"];
    let server = Process::start("127.0.0.1:0", &set);
    let at = server.address;
    let visitor = || join_at(at, "/", 0, None);

    // The rest never comes; nor does the last fragment.
    let mut waiting = visitor().await;
    write(&mut waiting, &HALF).await;
    let mut unfinished = visitor().await;
    unfinished.send(fragment(Data::Binary, b"begun")).await;
    until("both are given up", || async {
        server.said("nothing heard for too long") == 2
    })
    .await;
    assert_ne!(waiting.refused().await, "");
    assert_ne!(unfinished.refused().await, "");

    // A frame, and a message in fragments, whose sender goes away within it.
    let mut ended = visitor().await;
    write(&mut ended, &HALF).await;
    ended.socket.get_mut().shutdown().await.unwrap();
    assert_ne!(ended.refused().await, "");
    let mut begun = visitor().await;
    begun.send(fragment(Data::Binary, b"begun")).await;
    begun.socket.get_mut().shutdown().await.unwrap();
    assert_ne!(begun.refused().await, "");
    until("both have their line", || async {
        server.said("it ended within a message") == 2
    })
    .await;

    // One that breaks off.
    let mut reset = visitor().await;
    write(&mut reset, &HALF).await;
    match reset.socket.get_ref() {
        MaybeTlsStream::Plain(stream) => socket2::SockRef::from(stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap(),
        _ => panic!("no TLS here"),
    }
    drop(reset);
    server.until_said("reset by peer").await;

    // A message in crumbs.
    let mut crumbs = visitor().await;
    crumbs.send(fragment(Data::Binary, b"")).await;
    for _ in 0..1000 {
        // It may be closed before all is sent.
        let crumb = fragment(Data::Continue, b"");
        if futures_util::SinkExt::send(&mut crumbs.socket, crumb)
            .await
            .is_err()
        {
            break;
        }
    }
    server.until_said("more than 256 fragments").await;

    assert_eq!(server.said("signal: closed"), 6, "a line each");
    assert_eq!(server.said("panicked"), 0);
    // All of them would be offered if they were still there.
    assert!(join_at(at, "/", 9, None).await.offered.is_empty());
}

/// Who was told that its socket is closed, without a word, comes back with its ticket.
async fn again(mut client: Client, server: &Process, want: u16) -> Client {
    assert_eq!(client.hear().await, None);
    let back = join_at(server.address, "/", want, Some(client.ticket)).await;
    assert_eq!(back.id, client.id);
    back
}

#[tokio::test(flavor = "multi_thread")]
async fn server_that_is_killed_while_peers_shake_hands_costs_them_another_attempt() {
    let secret = ["--set", "access.ticket-secret=shared"];
    let mut first = Process::start("127.0.0.1:0", &secret);
    let second = Process::start("127.0.0.1:0", &secret);
    let here = first.address.to_string();
    // One pair finds another server, one the next run of the same.
    let mut pairs = Vec::new();
    for _ in 0..2 {
        let mut callee = join_at(first.address, "/", 0, None).await;
        let mut caller = join_at(first.address, "/", 9, None).await;
        assert!(caller.offered.contains(&callee.id));
        let (to, signal) = (callee.id.clone(), description("offer"));
        caller.say(&ToServer::Signal { to, signal }).await;
        assert!(matches!(callee.hear().await, Some(ToClient::Signal { .. })));
        pairs.push((caller, callee));
    }
    first.kill();
    // What the callee answers now goes nowhere.
    let first = Process::start(&here, &secret);
    for ((caller, callee), server) in pairs.into_iter().zip([&second, &first]) {
        let mut callee = again(callee, server, 0).await;
        let mut caller = again(caller, server, 4).await;
        assert_eq!(caller.offered, [callee.id.clone()]);
        for kind in ["offer", "answer"] {
            let (to, signal) = (callee.id.clone(), description(kind));
            caller.say(&ToServer::Signal { to, signal }).await;
            let (from, signal) = (caller.id.clone(), description(kind));
            assert_eq!(callee.hear().await, Some(ToClient::Signal { from, signal }));
            std::mem::swap(&mut caller, &mut callee);
        }
    }
}

/// Joins, and says until when the TURN password is good, in seconds since 1970.
async fn turn_expiry(server: &Running) -> i64 {
    let mut client = connect_to(server.address, Some("https://site"))
        .await
        .unwrap();
    client.say(&joining("/", 0, None)).await;
    match client.hear().await {
        Some(ToClient::Welcome { ice, .. }) => {
            let user = ice[0].username.clone().unwrap();
            user.split(':').next().unwrap().parse().unwrap()
        }
        other => panic!("{other:?}"),
    }
}

/// In seconds since 1970.
fn expiry(ticket: &str) -> i64 {
    let millis = i64::from_str_radix(ticket.split('.').nth(1).unwrap(), 16);
    millis.unwrap() / 1000
}

#[tokio::test(flavor = "multi_thread")]
async fn wall_clock_that_is_set_changes_what_others_go_by_and_nothing_else() {
    let (clock, ahead) = set_clock();
    let server = Running::by(clock, &[], |config| {
        config.turn.urls = vec!["turn:turn.example".into()];
        config.turn.secret = Some("known to both".into());
        config.access.ticket_secret = Some("shared".into());
        config.timeouts.silence_seconds = 60;
    })
    .await;
    let content = ContentId::of(b"film");
    let mut holder = join(&server, "/", 0, None).await;
    holder.say(&ToServer::Hold { ids: vec![content] }).await;
    let (right, before) = (turn_expiry(&server).await, expiry(&holder.ticket));
    // To the next day, to the one before, and before 1970.
    for days in [1, -1, -40_000] {
        ahead.store(days * DAY, Ordering::Relaxed);
        let date = turn_expiry(&server).await;
        let set = if days < -20_000 {
            date
        } else {
            right + days * DAY
        };
        assert!((date - set).abs() < 120, "{date} {set}");
        until("tickets go by it", || async {
            let ticket = join(&server, "/", 0, None).await.ticket;
            let expected = if days < -20_000 {
                3600
            } else {
                before + days * DAY
            };
            (expiry(&ticket) - expected).abs() < 120
        })
        .await;
        // Nobody was silent for a day, no announcement is a day old, and no ticket of today is lost.
        let mut old = join(&server, "/", 0, None).await;
        let id = old.id.clone();
        old.say(&ToServer::Leave {}).await;
        let mut back = join(&server, "/", 0, Some(old.ticket.clone())).await;
        assert_eq!(back.id, id);
        back.say(&ToServer::Find {
            id: content,
            want: 4,
        })
        .await;
        let peers = vec![holder.id.clone()];
        assert_eq!(
            back.hear().await,
            Some(ToClient::Holders { id: content, peers })
        );
        holder
            .say(&ToServer::More {
                want: 0,
                page: None,
            })
            .await;
        // Those of before who found it are gone meanwhile.
        while !matches!(holder.hear().await.unwrap(), ToClient::Offered { .. }) {}
    }
    let ticket = holder.ticket.clone();
    let back = join(&server, "/", 0, Some(ticket)).await;
    assert_eq!(back.id, holder.id, "a ticket of before all that");
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_whose_clocks_differ_know_each_others_tickets_once_both_are_right() {
    let (clock, ahead) = set_clock();
    let share = |config: &mut fugitive_server::Config| {
        config.access.ticket_secret = Some("shared".into());
    };
    // It starts before its machine knows the date.
    ahead.store(-300 * DAY, Ordering::Relaxed);
    let late = Running::by(clock, &[], share).await;
    let right = Running::with(&[], share).await;
    let early = join(&late, "/", 0, None).await;
    let ticket = Some(early.ticket.clone());
    assert_ne!(join(&right, "/", 0, ticket).await.id, early.id);
    ahead.store(0, Ordering::Relaxed);
    until("its tickets are good elsewhere", || async {
        let there = join(&late, "/", 0, None).await;
        let ticket = Some(there.ticket.clone());
        join(&right, "/", 0, ticket).await.id == there.id
    })
    .await;
    let there = join(&right, "/", 0, None).await;
    let ticket = Some(there.ticket.clone());
    assert_eq!(join(&late, "/", 0, ticket).await.id, there.id);
}
