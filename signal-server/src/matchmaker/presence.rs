//! Who is there, and on which pages: coming, coming back, turning to another page, going.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use fugitive_signal::{MOST_MEASURED, Measured, Position, ToClient};
use rand::{Rng, RngExt};

use super::{
    Conn, Coordinate, Crowd, Former, LONGEST_PAGE, MOST_BEEN, MOST_LINKS, MOST_REMEMBERED,
    Matchmaker, Output, Page, Peer, Place, REMEMBERED, ROOM, Site, names, page_key, pairing::State,
    refuse, send,
};
use crate::ticket::Id;

/// Who comes.
pub(super) struct Joining<'a> {
    /// Beside those of earlier.
    pub(super) bans: Vec<Id>,
    pub(super) conn: Conn,
    pub(super) page: &'a str,
    pub(super) want: u16,
    pub(super) ticket: Option<String>,
    pub(super) room: u16,
    pub(super) position: Option<Position>,
}

impl Peer {
    fn new(conn: Conn, origin: &Arc<str>, place: Place) -> Self {
        Self {
            conn,
            origin: origin.clone(),
            pages: VecDeque::new(),
            since: 0,
            links: BTreeMap::new(),
            busy: 0,
            elsewhere: 0,
            room: ROOM,
            place,
            coordinate: Coordinate::default(),
            bans: VecDeque::new(),
            banned_by: 0,
            unreachable: VecDeque::new(),
            held: Vec::new(),
        }
    }
}

impl Site {
    /// One more is found on this page.
    pub(super) fn enter(&mut self, page: &str, is_guest: bool) -> (Arc<str>, Page) {
        let guests = usize::from(is_guest);
        if let Some((name, _)) = self.pages.get_key_value(page) {
            let name = name.clone();
            if let Some(crowd) = self.pages.get_mut(&name) {
                crowd.count += 1;
                crowd.guests += guests;
                return (name, crowd.page);
            }
        }
        self.last_page = self.last_page.wrapping_add(1).max(1);
        let name: Arc<str> = page.into();
        let crowd = Crowd {
            page: self.last_page,
            key: page_key(&self.origin, page),
            count: 1,
            guests,
        };
        self.pages.insert(name.clone(), crowd);
        (name, self.last_page)
    }

    /// One less.
    pub(super) fn exit(&mut self, page: &str, is_guest: bool) {
        if let Some(crowd) = self.pages.get_mut(page) {
            crowd.count -= 1;
            crowd.guests -= usize::from(is_guest);
            if crowd.count == 0 {
                self.pages.remove(page);
            }
        }
    }
}

impl Matchmaker {
    pub(super) fn join(
        &mut self,
        joining: Joining<'_>,
        now: u64,
        rng: &mut impl Rng,
        out: &mut Vec<Output>,
    ) {
        let Joining {
            bans,
            conn,
            page,
            want,
            ticket,
            room,
            position,
        } = joining;
        if page.len() > LONGEST_PAGE {
            return self.close(conn, "the page's path is too long", now, out);
        }
        let Some(connection) = self.connections.get(&conn) else {
            return;
        };
        let origin = connection.origin.clone();
        let mut place = connection.place;
        place.position = position.or(place.position);
        // By either clock, so that nobody is another because ours was set.
        let clocks = [self.date(now), now];
        let resumed = ticket.and_then(|ticket| self.tickets.check(&ticket, &origin, &clocks));
        let id = resumed.unwrap_or_else(|| Id(rng.random()));

        // Whom it knew before it navigated: they hold what it may want, and it can dial them.
        let (known, former) = match self.remove(id) {
            // Its old page still has a socket; nobody needs to hear that it went.
            Some(peer) => {
                self.connections.remove(&peer.conn);
                out.push(Output::Close {
                    conn: peer.conn,
                    why: "you came back elsewhere",
                });
                let known = peer.links.keys().copied().collect();
                (known, Some(peer))
            }
            None => match self.formers.remove(&id) {
                Some(former) if former.origin == origin => {
                    let peer = Peer {
                        pages: former.pages,
                        bans: former.bans,
                        banned_by: former.banned_by,
                        unreachable: former.unreachable,
                        coordinate: former.coordinate,
                        ..Peer::new(conn, &origin, place)
                    };
                    (former.links, Some(peer))
                }
                _ => (Vec::new(), None),
            },
        };
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.peer = Some(id);
        }
        let mut former = former.unwrap_or_else(|| Peer::new(conn, &origin, place));
        former.ban_all(bans);
        let peer = Peer {
            conn,
            origin: origin.clone(),
            room: room.min(MOST_LINKS as u16),
            elsewhere: 0,
            place,
            since: now,
            ..former
        };
        self.insert(id, peer, page);

