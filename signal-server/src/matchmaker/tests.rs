//! Rooms full of peers, by a clock that the test moves. Here: what is relayed, and the directory.

mod ending;
mod offers;
mod pages;
mod returning;

use std::collections::BTreeSet;

use fugitive_signal::{Measured, Position, Signal};
use rand::{SeedableRng, rngs::StdRng};

use super::*;

/// A matchmaker, what it said to each connection, and a clock that the test moves.
struct Room {
    matchmaker: Matchmaker,
    rng: StdRng,
    now: u64,
    next: u64,
    said: BTreeMap<Conn, Vec<ToClient>>,
    closed: Vec<(Conn, &'static str)>,
    pinged: Vec<Conn>,
}

struct Joined {
    conn: Conn,
    id: String,
    ticket: String,
    offered: Vec<String>,
}

impl Room {
    fn new() -> Self {
        Self {
            matchmaker: Matchmaker::new(&[9; 64]),
            rng: StdRng::seed_from_u64(1),
            now: 1_000_000,
            next: 0,
            said: BTreeMap::new(),
            closed: Vec::new(),
            pinged: Vec::new(),
        }
    }

    fn obey(&mut self, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Send { to, message } => {
                    self.said.entry(to).or_default().push(message);
                }
                Output::Ping { to } => self.pinged.push(to),
                Output::Close { conn, why } => self.closed.push((conn, why)),
            }
        }
    }

    fn open(&mut self, origin: &str) -> Conn {
        self.next += 1;
        self.matchmaker.open(Conn(self.next), origin, self.now);
        Conn(self.next)
    }

    fn say(&mut self, conn: Conn, message: ToServer) -> Vec<ToClient> {
        let mut out = Vec::new();
        if self.matchmaker.heard(conn, self.now, &mut out) {
            self.matchmaker
                .receive(conn, message, self.now, &mut self.rng, &mut out);
        }
        self.obey(out);
        self.said.remove(&conn).unwrap_or_default()
    }

    fn join(&mut self, origin: &str, page: &str, want: u16, ticket: Option<&str>) -> Joined {
        let conn = self.open(origin);
        self.join_on(conn, page, want, None, ticket)
    }

    /// From a place, with room for so many.
    fn join_from(&mut self, place: Place, want: u16, room: Option<u16>) -> Joined {
        let conn = self.open("o");
        self.matchmaker.locate(conn, place);
        self.join_on(conn, "/", want, room, None)
    }

    fn join_on(
        &mut self,
        conn: Conn,
        page: &str,
        want: u16,
        room: Option<u16>,
        ticket: Option<&str>,
    ) -> Joined {
        let answer = self.say(
            conn,
            ToServer::Join {
                version: 1,
                page: page.into(),
                want,
                ticket: ticket.map(str::to_owned),
                room,
                position: None,
            },
        );
        match answer.as_slice() {
            [
                ToClient::Welcome { id, ticket, .. },
                ToClient::Offered { peers },
            ] => Joined {
                conn,
                id: id.clone(),
                ticket: ticket.clone(),
                offered: peers.clone(),
            },
            other => panic!("{other:?}"),
        }
    }

    fn signal(&mut self, from: &Joined, to: &str) -> Vec<ToClient> {
        let signal = Signal::Candidate {
            candidate: "c".into(),
            mid: None,
            line: None,
        };
        let to = to.into();
        self.say(from.conn, ToServer::Signal { to, signal })
    }

    fn more(&mut self, peer: &Joined, want: u16) -> Vec<String> {
        match self
            .say(peer.conn, ToServer::More { want, page: None })
            .as_slice()
        {
            [ToClient::Offered { peers }] => peers.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn heard_by(&mut self, peer: &Joined) -> Vec<ToClient> {
        self.said.remove(&peer.conn).unwrap_or_default()
    }

    fn hang_up(&mut self, conn: Conn) {
        let mut out = Vec::new();
        self.matchmaker.closed(conn, self.now, &mut out);
        self.obey(out);
    }

    fn tick(&mut self) {
        let mut out = Vec::new();
        self.matchmaker.tick(self.now, &mut out);
        self.obey(out);
    }
}

fn gone(peer: &Joined) -> ToClient {
    ToClient::Gone {
        peer: peer.id.clone(),
    }
}

#[test]
fn signal_is_relayed_both_ways_over_a_link_with_the_true_sender() {
    let mut room = Room::new();
    let first = room.join("o", "/", 4, None);
    let second = room.join("o", "/", 4, None);
    for (from, to) in [(&second, &first), (&first, &second)] {
        assert!(room.signal(from, &to.id).is_empty());
        match room.heard_by(to).as_slice() {
            [ToClient::Signal { from: sender, .. }] => assert_eq!(*sender, from.id),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn signal_to_a_stranger_is_refused_and_the_stranger_hears_nothing() {
    let mut room = Room::new();
    let first = room.join("o", "/", 0, None);
    let second = room.join("o", "/", 0, None);
    let foreign = room.join("p", "/", 0, None);
    for to in [first.id.as_str(), foreign.id.as_str(), "nobody", ""] {
        let answer = room.signal(&second, to);
        assert!(matches!(answer.as_slice(), [ToClient::Refused { .. }]));
    }
    assert!(room.heard_by(&first).is_empty());
    assert!(room.heard_by(&foreign).is_empty());
}

#[test]
fn gone_is_said_once_to_those_with_a_link_and_to_nobody_else() {
    let mut room = Room::new();
    let first = room.join("o", "/", 4, None);
    let second = room.join("o", "/", 4, None);
    let stranger = room.join("o", "/", 0, None);
    room.say(second.conn, ToServer::Leave {});
    assert_eq!(room.heard_by(&first), [gone(&second)]);
    room.hang_up(second.conn);
    assert!(room.heard_by(&first).is_empty());
    assert!(room.heard_by(&stranger).is_empty());
    let answer = room.signal(&first, &second.id);
    assert!(matches!(answer.as_slice(), [ToClient::Refused { .. }]));
    assert_eq!(room.join("o", "/", 9, None).offered.len(), 2);
}

#[test]
fn holder_of_a_rare_content_is_found_across_pages_and_can_be_dialled() {
    let mut room = Room::new();
    let film = ContentId::of(b"film");
    let holder = room.join("o", "/far", 0, None);
    let foreign = room.join("p", "/far", 0, None);
    for peer in [&holder, &foreign] {
        room.say(peer.conn, ToServer::Hold { ids: vec![film] });
    }
    let asker = room.join("o", "/", 0, None);
    let found = room.say(asker.conn, ToServer::Find { id: film, want: 4 });
    let peers = vec![holder.id.clone()];
    assert_eq!(found, [ToClient::Holders { id: film, peers }]);
    assert!(room.signal(&asker, &holder.id).is_empty());
    room.heard_by(&holder);
    assert!(room.signal(&holder, &asker.id).is_empty());
    room.hang_up(holder.conn);
    room.heard_by(&asker);
    let found = room.say(asker.conn, ToServer::Find { id: film, want: 4 });
    let peers = Vec::new();
    assert_eq!(found, [ToClient::Holders { id: film, peers }]);
}

#[test]
fn one_peer_announces_a_bounded_number_of_contents() {
    let mut room = Room::new();
    let greedy = room.join("o", "/", 0, None);
    for i in 0..20_u8 {
        let ids = (0..30_u8).map(|j| ContentId::of(&[i, j])).collect();
        room.say(greedy.conn, ToServer::Hold { ids });
    }
    assert_eq!(room.matchmaker.counts().holds, MOST_HELD);
    let ids = (0..30_u8).map(|j| ContentId::of(&[0, j])).collect();
    room.say(greedy.conn, ToServer::Release { ids });
    assert_eq!(room.matchmaker.counts().holds, MOST_HELD - 30);
    room.now += 16 * 60 * 1000;
    room.say(
        greedy.conn,
        ToServer::Heartbeat {
            measured: Vec::new(),
            serves: None,
        },
    );
    room.tick();
    assert_eq!(room.matchmaker.counts().holds, 0);
    room.matchmaker.set_rules(Rules {
        hold_over: None,
        ..Rules::default()
    });
    room.say(
        greedy.conn,
        ToServer::Hold {
            ids: vec![ContentId::of(b"x")],
        },
    );
    assert_eq!(room.matchmaker.counts().holds, 0);
}
