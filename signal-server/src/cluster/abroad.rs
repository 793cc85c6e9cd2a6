//! Which of our peers are guests where, and who is a guest here. Pure, as the matchmaker is: letters
//! go out through the backbone, all else is said by whoever calls.

mod crowds;
mod directory;
mod guests;
mod hosts;
mod reports;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use fugitive_core::content::ContentId;
use fugitive_signal::{ToClient, ToServer, decode, encode};
use rand::Rng;
use serde::{Deserialize, Serialize};

use self::{
    crowds::Crowds,
    guests::unread,
    hosts::{Host, gone},
    reports::may_say,
};
use super::{Backbone, Kind, Letter, ServerId};
use crate::{
    matchmaker::{Conn, MOST_OFFERED, Matchmaker, Numbered, Output, Passport, page_key},
    ticket::Id,
};

/// A server that is silent for so long is lost, in milliseconds. A backbone that finds another way
/// within that is not noticed.
const LOST: u64 = 6000;
/// How often others are told who is still their guest, in milliseconds.
const STILL: u64 = 15_000;
/// How often it is looked which origins are ours, in milliseconds.
const ORIGINS: u64 = 60_000;
/// When it is called out again for somebody who found too few, in milliseconds from the time before.
const AGAIN: [u64; 3] = [500, 2000, 10_000];
/// Guests at once; no more than there may be peers.
const MOST_GUESTS: usize = 100_000;

/// One of ours looks for peers elsewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Of its page.
    pub origin: String,
    /// Of its page.
    pub page: String,
    /// It is who it is by this.
    pub ticket: String,
    /// How many peers.
    pub want: u16,
    /// Those who hold this, where it is not any who may hold what its page shows.
    #[serde(default)]
    pub content: Option<ContentId>,
    /// So many are on its page at its server.
    #[serde(default)]
    pub at_home: usize,
    /// Whom it does not want to meet.
    #[serde(default)]
    pub bans: Vec<String>,
}

struct Seeking {
    want: u16,
    /// Of this page, where it is not the one that it is on.
    page: Option<Arc<str>>,
    tries: usize,
    at: u64,
}

/// See the module.
pub struct Abroad {
    me: ServerId,
    backbone: Arc<dyn Backbone>,
    /// The other servers, and when they were last heard.
    servers: HashMap<ServerId, u64>,
    guests: HashMap<(ServerId, u64), Conn>,
    homes: Numbered<Conn, (ServerId, u64)>,
    hosts: Numbered<Conn, Vec<Host>>,
    seeking: HashMap<Conn, Seeking>,
    /// Who asked for holders, until when they may be named.
    finding: HashMap<Conn, u64>,
    /// Channels of ours to peers that they are linked to elsewhere.
    channels: HashMap<Conn, BTreeSet<Id>>,
    crowds: Crowds,
    still_at: u64,
    origins_at: u64,
}

/// What is to be done for a client of ours.
pub enum Deliver {
    /// Send it this signal as it stands, which is from that peer.
    Signal(Conn, Id, Vec<u8>),
    /// Send it this.
    Message(Conn, ToClient),
}

impl Abroad {
    /// Of a server with this name among the others.
    pub fn new(me: ServerId, backbone: Arc<dyn Backbone>) -> Self {
        Self {
            me,
            backbone,
            servers: HashMap::new(),
            guests: HashMap::new(),
            homes: Numbered::default(),
            hosts: Numbered::default(),
            seeking: HashMap::new(),
            finding: HashMap::new(),
            channels: HashMap::new(),
            crowds: Crowds::default(),
            still_at: 0,
            origins_at: 0,
        }
    }

    /// How many servers are known beside this one.
    pub fn others(&self) -> usize {
        self.servers.len()
    }

    fn tell(&self, server: ServerId, kind: Kind, conn: u64, body: &[u8], more: &[u8]) {
        let from = self.me;
        let letter = Letter {
            kind,
            from,
            conn,
            body,
        };
        self.backbone.tell(server, letter.bytes_with(more));
    }

