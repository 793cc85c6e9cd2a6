//! Who holds what, for contents so large that somebody far away may be the only one.
//!
//! Bounded: when it is full the oldest announcement makes room, and each is forgotten a quarter of
//! an hour after it was last made.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use fugitive_core::content::ContentId;
use rand::{Rng, RngExt};

use crate::ticket::Id;

/// How long an announcement is good for, in milliseconds.
const LIFE: u64 = 15 * 60 * 1000;
/// One that is repeated before this has passed is good for no longer, in milliseconds.
const REPEAT: u64 = LIFE / 3;
/// Holders of one content; more are not needed.
const MOST_HOLDERS: usize = 64;
/// The order may hold so much that stands there for nothing before it is cleared out.
const SLACK: usize = 1024;

type Key = (Arc<str>, ContentId);

/// See the module.
#[derive(Default)]
pub struct Directory {
    holders: HashMap<Key, Vec<(Id, u64)>>,
    count: usize,
    /// Announcements, the oldest first; those that were repeated or taken back stand here for
    /// nothing.
    order: VecDeque<(u64, Key, Id)>,
}

impl Directory {
    /// Announcements.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Notes a holder, of at most so many in all. Tells whether it is a new one, and who lost its
    /// place for it.
    pub fn hold(
        &mut self,
        origin: &Arc<str>,
        content: ContentId,
        id: Id,
        now: u64,
        most: usize,
    ) -> (bool, Option<(Id, ContentId)>) {
        let until = now + LIFE;
        let key = (origin.clone(), content);
        let holders = self.holders.entry(key.clone()).or_default();
        let is_full = holders.len() >= MOST_HOLDERS;
        let is_new = match holders.iter_mut().find(|(holder, _)| *holder == id) {
            Some((_, good)) if *good + REPEAT > until => return (false, None),
            Some((_, good)) => {
                *good = until;
                false
            }
            None if is_full => return (false, None),
            None => {
                holders.push((id, until));
                self.count += 1;
                true
            }
        };
        self.order.push_back((until, key, id));
        let mut lost = None;
        while self.count > most {
            let Some((until, key, id)) = self.order.pop_front() else {
                break;
            };
            if self.remove(&key, id, Some(until)) {
                lost = Some((id, key.1));
            }
        }
        if self.order.len() > 2 * self.count + SLACK {
            let holders = &self.holders;
            self.order.retain(|(until, key, id)| {
                let found = holders.get(key).into_iter().flatten();
                found.into_iter().any(|holder| *holder == (*id, *until))
            });
        }
        (is_new, lost)
    }

    /// This peer holds it no more.
    pub fn release(&mut self, origin: &Arc<str>, content: ContentId, id: Id) {
        self.remove(&(origin.clone(), content), id, None);
    }

    /// Some of its holders, by lot.
    pub fn find(
        &self,
        origin: &Arc<str>,
        content: ContentId,
        most: usize,
        rng: &mut impl Rng,
    ) -> Vec<Id> {
        let Some(holders) = self.holders.get(&(origin.clone(), content)) else {
            return Vec::new();
        };
        let begin = rng.random_range(0..holders.len());
        let round = holders[begin..].iter().chain(&holders[..begin]);
        round.take(most).map(|(id, _)| *id).collect()
    }

    /// Forgets what is too old, and tells what that was.
    pub fn expire(&mut self, now: u64) -> Vec<(Id, ContentId)> {
        let mut expired = Vec::new();
        while self.order.front().is_some_and(|(until, ..)| *until <= now) {
            if let Some((until, key, id)) = self.order.pop_front()
                && self.remove(&key, id, Some(until))
            {
                expired.push((id, key.1));
            }
        }
        expired
    }

    /// Only the announcement that is good until then, if that is said.
    fn remove(&mut self, key: &Key, id: Id, until: Option<u64>) -> bool {
        let Some(holders) = self.holders.get_mut(key) else {
            return false;
        };
        let before = holders.len();
        holders.retain(|(holder, good)| *holder != id || until.is_some_and(|until| until != *good));
        let removed = holders.len() < before;
        self.count -= usize::from(removed);
        if holders.is_empty() {
            self.holders.remove(key);
        }
        removed
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    fn id(number: u32) -> Id {
        Id((u128::from(number) + 1).to_be_bytes())
    }

    fn content(number: u32) -> ContentId {
        ContentId::of(&number.to_le_bytes())
    }

    #[test]
    fn holder_is_found_until_it_lets_go_or_a_quarter_of_an_hour_has_passed() {
        let mut directory = Directory::default();
        let mut rng = StdRng::seed_from_u64(1);
        let (here, there) = (Arc::from("here"), Arc::from("there"));
        for i in 0..3 {
            assert_eq!(
                directory.hold(&here, content(7), id(i), 0, 10),
                (true, None)
            );
        }
        let mut found = directory.find(&here, content(7), 9, &mut rng);
        found.sort_unstable();
        assert_eq!(found, [id(0), id(1), id(2)]);
        assert!(directory.find(&there, content(7), 9, &mut rng).is_empty());
        directory.release(&here, content(7), id(0));
        directory.hold(&here, content(7), id(1), REPEAT, 10);
        assert_eq!(directory.expire(LIFE), [(id(2), content(7))]);
        assert_eq!(directory.find(&here, content(7), 9, &mut rng), [id(1)]);
        assert_eq!(directory.expire(LIFE + REPEAT).len(), 1);
        assert_eq!(directory.len(), 0);
        assert!(directory.holders.is_empty() && directory.order.is_empty());
    }

    #[test]
    fn full_directory_forgets_the_oldest_and_nothing_grows() {
        let mut directory = Directory::default();
        let origin = Arc::from("o");
        for i in 0..1000 {
            let (_, lost) = directory.hold(&origin, content(i), id(i), u64::from(i), 100);
            assert_eq!(lost, (i >= 100).then(|| (id(i - 100), content(i - 100))));
        }
        assert_eq!(directory.len(), 100);
        for now in 1000..100_000 {
            directory.hold(&origin, content(5), id(5), now, 100);
            directory.release(&origin, content(5), id(5));
        }
        assert!(directory.order.len() <= 2 * 100 + SLACK + 1);
        for i in 0..1000 {
            directory.hold(&origin, content(9), id(i), 100_000, 100_000);
        }
        let found = directory.holders.values().map(Vec::len).max();
        assert_eq!(found, Some(MOST_HOLDERS));
    }
}
