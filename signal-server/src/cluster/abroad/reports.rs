//! What our peers say of those that they are linked to at other servers.

use fugitive_signal::{ToServer, encode};

use super::Abroad;
use crate::{
    matchmaker::{Conn, Matchmaker},
    ticket::Id,
};

/// Channels of one peer that are noted; it can say what it likes.
const MOST: usize = 256;

/// What a guest may say at a server that is not its own.
pub(super) fn may_say(message: &ToServer) -> bool {
    matches!(
        message,
        ToServer::Signal { .. }
            | ToServer::Up { .. }
            | ToServer::Down { .. }
            | ToServer::Ban { .. }
    )
}

impl Abroad {
    /// Channels count at both servers, and a ban holds at both.
    pub(super) fn reported(&mut self, conn: Conn, message: &ToServer, matchmaker: &mut Matchmaker) {
        let (ToServer::Up { peer } | ToServer::Down { peer } | ToServer::Ban { peer }) = message
        else {
            return;
        };
        let Ok(other) = peer.parse::<Id>() else {
            return;
        };
        let is_known = self.say(conn, peer, &encode(message));
        match message {
            ToServer::Up { .. } if is_known && matchmaker.friend_of(conn, other).is_none() => {
                let channels = self.channels.entry(conn).or_default();
                if channels.len() < MOST {
                    channels.insert(other);
                }
            }
            ToServer::Up { .. } => return,
            ToServer::Ban { .. } => {
                for host in self.hosts.get_mut(&conn).into_iter().flatten() {
                    host.partners.retain(|partner| *partner != other);
                }
            }
            _ => {}
        }
        let Some(channels) = self.channels.get_mut(&conn) else {
            return;
        };
        if !matches!(message, ToServer::Up { .. }) {
            channels.remove(&other);
        }
        matchmaker.set_elsewhere(conn, channels.len());
        if channels.is_empty() {
            self.channels.remove(&conn);
        }
    }
}
