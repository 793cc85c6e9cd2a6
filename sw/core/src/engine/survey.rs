//! Questions about what the page will need, to peers who are on other pages, and to their peers.
//!
//! Whoever is on the same page says by its filter what it holds. The others are asked, once for many
//! contents and before they are wanted, so that a want begins with knowing. A peer answers for itself at
//! once, asks some of its own in turn, who answer for themselves, and then says who of them holds what it
//! lacks: those who hold much of it are met. An answer costs the peer as many of its answers as the
//! question has contents.

use super::{
    Engine, PeerId,
    answers::{Known, Say},
    holdings::Held,
    peers::{Peer, Stage},
    want::For,
};
use crate::{
    content::ContentId,
    port::WantId,
    wire::{MAX_WHICH, Message, Near, SHORT},
};

/// Peers are asked together this long after there is something to ask, in milliseconds.
const ASKED_AFTER: u64 = 40;
/// And again after this, for what nobody had, in milliseconds.
const AGAIN: u64 = 15_000;
/// For how long a no is believed, in milliseconds.
const LACK_FOR: u64 = 14_000;
const HAVE_FOR: u64 = 60_000;
/// Who has just come, or was asked for many, says by then what it holds, in milliseconds.
const SPEAKS: u64 = 400;
/// Questions to one peer that may be out.
const MAX_OUT: usize = 4;
/// Peers that are asked for a peer.
const FAN_OUT: usize = 4;
/// How long their answers are waited for, in milliseconds.
const INQUIRY_TIME: u64 = 500;
/// Inquiries at once.
const MAX_INQUIRIES: usize = 8;
/// Peers of peers that are named in one answer.
const MAX_NEAR: usize = 8;
/// A peer of a peer is met for so many contents that nobody else has.
const WORTH_MEETING: usize = 2;
/// So many of them at once.
const MAX_MEETINGS: usize = 3;

/// A question that is out.
pub(super) struct Survey {
    ask: u32,
    what: What,
    /// For itself; what its peers hold may follow.
    answered: bool,
}

enum What {
    /// Of our page.
    Ours(Vec<ContentId>),
    /// For a peer: their places in its question.
    Theirs(PeerId, u32, Vec<u32>),
}

/// What is being found out for a peer.
pub(super) struct Inquiry {
    peer: PeerId,
    ask: u32,
    near: Vec<Near>,
    waits_for: usize,
    until: u64,
}

impl Engine {
    /// There is something new to ask, or somebody new.
    pub(super) fn survey_soon(&mut self) {
        self.survey_at = self.survey_at.min(self.now + ASKED_AFTER);
    }

    pub(super) fn survey_time(&mut self) {
        while let Some(at) = self.inquiries.iter().position(|i| i.until <= self.now) {
            self.inquiry_ends(at);
        }
        if self.survey_at > self.now {
            return;
        }
        self.survey_at = u64::MAX;
        let held = |id: &&ContentId| !matches!(self.holdings.held(id), Held::All);
        let lacking: Vec<_> = self.context.ids().iter().filter(held).copied().collect();
        if lacking.is_empty() {
            return;
        }
        self.survey_at = self.now + AGAIN;
        self.look_for_shortage();
        for at in 0..self.peers.len() {
            let peer = &self.peers[at];
            let takes = peer.stage == Stage::Open && peer.version >= 2 && peer.filter.is_none();
            let out = peer.surveys.iter().filter(|survey| !survey.answered);
            if !takes || out.count() >= MAX_OUT {
                continue;
            }
            let unknown = lacking
                .iter()
                // What is known is asked for again before it is forgotten.
                .filter(|id| matches!(peer.knows(id, self.now + AGAIN), Known::Unknown))
                .take(MAX_WHICH);
            let ids: Vec<_> = unknown.copied().collect();
            if !ids.is_empty() {
                let short = ids.iter().flat_map(|id| id.0[..SHORT].to_vec()).collect();
                self.survey(at, short, true, What::Ours(ids));
            }
        }
    }

    pub(super) fn survey_due(&self) -> u64 {
        let until = self.inquiries.iter().map(|inquiry| inquiry.until).min();
        self.survey_at.min(until.unwrap_or(u64::MAX))
    }

