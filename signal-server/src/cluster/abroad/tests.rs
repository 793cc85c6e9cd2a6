//! Several matchmakers as one, over a wire in memory that can be cut.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Mutex,
};

use fugitive_signal::Signal;
use rand::{SeedableRng, rngs::StdRng};

use super::*;
use crate::{backlog::TOO_MUCH, matchmaker::Rules};

/// What is on its way: to one server, or to all but the sender.
type Wire = Arc<Mutex<VecDeque<(ServerId, Option<ServerId>, Vec<u8>)>>>;

struct Line {
    me: ServerId,
    wire: Wire,
}

impl Line {
    fn put(&self, to: Option<ServerId>, message: Vec<u8>) {
        self.wire.lock().unwrap().push_back((self.me, to, message));
    }
}

impl Backbone for Line {
    fn tell(&self, server: ServerId, message: Vec<u8>) {
        self.put(Some(server), message);
    }
    fn call(&self, _: &str, message: Vec<u8>) {
        self.put(None, message);
    }
    fn tell_all(&self, message: Vec<u8>) {
        self.put(None, message);
    }
    fn attend(&self, _: &str) {}
    fn attend_only(&self, _: &dyn Fn(&str) -> bool) {}
}

struct Site {
    matchmaker: Matchmaker,
    abroad: Abroad,
    next: u64,
    heard: HashMap<Conn, Vec<ToClient>>,
}

impl Site {
    fn obey(&mut self, out: Vec<Output>, deliver: Vec<Deliver>) {
        for output in out {
            match output {
                Output::Send { to, message } if self.abroad.is_guest(to) => {
                    self.abroad.send(to, &message);
                }
                Output::Send { to, message } if self.abroad.is_known_elsewhere(to, &message) => {}
                Output::Send { to, message } => {
                    self.heard.entry(to).or_default().push(message);
                }
                Output::Close { conn, .. } => {
                    self.abroad.close(conn);
                }
                _ => {}
            }
        }
        for delivery in deliver {
            let (conn, message) = match delivery {
                Deliver::Signal(conn, _, bytes) => (conn, decode(&bytes).unwrap()),
                Deliver::Message(conn, message) => (conn, message),
            };
            self.heard.entry(conn).or_default().push(message);
        }
    }
}

/// Servers, and a wire between them that may be cut.
struct World {
    sites: Vec<Site>,
    wire: Wire,
    rng: StdRng,
    now: u64,
    is_cut: bool,
}

#[derive(Clone)]
struct Visitor {
    site: usize,
    conn: Conn,
    id: String,
    ticket: String,
}

impl World {
    fn new(servers: usize) -> Self {
        let wire = Wire::default();
        let site = |number: usize| {
            let me = number as ServerId;
            let wire = wire.clone();
            Site {
                matchmaker: Matchmaker::new(&[7; 64]),
                abroad: Abroad::new(me, Arc::new(Line { me, wire })),
                next: 0,
                heard: HashMap::new(),
            }
        };
        Self {
            sites: (0..servers).map(site).collect(),
            wire: wire.clone(),
            rng: StdRng::seed_from_u64(5),
            now: 1_000_000,
            is_cut: false,
        }
    }

    /// Until nothing is on its way any more.
    fn settle(&mut self) {
        loop {
            let next = self.wire.lock().unwrap().pop_front();
            let Some((from, to, bytes)) = next else {
                return;
            };
            for number in 0..self.sites.len() {
                let is_for = to.is_none_or(|to| to == number as ServerId);
                if self.is_cut || !is_for || from == number as ServerId {
                    continue;
                }
                let site = &mut self.sites[number];
                let (mut out, mut deliver) = (Vec::new(), Vec::new());
                site.abroad.receive(
                    &bytes,
                    &mut site.matchmaker,
                    &mut site.next,
                    self.now,
                    &mut self.rng,
                    &mut out,
                    &mut deliver,
                );
                site.obey(out, deliver);
            }
        }
    }

