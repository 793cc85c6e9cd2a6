//! What peers said of what they hold, for how long that is believed, and what follows from an answer.

use super::{Engine, PeerId, filter::Claim, peers::Peer, runs, want::Asked};
use crate::{
    content::{ContentId, group_count},
    wire::MAX_RUNS,
};

/// For how long a no is believed, in milliseconds.
const LACK_FOR: u64 = 2_000;
/// For how long a yes is believed, in milliseconds; a pull that finds it gone corrects it at once.
const HAVE_FOR: u64 = 60_000;
/// For how long a peer is believed that it can get it from one of its own, in milliseconds.
const RELAY_FOR: u64 = 10_000;
/// For how long a filter is not believed after it was wrong, in milliseconds.
const WRONG_FOR: u64 = 20_000;
/// Answers remembered for one peer.
const MAX_ANSWERS: usize = 512;

/// What a peer said of a content.
#[derive(Clone)]
pub(super) enum Say {
    Holds(Vec<(u32, u32)>),
    All,
    /// One of its peers holds it, and it will pass it on.
    Relays,
    Lacks,
    /// It lacked it when it was asked for many; its filter knows better.
    Lacked,
}

/// Answers of one peer, sorted by content.
#[derive(Default)]
pub(super) struct Answers(Vec<(ContentId, Say, u64)>);

impl Answers {
    fn get(&self, id: &ContentId, now: u64) -> Option<&Say> {
        let at = self.0.binary_search_by(|(held, ..)| held.cmp(id)).ok()?;
        let (_, say, until) = self.0.get(at)?;
        (*until > now).then_some(say)
    }

    fn put(&mut self, id: ContentId, say: Say, until: u64, now: u64) {
        if self.0.len() >= MAX_ANSWERS {
            self.0.retain(|(_, _, until)| *until > now);
        }
        if self.0.len() >= MAX_ANSWERS {
            self.0.clear();
        }
        match self.0.binary_search_by(|(held, ..)| held.cmp(&id)) {
            Ok(at) => self.0[at] = (id, say, until),
            Err(at) => self.0.insert(at, (id, say, until)),
        }
    }
}

/// What is known of a peer and a content.
pub(super) enum Known<'a> {
    /// These groups.
    Groups(&'a [(u32, u32)]),
    /// All of it.
    All,
    /// All of it, by way of another.
    Relayed,
    Nothing,
    Unknown,
}

impl Known<'_> {
    /// Up to where it can send from this group on.
    pub(super) fn run_from(&self, group: u32, len: u64) -> Option<u32> {
        match self {
            Known::Groups(groups) => runs::run_from(groups, group),
            Known::All | Known::Relayed => Some(group_count(len)).filter(|end| group < *end),
            Known::Nothing | Known::Unknown => None,
        }
    }
}

impl Peer {
    pub(super) fn knows(&self, id: &ContentId, now: u64) -> Known<'_> {
        match self.answers.get(id, now) {
            Some(Say::Holds(groups)) => Known::Groups(groups),
            Some(Say::All) => Known::All,
            Some(Say::Relays) => Known::Relayed,
            Some(Say::Lacks) => Known::Nothing,
            Some(Say::Lacked) if self.claims(id) != Claim::Held => Known::Nothing,
            None | Some(Say::Lacked) => match self.claims(id) {
                Claim::Held => Known::All,
                Claim::Lacked => Known::Nothing,
                Claim::Unknown => Known::Unknown,
            },
        }
    }
}

impl Engine {
    /// Whose question this answers: a want's place, or nothing where it is over.
    fn answered(&mut self, from: &PeerId, ask: u32) -> Option<usize> {
        let is_it = |asked: &Asked| asked.ask == ask && asked.peer == *from;
        let at = self
            .wants
            .iter()
            .position(|want| want.asked.iter().any(is_it))?;
        let asked = self.wants[at].asked.iter_mut().find(|asked| is_it(asked))?;
        asked.until = None;
        Some(at)
    }

    pub(super) fn have(&mut self, from: &PeerId, ask: u32, mut groups: Vec<(u32, u32)>) {
        groups.truncate(MAX_RUNS);
        groups.retain(|(start, end)| start < end);
        if let Some(at) = self.answered(from, ask) {
            let (number, id) = (self.wants[at].number, self.wants[at].id);
            self.remember(from, id, Say::Holds(groups), HAVE_FOR);
            return self.pump(number);
        }
        self.errand_answered(from, ask, Some(groups));
    }

    pub(super) fn relays(&mut self, from: &PeerId, ask: u32) {
        if let Some(at) = self.answered(from, ask) {
            let (number, id) = (self.wants[at].number, self.wants[at].id);
            self.remember(from, id, Say::Relays, RELAY_FOR);
            self.pump(number);
        }
    }

    pub(super) fn lack(&mut self, from: &PeerId, ask: u32) {
        if let Some(at) = self.answered(from, ask) {
            let (number, id) = (self.wants[at].number, self.wants[at].id);
            self.remember(from, id, Say::Lacks, LACK_FOR);
            return self.pump(number);
        }
        self.errand_answered(from, ask, None);
    }

    pub(super) fn is_busy(&mut self, from: &PeerId, retry: u32) {
        let until = self.now + u64::from(retry).clamp(20, 10_000);
        if let Some(peer) = self.peer(from) {
            peer.busy_until = peer.busy_until.max(until);
        }
    }

    pub(super) fn ask_refused(&mut self, from: &PeerId, ask: u32, retry: u32) {
        if self.survey_refused(from, ask) {
            return; // It is asked again by and by.
        }
        self.is_busy(from, retry);
        match self.answered(from, ask) {
            Some(at) => {
                self.wants[at].busy += 1;
                self.pump(self.wants[at].number);
            }
            None => self.errand_answered(from, ask, None),
        }
    }

    pub(super) fn remember(&mut self, from: &PeerId, id: ContentId, say: Say, for_ms: u64) {
        let now = self.now;
        if let Some(peer) = self.peer(from) {
            peer.answers.put(id, say, now + for_ms, now);
        }
    }

    /// What it, or its filter, said was wrong.
    pub(super) fn forget(&mut self, from: &PeerId, id: ContentId) {
        self.remember(from, id, Say::Lacks, WRONG_FOR);
    }
}
