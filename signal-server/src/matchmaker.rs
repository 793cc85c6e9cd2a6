//! Who is offered to whom, and who may talk to whom through the server.
//!
//! Pure: no sockets, no clock, no randomness of its own. The server drives it with real sockets, the
//! simulator with ten thousand made-up ones: tell it what happened ([`Matchmaker::open`],
//! [`Matchmaker::receive`], [`Matchmaker::closed`], [`Matchmaker::tick`]), then do what it put into
//! the list of [`Output`]s, in order. Times are in milliseconds, of any clock that does not go back.
//!
//! Peers are paired within one origin, first with those on the same page, then with the rest of the
//! site, and those with the fewest links first, so that load spreads. Two peers of which one was
//! offered to the other have a link; only over a link does the server relay.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use fugitive_signal::{HEARTBEAT_SECONDS, ToClient, ToServer};
use rand::{Rng, RngExt};

use crate::ticket::{Id, Tickets};

/// The most peers that are offered at once.
pub const MOST_OFFERED: usize = 16;
/// The most links of one peer: as many of a site's visitors can one visitor get to know.
const MOST_LINKS: usize = 256;
/// The longest path of a page, in bytes.
const LONGEST_PAGE: usize = 2048;
/// After so much silence a client is taken for gone, in milliseconds.
const SILENCE: u64 = 3 * HEARTBEAT_SECONDS as u64 * 1000;
/// A connection that has not joined by then is closed, in milliseconds.
const UNJOINED: u64 = 10_000;
/// Messages that a client may send at once; setting up sixteen connections takes some 400.
const BURST: u64 = 1000;
/// Messages a second that it may send on and on.
const RATE: u64 = 50;
/// For so long after a peer left, its return with a ticket finds its old links, in milliseconds.
const REMEMBERED: u64 = 30_000;
/// The most peers that are remembered so.
const MOST_REMEMBERED: usize = 10_000;

/// One connection to the server; the driver numbers them and never uses a number twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Conn(pub u64);

/// What the driver has to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Send it.
    Send {
        /// On which connection.
        to: Conn,
        /// What.
        message: ToClient,
    },
    /// Close it. The matchmaker has forgotten it already.
    Close {
        /// Which connection.
        conn: Conn,
        /// To be told to the client and the log, in words.
        why: &'static str,
    },
}

/// Who dials over a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// The other was offered to us.
    WeDial,
    /// We were offered to the other.
    TheyDial,
}

struct Connection {
    origin: Arc<str>,
    heard: u64,
    /// Messages left, in thousandths.
    budget: u64,
    budget_at: u64,
    peer: Option<Id>,
}

struct Peer {
    conn: Conn,
    origin: Arc<str>,
    page: Arc<str>,
    links: BTreeMap<Id, Link>,
    /// Decides between peers with the same number of links.
    lot: u32,
}

impl Peer {
    fn rank(&self, id: Id) -> Rank {
        Rank {
            links: self.links.len(),
            lot: self.lot,
            id,
        }
    }
}

/// The order in which peers are offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    links: usize,
    lot: u32,
    id: Id,
}

#[derive(Default)]
struct Site {
    all: BTreeSet<Rank>,
    pages: HashMap<Arc<str>, BTreeSet<Rank>>,
}

struct Former {
    origin: Arc<str>,
    links: Vec<Id>,
    until: u64,
}

/// See the module.
pub struct Matchmaker {
    tickets: Tickets,
    connections: HashMap<Conn, Connection>,
    peers: HashMap<Id, Peer>,
    sites: HashMap<Arc<str>, Site>,
    formers: HashMap<Id, Former>,
}

impl Matchmaker {
    /// With the key of the tickets.
    pub fn new(key: &[u8; 64]) -> Self {
        Self {
            tickets: Tickets::new(key),
            connections: HashMap::new(),
            peers: HashMap::new(),
            sites: HashMap::new(),
            formers: HashMap::new(),
        }
    }

    /// How many have joined.
    pub fn joined(&self) -> usize {
        self.peers.len()
    }