    fn say(&mut self, site: usize, conn: Conn, message: &ToServer) {
        let at = &mut self.sites[site];
        let mut out = Vec::new();
        at.matchmaker.heard(conn, self.now, &mut out);
        if let ToServer::Signal { to, .. } = message
            && at.abroad.say(conn, to, &encode(message))
        {
            return self.settle();
        }
        let message_ = message.clone();
        at.matchmaker
            .receive(conn, message_, self.now, &mut self.rng, &mut out);
        let found = out.iter().filter_map(|output| match output {
            Output::Send {
                message: ToClient::Offered { peers } | ToClient::Holders { peers, .. },
                ..
            } => Some(peers.len()),
            _ => None,
        });
        let found = found.sum();
        at.abroad
            .asked(conn, message, &mut at.matchmaker, found, self.now);
        at.obey(out, Vec::new());
        self.settle();
    }

    fn join(&mut self, site: usize, want: u16, ticket: Option<&str>) -> Visitor {
        self.join_on(site, "/", want, ticket)
    }

    fn join_on(&mut self, site: usize, page: &str, want: u16, ticket: Option<&str>) -> Visitor {
        let at = &mut self.sites[site];
        at.next += 1;
        let conn = Conn(at.next);
        at.matchmaker.open(conn, "o", self.now);
        let join = ToServer::Join {
            version: 1,
            page: page.into(),
            want,
            ticket: ticket.map(str::to_owned),
            room: None,
            position: None,
        };
        self.say(site, conn, &join);
        let heard = self.sites[site].heard.get_mut(&conn).unwrap();
        match heard.remove(0) {
            ToClient::Welcome { id, ticket, .. } => Visitor {
                site,
                conn,
                id,
                ticket,
            },
            other => panic!("{other:?}"),
        }
    }

    fn leave(&mut self, visitor: &Visitor) {
        let at = &mut self.sites[visitor.site];
        let mut out = Vec::new();
        at.matchmaker.closed(visitor.conn, self.now, &mut out);
        at.abroad.left(visitor.conn);
        at.obey(out, Vec::new());
        self.settle();
    }

    fn wait(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now += 1000;
            for site in &mut self.sites {
                let (mut out, mut deliver) = (Vec::new(), Vec::new());
                site.matchmaker.tick(self.now, &mut out);
                site.abroad
                    .tick(&mut site.matchmaker, self.now, &mut out, &mut deliver);
                site.obey(out, deliver);
            }
            self.settle();
        }
    }

    /// What it was told since the last time, but for offers of nobody.
    fn heard(&mut self, visitor: &Visitor) -> Vec<ToClient> {
        let heard = self.sites[visitor.site].heard.remove(&visitor.conn);
        let nobody = ToClient::Offered { peers: Vec::new() };
        let heard = heard.unwrap_or_default().into_iter();
        heard.filter(|message| *message != nobody).collect()
    }

    fn signal(&mut self, from: &Visitor, to: &Visitor) -> bool {
        let candidate = Signal::Candidate {
            candidate: "c".into(),
            mid: None,
            line: None,
        };
        self.heard(to);
        let (to_id, signal) = (to.id.clone(), candidate.clone());
        let message = ToServer::Signal { to: to_id, signal };
        self.say(from.site, from.conn, &message);
        let from = from.id.clone();
        self.heard(to).contains(&ToClient::Signal {
            from,
            signal: candidate,
        })
    }

    fn guests(&self) -> usize {
        self.sites.iter().map(|site| site.abroad.homes.len()).sum()
    }
}

/// Nobody is offered where fewer than so many are.
fn few(servers: usize, threshold: usize) -> World {
    let mut world = World::new(servers);
    for site in &mut world.sites {
        let rules = Rules::default();
        site.matchmaker.set_rules(Rules { threshold, ..rules });
    }
    world
}

fn offered(visitor: &Visitor) -> ToClient {
    let peers = vec![visitor.id.clone()];
    ToClient::Offered { peers }
}

fn gone(visitor: &Visitor) -> ToClient {
    let peer = visitor.id.clone();
    ToClient::Gone { peer }
}

