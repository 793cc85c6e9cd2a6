//! Who is offered to whom.
//!
//! Candidates are drawn at random from the closest neighbourhoods that have enough of them (see
//! `index`), and the best of these few are taken: the nearest, where being busy counts as distance.
//! Drawing keeps it from being always the same star; for the same reason, and so that what a
//! neighbourhood lacks finds its way in, some of each offer come from anywhere.

use fugitive_core::content::ContentId;
use fugitive_signal::MOST_HELD;
use rand::{Rng, seq::SliceRandom};

use super::{
    MOST_BANS, MOST_LINKS, MOST_OFFERED, MOST_UNREACHABLE, Matchmaker, Peer, TRIED, UNREACHABLE,
    index::{Cell, Near, Page},
    place::{self, distance},
};
use crate::ticket::Id;

/// A channel that is not open after this never will be, in milliseconds.
const OPENS_WITHIN: u64 = 20_000;
/// Candidates that are drawn from one list.
const DRAWN: usize = 24;
/// Enough candidates, for each one that is wanted.
const CHOICE: usize = 3;
/// One of so many that are offered comes from anywhere.
const FROM_ANYWHERE: usize = 4;
/// One of so many comes from another page, where there is somebody the peer knew: so it stays in touch
/// with the rest of the site.
const FROM_ELSEWHERE: usize = 4;
/// A peer that came to the page later than who asks is as if this much farther away, in milliseconds:
/// it has seen less of it.
const LATER: f32 = 60.0;
/// A peer whose every connection is taken is as if this much farther away, in milliseconds.
const BUSY: f32 = 30.0;
/// A peer that does not serve is as if this much farther away, in milliseconds.
const IDLE: f32 = 150.0;
/// For each of those who were connected to it and banned it a peer is as if this much farther away, in
/// milliseconds: it comes last, and nobody is shut out because others say so.
const BANNED: f32 = 400.0;
const MOST_BANNED: u16 = 10;
/// Who has banned more than so many is believed by nobody else.
const CREDIBLE: usize = 24;

/// What two peers have with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Whether the other was offered to us, and not we to it.
    pub we_dial: bool,
    /// Of its channel.
    pub state: State,
}

/// A channel, as far as we were told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It may open until then.
    Pending(u64),
    /// It is open.
    Up,
    /// It is not.
    Idle,
}

impl Peer {
    /// Notes the state of a channel and what that makes of us.
    pub fn set(&mut self, other: Id, state: State) {
        if let Some(link) = self.links.get_mut(&other) {
            self.busy -= u16::from(link.state != State::Idle);
            link.state = state;
            self.busy += u16::from(state != State::Idle);
        }
    }

    /// Forgets what we have with another.
    fn unlink(&mut self, other: Id) {
        self.set(other, State::Idle);
        self.links.remove(&other);
    }

    /// No channel to it came about.
    fn did_not_reach(&mut self, other: Id, now: u64) {
        self.unreachable
            .retain(|(id, until)| *id != other && *until > now);
        if self.unreachable.len() >= MOST_UNREACHABLE {
            self.unreachable.pop_front();
        }
        self.unreachable.push_back((other, now + UNREACHABLE));
    }

    fn was_on(&self, page: Page) -> bool {
        self.pages.iter().any(|(_, number)| *number == page)
    }

    /// The page it is on.
    fn page(&self) -> Page {
        self.pages.front().map_or(0, |(_, page)| *page)
    }

    /// Channels that are open or may become so, wherever the other is.
    fn taken(&self) -> u16 {
        self.busy.saturating_add(self.elsewhere)
    }

    fn has_room(&self) -> bool {
        self.taken() < self.room && self.links.len() < MOST_LINKS
    }
}

impl Matchmaker {
    /// Sits the peer down where it is found now, or nowhere if it has no room.
    pub(super) fn seat(&mut self, id: Id) {
        let Some(peer) = self.peers.get(&id) else {
            return;
        };
        let Some(site) = self.sites.get_mut(&peer.origin) else {
            return;
        };
        if peer.has_room() {
            let mut cells = place::cells(peer.page(), &peer.place, &peer.coordinate);
            // Who was on a page is found there as well, if by fewer lists: they are many.
            let been = peer.pages.iter().skip(1).map(|(_, page)| *page);
            let near = Near::Any;
            cells.extend(been.map(|page| Cell { page, near }));
            site.index.put(id, &cells);
        } else {
            site.index.take(id);
        }
    }