    /// A connection was opened, by a page of this origin.
    pub fn open(&mut self, conn: Conn, origin: &str, now: u64) {
        let origin = match self.sites.get_key_value(origin) {
            Some((origin, _)) => origin.clone(),
            None => origin.into(),
        };
        let connection = Connection {
            origin,
            heard: now,
            budget: BURST * 1000,
            budget_at: now,
            peer: None,
        };
        self.connections.insert(conn, connection);
    }

    /// Something came: a sign of life, and one message less of what the client may send. `false`
    /// if that was one too many, or the connection is not known any more.
    pub fn heard(&mut self, conn: Conn, now: u64, out: &mut Vec<Output>) -> bool {
        let Some(connection) = self.connections.get_mut(&conn) else {
            return false;
        };
        connection.heard = now;
        let earned = now.saturating_sub(connection.budget_at) * RATE;
        connection.budget_at = now;
        connection.budget = (connection.budget + earned).min(BURST * 1000);
        match connection.budget.checked_sub(1000) {
            Some(rest) => {
                connection.budget = rest;
                true
            }
            None => {
                self.close(conn, "too many messages", now, out);
                false
            }
        }
    }

    /// A message came that was accepted by [`Matchmaker::heard`].
    pub fn receive(
        &mut self,
        conn: Conn,
        message: ToServer,
        now: u64,
        rng: &mut impl Rng,
        out: &mut Vec<Output>,
    ) {
        let Some(connection) = self.connections.get(&conn) else {
            return;
        };
        match (message, connection.peer) {
            (ToServer::Join { version: 0, .. }, _) => {
                self.close(conn, "there is no version 0", now, out);
            }
            (
                ToServer::Join {
                    page, want, ticket, ..
                },
                None,
            ) => self.join(conn, &page, want, ticket, now, rng, out),
            (ToServer::Join { .. }, Some(_)) => refuse(conn, "joined already", out),
            (ToServer::More { want }, Some(id)) => {
                let peers = self.offer(id, want, Vec::new(), rng);
                send(
                    conn,
                    ToClient::Offered {
                        peers: names(&peers),
                    },
                    out,
                );
            }
            (ToServer::Signal { to, signal }, Some(id)) => {
                let to = to.parse().ok().filter(|to| self.linked(id, *to));
                match to.and_then(|to| self.peers.get(&to)) {
                    Some(peer) => {
                        let from = id.to_string();
                        send(peer.conn, ToClient::Signal { from, signal }, out);
                    }
                    None => refuse(conn, "no such peer was offered to you, or you to it", out),
                }
            }
            (ToServer::Leave {}, _) => self.close(conn, "as you wish", now, out),
            (ToServer::Heartbeat {}, _) => {}
            (ToServer::More { .. } | ToServer::Signal { .. }, None) => {
                self.close(conn, "the first message must be a join", now, out);
            }
        }
    }

    /// A connection is gone, whoever closed it.
    pub fn closed(&mut self, conn: Conn, now: u64, out: &mut Vec<Output>) {
        if let Some(id) = self.connections.remove(&conn).and_then(|c| c.peer) {
            self.leave(id, now, out);
        }
    }