#[test]
fn peers_at_different_servers_meet_talk_and_hear_that_the_other_left() {
    let mut world = World::new(2);
    let a = world.join(0, 2, None);
    let b = world.join(1, 2, None);
    assert_eq!(world.heard(&b), [offered(&a)]);
    assert!(world.signal(&b, &a) && world.signal(&a, &b));
    world.leave(&a);
    assert_eq!(world.heard(&b), [gone(&a)]);
    assert_eq!(world.guests(), 0);
    let c = world.join(0, 2, None);
    assert_eq!(world.heard(&c), [offered(&b)]);
    world.leave(&c);
    assert_eq!(world.heard(&b), [gone(&c)]);
    assert_eq!(world.guests(), 0);
}

#[test]
fn guest_is_offered_to_nobody_and_who_finds_enough_at_home_is_no_guest() {
    let mut world = World::new(2);
    let _a = world.join(0, 0, None);
    let _guest = world.join(1, 1, None);
    assert_eq!(world.guests(), 1);
    let _c = world.join(0, 1, None);
    let d = world.join(0, 8, None);
    let peers = world.heard(&d);
    let named: BTreeSet<String> = peers
        .into_iter()
        .flat_map(|message| match message {
            ToClient::Offered { peers } => peers,
            _ => Vec::new(),
        })
        .collect();
    // Each once, though one of them is known at both servers.
    assert_eq!(named.len(), 3);
}

#[test]
fn two_who_look_for_each_other_at_once_do_not_both_dial() {
    for _ in 0..8 {
        let mut world = World::new(2);
        world.is_cut = true;
        let a = world.join(0, 1, None);
        let b = world.join(1, 1, None);
        // Both call out again in the same moment.
        world.is_cut = false;
        world.wait(1);
        let (a_heard, b_heard) = (world.heard(&a), world.heard(&b));
        assert_eq!(a_heard.len() + b_heard.len(), 1, "{a_heard:?} {b_heard:?}");
        assert!(world.signal(&a, &b) && world.signal(&b, &a));
        world.leave(&a);
        assert_eq!(world.heard(&b), [gone(&a)]);
        assert_eq!(world.guests(), 0);
    }
}

#[test]
fn who_moves_to_another_server_is_the_same_peer_with_the_same_friends() {
    let mut world = World::new(3);
    let friend = world.join(0, 0, None);
    let old = world.join(1, 1, None);
    assert_eq!(world.heard(&old), [offered(&friend)]);
    // Its old socket is not closed yet.
    let new = world.join(2, 1, Some(&old.ticket));
    assert_eq!(new.id, old.id);
    assert_eq!(world.heard(&new), [offered(&friend)]);
    assert!(world.signal(&new, &friend) && world.signal(&friend, &new));
    world.leave(&old);
    assert!(world.signal(&new, &friend) && world.signal(&friend, &new));
    world.leave(&new);
    assert_eq!(world.heard(&friend).last(), Some(&gone(&new)));
}

#[test]
fn silent_server_is_lost_and_what_was_said_meanwhile_is_made_good() {
    let mut world = World::new(2);
    let a = world.join(0, 1, None);
    let b = world.join(1, 1, None);
    assert!(world.signal(&b, &a));
    world.heard(&b);
    world.is_cut = true;
    world.wait(LOST / 1000 + 2);
    assert_eq!(world.heard(&a), [gone(&b)]);
    assert_eq!(world.heard(&b), [gone(&a)]);
    assert_eq!(world.guests(), 0);
    world.is_cut = false;
    world.wait(2);
    world.say(
        b.site,
        b.conn,
        &ToServer::More {
            want: 1,
            page: None,
        },
    );
    assert_eq!(world.heard(&b), [offered(&a)]);
    assert!(world.signal(&a, &b));
}

#[test]
fn who_is_on_a_page_to_come_is_found_at_other_servers() {
    let mut world = World::new(2);
    let first = world.join_on(0, "/one", 0, None);
    let there = world.join_on(1, "/two", 0, None);
    world.wait(1);
    let more = ToServer::More {
        want: 1,
        page: Some("/two".into()),
    };
    world.say(first.site, first.conn, &more);
    assert_eq!(world.heard(&first).last(), Some(&offered(&there)));
    assert!(world.signal(&first, &there) && world.signal(&there, &first));
}

