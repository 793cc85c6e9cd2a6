//! The servers of a cluster that make the manifest of the same site, and which of them looks at what.
//! Pure: time is a count of ticks, a second each.

use std::collections::HashMap;

use crate::cluster::ServerId;

/// A server that is silent for so many ticks is lost.
const LOST: u64 = 6;
/// After so many ticks all others have been heard.
const SETTLED: u64 = 3;
/// What was passed on is asked for once more if nothing came of it after so many ticks.
const FORGOTTEN: u64 = 60;
/// URLs that others are asked to look at.
const MOST_PASSED: usize = 1000;

/// Who is to look at a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// This server.
    Ours,
    /// That one.
    Theirs(ServerId),
    /// Nobody knows yet who else is there.
    Open,
}

struct Passed {
    differs: bool,
    turn: Turn,
    at: u64,
}

/// See the module.
pub struct Fellows {
    me: ServerId,
    ticks: u64,
    /// The others, and when they were last heard.
    heard: HashMap<ServerId, u64>,
    /// What visitors claimed here and others are to look at.
    passed: HashMap<String, Passed>,
    asked_at: Option<u64>,
}

impl Fellows {
    /// Of a server with this name among the others.
    pub fn new(me: ServerId) -> Self {
        Self {
            me,
            ticks: 0,
            heard: HashMap::new(),
            passed: HashMap::new(),
            asked_at: None,
        }
    }

    /// Another server said something.
    pub fn heard(&mut self, server: ServerId) {
        self.heard.insert(server, self.ticks);
    }

    /// Whose turn it is to look at a URL: all servers that know of each other say the same, and where
    /// one goes, only what was its own changes hands (rendezvous hashing).
    pub fn turn(&self, url: &str) -> Turn {
        if self.ticks < SETTLED {
            return Turn::Open;
        }
        let rank = |server: ServerId| {
            let mut hasher = blake3::Hasher::new();
            hasher.update(&server.to_be_bytes());
            hasher.update(url.as_bytes());
            *hasher.finalize().as_bytes()
        };
        let all = self.heard.keys().copied().chain([self.me]);
        match all.max_by_key(|server| rank(*server)) {
            Some(server) if server != self.me => Turn::Theirs(server),
            _ => Turn::Ours,
        }
    }

    /// A visitor's claim is somebody else's to look at, or nobody knows whose; tells whether to say so
    /// to him.
    pub fn pass_on(&mut self, url: &str, differs: bool, turn: Turn) -> bool {
        if self.passed.contains_key(url) || self.passed.len() >= MOST_PASSED {
            return false;
        }
        let passed = Passed {
            differs,
            turn,
            at: self.ticks,
        };
        self.passed.insert(url.to_owned(), passed);
        true
    }

    /// Somebody looked at it.
    pub fn done(&mut self, url: &str) {
        self.passed.remove(url);
    }

    /// How many others there are.
    pub fn count(&self) -> usize {
        self.heard.len()
    }

    /// One of the others, by turns.
    pub fn any(&self) -> Option<ServerId> {
        let mut all: Vec<ServerId> = self.heard.keys().copied().collect();
        all.sort_unstable();
        let count = (all.len() as u64).max(1);
        all.get((self.ticks % count) as usize).copied()
    }

    /// Whether it is time to ask others for what is not known here.
    pub fn may_ask(&mut self) -> bool {
        let is_time = self.asked_at != Some(self.ticks);
        self.asked_at = Some(self.ticks);
        is_time
    }

    /// A second has passed. Gives the claims whose turn it is now to be looked at by somebody else than
    /// before.
    pub fn tick(&mut self) -> Vec<(String, bool)> {
        self.ticks += 1;
        let ticks = self.ticks;
        self.heard.retain(|_, heard| ticks - *heard <= LOST);
        let is_over = |passed: &Passed| ticks - passed.at >= FORGOTTEN;
        self.passed.retain(|_, passed| !is_over(passed));
        let moved = |url: &str, passed: &Passed| self.turn(url) != passed.turn;
        let moved = self
            .passed
            .iter()
            .filter(|(url, passed)| moved(url, passed));
        let moved: Vec<String> = moved.map(|(url, _)| url.clone()).collect();
        let taken = moved.into_iter().filter_map(|url| {
            let passed = self.passed.remove(&url)?;
            Some((url, passed.differs))
        });
        taken.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(me: ServerId, others: &[ServerId]) -> Fellows {
        let mut fellows = Fellows::new(me);
        assert_eq!(fellows.turn("a"), Turn::Open);
        for _ in 0..SETTLED {
            fellows.tick();
        }
        others.iter().for_each(|other| fellows.heard(*other));
        fellows
    }

    fn looks(fellows: &Fellows, url: &str) -> ServerId {
        match fellows.turn(url) {
            Turn::Theirs(server) => server,
            Turn::Ours => fellows.me,
            Turn::Open => panic!("settled"),
        }
    }

    #[test]
    fn all_agree_on_whose_turn_it_is_and_each_has_a_share() {
        let servers = [1, 2, 3].map(|me| {
            let others: Vec<ServerId> = (1..=3).filter(|other| *other != me).collect();
            settled(me, &others)
        });
        let mut shares = [0; 4];
        for number in 0..300 {
            let url = format!("https://site/{number}");
            let [one, other, third] = servers.each_ref().map(|server| looks(server, &url));
            assert!(one == other && other == third);
            shares[one as usize] += 1;
        }
        assert!(shares[1..].iter().all(|share| *share > 60), "{shares:?}");
    }

    #[test]
    fn what_a_lost_server_was_to_look_at_is_others_turn() {
        let mut one = settled(1, &[2]);
        let urls: Vec<String> = (0..50).map(|number| format!("{number}")).collect();
        let (mine, theirs): (Vec<&String>, Vec<&String>) =
            urls.iter().partition(|url| one.turn(url) == Turn::Ours);
        for url in &theirs {
            assert!(one.pass_on(url, false, Turn::Theirs(2)));
            assert!(!one.pass_on(url, false, Turn::Theirs(2)), "it was said");
        }
        let mut moved = Vec::new();
        for _ in 0..=LOST {
            moved.extend(one.tick());
        }
        assert_eq!(moved.len(), theirs.len());
        assert!(!mine.is_empty() && urls.iter().all(|url| one.turn(url) == Turn::Ours));
    }

    #[test]
    fn claim_of_the_first_moments_waits_until_others_are_known() {
        let mut one = Fellows::new(1);
        assert!(one.pass_on("a", true, Turn::Open));
        one.heard(2);
        let mut moved = Vec::new();
        for _ in 0..SETTLED {
            assert!(moved.is_empty());
            moved = one.tick();
        }
        assert_eq!(moved, [("a".to_owned(), true)]);
    }

    #[test]
    fn claims_that_nobody_looks_at_are_bounded_and_given_up() {
        let mut one = settled(1, &[2]);
        let turn = Turn::Theirs(2);
        let passed =
            (0..2 * MOST_PASSED).filter(|number| one.pass_on(&number.to_string(), false, turn));
        assert_eq!(passed.count(), MOST_PASSED);
        for _ in 0..FORGOTTEN {
            one.heard(2);
            one.tick();
        }
        assert!(one.passed.is_empty());
    }
}
