//! Why bytes came from the origin: every one of them, by the first reason that kept it from coming from
//! a peer.

use std::collections::BTreeMap;

use fugitive_core::{content::GROUP, engine::FailReason};
use serde::Serialize;

use crate::world::{At, FetchKey, World};

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
    /// Peers were asked too, and had not answered.
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
}

pub(crate) fn shares(lost: &BTreeMap<Cause, Lost>, total: f64) -> Vec<(&'static str, Share)> {
    let share = |bytes: u64| bytes as f64 / total;
    let row = |(cause, lost): (&Cause, &Lost)| {
        let share = Share {
            bytes: share(lost.bytes),
            held: share(lost.held),
            later: share(lost.later),
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
        let near = self.nearest_holder(at.who, content, group).is_some();
        let held = near || self.somebody_holds(at.who, content, group);
        let cause = match cause {
            Cause::NotKnown | Cause::Behind if !held => Cause::NobodyHas,
            Cause::NotKnown if is_asked => Cause::Raced,
            Cause::NotKnown | Cause::Behind if !near => Cause::NotConnected,
            cause => cause,
        };
        let later = began > self.people[at.who].looks[at.look].html + 1_000_000;
        if let Some(fetch) = self.fetches.get_mut(fetch) {
            fetch.cause = (cause, held, later);
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