#[test]
fn leave_that_was_lost_on_the_way_does_not_leave_a_guest_behind() {
    let mut world = World::new(2);
    let a = world.join(0, 0, None);
    let b = world.join(1, 1, None);
    world.is_cut = true;
    world.leave(&b);
    world.is_cut = false;
    assert_eq!(world.guests(), 1);
    // Nobody says that it is still a guest; and nothing is heard of it.
    for _ in 0..80 {
        world.wait(1);
        let measured = Vec::new();
        world.say(
            a.site,
            a.conn,
            &ToServer::Heartbeat {
                measured,
                serves: None,
            },
        );
    }
    assert_eq!(world.guests(), 0);
}

#[test]
fn visitors_of_three_servers_together_are_as_many_as_the_threshold_asks_for() {
    let mut world = few(3, 4);
    let visitors = [0, 1, 2].map(|site| world.join(site, 4, None));
    world.wait(15);
    for visitor in &visitors {
        assert!(world.heard(visitor).is_empty(), "three are not four");
    }
    // The fourth is told at once, and is not alone to be told.
    let fourth = world.join(1, 4, None);
    let mut met = BTreeSet::new();
    for message in world.heard(&fourth) {
        match message {
            ToClient::Offered { peers } => met.extend(peers),
            other => panic!("{other:?}"),
        }
    }
    let others: BTreeSet<String> = visitors.iter().map(|visitor| visitor.id.clone()).collect();
    assert_eq!(met, others);
    assert!(world.signal(&fourth, &visitors[0]));
}

#[test]
fn who_is_gone_or_out_of_reach_is_not_counted_to_the_threshold() {
    let mut world = few(4, 4);
    let visitors = [0, 1, 2].map(|site| world.join(site, 0, None));
    world.wait(2);
    world.leave(&visitors[0]);
    world.wait(2);
    let late = world.join(3, 4, None);
    world.wait(15);
    assert!(world.heard(&late).is_empty(), "it is one of three");
    // Its server is not heard any more, and those that stay know of each other anew.
    world.is_cut = true;
    world.wait(LOST / 1000 + 2);
    world.is_cut = false;
    world.leave(&late);
    world.wait(STILL / 1000 + 2);
    let [_, one, other] = &visitors;
    let third = world.join(0, 4, None);
    world.wait(15);
    assert!(world.heard(&third).is_empty(), "it is one of three");
    let fourth = world.join(0, 4, None);
    world.wait(15);
    let named = format!("{:?}", world.heard(&fourth));
    assert!(named.contains(&one.id) && named.contains(&other.id));
}

#[test]
fn who_sends_more_to_a_guest_than_it_reads_is_told() {
    let mut world = World::new(2);
    let sender = world.join(0, 0, None);
    let reader = world.join(1, 1, None);
    let stranger = world.join(0, 0, None);
    world.heard(&sender);
    let home = &world.sites[1].abroad;
    home.unread(reader.conn, sender.id.parse().unwrap());
    // It was not offered to this one.
    home.unread(reader.conn, stranger.id.parse().unwrap());
    world.settle();
    let why = TOO_MUCH.into();
    assert_eq!(world.heard(&sender), [ToClient::Refused { why }]);
    assert!(world.heard(&stranger).is_empty());
}

#[test]
fn garbage_from_another_server_does_nothing() {
    let mut world = World::new(2);
    let a = world.join(0, 1, None);
    for kind in 0..11_u8 {
        for body in [&b""[..], b"x", b"\x81\xa6signal\xc0"] {
            let mut bytes = vec![kind];
            bytes.extend_from_slice(&9_u64.to_be_bytes());
            bytes.extend_from_slice(&a.conn.0.to_be_bytes());
            bytes.extend_from_slice(body);
            world.wire.lock().unwrap().push_back((9, Some(0), bytes));
        }
    }
    world.settle();
    assert!(world.heard(&a).is_empty());
    assert_eq!(world.guests(), 0);
}