    /// One of ours asked for peers or holders, and found so many here, or says something about a peer.
    /// Who came back with a ticket may have left friends elsewhere.
    pub fn asked(
        &mut self,
        conn: Conn,
        message: &ToServer,
        matchmaker: &mut Matchmaker,
        found: usize,
        now: u64,
    ) {
        let (want, came_back) = match message {
            ToServer::Join { want, ticket, .. } => (*want, ticket.is_some()),
            ToServer::More { want, .. } => (*want, false),
            ToServer::Find { id, want } => {
                return self.find(conn, *id, *want, matchmaker, found, now);
            }
            _ => return self.reported(conn, message, matchmaker),
        };
        let Some(passport) = matchmaker.passport(conn, now) else {
            return;
        };
        self.backbone.attend(&passport.origin);
        // It is about to turn to that page.
        let page = match message {
            ToServer::More { page, .. } => page.as_deref(),
            _ => None,
        };
        // Peers of other pages do not make up for those of the same page.
        let here = match page {
            _ if came_back => 0,
            None => found.min(passport.companions),
            Some(_) => found,
        };
        let missing = want.min(MOST_OFFERED as u16).saturating_sub(here as u16);
        if missing > 0 {
            let seeking = Seeking {
                want: missing,
                page: page.map(Arc::from),
                tries: 0,
                at: now,
            };
            self.seeking.insert(conn, seeking);
            self.call(conn, matchmaker, now);
        }
    }

    fn call(&mut self, conn: Conn, matchmaker: &Matchmaker, now: u64) {
        let passport = matchmaker.passport(conn, now);
        let (Some(seeking), Some(passport)) = (self.seeking.get_mut(&conn), passport) else {
            self.seeking.remove(&conn);
            return;
        };
        let (want, page) = (seeking.want, seeking.page.clone());
        match AGAIN.get(seeking.tries) {
            Some(pause) => seeking.at = now + pause,
            None => {
                self.seeking.remove(&conn);
            }
        }
        if let Some(seeking) = self.seeking.get_mut(&conn) {
            seeking.tries += 1;
        }
        let page = page.unwrap_or_else(|| passport.page.clone());
        self.call_out(conn, Passport { page, ..passport }, want, None);
    }

    fn call_out(&mut self, conn: Conn, passport: Passport, want: u16, content: Option<ContentId>) {
        self.crowds
            .say_again(page_key(&passport.origin, &passport.page));
        let call = Call {
            origin: passport.origin.to_string(),
            page: passport.page.to_string(),
            ticket: passport.ticket,
            want,
            content,
            at_home: passport.at_home,
            bans: passport.bans,
        };
        let letter = Letter {
            kind: Kind::Call,
            from: self.me,
            conn: conn.0,
            body: &encode(&call),
        };
        self.backbone.call(&passport.origin, letter.bytes());
    }

    /// A letter came. What the matchmaker says to it is in `out`; `next` numbers connections.
    #[expect(clippy::too_many_arguments, reason = "time and rng are arguments here")]
    pub fn receive(
        &mut self,
        bytes: &[u8],
        matchmaker: &mut Matchmaker,
        next: &mut u64,
        now: u64,
        rng: &mut impl Rng,
        out: &mut Vec<Output>,
        deliver: &mut Vec<Deliver>,
    ) {
        let Some(letter) = Letter::read(bytes).filter(|letter| letter.from != self.me) else {
            return;
        };
        let Letter {
            from, conn, body, ..
        } = letter;
        if self.servers.insert(from, now).is_none() {
            tracing::info!("cluster: server {from:016x} is there");
        }
        let guest = self.guests.get(&(from, conn)).copied();
        match letter.kind {
            Kind::Beat | Kind::Site => {}
            Kind::Call => {
                if let Ok(call) = decode::<Call>(body) {
                    let page = page_key(&call.origin, &call.page);
                    let at_home = call.at_home.min(usize::from(u16::MAX)) as u16;
                    if matchmaker.counts_crowds() && matchmaker.knows_origin(&call.origin) {
                        self.hear_crowd(from, page, at_home, matchmaker, now);
                    }
                    self.invite(from, conn, call, matchmaker, next, now, rng, out);
                }
            }
            Kind::Say => match guest {
                Some(guest) => {
                    if let Ok(message) = decode(body)
                        && may_say(&message)
                        && matchmaker.heard(guest, now, out)
                    {
                        matchmaker.receive(guest, message, now, rng, out);
                    }
                }
                None => self.tell(from, Kind::Closed, conn, &[], &[]),
            },
            Kind::Left => {
                if let Some(guest) = guest {
                    self.forget_guest(guest);
                    matchmaker.closed(guest, now, out);
                }
            }
            Kind::Still => {
                for number in body.as_chunks::<8>().0 {
                    let conn = u64::from_be_bytes(*number);
                    match self.guests.get(&(from, conn)) {
                        Some(guest) => {
                            matchmaker.heard(*guest, now, out);
                        }
                        None => self.tell(from, Kind::Closed, conn, &[], &[]),
                    }
                }
            }
            Kind::Crowds => self.hear_crowds(from, body, matchmaker, now),
            Kind::Unread => {
                if let Some(guest) = guest {
                    unread(guest, body, matchmaker, deliver);
                }
            }
            Kind::Hear => self.hear(from, Conn(conn), body, matchmaker, deliver),
            Kind::Closed => {
                if let Some(hosts) = self.hosts.get_mut(&Conn(conn))
                    && let Some(at) = hosts.iter().position(|host| host.server == from)
                {
                    let host = hosts.swap_remove(at);
                    gone(Conn(conn), host, matchmaker, deliver);
                }
            }
        }
    }

