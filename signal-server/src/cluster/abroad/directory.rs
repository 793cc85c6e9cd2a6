//! Whom our peers are offered elsewhere: any of their page, or who holds what they look for.

use fugitive_core::content::ContentId;
use fugitive_signal::ToClient;

use super::{Abroad, Deliver, Kind, hosts::Host};
use crate::{
    cluster::ServerId,
    matchmaker::{Conn, MOST_OFFERED, Matchmaker},
    ticket::Id,
};

/// Who holds it may be named for so long, in milliseconds.
const FOUND_WITHIN: u64 = 10_000;

impl Abroad {
    /// One of ours looks for holders, and so many were found here. What is lost on the way is not asked
    /// again: the client does that itself.
    pub(super) fn find(
        &mut self,
        conn: Conn,
        content: ContentId,
        want: u16,
        matchmaker: &Matchmaker,
        found: usize,
        now: u64,
    ) {
        let missing = want.min(MOST_OFFERED as u16).saturating_sub(found as u16);
        if let Some(passport) = matchmaker.passport(conn, now).filter(|_| missing > 0) {
            self.finding.insert(conn, now + FOUND_WITHIN);
            self.call_out(conn, passport, missing, Some(content));
        }
    }

    /// One of ours is offered peers, or holders, of that other server.
    pub(super) fn met(
        &mut self,
        server: ServerId,
        conn: Conn,
        mut message: ToClient,
        matchmaker: &Matchmaker,
        deliver: &mut Vec<Deliver>,
    ) {
        let (is_awaited, dials_always, peers) = match &mut message {
            ToClient::Offered { peers } => (self.seeking.contains_key(&conn), false, peers),
            ToClient::Holders { peers, .. } => (self.finding.contains_key(&conn), true, peers),
            _ => return,
        };
        let ids: Vec<Id> = peers.iter().filter_map(|peer| peer.parse().ok()).collect();
        let hosts = self.hosts.get_mut(&conn);
        let known = hosts.and_then(|hosts| hosts.iter_mut().find(|host| host.server == server));
        match known {
            Some(host) => {
                for id in ids {
                    if !host.partners.contains(&id) {
                        host.partners.push(id);
                    }
                }
            }
            None if peers.is_empty() || !is_awaited => {
                return self.tell(server, Kind::Left, conn.0, &[], &[]);
            }
            None => {
                let partners = ids;
                let hosts = self.hosts.entry(conn).or_default();
                hosts.push(Host { server, partners });
            }
        }
        if !dials_always && let Some(seeking) = self.seeking.get_mut(&conn) {
            seeking.want = seeking.want.saturating_sub(peers.len() as u16);
            if seeking.want == 0 {
                self.seeking.remove(&conn);
            }
        }
        peers.retain(|peer| {
            peer.parse().is_ok_and(|other| {
                // Two who look for each other at the same time: one of them is to dial.
                let me = matchmaker.friend_of(conn, other);
                let dials = dials_always || me.is_none_or(|me| me < other);
                dials && !matchmaker.has_banned(conn, other)
            })
        });
        if !peers.is_empty() {
            deliver.push(Deliver::Message(conn, message));
        }
    }
}
