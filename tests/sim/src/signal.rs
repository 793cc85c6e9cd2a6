//! The signal server: the very matchmaker behind sockets that take their time.

use std::collections::BTreeMap;

use fugitive_core::engine::Input;
use fugitive_server::matchmaker::{Conn, Matchmaker, Output, Place};
use fugitive_signal::{HEARTBEAT_SECONDS, Position, ToClient, ToServer, VERSION};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::{
    Time,
    clock::lot,
    world::{At, Event, World},
};

/// All visitors are on one site.
const ORIGIN: &str = "https://shop.example";
/// As in `page-bridge/js/bridge.js`.
const MOST_BEEN: usize = 12;
const HEARTBEAT: Time = HEARTBEAT_SECONDS as Time * 1_000_000;

/// The server's side.
pub struct Server {
    matchmaker: Matchmaker,
    rng: ChaCha8Rng,
    next: u64,
    /// Who is at the other end.
    conns: BTreeMap<Conn, At>,
}

impl Server {
    /// Without clients.
    pub fn new(seed: u64) -> Self {
        Self {
            matchmaker: Matchmaker::new(&[7; 64]),
            rng: ChaCha8Rng::seed_from_u64(seed ^ 0x5167),
            next: 0,
            conns: BTreeMap::new(),
        }
    }
}

