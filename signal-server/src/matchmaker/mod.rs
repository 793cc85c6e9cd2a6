//! Who is offered to whom, and who may talk to whom through the server.
//!
//! Pure: no sockets, no clock, no randomness of its own. The server drives it with real sockets, the
//! simulator with ten thousand made-up ones: tell it what happened ([`Matchmaker::open`],
//! [`Matchmaker::locate`], [`Matchmaker::receive`], [`Matchmaker::closed`], [`Matchmaker::tick`]),
//! then do what it put into the list of [`Output`]s, in order. Times are in milliseconds, of any
//! clock that does not go back.
//!
//! Peers are paired within one origin, first with those on the same page, then with the rest of the
//! site; see `pairing`. Two peers of which one was offered to the other have a link; only over a
//! link does the server relay.

mod away;
mod coordinates;
mod counts;
mod crowds;
mod directory;
mod guests;
mod index;
mod pairing;
mod place;
mod presence;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use fugitive_core::content::ContentId;
use fugitive_signal::{HEARTBEAT_SECONDS, MOST_HELD, ToClient, ToServer};
use rand::Rng;

use self::{
    away::Former,
    directory::Directory,
    index::{Index, Page},
    pairing::{Link, State},
    presence::Joining,
};
pub use self::{
    coordinates::Coordinate,
    counts::Counts,
    crowds::{PageKey, page_key},
    guests::Passport,
    place::Place,
};
use crate::ticket::{Id, Tickets};

/// By numbers that were drawn here: nobody can choose them so that they collide.
pub type Numbered<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// The most peers that are offered at once.
pub const MOST_OFFERED: usize = 16;
/// The most links of one peer: as many of a site's visitors can one visitor get to know.
const MOST_LINKS: usize = 256;
/// Peers that one peer may have banned; those it banned first are forgotten.
const MOST_BANS: usize = 64;
/// Peers that one peer could not connect to and that are kept apart from it; the oldest are forgotten.
const MOST_UNREACHABLE: usize = 64;
/// For how long, in milliseconds: whoever was behind the wrong NAT may be on another network by then.
const UNREACHABLE: u64 = 600_000;
/// Who gives up sooner than this after an offer has not failed: its page went away, or it had no room.
/// In milliseconds.
const TRIED: u64 = 5_000;
/// The longest path of a page, in bytes.
const LONGEST_PAGE: usize = 2048;
/// Pages on which a peer was before, and is still found by those who are there now: it holds what they
/// want.
const MOST_BEEN: usize = 12;
/// After so much silence a client is asked whether it is there, in milliseconds.
const QUIET: u64 = HEARTBEAT_SECONDS as u64 * 1250;
/// A connection that has not joined by then is closed, in milliseconds.
const UNJOINED: u64 = 10_000;
/// Messages that a client may send at once; setting up sixteen connections takes some 400.
const BURST: u64 = 1000;
/// Messages a second that it may send on and on.
const RATE: u64 = 50;
/// Connections of a peer that does not say how many it has room for.
const ROOM: u16 = 32;

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
    /// Ask whether the other end is there; any sign of life is an answer.
    Ping {
        /// On which connection.
        to: Conn,
    },
    /// Close it. The matchmaker has forgotten it already.
    Close {
        /// Which connection.
        conn: Conn,
        /// To be told to the client and the log, in words.
        why: &'static str,
    },
}

/// What an operator may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// After so much silence a client is taken for gone, in milliseconds.
    pub silence: u64,
    /// Contents longer than this may be announced, in bytes; `None`: none.
    pub hold_over: Option<u64>,
    /// Announcements that are kept at most.
    pub most_holds: usize,
    /// With fewer visitors on a page, now or on their way through the site, nobody there is offered to
    /// anybody; so that who asks does not learn that one certain visitor is there.
    pub threshold: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            silence: 3 * u64::from(HEARTBEAT_SECONDS) * 1000,
            hold_over: Some(16 << 20),
            most_holds: 1_000_000,
            threshold: 0,
        }
    }
}

struct Connection {
    origin: Arc<str>,
    place: Place,
    heard: u64,
    /// Asked whether it is there, since it was last heard.
    asked: bool,
    /// Messages left, in thousandths.
    budget: u64,
    budget_at: u64,
    peer: Option<Id>,
}

