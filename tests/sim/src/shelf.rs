//! What visitors hold, and who of those connected to one holds something.

use std::ops::Range;

use fugitive_core::content::{GROUP, group_count};

use crate::{
    Time,
    people::Gives,
    prefetch::Stocked,
    site::Content,
    world::{At, World},
};

impl World<'_> {
    /// A content came ahead of its time, or the beginning of one: that is not served before the page wants
    /// the rest, and the worker has got the hash tree for it.
    pub(crate) fn stock(&mut self, at: At, content: Content, bytes: Range<u64>, tier: usize) {
        let len = self.site.len(content);
        let lacks = |(from, to): &(u32, u32)| {
            u64::from(*to) * GROUP <= bytes.start || bytes.end <= u64::from(*from) * GROUP
        };
        let held = self.visitors[at.who].store.get(&content);
        if held.is_none_or(|held| held.iter().all(lacks)) {
            self.log.stocked((bytes.end - bytes.start) as i64);
            let stocked = Stocked {
                bytes: bytes.clone(),
                tier,
            };
            self.visitors[at.who].stocked.insert(content, stocked);
        }
        if bytes.end < len {
            self.keep(at.who, content, len, bytes);
        } else {
            self.store(at, content, len, bytes);
        }
    }

    /// What is held now. Says whether that is anything.
    fn keep(&mut self, who: usize, content: Content, len: u64, bytes: Range<u64>) -> bool {
        let groups = (bytes.start / GROUP) as u32..if bytes.end == len {
            group_count(len)
        } else {
            (bytes.end / GROUP) as u32
        };
        if groups.is_empty() {
            return false;
        }
        let runs = self.visitors[who].store.entry(content).or_default();
        runs.push((groups.start, groups.end));
        merge(runs);
        true
    }

    /// Of these bytes those at the beginning that are held, and of them those that were fetched ahead and
    /// are shown now.
    pub(crate) fn shown(
        &mut self,
        who: usize,
        content: Content,
        bytes: &Range<u64>,
    ) -> (Range<u64>, Option<Stocked>) {
        let visitor = &mut self.visitors[who];
        let first = (bytes.start / GROUP) as u32;
        let mut held = visitor.store.get(&content).into_iter().flatten();
        let run = held.find(|(from, to)| (*from..*to).contains(&first));
        let to = run.map_or(bytes.start, |run| (u64::from(run.1) * GROUP).min(bytes.end));
        let stocked = visitor.stocked.get(&content);
        let meets = stocked.is_some_and(|it| it.bytes.start < to && bytes.start < it.bytes.end);
        let mut shown = visitor.stocked.remove(&content).filter(|_| meets);
        if let Some(shown) = &mut shown {
            shown.bytes = shown.bytes.start.max(bytes.start)..shown.bytes.end.min(to);
            let count = shown.bytes.end - shown.bytes.start;
            self.log.stocked(-(count as i64));
            self.log.useful(who, count, shown.tier);
        }
        (bytes.start..to, shown)
    }

    /// What is held now, and may be served from now on.
    pub(crate) fn store(&mut self, at: At, content: Content, len: u64, bytes: Range<u64>) {
        if !self.keep(at.who, content, len, bytes) {
            return;
        }
        self.holders.entry(content).or_default().insert(at.who);
        // What comes before the worker is in control it adopts later.
        if self.together && self.clock.now() >= self.people[at.who].worker {
            self.tell_stored(at.who, content);
        }
    }

    /// A visitor comes with what an earlier visit left.
    pub(crate) fn bring(&mut self, who: usize) {
        let people = self.people;
        for content in &people[who].before {
            let groups = self.site.content(*content).groups();
            let held = self.visitors[who].store.entry(*content);
            held.insert_entry(vec![(0, groups)]);
            self.holders.entry(*content).or_default().insert(who);
        }
    }

    /// The worker takes control of a page that loaded before: what is there is kept.
    pub(crate) fn adopt(&mut self, at: At) {
        if self.gives(at.who) == Gives::Free {
            return;
        }
        let held: Vec<Content> = self.visitors[at.who].store.keys().copied().collect();
        for content in held {
            self.tell_stored(at.who, content);
        }
    }

    /// A visit is over, and what it held is of no use to anybody.
    pub(crate) fn clear(&mut self, who: usize) {
        for content in std::mem::take(&mut self.visitors[who].store).into_keys() {
            if let Some(holders) = self.holders.get_mut(&content) {
                holders.remove(&who);
            }
        }
    }

    pub(crate) fn serves(&self, who: usize, content: Content, group: u32) -> bool {
        let holders = self.holders.get(&content);
        let held = self.visitors[who].store.get(&content);
        let held = held.filter(|_| holders.is_some_and(|holders| holders.contains(&who)));
        let holds =
            |held: &Vec<(u32, u32)>| held.iter().any(|(from, to)| (*from..*to).contains(&group));
        self.gives(who) == Gives::All && held.is_some_and(holds)
    }

    /// Whether anybody who is there and serves holds this group and can be connected to.
    pub(crate) fn somebody_holds(&self, who: usize, content: Content, group: u32) -> bool {
        let mut holders = self.holders.get(&content).into_iter().flatten();
        holders.any(|other| {
            *other != who
                && self.visitors[*other].bridge.is_some()
                && self.serves(*other, content, group)
                && self.connects(who, *other)
        })
    }

    /// The round trip to the nearest peer with an open channel that holds a content, and serves.
    pub(crate) fn nearest_holder(&self, who: usize, content: Content, group: u32) -> Option<Time> {
        let bridge = self.visitors[who].bridge.as_ref()?;
        let ends = bridge.links.values().filter_map(|key| {
            let link = self.links.get(*key).filter(|link| link.pipes.is_some())?;
            let side = usize::from(link.ends[0].who != who);
            Some(link.ends[1 - side].who)
        });
        ends.filter(|other| self.serves(*other, content, group))
            .map(|other| 2 * self.way(who, other))
            .min()
    }
}

/// Sorts runs and joins those that touch.
fn merge(runs: &mut Vec<(u32, u32)>) {
    runs.sort_unstable();
    let mut merged: Vec<(u32, u32)> = Vec::with_capacity(runs.len());
    for &(start, end) in runs.iter() {
        match merged.last_mut() {
            Some(last) if last.1 >= start => last.1 = last.1.max(end),
            _ => merged.push((start, end)),
        }
    }
    *runs = merged;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_that_touch_are_one() {
        let mut runs = vec![(8, 9), (0, 4), (4, 6), (5, 7)];
        merge(&mut runs);
        assert_eq!(runs, [(0, 7), (8, 9)]);
    }
}
