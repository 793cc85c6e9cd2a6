//! Those who left, and may be back in a moment: most who leave go on to the next page of the same site.
//!
//! For as long as that takes, where they sit and whom they know stays as it is, and nobody is offered
//! them. Who has nothing to do about it is not told that they went, and need not hear that they came
//! back. After that they have gone, and what is kept is only what they knew.

use fugitive_signal::ToClient;

use super::{Id, Matchmaker, Output, Peer, pairing::State, send};

/// A navigation takes no longer, in milliseconds.
pub(super) const NAVIGATES: u64 = 3_000;
/// For so long after a peer left, its return with a ticket finds its old links, in milliseconds.
pub(super) const REMEMBERED: u64 = 30_000;
/// The most peers that are remembered so.
const MOST_REMEMBERED: usize = 10_000;

/// One that left.
pub(super) struct Former {
    /// As it was; its links are those of which the other end was not told.
    pub(super) peer: Peer,
    /// Whom it had a link with.
    pub(super) knew: Vec<Id>,
    /// Until when it is on its way to another page; nothing once it has gone.
    away: Option<u64>,
    until: u64,
}

impl Former {
    /// Whether its seat and its pages are still its own.
    pub(super) fn is_away(&self) -> bool {
        self.away.is_some()
    }
}

impl Matchmaker {
    /// A peer's page is gone, and its channels with it; its links, its seat and its pages stand. Tells,
    /// too, with whom it cannot wait: who dials it, or is being dialled, would do so for nothing.
    pub(super) fn step_out(&mut self, id: Id) -> Option<(Peer, Vec<Id>)> {
        let mut peer = self.peers.remove(&id)?;
        let mut hasty = Vec::new();
        for (other, link) in &mut peer.links {
            let state = std::mem::replace(&mut link.state, State::Idle);
            self.channels -= usize::from(state == State::Up);
            let Some(neighbour) = self.peers.get_mut(other) else {
                hasty.push(*other);
                continue;
            };
            neighbour.set(id, State::Idle);
            if !link.we_dial || matches!(state, State::Pending(_)) {
                hasty.push(*other);
            }
            self.reseat(*other);
        }
        peer.busy = 0;
        for content in std::mem::take(&mut peer.held) {
            self.directory.release(&peer.origin, content, id);
        }
        if let Some(site) = self.sites.get_mut(&peer.origin) {
            site.peers -= 1;
        }
        Some((peer, hasty))
    }

    pub(super) fn leave(&mut self, id: Id, now: u64, out: &mut Vec<Output>) {
        let Some((mut peer, hasty)) = self.step_out(id) else {
            return;
        };
        let knew: Vec<Id> = peer.links.keys().copied().collect();
        let is_remembered = self.formers.len() < MOST_REMEMBERED;
        // A guest's home knows where it went.
        let is_away = is_remembered && !peer.is_guest();
        for other in if is_away { &hasty } else { &knew } {
            peer.links.remove(other);
            self.say_gone(id, *other, out);
        }
        match self.sites.get_mut(&peer.origin).filter(|_| is_away) {
            Some(site) => site.set_away(&peer.pages, true),
            None => self.clear_away(id, &peer),
        }
        if is_remembered {
            let away = is_away.then_some(now + NAVIGATES);
            self.absent.extend(away.map(|until| (until, id)));
            let until = now + REMEMBERED;
            self.forgotten.push_back((until, id));
            let former = Former {
                peer,
                knew,
                away,
                until,
            };
            self.formers.insert(id, former);
        }
    }

    /// Ends a link to one that left, and says so at the other end.
    fn say_gone(&mut self, id: Id, other: Id, out: &mut Vec<Output>) {
        let Some(neighbour) = self.peers.get_mut(&other) else {
            return;
        };
        if neighbour.links.remove(&id).is_some() {
            let peer = id.to_string();
            send(neighbour.conn, ToClient::Gone { peer }, out);
            self.reseat(other);
        }
    }

    /// If that one left and this one was not told, it is now: it has something to do with it after all.
    pub(super) fn find_gone(&mut self, id: Id, other: Id, out: &mut Vec<Output>) -> bool {
        let former = self.formers.get_mut(&id);
        let was_linked = former.is_some_and(|former| former.peer.links.remove(&other).is_some());
        if was_linked {
            self.say_gone(id, other, out);
        }
        was_linked
    }

    /// One that was away is found on its pages.
    pub(super) fn is_back(&mut self, peer: &Peer) {
        if let Some(site) = self.sites.get_mut(&peer.origin) {
            site.set_away(&peer.pages, false);
        }
    }

    /// What one that is not there any more leaves behind on its site.
    pub(super) fn clear_away(&mut self, id: Id, peer: &Peer) {
        let Some(site) = self.sites.get_mut(&peer.origin) else {
            return;
        };
        site.index.take(id);
        for (page, _) in &peer.pages {
            site.exit(page, peer.is_guest());
        }
        if site.pages.is_empty() {
            self.sites.remove(&peer.origin);
        }
    }

    /// Those who are not back by now have gone, and are forgotten later.
    pub(super) fn forget(&mut self, now: u64, out: &mut Vec<Output>) {
        while let Some((until, id)) = self.absent.pop_front_if(|(until, _)| *until <= now) {
            let former = self.formers.get(&id);
            if former.is_some_and(|former| former.away == Some(until))
                && let Some(mut former) = self.formers.remove(&id)
            {
                former.away = None;
                self.is_back(&former.peer);
                for other in std::mem::take(&mut former.peer.links).into_keys() {
                    self.say_gone(id, other, out);
                }
                self.clear_away(id, &former.peer);
                self.formers.insert(id, former);
            }
        }
        while let Some((until, id)) = self.forgotten.pop_front_if(|(until, _)| *until <= now) {
            let former = self.formers.get(&id);
            if former.is_some_and(|former| former.until == until) {
                self.formers.remove(&id);
            }
        }
    }
}