    /// Closes what has been silent for too long. Call it every few seconds.
    pub fn tick(&mut self, now: u64, out: &mut Vec<Output>) {
        let mut late: Vec<(Conn, &'static str)> = self
            .connections
            .iter()
            .filter_map(|(conn, connection)| {
                let silent = now.saturating_sub(connection.heard);
                match connection.peer {
                    Some(_) if silent >= SILENCE => Some((*conn, "nothing heard for too long")),
                    None if silent >= UNJOINED => Some((*conn, "no join")),
                    _ => None,
                }
            })
            .collect();
        late.sort_unstable();
        for (conn, why) in late {
            self.close(conn, why, now, out);
        }
        self.formers.retain(|_, former| former.until > now);
    }

    /// The same message to all that have joined.
    pub fn tell_all(&self, message: &ToClient, out: &mut Vec<Output>) {
        let mut conns: Vec<Conn> = self.peers.values().map(|peer| peer.conn).collect();
        conns.sort_unstable();
        for conn in conns {
            send(conn, message.clone(), out);
        }
    }

    fn close(&mut self, conn: Conn, why: &'static str, now: u64, out: &mut Vec<Output>) {
        out.push(Output::Close { conn, why });
        self.closed(conn, now, out);
    }

    #[expect(clippy::too_many_arguments, reason = "time and rng are arguments here")]
    fn join(
        &mut self,
        conn: Conn,
        page: &str,
        want: u16,
        ticket: Option<String>,
        now: u64,
        rng: &mut impl Rng,
        out: &mut Vec<Output>,
    ) {
        if page.len() > LONGEST_PAGE {
            return self.close(conn, "the page's path is too long", now, out);
        }
        let Some(connection) = self.connections.get(&conn) else {
            return;
        };
        let origin = connection.origin.clone();
        let resumed = ticket.and_then(|ticket| self.tickets.check(&ticket, &origin, now));
        let id = resumed.unwrap_or_else(|| Id(rng.random()));

        // Whom it knew before it navigated: they hold what it may want, and it can dial them.
        let known: Vec<Id> = match self.peers.get(&id) {
            // Its old page still has a socket; nobody needs to hear that it went.
            Some(peer) => {
                let (old, links) = (peer.conn, peer.links.keys().copied().collect());
                self.connections.remove(&old);
                out.push(Output::Close {
                    conn: old,
                    why: "you came back elsewhere",
                });
                self.unrank(id);
                links
            }
            None => match self.formers.remove(&id) {
                Some(former) if former.origin == origin => former.links,
                _ => Vec::new(),
            },
        };
        let links = match self.peers.remove(&id) {
            Some(peer) => peer.links,
            None => BTreeMap::new(),
        };
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.peer = Some(id);
        }
        let page = self
            .sites
            .get(&origin)
            .and_then(|site| site.pages.get_key_value(page))
            .map_or_else(|| page.into(), |(page, _)| page.clone());
        let peer = Peer {
            conn,
            origin: origin.clone(),
            page,
            links,
            lot: rng.random(),
        };
        self.peers.insert(id, peer);
        self.rank(id);

        let welcome = ToClient::Welcome {
            id: id.to_string(),
            ticket: self.tickets.issue(id, &origin, now),
            // The driver knows them, and the date to which they are good.
            ice: Vec::new(),
        };
        send(conn, welcome, out);
        let peers = self.offer(id, want, known, rng);
        send(
            conn,
            ToClient::Offered {
                peers: names(&peers),
            },
            out,
        );
    }

    /// Links `id` to others that it is to dial: first to those given, then to strangers on the same
    /// page, then on the same site, then once more to whom it was to dial before.
    fn offer(&mut self, id: Id, want: u16, first: Vec<Id>, rng: &mut impl Rng) -> Vec<Id> {
        let want = usize::from(want).min(MOST_OFFERED);
        let Some(peer) = self.peers.get(&id) else {
            return Vec::new();
        };
        let same_origin = |other: &Id| {
            self.peers
                .get(other)
                .is_some_and(|other| other.origin == peer.origin)
        };
        let mut chosen: Vec<Id> = first.into_iter().filter(same_origin).take(want).collect();
        let room = MOST_LINKS.saturating_sub(peer.links.len());
        if let Some(site) = self.sites.get(&peer.origin) {
            let page = site.pages.get(&peer.page).into_iter().flatten();
            let strangers = page
                .chain(&site.all)
                .filter(|rank| rank.links < MOST_LINKS)
                .map(|rank| rank.id)
                .filter(|other| *other != id && !peer.links.contains_key(other));
            let mut found = 0;
            for other in strangers {
                if chosen.len() >= want || found >= room {
                    break;
                }
                if !chosen.contains(&other) {
                    chosen.push(other);
                    found += 1;
                }
            }
        }
        let again = peer.links.iter().filter(|(_, link)| **link == Link::WeDial);
        for (other, _) in again {
            if chosen.len() >= want {
                break;
            }
            if !chosen.contains(other) {
                chosen.push(*other);
            }
        }
        for other in &chosen {
            self.link(id, *other, rng);
        }
        chosen
    }