        let welcome = ToClient::Welcome {
            id: id.to_string(),
            ticket: self.tickets.issue(id, &origin, self.date(now)),
            // The driver knows them, and the date to which they are good.
            ice: Vec::new(),
            hold_over: self.rules.hold_over,
        };
        send(conn, welcome, out);
        let peers = names(&self.offer(id, want, known, now, rng));
        send(conn, ToClient::Offered { peers }, out);
    }

    /// Takes a peer into its site and page.
    pub(super) fn insert(&mut self, id: Id, mut peer: Peer, page: &str) {
        let site = self.sites.entry(peer.origin.clone());
        let site = site.or_insert_with(|| Site::of(&peer.origin));
        site.peers += 1;
        // Pages may have got new numbers while it was away.
        let before = std::mem::take(&mut peer.pages);
        let before = before.into_iter().filter(|(name, _)| &**name != page);
        let is_guest = peer.is_guest();
        peer.pages.push_back(site.enter(page, is_guest));
        for (name, _) in before.take(MOST_BEEN) {
            peer.pages.push_back(site.enter(&name, is_guest));
        }
        self.peers.insert(id, peer);
        self.seat(id);
    }

    /// A peer goes on to a page without leaving the one that holds its channels.
    pub(super) fn turn(&mut self, id: Id, page: &str, now: u64, out: &mut Vec<Output>) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        if page.len() > LONGEST_PAGE {
            return refuse(peer.conn, "the page's path is too long", out);
        }
        let Some(site) = self.sites.get_mut(&peer.origin) else {
            return;
        };
        let at = peer.pages.iter().position(|(name, _)| &**name == page);
        if at != Some(0) {
            peer.since = now;
        }
        match at {
            Some(at) => {
                let page = peer.pages.remove(at);
                peer.pages.extend(page);
                peer.pages.rotate_right(1);
            }
            None => {
                peer.pages.push_front(site.enter(page, peer.is_guest()));
                if peer.pages.len() > 1 + MOST_BEEN
                    && let Some((name, _)) = peer.pages.pop_back()
                {
                    site.exit(&name, peer.is_guest());
                }
            }
        }
        self.seat(id);
    }

    /// A peer may hold something of these pages, where there is room for them behind those of now.
    pub(super) fn been(&mut self, id: Id, pages: &[String]) {
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let Some(site) = self.sites.get_mut(&peer.origin) else {
            return;
        };
        for page in pages.iter().take(MOST_BEEN) {
            let is_new = peer.pages.iter().all(|(name, _)| **name != **page);
            if is_new && page.len() <= LONGEST_PAGE && peer.pages.len() <= MOST_BEEN {
                peer.pages.push_back(site.enter(page, peer.is_guest()));
            }
        }
        self.seat(id);
    }

    /// Takes a peer out of its site, page and contents; its channels are gone with its page.
    pub(super) fn remove(&mut self, id: Id) -> Option<Peer> {
        let mut peer = self.peers.remove(&id)?;
        let others: Vec<Id> = peer.links.keys().copied().collect();
        for other in others {
            if peer
                .links
                .get(&other)
                .is_some_and(|link| link.state == State::Up)
            {
                self.channels -= 1;
            }
            if let Some(neighbour) = self.peers.get_mut(&other) {
                neighbour.set(id, State::Idle);
            }
            self.seat(other);
            peer.set(other, State::Idle);
        }
        for content in std::mem::take(&mut peer.held) {
            self.directory.release(&peer.origin, content, id);
        }
        if let Some(site) = self.sites.get_mut(&peer.origin) {
            site.index.take(id);
            site.peers -= 1;
            for (page, _) in &peer.pages {
                site.exit(page, peer.is_guest());
            }
            if site.peers == 0 {
                self.sites.remove(&peer.origin);
            }
        }
        Some(peer)
    }

    pub(super) fn leave(&mut self, id: Id, now: u64, out: &mut Vec<Output>) {
        let Some(peer) = self.remove(id) else {
            return;
        };
        for other in peer.links.keys() {
            if let Some(neighbour) = self.peers.get_mut(other) {
                neighbour.links.remove(&id);
                let peer = id.to_string();
                send(neighbour.conn, ToClient::Gone { peer }, out);
            }
            self.seat(*other);
        }
        if self.formers.len() < MOST_REMEMBERED {
            let former = Former {
                origin: peer.origin,
                pages: peer.pages,
                links: peer.links.into_keys().collect(),
                bans: peer.bans,
                banned_by: peer.banned_by,
                unreachable: peer.unreachable,
                coordinate: peer.coordinate,
                until: now + REMEMBERED,
            };
            self.forgotten.push_back((former.until, id));
            self.formers.insert(id, former);
        }
    }

    /// Measurements of a peer to those it has a channel with: no others can have been measured.
    pub(super) fn measured(&mut self, id: Id, measured: Vec<Measured>, rng: &mut impl Rng) {
        let Some(peer) = self.peers.get(&id) else {
            return;
        };
        let mut coordinate = peer.coordinate;
        for Measured { peer: other, rtt } in measured.into_iter().take(MOST_MEASURED) {
            let link = other.parse().ok().and_then(|other: Id| {
                let link = peer.links.get(&other)?;
                (link.state == State::Up).then_some(other)
            });
            if let Some(other) = link.and_then(|other| self.peers.get(&other)) {
                coordinate.measured(&other.coordinate, rtt, rng);
            }
        }
        if let Some(peer) = self.peers.get_mut(&id)
            && peer.coordinate != coordinate
        {
            peer.coordinate = coordinate;
            self.seat(id);
        }
    }
}