    fn survey(&mut self, at: usize, ids: Vec<u8>, deep: bool, what: What) {
        let to = self.peers[at].id.clone();
        let ask = self.number();
        self.send(&to, &Message::Which { ask, ids, deep });
        let surveys = &mut self.peers[at].surveys;
        if surveys.len() >= MAX_OUT {
            let answered = surveys.iter().position(|survey| survey.answered);
            surveys.remove(answered.unwrap_or(0));
        }
        let answered = false;
        surveys.push(Survey {
            ask,
            what,
            answered,
        });
    }

    /// A peer asks for many.
    pub(super) fn which(&mut self, from: &PeerId, ask: u32, ids: &[u8], deep: bool) {
        let now = self.now;
        let serves = self.config.slots > 0;
        let Some(peer) = self.peer(from) else { return };
        let count = ids.len() / SHORT;
        if count > MAX_WHICH || !peer.serving.takes_asks(now, count) {
            let retry = super::serving::MAX_RETRY as u32;
            return self.send(from, &Message::Busy { ask, retry });
        }
        let (mut held, mut part, mut rest) = (Vec::new(), Vec::new(), Vec::new());
        let mut short = Vec::new();
        for (at, id) in ids.as_chunks::<SHORT>().0.iter().enumerate() {
            match self.holdings.held_short(id) {
                Held::All if serves => held.push(at as u32),
                Held::Part if serves => part.push(at as u32),
                _ => {
                    rest.push(at as u32);
                    short.extend_from_slice(id);
                }
            }
        }
        let near = Vec::new();
        let these = Message::These {
            ask,
            held,
            part,
            near,
        };
        self.send(from, &these);
        if !deep || !serves || rest.is_empty() || self.inquiries.len() >= MAX_INQUIRIES {
            return;
        }
        let waits_for = self.inquire(from, ask, &rest, &short);
        if waits_for > 0 {
            self.inquiries.push(Inquiry {
                peer: from.clone(),
                ask,
                near: Vec::new(),
                waits_for,
                until: now + INQUIRY_TIME,
            });
        }
    }

    /// Asks some of ours for a peer, and says how many.
    fn inquire(&mut self, from: &PeerId, ask: u32, rest: &[u32], short: &[u8]) -> usize {
        let able = |at: &usize| {
            let peer = &self.peers[*at];
            peer.stage == Stage::Open && peer.version >= 2 && peer.id != *from
        };
        let mut able: Vec<_> = (0..self.peers.len()).filter(able).collect();
        self.rng.shuffle(&mut able);
        able.truncate(FAN_OUT);
        for at in &able {
            let what = What::Theirs(from.clone(), ask, rest.to_vec());
            self.survey(*at, short.to_vec(), false, what);
        }
        able.len()
    }

    fn inquiry_ends(&mut self, at: usize) {
        let inquiry = self.inquiries.remove(at);
        if inquiry.near.is_empty() {
            return;
        }
        let these = Message::These {
            ask: inquiry.ask,
            held: Vec::new(),
            part: Vec::new(),
            near: inquiry.near,
        };
        self.send(&inquiry.peer, &these);
    }

    /// A peer answers.
    pub(super) fn these(
        &mut self,
        from: &PeerId,
        ask: u32,
        held: &[u32],
        part: &[u32],
        near: &[Near],
    ) {
        let Some(survey) = self.take_survey(from, ask) else {
            return;
        };
        match survey.what {
            What::Ours(ids) if survey.answered => self.meet_holders(from, &ids, near),
            What::Ours(ids) => {
                for (at, id) in ids.iter().enumerate() {
                    let at = at as u32;
                    if held.contains(&at) {
                        self.remember(from, *id, Say::All, HAVE_FOR);
                    } else if !part.contains(&at) {
                        self.remember(from, *id, Say::Lacked, LACK_FOR);
                    }
                }
                // Where a peer of an earlier version says all at once nothing follows.
                self.meet_holders(from, &ids, near);
                if let Some(peer) = self.peer(from) {
                    peer.surveys.push(Survey {
                        ask,
                        what: What::Ours(ids),
                        answered: true,
                    });
                }
                self.pump_all();
            }
            What::Theirs(asker, number, places) => {
                let held = held.iter().filter_map(|at| places.get(*at as usize));
                let near = Near {
                    peer: from.0.as_ref().into(),
                    held: held.copied().collect(),
                };
                self.inquired(&asker, number, Some(near));
            }
        }
    }