    fn link(&mut self, from: Id, to: Id, rng: &mut impl Rng) {
        for (id, other, link) in [(from, to, Link::WeDial), (to, from, Link::TheyDial)] {
            self.unrank(id);
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.links.insert(other, link);
                peer.lot = rng.random();
            }
            self.rank(id);
        }
    }

    fn linked(&self, a: Id, b: Id) -> bool {
        self.peers
            .get(&a)
            .is_some_and(|peer| peer.links.contains_key(&b))
    }

    fn leave(&mut self, id: Id, now: u64, out: &mut Vec<Output>) {
        self.unrank(id);
        let Some(peer) = self.peers.remove(&id) else {
            return;
        };
        for other in peer.links.keys() {
            self.unrank(*other);
            if let Some(neighbour) = self.peers.get_mut(other) {
                neighbour.links.remove(&id);
                let peer = id.to_string();
                send(neighbour.conn, ToClient::Gone { peer }, out);
            }
            self.rank(*other);
        }
        if !peer.links.is_empty() && self.formers.len() < MOST_REMEMBERED {
            let former = Former {
                origin: peer.origin,
                links: peer.links.into_keys().collect(),
                until: now + REMEMBERED,
            };
            self.formers.insert(id, former);
        }
    }

    fn rank(&mut self, id: Id) {
        if let Some(peer) = self.peers.get(&id) {
            let rank = peer.rank(id);
            let site = self.sites.entry(peer.origin.clone()).or_default();
            site.all.insert(rank);
            site.pages
                .entry(peer.page.clone())
                .or_default()
                .insert(rank);
        }
    }

    /// Must come before anything that a rank is made of changes.
    fn unrank(&mut self, id: Id) {
        let Some(peer) = self.peers.get(&id) else {
            return;
        };
        let rank = peer.rank(id);
        let Some(site) = self.sites.get_mut(&peer.origin) else {
            return;
        };
        site.all.remove(&rank);
        if let Some(page) = site.pages.get_mut(&peer.page) {
            page.remove(&rank);
            if page.is_empty() {
                site.pages.remove(&peer.page);
            }
        }
        if site.all.is_empty() {
            self.sites.remove(&peer.origin);
        }
    }
}

fn names(ids: &[Id]) -> Vec<String> {
    ids.iter().map(Id::to_string).collect()
}

fn send(to: Conn, message: ToClient, out: &mut Vec<Output>) {
    out.push(Output::Send { to, message });
}

fn refuse(to: Conn, why: &str, out: &mut Vec<Output>) {
    send(to, ToClient::Refused { why: why.into() }, out);
}

#[cfg(test)]
mod tests {
    use fugitive_signal::Signal;
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
            }
        }

        fn obey(&mut self, out: Vec<Output>) {
            for output in out {
                match output {
                    Output::Send { to, message } => {
                        self.said.entry(to).or_default().push(message);
                    }
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
            let answer = self.say(
                conn,
                ToServer::Join {
                    version: 1,
                    page: page.into(),
                    want,
                    ticket: ticket.map(str::to_owned),
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
            heard.extend(room.say(alive.conn, ToServer::Heartbeat {}));
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
            },
        );
        assert!(matches!(answer.as_slice(), [ToClient::Refused { .. }]));
        assert_eq!(room.matchmaker.joined(), 1);
    }

    #[test]
    fn client_that_comes_back_with_its_ticket_finds_its_old_neighbours_first() {
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
        let back = room.join("o", "/next", 3, Some(&peer.ticket));
        assert_eq!(back.id, peer.id);
        assert_eq!(back.offered.len(), 3);
        assert_eq!(back.offered[0], neighbour.id);
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
        room.say(neighbour.conn, ToServer::Heartbeat {});
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
            room.say(steady.conn, ToServer::Heartbeat {});
        }
        assert!(room.closed.is_empty());
        let flood = room.join("o", "/", 0, None);
        for _ in 0..=BURST {
            room.say(flood.conn, ToServer::Heartbeat {});
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
}
