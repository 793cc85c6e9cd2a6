//! Peers of other servers that are guests here.

use fugitive_signal::{ToClient, ToServer, encode};
use rand::Rng;

use super::{Abroad, Call, Deliver, Kind, MOST_GUESTS};
use crate::{
    backlog::TOO_MUCH,
    cluster::ServerId,
    matchmaker::{Conn, Matchmaker, Output},
    ticket::Id,
};

impl Abroad {
    /// Whether a connection is that of a guest.
    pub fn is_guest(&self, conn: Conn) -> bool {
        self.homes.contains_key(&conn)
    }

    /// What the matchmaker sends to a guest goes to its home.
    pub fn send(&mut self, to: Conn, message: &ToClient) {
        let Some((home, conn)) = self.homes.get(&to).copied() else {
            return;
        };
        let is_news = match message {
            ToClient::Offered { peers } | ToClient::Holders { peers, .. } => !peers.is_empty(),
            ToClient::Gone { .. } | ToClient::Signal { .. } | ToClient::Refused { .. } => true,
            _ => false,
        };
        if is_news {
            self.tell(home, Kind::Hear, conn, &encode(message), &[]);
        }
    }

    /// Hands on a signal to a guest; `false` if it is none.
    pub fn relay(&self, to: Conn, envelope: &[u8], signal: &[u8]) -> bool {
        let home = self.homes.get(&to);
        if let Some((home, conn)) = home {
            self.tell(*home, Kind::Hear, *conn, envelope, signal);
        }
        home.is_some()
    }

    /// The matchmaker forgot a guest; `false` if it was none.
    pub fn close(&mut self, conn: Conn) -> bool {
        let Some(home) = self.homes.remove(&conn) else {
            return false;
        };
        if self.guests.get(&home) == Some(&conn) {
            self.guests.remove(&home);
            self.tell(home.0, Kind::Closed, home.1, &[], &[]);
        }
        true
    }

    #[expect(clippy::too_many_arguments, reason = "time and rng are arguments here")]
    pub(super) fn invite(
        &mut self,
        home: ServerId,
        conn: u64,
        call: Call,
        matchmaker: &mut Matchmaker,
        next: &mut u64,
        now: u64,
        rng: &mut impl Rng,
        out: &mut Vec<Output>,
    ) {
        if !matchmaker.knows_origin(&call.origin) || self.homes.len() >= MOST_GUESTS {
            return;
        }
        let want = call.want;
        let (ask, at_once) = match call.content {
            Some(id) => (ToServer::Find { id, want }, 0),
            None => (ToServer::More { want, page: None }, want),
        };
        if let Some(guest) = self.guests.get(&(home, conn)).copied() {
            if matchmaker.heard(guest, now, out) {
                let page = call.page;
                matchmaker.receive(guest, ToServer::Page { page }, now, rng, out);
                matchmaker.receive(guest, ask, now, rng, out);
            }
            return;
        }
        *next += 1;
        let guest = Conn(*next);
        self.guests.insert((home, conn), guest);
        self.homes.insert(guest, (home, conn));
        matchmaker.open(guest, &call.origin, now);
        let bans = call.bans.iter().filter_map(|id| id.parse().ok());
        let bans = bans.collect();
        let (page, ticket) = (&call.page, call.ticket);
        matchmaker.welcome_guest(guest, bans, page, at_once, ticket, now, rng, out);
        if call.content.is_some() {
            matchmaker.receive(guest, ask, now, rng, out);
        }
        // Whom it was offered nobody has no business here.
        if matchmaker.links(guest) == 0 {
            self.forget_guest(guest);
            matchmaker.closed(guest, now, out);
        }
    }

    pub(super) fn forget_guest(&mut self, guest: Conn) {
        if let Some(home) = self.homes.remove(&guest) {
            self.guests.remove(&home);
        }
    }
}

/// A guest reads less than one of ours sends it, who is told.
pub(super) fn unread(
    guest: Conn,
    name: &[u8],
    matchmaker: &Matchmaker,
    deliver: &mut Vec<Deliver>,
) {
    let name = std::str::from_utf8(name).ok();
    let Some(sender) = name.and_then(|name| name.parse::<Id>().ok()) else {
        return;
    };
    if matchmaker.friend_of(guest, sender).is_some()
        && let Some(conn) = matchmaker.connection_of(sender)
    {
        let why = TOO_MUCH.into();
        deliver.push(Deliver::Message(conn, ToClient::Refused { why }));
    }
}
