//! Who is there, and on which pages: coming, coming back, turning to another page, going.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use fugitive_signal::{MOST_MEASURED, Measured, Position, ToClient};
use rand::{Rng, RngExt};

use super::{
    Conn, Coordinate, Crowd, LONGEST_PAGE, MOST_BEEN, MOST_LINKS, Matchmaker, Output, Page, Peer,
    Place, ROOM, Site, names, page_key, pairing::State, refuse, send,
};
use crate::ticket::{self, Id};

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
            serves: false,
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
            away: 0,
        };
        self.pages.insert(name.clone(), crowd);
        (name, self.last_page)
    }

    /// One less.
    pub(super) fn exit(&mut self, page: &str, is_guest: bool) {
        if let Some(crowd) = self.pages.get_mut(page) {
            crowd.count -= 1;
            crowd.guests -= usize::from(is_guest);
            if crowd.count + crowd.away == 0 {
                self.pages.remove(page);
            }
        }
    }

    /// One who is found on these pages, and no guest, is so no more, or again.
    pub(super) fn set_away(&mut self, pages: &VecDeque<(Arc<str>, Page)>, is_away: bool) {
        for (page, _) in pages {
            if let Some(crowd) = self.pages.get_mut(page) {
                let (from, to) = match is_away {
                    true => (&mut crowd.count, &mut crowd.away),
                    false => (&mut crowd.away, &mut crowd.count),
                };
                (*from, *to) = (from.saturating_sub(1), *to + 1);
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
        let ticket = ticket.and_then(|ticket| {
            let id = self.tickets.check(&ticket, &origin, &clocks)?;
            Some((id, ticket))
        });
        let (id, ticket) = ticket.unzip();
        let id = id.unwrap_or_else(|| Id(rng.random()));

        // Whom it knew before it navigated: they hold what it may want, and it can dial them.
        let (known, former) = self.come_back(id, &origin, out);
        let (is_seated, mut former) = former.unwrap_or_else(|| {
            let peer = Peer::new(conn, &origin, place);
            (false, peer)
        });
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.peer = Some(id);
        }
        let is_seated = is_seated && {
            // What is counted of guests is counted apart.
            let is_same = former.is_guest() == (room == 0);
            if !is_same {
                self.clear_away(id, &former);
            }
            is_same
        };
        former.ban_all(bans);
        let peer = Peer {
            conn,
            origin: origin.clone(),
            room: room.min(MOST_LINKS as u16),
            elsewhere: 0,
            place,
            since: now,
            // A page that loads serves nobody yet.
            serves: false,
            ..former
        };
        if is_seated {
            self.step_in(id, peer, page, now, out);
        } else {
            self.insert(id, peer, page);
        }

        let date = self.date(now);
        let ticket = ticket.filter(|ticket| ticket::is_fresh(ticket, date));
        let welcome = ToClient::Welcome {
            id: id.to_string(),
            ticket: ticket.unwrap_or_else(|| self.tickets.issue(id, &origin, date)),
            // The driver knows them, and the date to which they are good.
            ice: Vec::new(),
            hold_over: self.rules.hold_over,
        };
        send(conn, welcome, out);
        let peers = names(&self.offer(id, want, None, known, now, rng));
        send(conn, ToClient::Offered { peers }, out);
    }

    /// Whom a peer knew before it came back, and what is left of it; whether that still sits where it
    /// sat. Nothing of one that was not here lately.
    fn come_back(
        &mut self,
        id: Id,
        origin: &Arc<str>,
        out: &mut Vec<Output>,
    ) -> (Vec<Id>, Option<(bool, Peer)>) {
        // Its old page may still have a socket.
        if let Some((peer, _)) = self.step_out(id) {
            self.connections.remove(&peer.conn);
            out.push(Output::Close {
                conn: peer.conn,
                why: "you came back elsewhere",
            });
            let knew = peer.links.keys().copied().collect();
            return (knew, Some((true, peer)));
        }
        match self.formers.remove(&id) {
            Some(former) if former.peer.origin == *origin => {
                let is_seated = former.is_away();
                if is_seated {
                    self.is_back(&former.peer);
                }
                (former.knew, Some((is_seated, former.peer)))
            }
            _ => (Vec::new(), None),
        }
    }

    /// A peer is back in time: it sits where it sat, but for the page.
    fn step_in(&mut self, id: Id, mut peer: Peer, page: &str, now: u64, out: &mut Vec<Output>) {
        peer.links.retain(|other, _| {
            let neighbour = self.peers.get(other);
            neighbour.is_some_and(|neighbour| neighbour.links.contains_key(&id))
        });
        if let Some(site) = self.sites.get_mut(&peer.origin) {
            site.peers += 1;
        }
        self.peers.insert(id, peer);
        self.turn(id, page, now, out);
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