    /// After a link changed: most often the peer sits where it sat.
    pub(super) fn reseat(&mut self, id: Id) {
        let Some(peer) = self.peers.get(&id) else {
            return;
        };
        let site = self.sites.get(&peer.origin);
        if site.is_some_and(|site| site.index.holds(id) != peer.has_room()) {
            self.seat(id);
        }
    }

    /// Links `id` to others that it is to dial. Most are, or were, on its page, or the one that is named:
    /// acquaintances, then strangers. One in four, and whatever that leaves, goes to those it `knew` elsewhere, to
    /// strangers on the same site, and once more to whom it was to dial before.
    pub(super) fn offer(
        &mut self,
        id: Id,
        want: u16,
        page: Option<&str>,
        knew: Vec<Id>,
        now: u64,
        rng: &mut impl Rng,
    ) -> Vec<Id> {
        let want = usize::from(want).min(MOST_OFFERED);
        let Some(peer) = self.peers.get(&id) else {
            return Vec::new();
        };
        if !self.has_company(peer) {
            return Vec::new();
        }
        let page = match page {
            None => peer.page(),
            Some(page) => match self.page_to_come(&peer.origin, page) {
                Some(page) => page,
                None => return Vec::new(),
            },
        };
        let welcome = |other: &Id| {
            let found = self.peers.get(other)?;
            let same = found.origin == peer.origin && is_welcome(id, peer, *other, found, now);
            (same && self.has_company(found)).then_some(found)
        };
        let here = |other: &Id| welcome(other).is_some_and(|found| found.was_on(page));
        let idle = peer.links.iter();
        let idle = idle.filter(|(_, link)| link.state == State::Idle);
        let idle = idle.map(|(other, _)| other);
        let met = knew.iter().filter(|other| !peer.links.contains_key(other));
        let mut chosen: Vec<Id> = idle
            .chain(met)
            .filter(|other| here(other) && welcome(other).is_some_and(Peer::has_room))
            .copied()
            .collect();
        chosen.shuffle(rng);
        chosen.truncate(want - want / FROM_ELSEWHERE);
        let strangers = MOST_LINKS.saturating_sub(peer.links.len());
        let knew = knew.iter().filter(|other| welcome(other).is_some());
        for (page, most) in [
            (page, want - want / FROM_ELSEWHERE),
            (page, want),
            (0, want),
        ] {
            let wanted = (most - chosen.len().min(most)).min(strangers);
            if wanted > 0 {
                let found = self.nearest(id, peer, page, wanted, &chosen, now, rng);
                chosen.extend(found);
            }
            for other in knew.clone() {
                if chosen.len() < want && !chosen.contains(other) {
                    chosen.push(*other);
                }
            }
        }
        let again = peer.links.iter().filter(|(other, link)| {
            let is_up = link.state == State::Up;
            link.we_dial && !is_up && !chosen.contains(other) && welcome(other).is_some()
        });
        let again: Vec<Id> = again.map(|(other, _)| *other).collect();
        chosen.extend(again.into_iter().take(want - chosen.len()));
        for other in &chosen {
            self.link(id, *other, now);
        }
        chosen
    }

