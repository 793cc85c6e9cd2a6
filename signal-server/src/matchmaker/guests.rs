//! What a cluster asks of a matchmaker: to let peers of other servers in, and to say who its own are.

use std::sync::Arc;

use rand::Rng;

use super::{Conn, Joining, MOST_BANS, Matchmaker, Output, Peer};
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
    /// Others on its page, at this server or guests of it.
    pub companions: usize,
    /// All on its page, at this server.
    pub at_home: usize,
    /// Whom it does not want to meet.
    pub bans: Vec<String>,
}

impl Peer {
    /// Whether it is a peer of another server.
    pub(super) fn is_guest(&self) -> bool {
        self.room == 0
    }

    pub(super) fn ban_all(&mut self, bans: Vec<Id>) {
        let known = self.bans.len();
        let new = bans.into_iter().filter(|id| !self.bans.contains(id));
        let new: Vec<Id> = new.take(MOST_BANS).collect();
        self.bans
            .drain(..(known + new.len()).saturating_sub(MOST_BANS).min(known));
        self.bans.extend(new);
    }
}

impl Matchmaker {
    /// Lets a peer of another server join: it is offered peers, and to nobody.
    #[expect(clippy::too_many_arguments, reason = "time and rng are arguments here")]
    pub fn welcome_guest(
        &mut self,
        conn: Conn,
        bans: Vec<Id>,
        page: &str,
        want: u16,
        ticket: String,
        now: u64,
        rng: &mut impl Rng,
        out: &mut Vec<Output>,
    ) {
        let joining = Joining {
            bans,
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
        let here = self.sites.get(&peer.origin)?.pages.get(page)?;
        Some(Passport {
            origin: peer.origin.clone(),
            page: page.clone(),
            ticket: self.tickets.issue(id, &peer.origin, self.date(now)),
            companions: here.count.saturating_sub(1),
            at_home: here.count - here.guests,
            bans: peer.bans.iter().map(Id::to_string).collect(),
        })
    }

    /// Notes how many channels the peer on this connection has to those it is linked to elsewhere.
    pub fn set_elsewhere(&mut self, conn: Conn, channels: usize) {
        let Some(id) = self.connections.get(&conn).and_then(|c| c.peer) else {
            return;
        };
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.elsewhere = channels as u16;
        }
        self.reseat(id);
    }

    /// Whether the peer on this connection does not want to meet that other one.
    pub fn has_banned(&self, conn: Conn, other: Id) -> bool {
        let peer = self.connections.get(&conn).and_then(|c| c.peer);
        let peer = peer.and_then(|id| self.peers.get(&id));
        peer.is_some_and(|peer| peer.bans.contains(&other))
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
