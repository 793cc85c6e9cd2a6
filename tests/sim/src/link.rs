//! Connections between visitors: offered and answered over the signal server, set up if their NATs
//! let them, closed in order or without a word.

use std::collections::BTreeMap;

use fugitive_core::{
    engine::{Input, PeerId},
    wire::{self, Message as Control},
};
use fugitive_signal::{Signal, ToServer};
use slotmap::{Key, KeyData, new_key_type};

use crate::{
    Time,
    clock::{lot, mix},
    net::{Parcel, PipeKey},
    parcel::{self, Message},
    people::Gives,
    site::Content,
    world::{At, Event, World},
};

new_key_type! {
    /// A connection, begun or open.
    pub struct LinkKey;
}

/// Round trips from the answer to an open channel: ICE 1, DTLS 1.2 2, SCTP 1.5.
pub(crate) const SETUP_ROUND_TRIPS: f64 = 4.5;
/// A browser gives a connection up that long after its checks began.
const CHECKS_FAIL: Time = 15_000_000;
/// And one that had been open that long after it last heard (RFC 7675: consent expires).
const CONSENT: Time = 30_000_000;

/// Two ends, the one that dialled first.
pub struct Link {
    pub(crate) ends: [At; 2],
    names: [PeerId; 2],
    /// From each end to the other, once open.
    pub(crate) pipes: Option<[PipeKey; 2]>,
    /// What each end's pulls are of, so that frames can be told by their pull.
    pulls: [BTreeMap<u32, Content>; 2],
}

