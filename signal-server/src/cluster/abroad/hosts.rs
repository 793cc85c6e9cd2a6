//! Where our peers are guests.

use fugitive_signal::{ToClient, decode};

use super::{Abroad, Deliver, Kind};
use crate::{
    cluster::ServerId,
    matchmaker::{Conn, Matchmaker},
    ticket::Id,
};

/// Where one of ours is a guest.
pub(super) struct Host {
    pub(super) server: ServerId,
    pub(super) partners: Vec<Id>,
}

impl Abroad {
    /// Hands on what one of ours says to a peer elsewhere; `false` if it knows none of this name
    /// there.
    pub fn say(&self, conn: Conn, to: &str, message: &[u8]) -> bool {
        let Some(hosts) = self.hosts.get(&conn) else {
            return false;
        };
        let Ok(to) = to.parse::<Id>() else {
            return false;
        };
        let host = hosts.iter().find(|host| host.partners.contains(&to));
        if let Some(host) = host {
            self.tell(host.server, Kind::Say, conn.0, message, &[]);
        }
        host.is_some()
    }

    /// Whether the matchmaker says of a peer that it is gone, and it is still known elsewhere.
    pub fn is_known_elsewhere(&self, conn: Conn, message: &ToClient) -> bool {
        let (ToClient::Gone { peer }, Some(hosts)) = (message, self.hosts.get(&conn)) else {
            return false;
        };
        let id = peer.parse::<Id>();
        id.is_ok_and(|id| hosts.iter().any(|host| host.partners.contains(&id)))
    }

    /// One of ours went away.
    pub fn left(&mut self, conn: Conn) {
        self.seeking.remove(&conn);
        self.finding.remove(&conn);
        self.channels.remove(&conn);
        for host in self.hosts.remove(&conn).into_iter().flatten() {
            self.tell(host.server, Kind::Left, conn.0, &[], &[]);
        }
    }

    /// One of ours is told something where it is a guest.
    pub(super) fn hear(
        &mut self,
        host: ServerId,
        conn: Conn,
        body: &[u8],
        matchmaker: &Matchmaker,
        deliver: &mut Vec<Deliver>,
    ) {
        let known = self.hosts.get_mut(&conn).and_then(|hosts| {
            let host = hosts.iter_mut().find(|known| known.server == host);
            host.map(|host| &mut host.partners)
        });
        if let Some(from) = fugitive_signal::sender(body).and_then(|from| from.parse().ok()) {
            match known {
                Some(_) => deliver.push(Deliver::Signal(conn, from, body.to_vec())),
                None => self.tell(host, Kind::Left, conn.0, &[], &[]),
            }
            return;
        }
        match (decode(body), known) {
            (Ok(message @ (ToClient::Offered { .. } | ToClient::Holders { .. })), _) => {
                self.met(host, conn, message, matchmaker, deliver);
            }
            (Ok(message @ ToClient::Refused { .. }), Some(_)) => {
                deliver.push(Deliver::Message(conn, message));
            }
            (Ok(ToClient::Gone { peer }), Some(partners)) => {
                partners.retain(|partner| partner.to_string() != peer);
                let is_empty = partners.is_empty();
                let is_known_here = peer
                    .parse()
                    .is_ok_and(|other| matchmaker.friend_of(conn, other).is_some());
                if !is_known_here {
                    deliver.push(Deliver::Message(conn, ToClient::Gone { peer }));
                }
                if is_empty && let Some(hosts) = self.hosts.get_mut(&conn) {
                    hosts.retain(|known| known.server != host);
                    self.tell(host, Kind::Left, conn.0, &[], &[]);
                }
            }
            _ => {}
        }
    }

    /// One of ours reads less than that peer of another server sends it.
    pub fn unread(&self, conn: Conn, from: Id) {
        let mut hosts = self.hosts.get(&conn).into_iter().flatten();
        if let Some(host) = hosts.find(|host| host.partners.contains(&from)) {
            let name = from.to_string();
            self.tell(host.server, Kind::Unread, conn.0, name.as_bytes(), &[]);
        }
    }
}

/// A peer that is still known in another way is not gone.
pub(super) fn gone(conn: Conn, host: Host, matchmaker: &Matchmaker, deliver: &mut Vec<Deliver>) {
    for partner in host.partners {
        if matchmaker.friend_of(conn, partner).is_none() {
            let peer = partner.to_string();
            deliver.push(Deliver::Message(conn, ToClient::Gone { peer }));
        }
    }
}
