//! Why bytes came from the origin: every one of them, by the first reason that kept it from coming from
//! a peer.

use std::collections::BTreeMap;

use fugitive_core::{content::GROUP, engine::FailReason};
use serde::Serialize;

use crate::{
    Time, bound,
    site::Content,
    world::{At, FetchKey, World},
};

/// What kept bytes from coming from a peer, when the origin's first one came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The visitor is new and the worker not in control: nothing could have been verified.
    NoWorker,
    /// The page has no channel yet.
    NoChannel,
    /// It has none, and none is coming.
    NoPeers,
    /// Nobody who is there, serves and can be connected to holds it.
    NobodyHas,
    /// Somebody does, and is not connected.
    NotConnected,
    /// Somebody connected does, and it was not known.
    NotKnown,
    /// Who is known to hold it would have sent it later.
    Slower,
    /// Peers were asked too, one of ours held it, and had not answered.
    Raced,
    /// Who holds it served others.
    Busy,
    /// Who sent it went away, lied or stalled.
    Lost,
    /// Peers were behind with something large.
    Behind,
    /// It came, and was of no use: peers had sent it by then, or the page had gone.
    InVain,
}

impl Cause {
    const ALL: [(Self, &str); 12] = [
        (Self::NoWorker, "no worker yet"),
        (Self::NoChannel, "no channel open yet"),
        (Self::NoPeers, "nobody to connect to"),
        (Self::NobodyHas, "nobody there has it"),
        (Self::NotConnected, "who has it is not connected"),
        (Self::NotKnown, "a peer has it, not known"),
        (Self::Slower, "peers would be later"),
        (Self::Raced, "raced, and peers lost"),
        (Self::Busy, "peers were busy"),
        (Self::Lost, "peers failed"),
        (Self::Behind, "peers were behind"),
        (Self::InVain, "sent in vain"),
    ];

    /// In words.
    pub fn words(self) -> &'static str {
        let mut all = Self::ALL.iter();
        all.find(|(cause, _)| *cause == self)
            .map_or("", |(_, words)| words)
    }

    /// A want failed so.
    pub(crate) fn of(why: FailReason) -> Self {
        match why {
            FailReason::NoPeers => Self::NoPeers,
            FailReason::NobodyHas => Self::NotKnown,
            FailReason::Slower => Self::Slower,
            FailReason::Busy => Self::Busy,
            FailReason::Lost | FailReason::Wanted | FailReason::Range => Self::Lost,
        }
    }
}

/// Bytes of one cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// All of them.
    pub bytes: u64,
    /// Of these, what somebody who was there, served and could be connected to held.
    pub held: u64,
    /// Of these, what was asked for later than the page's first second.
    pub later: u64,
    /// Of these, what somebody held and the page could have had a connection for when it was asked for:
    /// what keeps the offload from the bound in which no request waits.
    pub reachable: u64,
}

/// The same as shares of all bytes that came over the network, as [`crate::measure::Figures::offload`].
#[derive(Clone, Debug, Default, Serialize)]
pub struct Share {
    /// All of them.
    pub bytes: f64,
    /// Of these, what somebody held.
    pub held: f64,
    /// Of these, what was asked for later than the page's first second.
    pub later: f64,
    /// Of these, what the bound in which no request waits counts.
    pub reachable: f64,
}

/// Why the origin sends something.
#[derive(Clone, Copy, Debug)]
pub struct Why {
    pub(crate) cause: Cause,
    pub(crate) held: bool,
    pub(crate) later: bool,
    pub(crate) reachable: bool,
    /// More closely.
    pub(crate) detail: &'static str,
}

impl Why {
    /// It was of no use.
    pub(crate) const IN_VAIN: Self = Self {
        cause: Cause::InVain,
        held: false,
        later: false,
        reachable: false,
        detail: "",
    };
}