impl World<'_> {
    /// One way to the signal server.
    pub(crate) fn way_to_server(&self, who: usize) -> Time {
        let person = &self.people[who];
        let world = &self.workload.world;
        person.access + (world.between_ms[person.region][world.signal_region] * 1e3) as Time
    }

    /// The bridge asks for its socket, and joins with that.
    pub(crate) fn join(&mut self, at: At) {
        if self.bridge(at).is_none() {
            return;
        }
        self.server.next += 1;
        let conn = Conn(self.server.next);
        self.server.conns.insert(conn, at);
        let now = self.ms();
        self.server.matchmaker.open(conn, ORIGIN, now);
        let place = self.place(at.who);
        self.server.matchmaker.locate(conn, place);
        let page = self.people[at.who].looks[at.look].page;
        let join = ToServer::Join {
            version: VERSION,
            page: self.site.pages[page].path.clone(),
            want: self.config(at.who).at_first(),
            ticket: self.visitors[at.who].ticket.clone(),
            room: None,
            position: None,
        };
        if let Some(bridge) = self.bridge(at) {
            bridge.conn = Some(conn);
        }
        self.say_to_server(at.who, join);
        self.clock.after(HEARTBEAT, Event::Heartbeat(at));
    }

    /// What a server with a database of addresses knows of where a visitor is.
    fn place(&self, who: usize) -> Place {
        let person = &self.people[who];
        // Central Europe, the Midwest, southern China; some hundred kilometres to either side.
        let (lat, lon) = [(1400, 1900), (1300, 900), (1150, 2920)][person.region % 3];
        let spread = |what| (lot(self.seed ^ who as u64, what) * 80.0) as u16;
        Place {
            prefix: Some(who as u64),
            network: Some((person.region * 8) as u32 + u32::from(spread(3) / 10)),
            city: None,
            position: Some(Position {
                lat: lat + spread(1),
                lon: lon + spread(2),
            }),
        }
    }

    /// Over the page's socket, if it has one.
    pub(crate) fn say_to_server(&mut self, who: usize, message: ToServer) {
        let way = self.way_to_server(who);
        let bridge = self.visitors[who].bridge.as_ref();
        if let Some(conn) = bridge.and_then(|bridge| bridge.conn) {
            self.log.signalling(who);
            self.clock
                .after(way, Event::ToServer(conn, Box::new(message)));
        }
    }

    /// Who serves says once where he was before, as `page-bridge` remembers it.
    pub(crate) fn say_been(&mut self, who: usize) {
        if self.config(who).slots == 0 {
            return;
        }
        let Some(bridge) = self.visitors[who].bridge.as_mut() else {
            return;
        };
        if bridge.me.is_none() || std::mem::replace(&mut bridge.said_been, true) {
            return;
        }
        let (person, look) = (&self.people[who], self.visitors[who].since);
        let here = person.looks[look].page;
        let mut pages = Vec::new();
        let before = person.looks[..look].iter().rev().map(|look| look.page);
        for page in before.chain(person.been.iter().copied()) {
            let path = &self.site.pages[page].path;
            if pages.len() < MOST_BEEN && page != here && !pages.contains(path) {
                pages.push(path.clone());
            }
        }
        if !pages.is_empty() {
            self.say_to_server(who, ToServer::Been { pages });
        }
    }

    pub(crate) fn heartbeat(&mut self, at: At) {
        if self.bridge(at).is_some_and(|bridge| bridge.conn.is_some()) {
            let measured = Vec::new();
            self.say_to_server(
                at.who,
                ToServer::Heartbeat {
                    measured,
                    serves: None,
                },
            );
            self.clock.after(HEARTBEAT, Event::Heartbeat(at));
        }
    }

    /// The page goes; its socket with it.
    pub(crate) fn close_socket(&mut self, at: At, silently: bool) {
        let way = self.way_to_server(at.who);
        if !silently {
            self.say_to_server(at.who, ToServer::Leave {});
        }
        let conn = self.bridge(at).and_then(|bridge| bridge.conn.take());
        if let Some(conn) = conn.filter(|_| !silently) {
            self.clock.after(way, Event::SocketClosed(conn));
        }
    }

    pub(crate) fn server_hears(&mut self, conn: Conn, message: ToServer) {
        let (now, mut out) = (self.ms(), Vec::new());
        let server = &mut self.server;
        if server.matchmaker.heard(conn, now, &mut out) {
            server
                .matchmaker
                .receive(conn, message, now, &mut server.rng, &mut out);
        }
        self.server_does(out);
    }

    pub(crate) fn server_loses(&mut self, conn: Conn) {
        let (now, mut out) = (self.ms(), Vec::new());
        self.server.conns.remove(&conn);
        self.server.matchmaker.closed(conn, now, &mut out);
        self.server_does(out);
    }

    pub(crate) fn server_ticks(&mut self) {
        let (now, mut out) = (self.ms(), Vec::new());
        self.server.matchmaker.tick(now, &mut out);
        self.server_does(out);
    }

    fn server_does(&mut self, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Send { to, message } => {
                    if let Some(at) = self.server.conns.get(&to).copied() {
                        let way = self.way_to_server(at.who);
                        self.log.signalling(at.who);
                        let event = Event::ToClient(at, to, Box::new(message));
                        self.clock.after(way, event);
                    }
                }
                // Who is there has sent a heartbeat before it is asked.
                Output::Ping { .. } => {}
                Output::Close { conn, .. } => {
                    self.server.conns.remove(&conn);
                }
            }
        }
    }

    pub(crate) fn client_hears(&mut self, at: At, conn: Conn, message: ToClient) {
        if self
            .bridge(at)
            .is_none_or(|bridge| bridge.conn != Some(conn))
        {
            return;
        }
        match message {
            ToClient::Welcome {
                id,
                ticket,
                hold_over,
                ..
            } => {
                let me = fugitive_core::engine::PeerId::from(id.as_str());
                self.names.insert(me.clone(), at.who);
                self.visitors[at.who].ticket = Some(ticket);
                if let Some(bridge) = self.bridge(at) {
                    bridge.me = Some(me.clone());
                }
                self.tell(at.who, Input::Welcome { me, hold_over });
                self.say_been(at.who);
                self.say_serves(at.who);
            }
            ToClient::Offered { peers } => {
                let peers = peers.iter().map(|peer| peer.as_str().into()).collect();
                self.tell(at.who, Input::Offered { peers });
            }
            ToClient::Holders { id, peers } => {
                let peers = peers.iter().map(|peer| peer.as_str().into()).collect();
                self.tell(at.who, Input::Holders { id, peers });
            }
            ToClient::Gone { peer } => {
                let peer = peer.as_str().into();
                self.tell(at.who, Input::Gone { peer });
            }
            ToClient::Signal { from, signal } => {
                self.signalled(at, &from.as_str().into(), signal);
            }
            ToClient::Manifest {} | ToClient::Refused { .. } | ToClient::Elsewhere { .. } => {}
        }
    }
}