    /// Strangers with room on a page (0: on the site), the best first.
    #[expect(clippy::too_many_arguments, reason = "time and rng are arguments here")]
    fn nearest(
        &self,
        id: Id,
        peer: &Peer,
        page: Page,
        want: usize,
        but: &[Id],
        now: u64,
        rng: &mut impl Rng,
    ) -> Vec<Id> {
        let Some(site) = self.sites.get(&peer.origin) else {
            return Vec::new();
        };
        let mut drawn: Vec<(f32, Id)> = Vec::new();
        let draw = |cell: Cell, into: &mut Vec<(f32, Id)>, rng: &mut _| {
            site.index.draw(cell, DRAWN, rng, |other| {
                let Some(found) = self.peers.get(&other) else {
                    return false;
                };
                let is_new = other != id
                    && !peer.links.contains_key(&other)
                    && !but.contains(&other)
                    && !into.iter().any(|(_, seen)| *seen == other)
                    && is_welcome(id, peer, other, found, now)
                    && self.has_company(found);
                if is_new {
                    into.push((self.cost(peer, found), other));
                }
                is_new
            });
        };
        // Those of the whole site are among them.
        let on = if page == 0 { peer.page() } else { page };
        let cells = place::cells(on, &peer.place, &peer.coordinate);
        for cell in cells.into_iter().filter(|cell| cell.page == page) {
            if drawn.len() >= want * CHOICE && cell.near != Near::Any {
                continue;
            }
            draw(cell, &mut drawn, rng);
        }
        // By lot among equals: what is drawn comes in no order that means anything, but a short
        // list comes in that of its seats.
        drawn.shuffle(rng);
        drawn.sort_by(|a, b| a.0.total_cmp(&b.0));
        let near = want - want / FROM_ANYWHERE;
        let mut rest = drawn.split_off(near.min(drawn.len()));
        // Those from anywhere are the least busy, wherever they are.
        rest.sort_by_key(|(_, other)| {
            let found = self.peers.get(other);
            found.map(|found| {
                let banned = found.banned_by.min(MOST_BANNED);
                let is_idle = !found.serves;
                (banned, is_idle, self.is_later(peer, found), found.busy)
            })
        });
        drawn.extend(rest.into_iter().take(want - near.min(want)));
        drawn.truncate(want);
        drawn.into_iter().map(|(_, other)| other).collect()
    }

    fn cost(&self, peer: &Peer, other: &Peer) -> f32 {
        let near = distance(
            (&peer.place, &peer.coordinate),
            (&other.place, &other.coordinate),
        );
        let later = if self.is_later(peer, other) {
            LATER
        } else {
            0.0
        };
        let banned = BANNED * f32::from(other.banned_by.min(MOST_BANNED));
        let idle = if other.serves { 0.0 } else { IDLE };
        near + later + idle + banned + BUSY * f32::from(other.taken()) / f32::from(other.room)
    }

    /// Whether it came later to the page on which both are.
    fn is_later(&self, peer: &Peer, other: &Peer) -> bool {
        other.page() == peer.page() && other.since > peer.since
    }

    fn link(&mut self, from: Id, to: Id, now: u64) {
        let until = now + OPENS_WITHIN;
        for (id, other, we_dial) in [(from, to, true), (to, from, false)] {
            if let Some(peer) = self.peers.get_mut(&id) {
                let state = State::Idle;
                let link = peer.links.entry(other).or_insert(Link { we_dial, state });
                link.we_dial = we_dial;
                if link.state == State::Up {
                    // An offer begins a new connection, whatever stood before.
                    self.channels -= usize::from(we_dial);
                }
                peer.set(other, State::Pending(until));
            }
            self.reseat(id);
        }
        self.pending.push_back((until, from, to));
    }

    /// Waits no longer for channels that should be open by now.
    pub(super) fn give_up(&mut self, now: u64) {
        while let Some((until, from, to)) = self.pending.front().copied()
            && until <= now
        {
            self.pending.pop_front();
            for (id, other) in [(from, to), (to, from)] {
                let Some(peer) = self.peers.get_mut(&id) else {
                    continue;
                };
                let link = peer.links.get(&other);
                if link.is_some_and(|link| link.state == State::Pending(until)) {
                    peer.set(other, State::Idle);
                    self.reseat(id);
                }
            }
        }
    }

    pub(super) fn linked(&self, a: Id, b: Id) -> bool {
        self.peers
            .get(&a)
            .is_some_and(|peer| peer.links.contains_key(&b))
    }