/// The same more closely, as shares of all bytes.
pub(crate) fn details(
    lost: &BTreeMap<(Cause, &'static str), u64>,
    total: f64,
) -> Vec<(&'static str, &'static str, f64)> {
    let row = |((cause, detail), bytes): (&(Cause, &'static str), &u64)| {
        (cause.words(), *detail, *bytes as f64 / total)
    };
    lost.iter().map(row).collect()
}

pub(crate) fn shares(lost: &BTreeMap<Cause, Lost>, total: f64) -> Vec<(&'static str, Share)> {
    let share = |bytes: u64| bytes as f64 / total;
    let row = |(cause, lost): (&Cause, &Lost)| {
        let share = Share {
            bytes: share(lost.bytes),
            held: share(lost.held),
            later: share(lost.later),
            reachable: share(lost.reachable),
        };
        (cause.words(), share)
    };
    lost.iter().map(row).collect()
}

impl World<'_> {
    /// The first bytes of a response came: from now on it is said why its bytes came from there.
    pub(crate) fn explain(&mut self, at: At, number: u32, fetch: FetchKey) {
        let asked = self.with(at, number, |r| {
            (r.cause, r.want.is_some(), r.content, r.at, r.began)
        });
        let Some((cause, is_asked, content, byte, began)) = asked else {
            return;
        };
        let group = (byte / GROUP) as u32;
        let near = self.nearest_holder(at.who, content, group);
        let held = near.is_some() || self.somebody_holds(at.who, content, group);
        let cause = match cause {
            Cause::NotKnown | Cause::Raced | Cause::Behind if !held => Cause::NobodyHas,
            Cause::NotKnown | Cause::Raced | Cause::Behind if near.is_none() => Cause::NotConnected,
            Cause::NotKnown if is_asked => Cause::Raced,
            cause => cause,
        };
        let person = &self.people[at.who];
        let html = person.looks[at.look].html;
        let earliest = bound::connected(self.workload, person, began);
        let detail = match cause {
            Cause::NoChannel if began < earliest => "before any page could have one",
            Cause::NoChannel => self.why_no_channel(at.who),
            Cause::NotConnected => self.why_not_connected(at.who, content, group),
            Cause::NotKnown | Cause::Slower | Cause::Raced => {
                self.would_peers_win(at.who, content, group, began)
            }
            _ => "",
        };
        let why = Why {
            cause,
            held,
            later: began > html + 1_000_000,
            reachable: held && began >= earliest && began >= person.worker,
            detail,
        };
        if let Some(fetch) = self.fetches.get_mut(fetch) {
            fetch.why = why;
        }
    }

    fn why_no_channel(&self, who: usize) -> &'static str {
        match &self.visitors[who].bridge {
            None => "the bridge has not begun",
            Some(bridge) if bridge.me.is_none() => "the server has not answered",
            Some(bridge) if bridge.links.is_empty() => "nobody was offered",
            Some(_) => "dialling",
        }
    }

    /// Of those who have it, who serve and can be connected to.
    fn why_not_connected(&self, who: usize, content: Content, group: u32) -> &'static str {
        let Some(bridge) = &self.visitors[who].bridge else {
            return "no bridge";
        };
        let dialled = bridge.links.values().filter_map(|key| {
            let link = self.links.get(*key).filter(|link| link.pipes.is_none())?;
            let other = link.ends.iter().find(|end| end.who != who)?;
            Some(other.who)
        });
        if dialled
            .into_iter()
            .any(|other| self.has(who, other, content, group))
        {
            return "one of them is dialled";
        }
        let mut room = 0;
        let mut all = 0;
        for other in self.holders.get(&content).into_iter().flatten() {
            if self.has(who, *other, content, group) {
                let links = self.visitors[*other]
                    .bridge
                    .as_ref()
                    .map_or(0, |b| b.links.len());
                room += usize::from(links < self.config(*other).max_peers);
                all += 1;
            }
        }
        match (room, all) {
            (0, _) => "all of them have as many as they take",
            (_, 1) => "one has it, with room",
            (_, 2..=3) => "two or three have it, with room",
            (_, 4..=7) => "four to seven have it, with room",
            _ => "eight and more have it, with room",
        }
    }

    fn has(&self, who: usize, other: usize, content: Content, group: u32) -> bool {
        other != who
            && self.visitors[other].bridge.is_some()
            && self.serves(other, content, group)
            && self.connects(who, other)
    }

    /// Had the best holder that is connected been asked when the page asked, with its line for itself, how
    /// would it have stood with the origin, whose first byte has come now?
    fn would_peers_win(
        &self,
        who: usize,
        content: Content,
        group: u32,
        began: Time,
    ) -> &'static str {
        let Some(bridge) = &self.visitors[who].bridge else {
            return "the bridge has gone";
        };
        let down = self.people[who].down;
        let len = self.site.len(content);
        let takes = bridge.links.values().filter_map(|key| {
            let link = self.links.get(*key)?;
            let nth = link.ends.iter().position(|end| end.who != who)?;
            let (other, pipes) = (link.ends[nth].who, link.pipes?);
            let rate = down.min(self.people[other].up);
            let asked = self.way(who, other) as f64;
            let holds = self.serves(other, content, group);
            holds.then(|| asked + self.net.takes(pipes[nth], len, rate))
        });
        let best = takes.fold(f64::INFINITY, f64::min);
        let origin = (self.clock.now() - began) as f64 + len as f64 / down;
        match best / origin {
            part if part.is_infinite() => "in truth nobody connected has it",
            part if part < 0.7 => "could have been well in time",
            part if part < 1.0 => "could have been in time",
            part if part < 1.1 => "hardly later",
            _ => "later indeed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_words_of_its_own() {
        let words: std::collections::BTreeSet<_> =
            Cause::ALL.iter().map(|(cause, _)| cause.words()).collect();
        assert_eq!(words.len(), Cause::ALL.len());
        assert!(!words.contains(""));
    }
}
