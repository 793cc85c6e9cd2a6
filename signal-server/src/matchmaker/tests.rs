//! Rooms full of peers, by a clock that the test moves.

use std::collections::BTreeSet;

use fugitive_signal::{Position, Signal};
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
        match self.say(peer.conn, ToServer::More { want }).as_slice() {
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
fn newcomer_is_told_whom_to_dial_and_the_others_nothing() {
    let mut room = Room::new();
    let first = room.join("https://a", "/", 4, None);
    assert!(first.offered.is_empty());
    let second = room.join("https://a", "/", 4, None);
    assert_eq!(second.offered, std::slice::from_ref(&first.id));
    assert!(room.heard_by(&first).is_empty());
}

#[test]
fn other_origin_is_never_offered() {
    let mut room = Room::new();
    room.join("https://a", "/", 4, None);
    assert!(room.join("https://b", "/", 4, None).offered.is_empty());
    assert!(room.join("http://a", "/", 4, None).offered.is_empty());
}

#[test]
fn who_was_on_a_page_is_found_there_also_after_it_went_on() {
    let mut room = Room::new();
    let walker = room.join("o", "/one", 0, None);
    room.hang_up(walker.conn);
    let walker = room.join("o", "/two", 0, Some(&walker.ticket));
    for _ in 0..40 {
        room.join("o", "/elsewhere", 0, None);
    }
    let newcomer = room.join("o", "/one", 1, None);
    assert_eq!(newcomer.offered, std::slice::from_ref(&walker.id));
    let newcomer = room.join("o", "/two", 2, None);
    assert!(newcomer.offered.contains(&walker.id));
    // The pages of who leaves for good are nobody's any more.
    let pages = room.matchmaker.counts().pages;
    room.hang_up(walker.conn);
    assert_eq!(room.matchmaker.counts().pages, pages);
    let newcomer = room.join("o", "/one", 4, None);
    assert!(!newcomer.offered.contains(&walker.id));
}

#[test]
fn page_that_is_turned_to_in_another_tab_is_the_one_that_counts() {
    let mut room = Room::new();
    let first = room.join("o", "/one", 0, None);
    let there = room.join("o", "/two", 0, None);
    for _ in 0..40 {
        room.join("o", "/elsewhere", 0, None);
    }
    let page = String::from("/two");
    assert_eq!(room.say(first.conn, ToServer::Page { page }), []);
    assert_eq!(room.more(&first, 1), std::slice::from_ref(&there.id));
    // It is found on both.
    let newcomer = room.join("o", "/one", 1, None);
    assert_eq!(newcomer.offered, std::slice::from_ref(&first.id));
    let newcomer = room.join("o", "/two", 2, None);
    assert!(newcomer.offered.contains(&first.id) && newcomer.offered.contains(&there.id));
}

#[test]
fn who_was_on_a_page_in_an_earlier_visit_is_found_there_if_it_says_so() {
    let mut room = Room::new();
    let back = room.join("o", "/two", 0, None);
    for _ in 0..40 {
        room.join("o", "/elsewhere", 0, None);
    }
    let pages = vec!["/one".into(), "/two".into(), "/one".into()];
    assert_eq!(room.say(back.conn, ToServer::Been { pages }), []);
    assert_eq!(room.matchmaker.counts().pages, 3);
    let newcomer = room.join("o", "/one", 1, None);
    assert_eq!(newcomer.offered, std::slice::from_ref(&back.id));
    // Where it is now it is offered whom it finds there, as before.
    let there = room.join("o", "/two", 0, None);
    assert_eq!(room.more(&back, 1), std::slice::from_ref(&there.id));
    // It can't be everywhere, nor push out where it is.
    let pages = (0..500).map(|page| format!("/{page}"));
    let long = "x".repeat(LONGEST_PAGE + 1);
    let pages = std::iter::once(long).chain(pages).collect();
    assert_eq!(room.say(back.conn, ToServer::Been { pages }), []);
    assert!(room.matchmaker.counts().pages <= 2 + MOST_BEEN);
    room.hang_up(there.conn);
    room.hang_up(newcomer.conn);
    room.hang_up(back.conn);
    assert_eq!(room.matchmaker.counts().pages, 1);
}

#[test]
fn one_visitor_is_found_on_a_bounded_number_of_pages() {
    let mut room = Room::new();
    let walker = room.join("o", "/", 0, None);
    for page in 0..500 {
        let page = format!("/{}", page % 300);
        room.say(walker.conn, ToServer::Page { page });
    }
    assert_eq!(room.matchmaker.counts().pages, 1 + MOST_BEEN);
    let page = "x".repeat(LONGEST_PAGE + 1);
    let answer = room.say(walker.conn, ToServer::Page { page });
    assert!(matches!(answer.as_slice(), [ToClient::Refused { .. }]));
    room.hang_up(walker.conn);
    assert_eq!(room.matchmaker.counts().pages, 0);
}

#[test]
fn whom_one_knew_takes_one_place_in_four_where_others_are_on_the_page() {
    let mut room = Room::new();
    let knew = [0; 8].map(|_| room.join("o", "/one", 0, None).id);
    let walker = room.join("o", "/one", 8, None);
    assert_eq!(walker.offered.len(), 8);
    for _ in 0..20 {
        room.join("o", "/two", 0, None);
    }
    room.hang_up(walker.conn);
    let walker = room.join("o", "/two", 8, Some(&walker.ticket));
    let again = walker.offered.iter().filter(|id| knew.contains(id));
    assert_eq!((walker.offered.len(), again.count()), (8, 2));
}

#[test]
fn same_page_comes_first_and_then_the_same_site() {
    let mut room = Room::new();
    let elsewhere = room.join("o", "/other", 0, None);
    let here = [0; 3].map(|_| room.join("o", "/page", 0, None).id);
    let newcomer = room.join("o", "/page", 4, None);
    assert_eq!(newcomer.offered.len(), 4);
    assert!(here.iter().all(|id| newcomer.offered[..3].contains(id)));
    assert_eq!(newcomer.offered[3], elsewhere.id);
}

#[test]
fn load_is_spread_over_those_that_have_few_links() {
    let mut room = Room::new();
    let olds: Vec<Joined> = (0..8).map(|_| room.join("o", "/", 0, None)).collect();
    let mut offers: HashMap<String, usize> = HashMap::new();
    for _ in 0..4 {
        for id in room.join("o", "/", 2, None).offered {
            *offers.entry(id).or_default() += 1;
        }
    }
    assert!(olds.iter().all(|old| offers.get(&old.id) == Some(&1)));
}

#[test]
fn nobody_is_offered_more_than_the_most_or_than_was_wanted() {
    let mut room = Room::new();
    for _ in 0..40 {
        room.join("o", "/", 0, None);
    }
    assert_eq!(room.join("o", "/", 3, None).offered.len(), 3);
    let greedy = room.join("o", "/", u16::MAX, None);
    assert_eq!(greedy.offered.len(), MOST_OFFERED);
}

#[test]
fn more_brings_strangers_first_and_then_those_that_were_offered_before() {
    let mut room = Room::new();
    for _ in 0..5 {
        room.join("o", "/", 0, None);
    }
    let peer = room.join("o", "/", 3, None);
    let more = room.more(&peer, 3);
    assert_eq!(more.len(), 3);
    let fresh = more.iter().filter(|id| !peer.offered.contains(id)).count();
    assert_eq!(fresh, 2);
    assert!(!peer.offered.contains(&more[0]) && !peer.offered.contains(&more[1]));
}

#[test]
fn peer_that_was_to_be_dialled_is_not_told_to_dial_back() {
    let mut room = Room::new();
    let first = room.join("o", "/", 4, None);
    let second = room.join("o", "/", 4, None);
    assert_eq!(second.offered, std::slice::from_ref(&first.id));
    assert!(room.more(&first, 4).is_empty());
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
    room.say(conn, ToServer::More { want: 1 });
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
            },
        );
    }
    assert_eq!(room.closed, [(flood.conn, "too many messages")]);
}