struct Peer {
    conn: Conn,
    origin: Arc<str>,
    /// The page it is on, then those on which it was, the latest first.
    pages: VecDeque<(Arc<str>, Page)>,
    /// Since when it is on the first of them.
    since: u64,
    links: BTreeMap<Id, Link>,
    /// Links that are open or may become so.
    busy: u16,
    /// Channels to peers that are linked to it at other servers.
    elsewhere: u16,
    /// Of how many at most; none for a guest.
    room: u16,
    place: Place,
    coordinate: Coordinate,
    bans: VecDeque<Id>,
    /// By how many who were connected to it.
    banned_by: u16,
    unreachable: VecDeque<(Id, u64)>,
    held: Vec<ContentId>,
    /// It gives what it holds, as it says.
    serves: bool,
}

struct Site {
    origin: Arc<str>,
    peers: usize,
    pages: HashMap<Arc<str>, Crowd>,
    last_page: Page,
    index: Index,
}

/// Those who are found on a page.
struct Crowd {
    page: Page,
    key: PageKey,
    count: usize,
    /// How many of them are at other servers.
    guests: usize,
    /// How many are on their way to another page: they count for nothing until they are back.
    away: usize,
}

/// See the module.
pub struct Matchmaker {
    rules: Rules,
    tickets: Tickets,
    /// How far the wall clock is ahead of `now`, in milliseconds.
    ahead: i64,
    connections: Numbered<Conn, Connection>,
    peers: Numbered<Id, Peer>,
    sites: HashMap<Arc<str>, Site>,
    crowds_elsewhere: HashMap<PageKey, usize>,
    formers: Numbered<Id, Former>,
    /// Until when they may be on their way, and until when they are remembered, the oldest first; those
    /// who came back stand here for nothing.
    absent: VecDeque<(u64, Id)>,
    forgotten: VecDeque<(u64, Id)>,
    directory: Directory,
    /// Links that wait for their channel, the oldest first.
    pending: VecDeque<(u64, Id, Id)>,
    channels: usize,
}

impl Matchmaker {
    /// With the key of the tickets.
    pub fn new(key: &[u8; 64]) -> Self {
        Self {
            rules: Rules::default(),
            tickets: Tickets::new(key),
            ahead: 0,
            connections: Numbered::default(),
            peers: Numbered::default(),
            sites: HashMap::new(),
            crowds_elsewhere: HashMap::new(),
            formers: Numbered::default(),
            absent: VecDeque::new(),
            forgotten: VecDeque::new(),
            directory: Directory::default(),
            pending: VecDeque::new(),
            channels: 0,
        }
    }

    /// Goes by other rules from now on.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// Says how far the wall clock, by which tickets are issued, is ahead of `now`.
    pub fn set_ahead(&mut self, ahead: i64) {
        self.ahead = ahead;
    }

    fn date(&self, now: u64) -> u64 {
        now.saturating_add_signed(self.ahead)
    }

    /// A connection was opened, by a page of this origin.
    pub fn open(&mut self, conn: Conn, origin: &str, now: u64) {
        let origin = match self.sites.get_key_value(origin) {
            Some((origin, _)) => origin.clone(),
            None => origin.into(),
        };
        let connection = Connection {
            origin,
            place: Place::default(),
            heard: now,
            asked: false,
            budget: BURST * 1000,
            budget_at: now,
            peer: None,
        };
        self.connections.insert(conn, connection);
    }