    /// Beats, and looks who does not. Call it every second or so.
    pub fn tick(
        &mut self,
        matchmaker: &mut Matchmaker,
        now: u64,
        out: &mut Vec<Output>,
        deliver: &mut Vec<Deliver>,
    ) {
        let beat = Letter {
            kind: Kind::Beat,
            from: self.me,
            conn: 0,
            body: &[],
        };
        self.backbone.tell_all(beat.bytes());
        let lost: Vec<ServerId> = self
            .servers
            .iter()
            .filter(|(_, heard)| now.saturating_sub(**heard) > LOST)
            .map(|(server, _)| *server)
            .collect();
        for server in lost {
            tracing::warn!("cluster: server {server:016x} is lost");
            self.lose(server, matchmaker, now, out, deliver);
        }
        self.finding.retain(|_, until| *until > now);
        let due: Vec<Conn> = self
            .seeking
            .iter()
            .filter(|(_, seeking)| seeking.at <= now)
            .map(|(conn, _)| *conn)
            .collect();
        for conn in due {
            self.call(conn, matchmaker, now);
        }
        let is_time = now >= self.still_at;
        self.tell_crowds(is_time, matchmaker);
        if is_time {
            self.end_crowds(matchmaker, now);
            self.still_at = now + STILL;
            let mut still: BTreeMap<ServerId, Vec<u8>> = BTreeMap::new();
            for (conn, hosts) in &self.hosts {
                for host in hosts {
                    let numbers = still.entry(host.server).or_default();
                    numbers.extend_from_slice(&conn.0.to_be_bytes());
                }
            }
            for (server, numbers) in still {
                for some in numbers.chunks(8 * 4096) {
                    self.tell(server, Kind::Still, 0, some, &[]);
                }
            }
        }
        if now >= self.origins_at {
            self.origins_at = now + ORIGINS;
            let is_ours = |origin: &str| matchmaker.knows_origin(origin);
            self.backbone.attend_only(&is_ours);
        }
    }

    fn lose(
        &mut self,
        server: ServerId,
        matchmaker: &mut Matchmaker,
        now: u64,
        out: &mut Vec<Output>,
        deliver: &mut Vec<Deliver>,
    ) {
        self.servers.remove(&server);
        self.lose_crowds(server, matchmaker);
        // First these: who is a guest here as well is not gone yet.
        for (conn, hosts) in &mut self.hosts {
            while let Some(at) = hosts.iter().position(|host| host.server == server) {
                gone(*conn, hosts.swap_remove(at), matchmaker, deliver);
            }
        }
        self.hosts.retain(|_, hosts| !hosts.is_empty());
        let mut guests: Vec<Conn> = self
            .homes
            .iter()
            .filter(|(_, (home, _))| *home == server)
            .map(|(conn, _)| *conn)
            .collect();
        guests.sort_unstable();
        for guest in guests {
            self.forget_guest(guest);
            matchmaker.closed(guest, now, out);
        }
    }
}

#[cfg(test)]
mod tests;