#[test]
fn one_visitor_gets_to_know_a_bounded_number_of_others() {
    let mut room = Room::new();
    for _ in 0..(MOST_LINKS + 50) {
        room.join("o", "/", 0, None);
    }
    let curious = room.join("o", "/", 16, None);
    let mut known: BTreeSet<String> = curious.offered.iter().cloned().collect();
    for _ in 0..50 {
        known.extend(room.more(&curious, 16));
    }
    assert_eq!(known.len(), MOST_LINKS);
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
fn thousands_join_in_a_moment() {
    let mut room = Room::new();
    let begun = std::time::Instant::now();
    let count = 10_000;
    for _ in 0..count {
        room.join("o", "/", 8, None);
    }
    assert_eq!(room.matchmaker.joined(), count);
    let most = room.matchmaker.peers.values().map(|p| p.links.len()).max();
    assert!(most.is_some_and(|most| most <= 24), "{most:?}");
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
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

#[test]
fn full_peer_is_not_offered_until_one_of_its_channels_is_down() {
    let mut room = Room::new();
    let small = room.join_from(Place::default(), 0, Some(2));
    let first = room.join("o", "/", 1, None);
    assert_eq!(first.offered, std::slice::from_ref(&small.id));
    let second = room.join("o", "/", 2, None);
    assert!(second.offered.contains(&small.id));
    let third = room.join("o", "/", 9, None);
    assert!(
        !third.offered.contains(&small.id),
        "two are on their way to it"
    );
    for other in [&first, &second] {
        room.say(
            small.conn,
            ToServer::Up {
                peer: other.id.clone(),
            },
        );
    }
    assert_eq!(room.matchmaker.counts().channels, 2);
    room.now += 30_000;
    room.tick();
    assert!(!room.join("o", "/", 9, None).offered.contains(&small.id));
    room.say(
        first.conn,
        ToServer::Down {
            peer: small.id.clone(),
        },
    );
    assert_eq!(room.matchmaker.counts().channels, 1);
    assert!(room.more(&third, 9).contains(&small.id));
}

#[test]
fn room_that_was_kept_for_a_channel_that_never_opened_is_free_again() {
    let mut room = Room::new();
    let small = room.join_from(Place::default(), 0, Some(1));
    room.join("o", "/", 1, None);
    assert!(!room.join("o", "/", 9, None).offered.contains(&small.id));
    room.now += 25_000;
    room.tick();
    assert!(room.join("o", "/", 9, None).offered.contains(&small.id));
}

#[test]
fn two_who_could_not_connect_are_not_offered_to_each_other_again_for_a_while() {
    let mut room = Room::new();
    let first = room.join("o", "/", 0, None);
    let second = room.join("o", "/", 1, None);
    assert_eq!(second.offered, std::slice::from_ref(&first.id));
    let down = || ToServer::Down {
        peer: first.id.clone(),
    };
    // A page that is left while it connects closes what is not open yet, and nothing has failed.
    room.say(second.conn, down());
    assert_eq!(room.more(&second, 9), std::slice::from_ref(&first.id));
    room.now += TRIED;
    room.say(second.conn, down());
    assert!(room.more(&second, 9).is_empty());
    assert!(room.more(&first, 9).is_empty());
    room.say(second.conn, ToServer::Leave {});
    let back = room.join("o", "/next", 9, Some(&second.ticket));
    assert!(back.offered.is_empty());
    // Somebody else is not meant, and after a while it is tried again.
    let third = room.join("o", "/", 9, None);
    assert_eq!(third.offered.len(), 2);
    room.now += UNREACHABLE;
    assert!(room.more(&back, 9).contains(&first.id));
    // What was open and closed says nothing against the two.
    let up = ToServer::Up {
        peer: first.id.clone(),
    };
    room.say(back.conn, up);
    room.say(back.conn, down());
    assert!(room.more(&back, 9).contains(&first.id));
}

#[test]
fn banned_peer_is_never_offered_nor_heard_of_again_not_even_after_a_navigation() {
    let mut room = Room::new();
    let liar = room.join("o", "/", 0, None);
    let victim = room.join("o", "/", 1, None);
    assert_eq!(victim.offered, std::slice::from_ref(&liar.id));
    room.say(
        victim.conn,
        ToServer::Up {
            peer: liar.id.clone(),
        },
    );
    room.say(
        victim.conn,
        ToServer::Ban {
            peer: liar.id.clone(),
        },
    );
    assert_eq!(room.matchmaker.counts().channels, 0);
    assert!(room.more(&victim, 9).is_empty());
    assert!(room.more(&liar, 9).is_empty());
    let answer = room.signal(&liar, &victim.id);
    assert!(matches!(answer.as_slice(), [ToClient::Refused { .. }]));
    assert!(room.heard_by(&victim).is_empty());
    room.say(victim.conn, ToServer::Leave {});
    let back = room.join("o", "/next", 9, Some(&victim.ticket));
    assert!(back.offered.is_empty());
    for i in 0..200 {
        let peer = format!("{i:032x}");
        room.say(back.conn, ToServer::Ban { peer });
    }
    let id = back.id.parse().unwrap();
    assert_eq!(room.matchmaker.peers[&id].bans.len(), MOST_BANS);
}

#[test]
fn neighbour_by_prefix_city_or_map_comes_before_the_rest() {
    let place = |prefix, network, city, lat| Place {
        prefix: Some(prefix),
        network: Some(network),
        city: Some(city),
        position: Some(Position { lat, lon: 1800 }),
    };
    for (i, near) in [
        place(1, 1, 1, 1400),
        place(9, 1, 1, 1400),
        place(9, 9, 1, 1400),
        place(9, 9, 9, 1401),
    ]
    .into_iter()
    .enumerate()
    {
        let mut room = Room::new();
        for number in 0..500 {
            room.join_from(place(100 + number, 50, 50, 400), 0, None);
        }
        let neighbours = [0; 3].map(|_| room.join_from(near, 0, None).id);
        let asker = room.join_from(place(1, 1, 1, 1400), 4, None);
        assert!(
            neighbours.iter().all(|id| asker.offered.contains(id)),
            "{i}"
        );
    }
}

/// From one peer to another and back, where every fifth lives in the same town.
fn far(peers: &[Joined], i: usize, other: &str) -> u16 {
    let j = peers.iter().position(|peer| peer.id == other).unwrap();
    4 + 40 * (i % 5).abs_diff(j % 5) as u16
}

#[test]
fn measurements_bring_peers_of_one_town_together() {
    let mut room = Room::new();
    let mut peers: Vec<Joined> = Vec::new();
    for _ in 0..300 {
        let joined = room.join("o", "/", 8, None);
        peers.push(joined);
    }
    for _ in 0..12 {
        for i in 0..peers.len() {
            let id: Id = peers[i].id.parse().unwrap();
            let links: Vec<String> = names(
                &room.matchmaker.peers[&id]
                    .links
                    .keys()
                    .copied()
                    .collect::<Vec<_>>(),
            );
            let mut measured = Vec::new();
            for other in links.into_iter().take(20) {
                room.say(
                    peers[i].conn,
                    ToServer::Up {
                        peer: other.clone(),
                    },
                );
                let rtt = far(&peers, i, &other);
                measured.push(Measured { peer: other, rtt });
            }
            room.say(peers[i].conn, ToServer::Heartbeat { measured });
        }
        room.now += 20_000;
    }
    let mut same = 0;
    for i in 0..100 {
        let offered = room.more(&peers[i], 4);
        for other in offered {
            same += usize::from(far(&peers, i, &other) < 40);
        }
    }
    // Three of four are near, one from anywhere; by lot it would be one of five.
    assert!(same > 200, "{same} of 400");
}

#[test]
fn not_everybody_is_offered_the_same_few() {
    let mut room = Room::new();
    for _ in 0..400 {
        room.join("o", "/", 0, None);
    }
    let mut offers: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..100 {
        for id in room.join("o", "/", 8, None).offered {
            *offers.entry(id).or_default() += 1;
        }
    }
    assert!(offers.len() > 250, "{}", offers.len());
    assert!(offers.values().all(|count| *count < 12), "{offers:?}");
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

#[test]
fn nobody_is_told_of_a_visitor_who_has_no_company() {
    let mut room = Room::new();
    room.matchmaker.set_rules(Rules {
        threshold: 3,
        ..Rules::default()
    });
    let first = room.join("o", "/quiet", 4, None);
    let second = room.join("o", "/quiet", 4, None);
    let elsewhere = room.join("o", "/other", 4, None);
    for joined in [&first, &second, &elsewhere] {
        assert_eq!(joined.offered, [""; 0]);
    }
    // The third one makes it a crowd, and those who came before find each other.
    let third = room.join("o", "/quiet", 4, None);
    assert_eq!(third.offered.len(), 2);
    assert!(!room.more(&first, 4).is_empty());
    assert_eq!(room.more(&elsewhere, 4), [""; 0]);
    assert!(!third.offered.contains(&elsewhere.id));
    // And is none without it.
    room.hang_up(third.conn);
    assert_eq!(room.join("o", "/other", 4, None).offered, [""; 0]);
}

#[test]
fn who_asks_for_more_is_offered_first_who_came_to_the_page_before() {
    let mut room = Room::new();
    let before: Vec<_> = (0..12).map(|_| room.join("o", "/", 0, None)).collect();
    room.now += 1;
    let asks = room.join("o", "/", 0, None);
    room.now += 1;
    let _after: Vec<_> = (0..12).map(|_| room.join("o", "/", 0, None)).collect();
    let answer = room.say(asks.conn, ToServer::More { want: 4 });
    let [ToClient::Offered { peers }] = answer.as_slice() else {
        panic!("{answer:?}");
    };
    assert_eq!(peers.len(), 4);
    let came_before = |peer: &&String| before.iter().any(|joined| joined.id == **peer);
    assert_eq!(peers.iter().filter(came_before).count(), 4);
    // Where nobody came before, the others are as good as any.
    let first = room.say(before[0].conn, ToServer::More { want: 4 });
    assert!(matches!(first.as_slice(), [ToClient::Offered { peers }] if peers.len() == 4));
}
