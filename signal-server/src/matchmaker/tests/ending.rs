//! What ends a connection, what of it stays for its owner to come back to, and what is forgotten.

use super::{away::REMEMBERED, *};

#[test]
fn silent_peer_is_gone_after_three_heartbeats_and_one_that_beats_is_not() {
    let mut room = Room::new();
    let silent = room.join("o", "/", 4, None);
    let alive = room.join("o", "/", 4, None);
    let mut heard = Vec::new();
    for _ in 0..4 {
        room.now += u64::from(HEARTBEAT_SECONDS) * 1000;
        heard.extend(room.say(
            alive.conn,
            ToServer::Heartbeat {
                measured: Vec::new(),
                serves: None,
            },
        ));
        room.tick();
        heard.extend(room.heard_by(&alive));
    }
    assert_eq!(room.closed, [(silent.conn, "nothing heard for too long")]);
    assert_eq!(heard, [gone(&silent)]);
}

#[test]
fn connection_that_never_joins_is_closed() {
    let mut room = Room::new();
    let conn = room.open("o");
    room.now += UNJOINED - 1;
    room.tick();
    assert!(room.closed.is_empty());
    room.now += 1;
    room.tick();
    assert_eq!(room.closed, [(conn, "no join")]);
}

#[test]
fn anything_before_the_join_closes_and_a_second_join_is_refused() {
    let mut room = Room::new();
    let conn = room.open("o");
    room.say(
        conn,
        ToServer::More {
            want: 1,
            page: None,
        },
    );
    assert_eq!(room.closed, [(conn, "the first message must be a join")]);
    let peer = room.join("o", "/", 0, None);
    let answer = room.say(
        peer.conn,
        ToServer::Join {
            version: 1,
            page: "/".into(),
            want: 0,
            ticket: None,
            room: None,
            position: None,
        },
    );
    assert!(matches!(answer.as_slice(), [ToClient::Refused { .. }]));
    assert_eq!(room.matchmaker.joined(), 1);
}

#[test]
fn client_that_comes_back_with_its_ticket_finds_an_old_neighbour() {
    let mut room = Room::new();
    let neighbour = room.join("o", "/", 0, None);
    let peer = room.join("o", "/", 1, None);
    assert_eq!(peer.offered, std::slice::from_ref(&neighbour.id));
    for _ in 0..20 {
        room.join("o", "/next", 0, None);
    }
    room.say(peer.conn, ToServer::Leave {});
    assert_eq!(room.heard_by(&neighbour), [gone(&peer)]);
    room.now += 500;
    let back = room.join("o", "/next", 4, Some(&peer.ticket));
    assert_eq!(back.id, peer.id);
    assert_eq!(back.offered.len(), 4);
    assert!(back.offered.contains(&neighbour.id));
    assert!(room.signal(&back, &neighbour.id).is_empty());
}

#[test]
fn client_that_comes_back_before_its_old_socket_closed_takes_its_place_quietly() {
    let mut room = Room::new();
    let neighbour = room.join("o", "/", 0, None);
    let peer = room.join("o", "/", 1, None);
    let back = room.join("o", "/next", 4, Some(&peer.ticket));
    assert_eq!(back.id, peer.id);
    assert_eq!(back.offered, std::slice::from_ref(&neighbour.id));
    assert_eq!(room.closed, [(peer.conn, "you came back elsewhere")]);
    room.hang_up(peer.conn);
    assert!(room.heard_by(&neighbour).is_empty());
    assert!(room.signal(&neighbour, &peer.id).is_empty());
    assert_eq!(room.heard_by(&back).len(), 1);
    assert_eq!(room.matchmaker.joined(), 2);
}

#[test]
fn forged_ticket_and_one_of_another_origin_make_a_new_peer() {
    let mut room = Room::new();
    let victim = room.join("o", "/", 0, None);
    let forged = format!("{}.ffffffffffff.{}", victim.id, "0".repeat(64));
    assert_ne!(room.join("o", "/", 0, Some(&forged)).id, victim.id);
    assert_ne!(room.join("p", "/", 0, Some(&victim.ticket)).id, victim.id);
    assert!(room.closed.is_empty());
}

#[test]
fn links_of_one_that_left_long_ago_are_forgotten() {
    let mut room = Room::new();
    let neighbour = room.join("o", "/", 0, None);
    let peer = room.join("o", "/", 1, None);
    room.say(peer.conn, ToServer::Leave {});
    room.now += REMEMBERED;
    room.say(
        neighbour.conn,
        ToServer::Heartbeat {
            measured: Vec::new(),
            serves: None,
        },
    );
    room.tick();
    let back = room.join("o", "/", 0, Some(&peer.ticket));
    assert_eq!(back.id, peer.id);
    let answer = room.signal(&back, &neighbour.id);
    assert!(matches!(answer.as_slice(), [ToClient::Refused { .. }]));
}

#[test]
fn flood_closes_the_connection_and_a_steady_pace_does_not() {
    let mut room = Room::new();
    let steady = room.join("o", "/", 0, None);
    for _ in 0..5000 {
        room.now += 1000 / RATE;
        room.say(
            steady.conn,
            ToServer::Heartbeat {
                measured: Vec::new(),
                serves: None,
            },
        );
    }
    assert!(room.closed.is_empty());
    let flood = room.join("o", "/", 0, None);
    for _ in 0..=BURST {
        room.say(
            flood.conn,
            ToServer::Heartbeat {
                measured: Vec::new(),
                serves: None,
            },
        );
    }
    assert_eq!(room.closed, [(flood.conn, "too many messages")]);
}

#[test]
fn nothing_is_left_of_those_who_left() {
    let mut room = Room::new();
    let peers: Vec<Joined> = (0..50)
        .map(|i| room.join("o", &format!("/{}", i % 7), 8, None))
        .collect();
    for (i, peer) in peers.iter().enumerate() {
        if i % 2 == 0 {
            room.hang_up(peer.conn);
        } else {
            room.say(peer.conn, ToServer::Leave {});
        }
    }
    room.now += REMEMBERED;
    room.tick();
    assert!(room.matchmaker.sites.is_empty());
    assert!(room.matchmaker.peers.is_empty());
    assert!(room.matchmaker.connections.is_empty());
    assert!(room.matchmaker.formers.is_empty());
    assert_eq!(room.matchmaker.counts(), Counts::default());
}

#[test]
fn silent_peer_is_asked_once_whether_it_is_there() {
    let mut room = Room::new();
    let peer = room.join("o", "/", 0, None);
    room.now += QUIET;
    room.tick();
    room.tick();
    assert_eq!(room.pinged, [peer.conn]);
    let mut out = Vec::new();
    assert!(room.matchmaker.heard(peer.conn, room.now, &mut out));
    room.now += QUIET;
    room.tick();
    assert_eq!(room.pinged, [peer.conn, peer.conn]);
    assert!(room.closed.is_empty());
}