    fn inquired(&mut self, asker: &PeerId, ask: u32, near: Option<Near>) {
        let is_it = |inquiry: &Inquiry| inquiry.peer == *asker && inquiry.ask == ask;
        let Some(at) = self.inquiries.iter().position(is_it) else {
            return;
        };
        let inquiry = &mut self.inquiries[at];
        inquiry
            .near
            .extend(near.filter(|near| !near.held.is_empty()));
        inquiry.waits_for -= 1;
        if inquiry.waits_for == 0 {
            self.inquiry_ends(at);
        }
    }

    /// Peers of a peer who hold what nobody of ours does are worth a connection.
    fn meet_holders(&mut self, by: &PeerId, ids: &[ContentId], near: &[Near]) {
        let nobody_has = |at: &&u32| {
            let Some(id) = ids.get(**at as usize) else {
                return false;
            };
            let mut peers = self.peers.iter();
            !peers.any(|peer| matches!(peer.knows(id, self.now), Known::All | Known::Groups(_)))
        };
        let mut worth: Vec<_> = near
            .iter()
            .take(MAX_NEAR)
            .map(|near| (near.held.iter().filter(nobody_has).count(), &near.peer))
            .filter(|(count, _)| *count >= WORTH_MEETING)
            .collect();
        worth.sort();
        for (_, peer) in worth.into_iter().rev().take(MAX_MEETINGS) {
            // The last places are for those who call us.
            if self.peers.len() + 2 > self.config.max_peers {
                return;
            }
            self.meet(peer.as_str().into(), by);
        }
    }

    /// Whether somebody is about to say what it holds: then the network is asked, and the want stays, as
    /// who has it may still be sooner.
    pub(super) fn hears_more(&mut self, number: WantId) -> bool {
        let now = self.now;
        let Some(at) = self.want_at(number) else {
            return false;
        };
        let want = &self.wants[at];
        if want.whose != For::Us || !want.is_small() || want.delivered {
            return false;
        }
        let on_page = self.context.page.is_some();
        let is_quiet = |peer: &Peer| {
            peer.stage == Stage::Open
                && !want.failed.contains(&peer.id)
                && matches!(self.known_for(want, peer), Known::Unknown)
                && peer.is_to_speak(on_page, now)
                && self.is_worth(want, peer, 1.0)
        };
        if want.hears_until != 0 && want.hears_until <= now || !self.peers.iter().any(is_quiet) {
            return false;
        }
        let until = now + SPEAKS;
        let want = &mut self.wants[at];
        if want.hears_until == 0 {
            want.hears_until = until;
        }
        self.unsure(at);
        true
    }

    /// A question is over; nothing if it was none of these.
    fn take_survey(&mut self, from: &PeerId, ask: u32) -> Option<Survey> {
        let peer = self.peer(from)?;
        let at = peer.surveys.iter().position(|survey| survey.ask == ask)?;
        Some(peer.surveys.remove(at))
    }

    /// A peer does not answer now. Says whether this was one of these questions.
    pub(super) fn survey_refused(&mut self, from: &PeerId, ask: u32) -> bool {
        let survey = self.take_survey(from, ask);
        let is_one = survey.is_some();
        if let Some(What::Theirs(asker, number, _)) = survey.map(|survey| survey.what) {
            self.inquired(&asker, number, None);
        }
        is_one
    }

    /// A peer is lost, with what it asked and was asked.
    pub(super) fn surveys_without(&mut self, lost: &PeerId, surveys: Vec<Survey>) {
        self.inquiries.retain(|inquiry| inquiry.peer != *lost);
        for survey in surveys {
            if let What::Theirs(asker, number, _) = survey.what {
                self.inquired(&asker, number, None);
            }
        }
    }
}

impl Peer {
    /// What it holds of our page it is about to say: it has just come, or was asked.
    fn is_to_speak(&self, on_page: bool, now: u64) -> bool {
        let is_asked = |survey: &Survey| !survey.answered && matches!(survey.what, What::Ours(_));
        let is_new = on_page && self.filter.is_none() && now < self.since + SPEAKS;
        is_new || self.surveys.iter().any(is_asked)
    }
}