    /// Where a connection comes from, to be said before it joins.
    pub fn locate(&mut self, conn: Conn, place: Place) {
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.place = place;
        }
    }

    /// Something came: a sign of life, and one message less of what the client may send. `false`
    /// if that was one too many, or the connection is not known any more.
    pub fn heard(&mut self, conn: Conn, now: u64, out: &mut Vec<Output>) -> bool {
        let Some(connection) = self.connections.get_mut(&conn) else {
            return false;
        };
        connection.heard = now;
        connection.asked = false;
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
        let Some(id) = connection.peer else {
            return match message {
                ToServer::Join { version: 0, .. } => {
                    self.close(conn, "there is no version 0", now, out);
                }
                ToServer::Join {
                    version: _,
                    page,
                    want,
                    ticket,
                    room,
                    position,
                } => {
                    let joining = Joining {
                        bans: Vec::new(),
                        conn,
                        page: &page,
                        want,
                        ticket,
                        room: room.unwrap_or(ROOM).max(1),
                        position,
                    };
                    self.join(joining, now, rng, out);
                }
                ToServer::Leave {} => self.close(conn, "as you wish", now, out),
                ToServer::Heartbeat { .. } => {}
                _ => self.close(conn, "the first message must be a join", now, out),
            };
        };
        match message {
            ToServer::Join { .. } => refuse(conn, "joined already", out),
            ToServer::More { want, page } => {
                let page = page.as_deref();
                let peers = names(&self.offer(id, want, page, Vec::new(), now, rng));
                send(conn, ToClient::Offered { peers }, out);
            }
            ToServer::Page { page } => self.turn(id, &page, now, out),
            ToServer::Been { pages } => self.been(id, &pages),
            ToServer::Signal { to, signal } => {
                if let Some((from, to)) = self.way(conn, &to, now, out) {
                    let from = from.to_string();
                    send(to, ToClient::Signal { from, signal }, out);
                }
            }
            ToServer::Up { peer } => self.channel(id, &peer, State::Up, now),
            ToServer::Down { peer } => self.channel(id, &peer, State::Idle, now),
            ToServer::Ban { peer } => {
                if let Ok(other) = peer.parse() {
                    self.ban(id, other);
                }
            }
            ToServer::Hold { ids } => self.hold(id, ids, now),
            ToServer::Release { ids } => {
                for content in ids.into_iter().take(MOST_HELD) {
                    self.release(id, content);
                }
            }
            ToServer::Find { id: content, want } => {
                let peers = names(&self.find(id, content, want, now, rng));
                send(conn, ToClient::Holders { id: content, peers }, out);
            }
            ToServer::Heartbeat { measured, serves } => {
                if let (Some(peer), Some(serves)) = (self.peers.get_mut(&id), serves) {
                    peer.serves = serves;
                }
                self.measured(id, measured, rng);
            }
            ToServer::Leave {} => self.close(conn, "as you wish", now, out),
        }
    }

    /// From whom to where a signal goes that came on `conn`, for those who hand it on without
    /// reading it; nothing if it does not.
    pub fn way(
        &mut self,
        conn: Conn,
        to: &str,
        now: u64,
        out: &mut Vec<Output>,
    ) -> Option<(Id, Conn)> {
        let Some(id) = self.connections.get(&conn)?.peer else {
            self.close(conn, "the first message must be a join", now, out);
            return None;
        };
        let to: Option<Id> = to.parse().ok();
        // Both know of a link; of these two the one is needed anyway.
        let there = to.and_then(|to| self.peers.get(&to));
        let way = there.filter(|there| there.links.contains_key(&id));
        if let Some(way) = way {
            return Some((id, way.conn));
        }
        if !to.is_some_and(|to| self.find_gone(to, id, out)) {
            refuse(conn, "no such peer was offered to you, or you to it", out);
        }
        None
    }

    /// A connection is gone, whoever closed it.
    pub fn closed(&mut self, conn: Conn, now: u64, out: &mut Vec<Output>) {
        if let Some(id) = self.connections.remove(&conn).and_then(|c| c.peer) {
            self.leave(id, now, out);
        }
    }

    /// Asks those who have been silent, closes those who have been so for too long, and gives up
    /// waiting for channels. Call it every second or so.
    pub fn tick(&mut self, now: u64, out: &mut Vec<Output>) {
        let mut late: Vec<(Conn, &'static str)> = Vec::new();
        let mut quiet = Vec::new();
        // At everybody, one after the other: to find those who are due in a heap or a wheel took two to
        // three times as long, since each is due about once in a heartbeat and lies elsewhere in memory.
        for (conn, connection) in &mut self.connections {
            let silent = now.saturating_sub(connection.heard);
            match connection.peer {
                Some(_) if silent >= self.rules.silence => {
                    late.push((*conn, "nothing heard for too long"));
                }
                None if silent >= UNJOINED => late.push((*conn, "no join")),
                Some(_) if silent >= QUIET.min(self.rules.silence / 2) && !connection.asked => {
                    connection.asked = true;
                    quiet.push(*conn);
                }
                _ => {}
            }
        }
        quiet.sort_unstable();
        out.extend(quiet.into_iter().map(|to| Output::Ping { to }));
        late.sort_unstable();
        for (conn, why) in late {
            self.close(conn, why, now, out);
        }
        self.forget(now, out);
        self.give_up(now);
        for (id, content) in self.directory.expire(now) {
            self.forget_held(id, content);
        }
    }

    /// The same message to all that have joined.
    pub fn tell_all(&self, message: &ToClient, out: &mut Vec<Output>) {
        for conn in self.members() {
            send(conn, message.clone(), out);
        }
    }

    /// All that have joined, in the order in which they came.
    pub fn members(&self) -> Vec<Conn> {
        let mut conns: Vec<Conn> = self.peers.values().map(|peer| peer.conn).collect();
        conns.sort_unstable();
        conns
    }

    fn close(&mut self, conn: Conn, why: &'static str, now: u64, out: &mut Vec<Output>) {
        out.push(Output::Close { conn, why });
        self.closed(conn, now, out);
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
