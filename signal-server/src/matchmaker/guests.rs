//! What a cluster asks of a matchmaker: to let peers of other servers in, and to say who its own are.

use std::sync::Arc;

use rand::Rng;

use super::{Conn, Joining, Matchmaker, Output};
use crate::ticket::Id;

/// Who a peer is, for another server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passport {
    /// Of its page.
    pub origin: Arc<str>,
    /// Where it is.
    pub page: Arc<str>,
    /// Fresh.
    pub ticket: String,
    /// Others on its page, at this server.
    pub companions: usize,
}

impl Matchmaker {
    /// Lets a peer of another server join: it is offered peers, and to nobody.
    #[expect(clippy::too_many_arguments, reason = "time and rng are arguments here")]
    pub fn welcome_guest(
        &mut self,
        conn: Conn,
        page: &str,
        want: u16,
        ticket: String,
        now: u64,
        rng: &mut impl Rng,
        out: &mut Vec<Output>,
    ) {
        let joining = Joining {
            conn,
            page,
            want,
            ticket: Some(ticket),
            room: 0,
            position: None,
        };
        self.join(joining, now, rng, out);
    }

    /// What lets the peer on this connection join elsewhere; nothing if it has not joined here.
    pub fn passport(&self, conn: Conn, now: u64) -> Option<Passport> {
        let id = self.connections.get(&conn)?.peer?;
        let peer = self.peers.get(&id)?;
        let (page, _) = peer.pages.front()?;
        let (_, here) = self.sites.get(&peer.origin)?.pages.get(page)?;
        Some(Passport {
            origin: peer.origin.clone(),
            page: page.clone(),
            ticket: self.tickets.issue(id, &peer.origin, self.date(now)),
            companions: here.saturating_sub(1),
        })
    }

    /// The connection of a peer.
    pub fn connection_of(&self, id: Id) -> Option<Conn> {
        self.peers.get(&id).map(|peer| peer.conn)
    }

    /// Whether there are peers of this origin.
    pub fn knows_origin(&self, origin: &str) -> bool {
        self.sites.contains_key(origin)
    }

    /// Who the peer on this connection is, if it has a link to that other one.
    pub fn friend_of(&self, conn: Conn, other: Id) -> Option<Id> {
        let id = self.connections.get(&conn)?.peer?;
        self.linked(id, other).then_some(id)
    }

    /// With how many others the peer on this connection may talk.
    pub fn links(&self, conn: Conn) -> usize {
        let peer = self.connections.get(&conn).and_then(|c| c.peer);
        let peer = peer.and_then(|id| self.peers.get(&id));
        peer.map_or(0, |peer| peer.links.len())
    }
}
