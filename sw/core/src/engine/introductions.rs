//! How peers come to know each other without the server: one that both are connected to names them,
//! and relays what they have to say until they are connected.

use super::{
    Engine, Output, PeerId,
    beyond::{ERRAND_BURST, ERRANDS_PER_SECOND},
    peers::{Peer, Stage},
    pulse::Bucket,
};
use crate::wire::{MAX_SIGNAL, Message};

/// Peers named in one introduction, at most.
const MAX_MET: usize = 8;
/// Signals that one peer may have us relay: at once, and each second.
const RELAY_BURST: f32 = 64.0;
const RELAYS_PER_SECOND: f32 = 8.0;
/// Who was introduced by whom is remembered for this long, in milliseconds.
const VIA_FOR: u64 = 30_000;
const MAX_VIAS: usize = 32;

pub(super) fn relays(now: u64) -> Bucket {
    Bucket::new(now, RELAY_BURST)
}

/// Signals for a peer go by way of another.
pub(super) struct Via {
    pub peer: PeerId,
    pub by: PeerId,
    until: u64,
}

impl Engine {
    /// Dials somebody whom a peer of ours introduced.
    pub(super) fn meet(&mut self, peer: PeerId, by: &PeerId) -> bool {
        if peer.0.is_empty() || peer.0.len() > 64 {
            return false;
        }
        let target = self.config.target_peers;
        // Whoever has what we want is welcome beyond the target.
        self.config.target_peers = self.config.max_peers;
        let meets = self.offer(peer.clone(), Some(by.clone()));
        self.config.target_peers = target;
        if meets {
            self.remember_via(peer, by.clone());
        }
        meets
    }

    fn remember_via(&mut self, peer: PeerId, by: PeerId) {
        let until = self.now + VIA_FOR;
        self.vias
            .retain(|via| via.peer != peer && via.until > self.now);
        if self.vias.len() >= MAX_VIAS {
            self.vias.remove(0);
        }
        self.vias.push(Via { peer, by, until });
    }

    pub(super) fn ask_for_introductions(&mut self, want: u16) {
        let able = |peer: &Peer| peer.stage == Stage::Open && peer.version >= 2;
        let able: Vec<_> = self.peers.iter().filter(|peer| able(peer)).collect();
        if able.is_empty() {
            return;
        }
        let chosen = able[self.rng.usize(0..able.len())].id.clone();
        self.send(&chosen, &Message::More { want });
    }

    /// A peer wants to know more peers.
    pub(super) fn introduce(&mut self, to: &PeerId, want: u16) {
        let now = self.now;
        let Some(at) = self.at(to) else { return };
        if !self.peers[at]
            .errands
            .takes(now, ERRAND_BURST, ERRANDS_PER_SECOND)
        {
            return;
        }
        let able = |peer: &&Peer| peer.stage == Stage::Open && peer.version >= 2 && peer.id != *to;
        let able = self.peers.iter().filter(able);
        let mut peers: Vec<String> = able.map(|peer| peer.id.0.as_ref().into()).collect();
        self.rng.shuffle(&mut peers);
        peers.truncate(usize::from(want).min(MAX_MET));
        if !peers.is_empty() {
            self.send(to, &Message::Meet { peers });
        }
    }

    pub(super) fn introduced(&mut self, by: &PeerId, peers: Vec<String>) {
        for peer in peers.iter().take(MAX_MET) {
            if self.peers.len() >= self.config.target_peers {
                return;
            }
            self.meet(peer.as_str().into(), by);
        }
    }

    /// The driver has something to say to a peer that is not open yet, or has to be restarted.
    pub(super) fn signal(&mut self, to: PeerId, signal: Vec<u8>) {
        let now = self.now;
        let via = self
            .vias
            .iter()
            .find(|via| via.peer == to && via.until > now);
        let by = via.map(|via| via.by.clone());
        let by = by.filter(|by| self.at(by).is_some_and(|at| self.peers[at].is_open()));
        match by {
            Some(by) if signal.len() <= MAX_SIGNAL => {
                let to = to.0.as_ref().into();
                self.send(&by, &Message::Signal { to, signal });
            }
            _ => self.out.push_back(Output::Signal { to, signal }),
        }
    }

    /// A peer has us pass on a signal.
    pub(super) fn relay_signal(&mut self, from: &PeerId, to: &str, signal: Vec<u8>) {
        let now = self.now;
        let Some(at) = self.at(from) else { return };
        let relays = &mut self.peers[at].relays;
        if signal.len() > MAX_SIGNAL || !relays.takes(now, RELAY_BURST, RELAYS_PER_SECOND) {
            return;
        }
        let to = PeerId::from(to);
        let is_there = self.at(&to).is_some_and(|at| self.peers[at].is_open());
        if is_there && to != *from {
            let from = from.0.as_ref().into();
            self.send(&to, &Message::Signalled { from, signal });
        }
    }

    /// Somebody whom a peer of ours introduced to us says something.
    pub(super) fn signalled(&mut self, by: &PeerId, from: &str, signal: Vec<u8>) {
        let from = PeerId::from(from);
        let known = self.at(&from);
        let room = self.peers.len() < self.config.max_peers;
        if from.0.len() > 64
            || signal.len() > MAX_SIGNAL
            || self.banned.contains(&from)
            || self.me.as_ref() == Some(&from)
            || known.is_none() && !room
        {
            return;
        }
        // An open connection is not disturbed by what a third one says of it, unless it is silent.
        if known.is_some_and(|at| self.peers[at].stage == Stage::Open) {
            return;
        }
        self.remember_via(from.clone(), by.clone());
        self.out.push_back(Output::Signalled { from, signal });
    }
}
