//! How connections end: the server drains, peers fall silent, clients dawdle.

use std::time::{Duration, Instant};

use fugitive_signal::{ToClient, ToServer};
use futures_util::StreamExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::tungstenite::{Message, protocol::frame::coding::CloseCode};

use crate::{
    client::{connect, join},
    running::{Running, bytes},
};

const SOON: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn draining_server_sends_each_client_elsewhere_at_a_moment_of_its_own() {
    let server = Running::start(&[("a.png", b"x")]).await;
    let mut crowd = Vec::new();
    for _ in 0..20 {
        crowd.push(join(&server, "/", 0, None).await);
    }
    let draining = tokio::spawn({
        let server = server.server.clone();
        async move { server.drain(Duration::from_secs(5)).await }
    });
    let mut moments = Vec::new();
    for client in &mut crowd {
        match client.hear().await {
            Some(ToClient::Elsewhere { after }) => moments.push(after),
            other => panic!("{other:?}"),
        }
    }
    assert!(moments.iter().all(|after| *after <= 5000));
    moments.sort_unstable();
    moments.dedup();
    assert!(moments.len() > 10, "{moments:?}");
    // Nobody new, but those who are there still talk, and files are served.
    assert!(connect(&server, Some("https://site")).await.is_err());
    crowd[0]
        .say(&ToServer::More {
            want: 2,
            page: None,
        })
        .await;
    assert!(matches!(
        crowd[0].hear().await,
        Some(ToClient::Offered { .. })
    ));
    assert_eq!(server.get("/a.png").await.status(), 200);
    for client in &mut crowd {
        client.say(&ToServer::Leave {}).await;
    }
    timeout(SOON, draining).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stays_to_the_end_is_closed_with_the_code_of_a_restart() {
    let server = Running::start(&[]).await;
    let mut client = join(&server, "/", 0, None).await;
    let closing = server.server.clone();
    tokio::spawn(async move { closing.close().await });
    let code = loop {
        match timeout(SOON, client.socket.next()).await.unwrap() {
            Some(Ok(Message::Close(Some(frame)))) => break frame.code,
            Some(Ok(_)) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(code, CloseCode::Restart);
}

#[tokio::test(flavor = "multi_thread")]
async fn half_open_socket_is_found_and_one_that_only_answers_pings_stays() {
    let server = Running::with(&[], |config| config.timeouts.silence_seconds = 4).await;
    // Reads nothing, so it answers no ping: as if its network were gone.
    let lost = join(&server, "/", 0, None).await;
    let mut quiet = join(&server, "/", 1, None).await;
    assert_eq!(quiet.offered, std::slice::from_ref(&lost.id));
    let peer = lost.id.clone();
    assert_eq!(quiet.hear().await, Some(ToClient::Gone { peer }));
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(6) {
        assert!(quiet.silent().await);
    }
    quiet
        .say(&ToServer::More {
            want: 1,
            page: None,
        })
        .await;
    assert!(matches!(quiet.hear().await, Some(ToClient::Offered { .. })));
    drop(lost);
}

#[tokio::test(flavor = "multi_thread")]
async fn handshake_that_trickles_in_is_given_up_and_holds_up_nobody() {
    let server = Running::with(&[], |config| config.timeouts.head_seconds = 1).await;
    let mut slow = Vec::new();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let head = "GET /fugitive/signal HTTP/1.1\r\nhost: x\r\nupgrade: web";
        stream.write_all(head.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    let mut client = join(&server, "/", 0, None).await;
    for stream in &mut slow {
        let mut rest = Vec::new();
        let ended = async {
            let mut byte = [0; 1];
            loop {
                // A byte now and then, for ever.
                if stream.write_all(b"s").await.is_err() {
                    break;
                }
                let read = timeout(Duration::from_millis(100), stream.read(&mut byte));
                match read.await {
                    Ok(Ok(0) | Err(_)) => break,
                    Ok(Ok(_)) => rest.push(byte[0]),
                    Err(_) => {}
                }
            }
        };
        timeout(SOON, ended).await.expect("it is closed");
    }
    client
        .say(&ToServer::More {
            want: 1,
            page: None,
        })
        .await;
    assert!(client.hear().await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn download_that_nobody_takes_is_given_up() {
    let film = bytes(64 << 20);
    let server = Running::with(&[("film.mp4", &film)], |config| {
        config.timeouts.stalled_seconds = 1;
    })
    .await;
    let mut deaf = TcpStream::connect(server.address).await.unwrap();
    let head = "GET /film.mp4 HTTP/1.1\r\nhost: x\r\n\r\n";
    deaf.write_all(head.as_bytes()).await.unwrap();
    // Its line is written when the answer is given up.
    let log = server.log(1).await;
    assert!(log[0].contains("/film.mp4"), "{log:?}");
    let mut taken = Vec::new();
    let read = timeout(SOON, deaf.read_to_end(&mut taken)).await;
    assert!(read.is_ok() && taken.len() < film.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn peer_with_no_room_is_not_offered_until_a_channel_of_its_is_down() {
    let server = Running::start(&[]).await;
    let mut small = connect(&server, Some("https://site")).await.unwrap();
    small
        .say(&ToServer::Join {
            version: 1,
            page: "/".into(),
            want: 0,
            ticket: None,
            room: Some(1),
            position: None,
        })
        .await;
    let id = match small.hear().await {
        Some(ToClient::Welcome { id, .. }) => id,
        other => panic!("{other:?}"),
    };
    let mut first = join(&server, "/", 4, None).await;
    assert_eq!(first.offered, std::slice::from_ref(&id));
    first.say(&ToServer::Up { peer: id.clone() }).await;
    first
        .say(&ToServer::More {
            want: 0,
            page: None,
        })
        .await;
    first.hear().await;
    let second = join(&server, "/", 4, None).await;
    assert_eq!(second.offered, std::slice::from_ref(&first.id));
    first.say(&ToServer::Down { peer: id.clone() }).await;
    first
        .say(&ToServer::More {
            want: 0,
            page: None,
        })
        .await;
    first.hear().await;
    let third = join(&server, "/", 4, None).await;
    assert!(third.offered.contains(&id));
}