impl World<'_> {
    /// The engine wants a connection.
    pub(crate) fn dial(&mut self, who: usize, peer: &PeerId) {
        let at = self.here(who);
        let other = self.names.get(peer).copied();
        let bridge = self.visitors[who].bridge.as_mut();
        let (Some(bridge), Some(other)) = (bridge, other) else {
            return;
        };
        let Some(me) = bridge.me.clone() else {
            return;
        };
        // They were quicker: their offer is being answered.
        if bridge.links.contains_key(peer) {
            return;
        }
        let link = self.links.insert(Link {
            ends: [
                at,
                At {
                    who: other,
                    look: 0,
                },
            ],
            names: [me, peer.clone()],
            pipes: None,
            pulls: [BTreeMap::new(), BTreeMap::new()],
        });
        bridge.links.insert(peer.clone(), link);
        self.describe(who, peer, "offer", link);
    }

    /// A description and the candidates after it, by whichever way the engine sends them.
    fn describe(&mut self, who: usize, to: &PeerId, kind: &str, link: LinkKey) {
        let description = Signal::Description {
            kind: kind.into(),
            sdp: link.data().as_ffi().to_string(),
        };
        let candidate = || Signal::Candidate {
            candidate: String::new(),
            mid: None,
            line: None,
        };
        let candidates = (0..self.workload.browser.candidates).map(|_| candidate());
        for signal in std::iter::once(description).chain(candidates) {
            let (to, signal) = (to.clone(), fugitive_signal::encode(&signal));
            let at = self.here(who);
            self.clock.after(0, Event::Signal(at, to, signal));
        }
    }

    /// A signal came, over the server or over peers.
    pub(crate) fn signalled(&mut self, at: At, from: &PeerId, signal: Signal) {
        if let Signal::Description { kind, sdp } = signal {
            self.described(at, from, &kind, &sdp);
        }
    }

    /// A description came.
    fn described(&mut self, at: At, from: &PeerId, kind: &str, sdp: &str) {
        let key = LinkKey::from(KeyData::from_ffi(sdp.parse().unwrap_or_default()));
        let Some(link) = self.links.get_mut(key) else {
            return;
        };
        if kind == "answer" {
            let (a, b) = (link.ends[0].who, link.ends[1].who);
            let rtt = 2 * self.way(a, b);
            let well = self.connects(a, b);
            let wait = if well {
                (rtt as f64 * SETUP_ROUND_TRIPS) as Time
            } else {
                CHECKS_FAIL
            };
            return self.clock.after(wait, Event::Linked(key, well));
        }
        link.ends[1] = at;
        let Some(bridge) = self.bridge(at) else {
            return;
        };
        if let Some(&mine) = bridge.links.get(from) {
            let wins = bridge.me.as_ref().is_some_and(|me| me < from);
            let is_open = self
                .links
                .get(mine)
                .is_some_and(|mine| mine.pipes.is_some());
            if !is_open && wins {
                return;
            }
            // They came back, or both dialled and theirs goes on.
            self.forget(mine, at);
        }
        if let Some(bridge) = self.bridge(at) {
            bridge.links.insert(from.clone(), key);
            self.describe(at.who, from, "answer", key);
        }
    }

    /// Whether two NATs let each other through; the same two always or never.
    pub(crate) fn connects(&self, a: usize, b: usize) -> bool {
        let nat = |who: usize| self.people[who].nat;
        let chance = self.workload.nats[nat(a)].connects[nat(b)];
        let pair = mix(a.min(b) as u64, a.max(b) as u64);
        lot(self.seed ^ 0x4e41, pair) < chance
    }

    pub(crate) fn linked(&mut self, key: LinkKey, well: bool) {
        let Some(link) = self.links.get(key) else {
            return;
        };
        let (ends, names) = (link.ends, link.names.clone());
        let stands = |world: &mut Self, side: usize| {
            let bridge = world.bridge(ends[side]);
            bridge.is_some_and(|bridge| bridge.links.get(&names[1 - side]) == Some(&key))
        };
        let stand = [stands(self, 0), stands(self, 1)];
        if well && stand == [true, true] {
            let (a, b) = (ends[0].who, ends[1].who);
            let way = self.way(a, b);
            let loss = self.people[a].loss + self.people[b].loss;
            let seed = mix(self.seed, key.data().as_ffi());
            let there = self.net.pipe(Some(a), b, way, loss, mix(seed, 0));
            let back = self.net.pipe(Some(b), a, way, loss, mix(seed, 1));
            self.pipes.insert(there, (key, 0));
            self.pipes.insert(back, (key, 1));
            if let Some(link) = self.links.get_mut(key) {
                link.pipes = Some([there, back]);
            }
            self.log.linked(true);
            for side in [0, 1] {
                let peer = names[1 - side].clone();
                let up = ToServer::Up {
                    peer: peer.0.to_string(),
                };
                self.say_to_server(ends[side].who, up);
                self.tell(ends[side].who, Input::Opened { peer });
            }
            return;
        }
        self.log.linked(false);
        self.links.remove(key);
        for side in [0, 1] {
            if stand[side] {
                let peer = names[1 - side].clone();
                if let Some(bridge) = self.bridge(ends[side]) {
                    bridge.links.remove(&peer);
                }
                self.say_down(ends[side], &peer);
                self.tell(ends[side].who, Input::Closed { peer });
            }
        }
    }

    /// The engine has something for a peer.
    pub(crate) fn send(&mut self, who: usize, peer: &PeerId, mut bytes: Vec<u8>) {
        let bridge = self.visitors[who].bridge.as_mut();
        let Some((bridge, key)) = bridge.and_then(|bridge| {
            let key = bridge.links.get(peer).copied()?;
            Some((bridge, key))
        }) else {
            return;
        };
        bridge.sent_to.insert(peer.clone());
        let Some(link) = self.links.get_mut(key) else {
            return;
        };
        let Some(pipes) = link.pipes else { return };
        let side = usize::from(link.ends[0].who != who);
        let content = if bytes.first() == Some(&wire::GROUPS) {
            let pull = bytes.get(4..8).and_then(|pull| pull.first_chunk());
            let pull = pull.map_or(0, |pull| u32::from_le_bytes(*pull));
            link.pulls[1 - side].get(&pull).copied()
        } else {
            if parcel::may_be_pull(&bytes)
                && let Some(Control::Pull { pull, id, .. }) = parcel::control(&bytes)
                && let Some(content) = self.site.find(&id)
            {
                link.pulls[side].insert(pull, content);
            }
            None
        };
        if content.is_some() {
            match self.people[who].gives {
                Gives::Wrong => {
                    if let Some(byte) = bytes.last_mut() {
                        *byte ^= 1;
                    }
                }
                Gives::Stalls => return,
                Gives::All | Gives::Nothing | Gives::Free => {}
            }
        }
        let size = bytes.len() as u64;
        if content.is_some() {
            let cap = (self.workload.visits.upload_cap_mb * 1e6) as u64;
            if self.log.uploads(who, size, cap) {
                let at = self.here(who);
                self.clock.after(0, Event::Reconfigure(at));
            }
        }
        let message = Message::pack(bytes, content, self.site);
        self.net
            .send(pipes[side], size, Parcel::Message(message), &mut self.clock);
    }

    /// A message came over a channel.
    pub(crate) fn message_came(&mut self, pipe: PipeKey, message: Message) {
        let Some((key, side)) = self.pipes.get(&pipe).copied() else {
            return;
        };
        let Some(link) = self.links.get(key) else {
            return;
        };
        let (to, from) = (link.ends[1 - side], link.names[side].clone());
        let Some(bridge) = self.bridge(to) else {
            return;
        };
        if bridge.links.get(&from) != Some(&key) {
            return;
        }
        let bytes = message.unpack(self.site);
        self.log.peer_sent(to.who, parcel::content_bytes(&bytes));
        if self.people[to.who].gives == Gives::Wrong
            && let Some(Control::Ask { id, .. }) = parcel::control(&bytes)
        {
            self.claim(to.who, id);
        }
        self.tell(to.who, Input::Frame { peer: from, bytes });
    }

    /// Who pollutes has whatever it is asked for.
    fn claim(&mut self, who: usize, id: fugitive_core::content::ContentId) {
        if let Some(content) = self.site.find(&id) {
            let resource = self.site.content(content);
            let (len, groups) = (resource.len(), vec![(0, resource.groups())]);
            self.tell(who, Input::Stored { id, len, groups });
        }
    }

    /// A channel has little left to send.
    pub(crate) fn ran_low(&mut self, pipe: PipeKey) {
        let Some((key, side)) = self.pipes.get(&pipe).copied() else {
            return;
        };
        let Some(link) = self.links.get(key) else {
            return;
        };
        let (at, peer) = (link.ends[side], link.names[1 - side].clone());
        if self.bridge(at).is_some() {
            let bytes = self.net.unsent(pipe);
            self.tell(at.who, Input::Buffered { peer, bytes });
        }
    }

    /// What a channel has buffered.
    pub(crate) fn buffered(&self, who: usize, peer: &PeerId) -> Option<u64> {
        let bridge = self.visitors[who].bridge.as_ref()?;
        let link = self.links.get(*bridge.links.get(peer)?)?;
        let side = usize::from(link.ends[0].who != who);
        Some(self.net.unsent(link.pipes?[side]))
    }

    /// One end closes a connection.
    pub(crate) fn hang_up(&mut self, at: At, peer: &PeerId, silently: bool) {
        let Some(key) = self.bridge(at).and_then(|bridge| bridge.links.remove(peer)) else {
            return;
        };
        self.say_down(at, peer);
        let Some(link) = self.links.get_mut(key) else {
            return;
        };
        let side = usize::from(link.ends[0] != at);
        let other = 1 - side;
        let Some(pipes) = link.pipes else {
            // The other end finds out when its checks fail.
            return;
        };
        self.net.close(pipes[side]);
        self.pipes.remove(&pipes[side]);
        if silently {
            self.net.silence(pipes[other]);
        }
        let wait = if silently {
            CONSENT
        } else {
            self.way(at.who, self.links[key].ends[other].who)
        };
        self.clock.after(wait, Event::HungUp(key, other));
    }

    /// An end that knows already drops what it had, without a word to its engine but the last.
    fn forget(&mut self, key: LinkKey, at: At) {
        let Some(link) = self.links.get(key) else {
            return;
        };
        let (was_open, side) = (link.pipes.is_some(), usize::from(link.ends[0] != at));
        let peer = link.names[1 - side].clone();
        self.hang_up(at, &peer, false);
        if was_open {
            self.tell(at.who, Input::Closed { peer });
        }
    }

    pub(crate) fn hung_up(&mut self, key: LinkKey, side: usize) {
        let Some(link) = self.links.remove(key) else {
            return;
        };
        for pipe in link.pipes.into_iter().flatten() {
            self.net.close(pipe);
            self.pipes.remove(&pipe);
        }
        let (at, peer) = (link.ends[side], link.names[1 - side].clone());
        let Some(bridge) = self.bridge(at) else {
            return;
        };
        if bridge.links.get(&peer) == Some(&key) {
            bridge.links.remove(&peer);
            self.say_down(at, &peer);
            self.tell(at.who, Input::Closed { peer });
        }
    }

    fn say_down(&mut self, at: At, peer: &PeerId) {
        let peer = peer.0.to_string();
        self.say_to_server(at.who, ToServer::Down { peer });
    }

    /// The page goes: with it all that it has.
    pub(crate) fn close_all(&mut self, at: At, silently: bool) {
        let Some(bridge) = self.bridge(at) else {
            return;
        };
        let peers: Vec<PeerId> = bridge.links.keys().cloned().collect();
        self.close_socket(at, silently);
        for peer in peers {
            self.hang_up(at, &peer, silently);
        }
    }
}