    /// One end says that its channel to the other opened or closed. Two who tried and did not get
    /// through are behind NATs that will still be there: they are not offered to each other again for
    /// a while.
    pub(super) fn channel(&mut self, id: Id, other: &str, state: State, now: u64) {
        let Ok(other) = other.parse::<Id>() else {
            return;
        };
        let link = self.peers.get(&id).and_then(|peer| peer.links.get(&other));
        let before = link.map(|link| link.state);
        // A channel to one that left is none.
        let Some(before) = before.filter(|_| self.peers.contains_key(&other)) else {
            return;
        };
        match (before == State::Up, state == State::Up) {
            (false, true) => self.channels += 1,
            (true, false) => self.channels -= 1,
            _ => {}
        }
        let failed = match before {
            State::Pending(until) => state == State::Idle && until + TRIED <= now + OPENS_WITHIN,
            _ => false,
        };
        for (id, other) in [(id, other), (other, id)] {
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.set(other, state);
                if failed {
                    peer.did_not_reach(other, now);
                }
            }
            self.reseat(id);
        }
    }

    /// From now on the two do not exist for each other.
    pub(super) fn ban(&mut self, id: Id, other: Id) {
        let Some(peer) = self.peers.get_mut(&id).filter(|_| id != other) else {
            return;
        };
        let is_new = !peer.bans.contains(&other);
        if is_new {
            if peer.bans.len() >= MOST_BANS {
                peer.bans.pop_front();
            }
            peer.bans.push_back(other);
        }
        let is_credible = is_new && peer.bans.len() <= CREDIBLE;
        if peer
            .links
            .get(&other)
            .is_some_and(|link| link.state == State::Up)
        {
            self.channels -= 1;
            if is_credible && let Some(banned) = self.peers.get_mut(&other) {
                banned.banned_by = banned.banned_by.saturating_add(1);
            }
        }
        for (id, other) in [(id, other), (other, id)] {
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.unlink(other);
            }
            self.reseat(id);
        }
    }

    pub(super) fn hold(&mut self, id: Id, contents: Vec<ContentId>, now: u64) {
        if self.rules.hold_over.is_none() {
            return;
        }
        for content in contents.into_iter().take(MOST_HELD) {
            let Some(peer) = self.peers.get_mut(&id) else {
                return;
            };
            if peer.held.len() >= MOST_HELD && !peer.held.contains(&content) {
                continue;
            }
            let most = self.rules.most_holds;
            let (is_new, lost) = self.directory.hold(&peer.origin, content, id, now, most);
            if is_new {
                peer.held.push(content);
            }
            if let Some((id, lost)) = lost {
                self.forget_held(id, lost);
            }
        }
    }

    /// It is out of the directory already.
    pub(super) fn forget_held(&mut self, id: Id, content: ContentId) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.held.retain(|held| *held != content);
        }
    }

    pub(super) fn release(&mut self, id: Id, content: ContentId) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.held.retain(|held| *held != content);
            self.directory.release(&peer.origin, content, id);
        }
    }

    /// Holders of a content, linked as if they were offered, those with room and near ones first.
    pub(super) fn find(
        &mut self,
        id: Id,
        content: ContentId,
        want: u16,
        now: u64,
        rng: &mut impl Rng,
    ) -> Vec<Id> {
        let want = usize::from(want).min(MOST_OFFERED);
        let Some(peer) = self.peers.get(&id) else {
            return Vec::new();
        };
        let mut found: Vec<(bool, f32, Id)> = Vec::new();
        for other in self.directory.find(&peer.origin, content, DRAWN, rng) {
            if let Some(holder) = self.peers.get(&other)
                && other != id
                && is_welcome(id, peer, other, holder, now)
                && self.has_company(peer)
                && self.has_company(holder)
            {
                found.push((!holder.has_room(), self.cost(peer, holder), other));
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let mut strangers = MOST_LINKS.saturating_sub(peer.links.len());
        let mut holders = Vec::new();
        for (_, _, other) in found.into_iter().take(want) {
            match peer.links.get(&other) {
                // Dialled already, or talking.
                Some(link) if link.state != State::Idle => holders.push((other, false)),
                Some(_) => holders.push((other, true)),
                None if strangers > 0 => {
                    strangers -= 1;
                    holders.push((other, true));
                }
                None => {}
            }
        }
        for (other, _) in holders.iter().filter(|(_, is_to_dial)| *is_to_dial) {
            self.link(id, *other, now);
        }
        holders.into_iter().map(|(other, _)| other).collect()
    }
}

/// Whether neither has banned the other, and the two did not lately fail to connect.
fn is_welcome(a: Id, peer: &Peer, b: Id, other: &Peer, now: u64) -> bool {
    let failed = |peer: &Peer, other| {
        let mut failed = peer.unreachable.iter();
        failed.any(|(id, until)| *id == other && *until > now)
    };
    let is_banned = peer.bans.contains(&b) || other.bans.contains(&a);
    !is_banned && !failed(peer, b) && !failed(other, a)
}
