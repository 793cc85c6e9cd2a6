//! Connections: whom to dial, whom to take, whom to drop.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::{
    DropReason, Engine, Output, PeerId,
    asking::{Answer, Pull},
    serving::Serving,
};
use crate::{
    content::ContentId,
    wire::{self, Message},
};

/// A dialled peer that did not open within this is given up, in milliseconds.
const DIAL_TIMEOUT: u64 = 15_000;
/// The signal server is asked for more peers at most this often, in milliseconds.
const MORE_EVERY: u64 = 10_000;
/// Banned peers remembered; ids are random, so an attacker gains nothing by overflowing it.
const MAX_BANNED: usize = 4096;

/// One peer, dialled or open.
pub(super) struct Peer {
    pub open: bool,
    /// When it was dialled.
    since: u64,
    /// What it said it holds; bounded by [`super::asking`].
    pub answers: HashMap<ContentId, Answer>,
    /// What we pulled and it has not sent yet.
    pub pulls: BTreeMap<u32, Pull>,
    /// Pulls that we stopped, whose groups may still be on their way.
    pub stopped: VecDeque<u32>,
    /// The other direction.
    pub serving: Serving,
}

impl Peer {
    fn new(now: u64) -> Self {
        Self {
            open: false,
            since: now,
            answers: HashMap::new(),
            pulls: BTreeMap::new(),
            stopped: VecDeque::new(),
            serving: Serving::new(now),
        }
    }
}

impl Engine {
    pub(super) fn welcome(&mut self, me: PeerId) {
        self.me = Some(me);
        self.more_at = self.now + MORE_EVERY;
    }

    pub(super) fn offered(&mut self, peers: Vec<PeerId>) {
        self.joining = false;
        for peer in peers {
            let known = self.peers.contains_key(&peer)
                || self.banned.contains(&peer)
                || self.me.as_ref() == Some(&peer);
            if known || self.peers.len() >= self.config.target_peers {
                continue;
            }
            self.peers.insert(peer.clone(), Peer::new(self.now));
            self.out.push_back(Output::Dial { peer, via: None });
        }
        self.pump_all();
    }

    pub(super) fn server_lost(&mut self) {
        self.joining = false;
        self.pump_all();
    }

    /// Whether there may soon be more peers than now.
    pub(super) fn coming(&self) -> bool {
        self.joining || self.peers.values().any(|peer| !peer.open)
    }

    /// The server saw it leave. An open channel knows better than the server whether it is alive.
    pub(super) fn gone(&mut self, peer: &PeerId) {
        if self.peers.get(peer).is_some_and(|peer| !peer.open) {
            self.drop_peer(peer, DropReason::NeverOpened);
        }
    }

    pub(super) fn opened(&mut self, id: PeerId) {
        if self.banned.contains(&id) {
            return self.out.push_back(Output::Drop {
                peer: id,
                why: DropReason::Banned,
            });
        }
        let full = self.peers.len() >= self.config.max_peers;
        if full && !self.peers.contains_key(&id) {
            return self.out.push_back(Output::Drop {
                peer: id,
                why: DropReason::Full,
            });
        }
        // A channel that opens again is a new connection: nothing of the old one goes on.
        let mut peer = Peer::new(self.now);
        peer.open = true;
        let old = self.peers.insert(id.clone(), peer);
        self.asks.retain(|_, (_, asked)| *asked != id);
        self.send(
            &id,
            &Message::Hello {
                version: wire::VERSION,
            },
        );
        match old {
            Some(old) => self.lost_peer(&id, old),
            None => self.pump_all(),
        }
    }

    pub(super) fn closed(&mut self, id: &PeerId) {
        if let Some(peer) = self.peers.remove(id) {
            self.asks.retain(|_, (_, asked)| asked != id);
            self.lost_peer(id, peer);
        }
    }

    pub(super) fn ban(&mut self, id: &PeerId, why: DropReason) {
        if self.banned.len() >= MAX_BANNED {
            self.banned.pop_first();
        }
        self.banned.insert(id.clone());
        self.drop_peer(id, why);
    }

    fn drop_peer(&mut self, id: &PeerId, why: DropReason) {
        self.out.push_back(Output::Drop {
            peer: id.clone(),
            why,
        });
        self.closed(id);
    }

    pub(super) fn peers_time(&mut self) {
        let now = self.now;
        let late: Vec<_> = self
            .peers
            .iter()
            .filter(|(_, peer)| !peer.open && peer.since + DIAL_TIMEOUT <= now)
            .map(|(id, _)| id.clone())
            .collect();
        for id in late {
            self.drop_peer(&id, DropReason::NeverOpened);
        }
        let lacking = self.config.target_peers.saturating_sub(self.peers.len());
        if self.me.is_some() && lacking > 0 && self.more_at <= now {
            self.more_at = now + MORE_EVERY;
            self.out.push_back(Output::MorePeers {
                want: lacking as u16,
            });
        }
    }

    pub(super) fn peers_wake_at(&self) -> Option<u64> {
        let dialled = self
            .peers
            .values()
            .filter(|peer| !peer.open)
            .map(|peer| peer.since + DIAL_TIMEOUT)
            .min();
        let lacking = self.peers.len() < self.config.target_peers;
        let more = (self.me.is_some() && lacking).then_some(self.more_at);
        [dialled, more].into_iter().flatten().min()
    }

    pub(super) fn tell_peers(&mut self) {
        let open = self.peers.values().filter(|peer| peer.open).count();
        let state = (open as u32, self.coming());
        if state != self.told {
            self.told = state;
            self.out.push_back(Output::Peers {
                open: state.0,
                coming: state.1,
            });
        }
    }
}
