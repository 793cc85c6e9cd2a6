//! What holds for a cluster as it does for one server: room, bans, the directory, the threshold.

use std::{collections::BTreeSet, time::Duration};

use fugitive_core::content::ContentId;
use fugitive_signal::{ToClient, ToServer};
use tokio::time::timeout;

use crate::{
    client::{Client, connect, join, join_at, joining},
    cluster::{Node, is_offer_of, news, say_until_heard, server, server_with},
    process::Process,
    running::{Running, until},
};

/// Waits until the server has done with what was said so far.
async fn settled(client: &mut Client) {
    client
        .say(&ToServer::More {
            want: 0,
            page: None,
        })
        .await;
    while !matches!(client.hear().await.unwrap(), ToClient::Offered { peers } if peers.is_empty()) {
    }
}

/// Joins with room for one connection.
async fn small(server: &Running, want: u16) -> Client {
    let mut client = connect(server, Some("https://site")).await.unwrap();
    let mut message = joining("/", want, None);
    if let ToServer::Join { room, .. } = &mut message {
        *room = Some(1);
    }
    client.say(&message).await;
    match client.hear().await {
        Some(ToClient::Welcome { id, .. }) => client.id = id,
        other => panic!("{other:?}"),
    }
    client.hear().await;
    client
}

/// Asks who holds a content until that is these and nobody else.
async fn until_found(asks: &mut Client, film: ContentId, wanted: &[&str]) {
    let wanted: BTreeSet<_> = wanted.iter().map(|peer| (*peer).to_owned()).collect();
    loop {
        asks.say(&ToServer::Find { id: film, want: 4 }).await;
        // Those here, and then those at each of the other servers.
        let mut found = BTreeSet::new();
        while let Ok(said) = timeout(Duration::from_millis(500), asks.hear()).await {
            match said {
                Some(ToClient::Holders { id, peers }) if id == film => found.extend(peers),
                Some(ToClient::Gone { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
        // Servers may not know each other yet, or not know that one was lost.
        if found == wanted {
            return;
        }
    }
}

async fn is_offered(server: &Running, peer: &str) -> bool {
    let mut asks = join(server, "/", 4, None).await;
    let is_offered = asks.offered.iter().any(|offered| offered == peer);
    asks.say(&ToServer::Leave {}).await;
    asks.refused().await;
    is_offered
}

/// Asks until the one is offered, and never the other.
async fn is_offered_but(asks: &mut Client, wanted: &str, never: &str) {
    loop {
        asks.say(&ToServer::More {
            want: 4,
            page: None,
        })
        .await;
        match timeout(Duration::from_secs(1), news(asks)).await {
            Ok(Some(ToClient::Offered { peers })) => {
                assert!(!peers.iter().any(|peer| peer == never));
                if peers.iter().any(|peer| peer == wanted) {
                    return;
                }
            }
            Ok(Some(ToClient::Gone { .. })) | Err(_) => {}
            Ok(other) => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn channel_between_servers_takes_room_at_both_until_it_is_down() {
    let node = Node::start(None);
    let (here, there) = (server(&[&node]).await, server(&[&node]).await);
    let mut called = small(&here, 0).await;
    let mut caller = small(&there, 1).await;
    let offer = news(&mut caller).await;
    assert!(is_offer_of(&offer, &called.id), "{offer:?}");
    assert!(is_offered(&there, &caller.id).await);
    caller
        .say(&ToServer::Up {
            peer: called.id.clone(),
        })
        .await;
    settled(&mut caller).await;
    assert!(!is_offered(&there, &caller.id).await);
    assert!(!is_offered(&here, &called.id).await);
    caller
        .say(&ToServer::Down {
            peer: called.id.clone(),
        })
        .await;
    settled(&mut caller).await;
    assert!(is_offered(&there, &caller.id).await);
    // Sooner than what never opened is given up.
    until("the other server knows", || async {
        is_offered(&here, &called.id).await
    })
    .await;
    settled(&mut called).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn peer_that_was_banned_is_not_met_at_another_server() {
    let node = Node::start(None);
    let (here, there) = (server(&[&node]).await, server(&[&node]).await);
    let banned = join(&here, "/", 0, None).await;
    let mut asks = join(&there, "/", 4, None).await;
    let offer = news(&mut asks).await;
    assert!(is_offer_of(&offer, &banned.id), "{offer:?}");
    asks.say(&ToServer::Ban {
        peer: banned.id.clone(),
    })
    .await;
    settled(&mut asks).await;
    let other = join(&here, "/", 0, None).await;
    is_offered_but(&mut asks, &other.id, &banned.id).await;
    // Nor where it is a guest for the first time.
    let third = server(&[&node]).await;
    let moved = join(&third, "/", 0, Some(banned.ticket.clone())).await;
    assert_eq!(moved.id, banned.id);
    let other = join(&third, "/", 0, None).await;
    is_offered_but(&mut asks, &other.id, &banned.id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_holder_is_found_at_another_server_on_another_page() {
    let node = Node::start(None);
    let (here, there) = (server(&[&node]).await, server(&[&node]).await);
    let film = ContentId::of(b"film");
    let mut holder = join(&here, "/film", 0, None).await;
    holder.say(&ToServer::Hold { ids: vec![film] }).await;
    settled(&mut holder).await;
    let mut asks = join(&there, "/", 0, None).await;
    until_found(&mut asks, film, &[&holder.id]).await;
    say_until_heard(&mut asks, &mut holder).await;
    say_until_heard(&mut holder, &mut asks).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn directory_has_the_other_holders_when_a_server_is_killed() {
    let node = Node::start(None);
    let (here, there) = (server(&[&node]).await, server(&[&node]).await);
    let url = node.url();
    let arguments = ["--cluster", &url, "--set", "access.ticket-secret=shared"];
    let mut process = Process::start("127.0.0.1:0", &arguments);
    let film = ContentId::of(b"film");
    let mut stays = join(&here, "/film", 0, None).await;
    let mut goes = join_at(process.address, "/film", 0, None).await;
    for holder in [&mut stays, &mut goes] {
        holder.say(&ToServer::Hold { ids: vec![film] }).await;
        settled(holder).await;
    }
    let mut asks = join(&there, "/", 0, None).await;
    until_found(&mut asks, film, &[&stays.id, &goes.id]).await;
    process.kill();
    until_found(&mut asks, film, &[&stays.id]).await;
    say_until_heard(&mut asks, &mut stays).await;
    // Who was there is so again, at another server and from there.
    let mut back = join(&here, "/film", 0, Some(goes.ticket.clone())).await;
    back.say(&ToServer::Hold { ids: vec![film] }).await;
    until_found(&mut asks, film, &[&stays.id, &goes.id]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn visitors_of_two_servers_together_are_as_many_as_the_threshold_asks_for() {
    let node = Node::start(None);
    let few = |config: &mut fugitive_server::Config| config.threshold = 4;
    let here = server_with(&[&node], few).await;
    let there = server_with(&[&node], few).await;
    let first = join(&here, "/", 0, None).await;
    let second = join(&here, "/", 0, None).await;
    let mut third = join(&there, "/", 4, None).await;
    assert!(third.silent().await);
    let mut fourth = join(&there, "/", 4, None).await;
    match news(&mut fourth).await {
        Some(ToClient::Offered { peers }) => {
            assert!(
                peers.contains(&first.id) && peers.contains(&second.id),
                "{peers:?}"
            );
        }
        other => panic!("{other:?}"),
    }
}
