//! Why pages were later than from the origin alone: each of them by what the last of its requests that
//! it asked for at once was late for.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{Time, log::Sample, people::Person, stories::over, worker::WORKER};

/// A page that is later than this share counts as late.
const LATE: f64 = 0.05;
/// What is asked for later than this after its HTML, a page does not ask for at once.
const AT_ONCE: Time = 1_000_000;

/// What a page was late for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Why {
    /// Peers were waited for who were not there yet.
    Bridge,
    /// Peers were waited for who were there, and the origin was asked late.
    Waited,
    /// The origin was asked at once, and sent its bytes slowly while peers sent some of something else.
    Beside,
    /// The same, and nobody else sent anything.
    Origin,
    /// Peers sent all of it, and began late.
    Began,
    /// Peers sent all of it, slowly.
    Slow,
    /// Peers sent some of it, and left the rest to the origin.
    Left,
    /// Peers sent some of it, and none of them left.
    Both,
}

impl Why {
    const ALL: [(Self, &str); 8] = [
        (Self::Bridge, "peers were waited for, not there yet"),
        (Self::Waited, "peers were waited for, and not first"),
        (Self::Beside, "the origin's bytes shared the line"),
        (Self::Origin, "the origin was slower"),
        (Self::Began, "peers began late"),
        (Self::Slow, "peers sent it slowly"),
        (Self::Left, "peers left off"),
        (Self::Both, "origin and peers sent parts"),
    ];

    fn words(self) -> &'static str {
        let mut all = Self::ALL.iter();
        all.find(|(why, _)| *why == self)
            .map_or("", |(_, words)| words)
    }

    fn of(with: &Sample, without: &Sample) -> Self {
        let late = |a: Time, b: Time| a.saturating_sub(b);
        let (first, last) = (
            late(with.first, without.first),
            late(with.last, without.last),
        );
        let waited = late(with.asked.unwrap_or(0), WORKER);
        match (with.from[0] + with.from[1] > 0, with.from[2] > 0) {
            (true, false) if 2 * first >= last => Self::Began,
            (true, false) => Self::Slow,
            (true, true) if with.left => Self::Left,
            (true, true) => Self::Both,
            _ if 2 * waited < last && with.beside > 0 => Self::Beside,
            _ if 2 * waited < last => Self::Origin,
            _ if with.story == "waited for the bridge" => Self::Bridge,
            _ => Self::Waited,
        }
    }
}

/// Pages that were late for the same.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Late {
    /// Of all pages.
    pub pages: f64,
    /// How late they were on average, as a share of the origin-only time.
    pub regret: f64,
}

/// How late pages were, as shares, and why those that were.
pub(crate) fn pages(
    pairs: &[(&Sample, &Sample)],
    people: &[Person],
) -> (Vec<f64>, Vec<(&'static str, Late)>) {
    type Last<'a> = (Time, Time, (&'a Sample, &'a Sample));
    let mut pages: BTreeMap<(usize, usize), Last<'_>> = BTreeMap::new();
    for pair in pairs {
        let (with, without) = pair;
        let look = &people[with.at.who].looks[with.at.look];
        if with.began >= look.html + AT_ONCE && look.play.is_none() {
            continue;
        }
        let end = with.began + with.last - look.at;
        let alone = without.began + without.last - look.at;
        let page = (with.at.who, with.at.look);
        let (last, last_alone, of) = pages.entry(page).or_insert((end, alone, *pair));
        *last_alone = alone.max(*last_alone);
        if end > *last {
            (*last, *of) = (end, *pair);
        }
    }
    let count = pages.len().max(1) as f64;
    let (mut regret, mut late) = (Vec::new(), BTreeMap::<Why, Late>::new());
    for (last, alone, (with, without)) in pages.values() {
        let share = over(*last, *alone);
        regret.push(share);
        if share > LATE {
            let late = late.entry(Why::of(with, without)).or_default();
            late.pages += 1.0;
            late.regret += share;
        }
    }
    let late = late.into_iter().map(|(why, late)| {
        let regret = late.regret / late.pages;
        let pages = late.pages / count;
        (why.words(), Late { pages, regret })
    });
    (regret, late.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::At;

    fn sample(from: [u64; 3], first: Time, last: Time) -> Sample {
        Sample {
            at: At { who: 0, look: 0 },
            number: 0,
            content: 0,
            bytes: from.iter().sum(),
            began: 0,
            first,
            last,
            from,
            story: String::new(),
            near: None,
            somebody: false,
            asked: None,
            left: false,
            beside: 0,
        }
    }

    #[test]
    fn what_a_page_was_late_for_is_told_by_its_last_request() {
        let alone = sample([0, 0, 9], 200_000, 220_000);
        let by_peers = |first, last| Why::of(&sample([9, 0, 0], first, last), &alone);
        assert_eq!(by_peers(280_000, 310_000), Why::Began);
        assert_eq!(by_peers(210_000, 300_000), Why::Slow);
        let by_origin = |asked, beside| {
            let with = sample([0, 0, 9], 280_000, 300_000);
            let asked = Some(asked);
            let with = Sample {
                asked,
                beside,
                ..with
            };
            Why::of(&with, &alone)
        };
        assert_eq!(by_origin(WORKER + 80_000, 0), Why::Waited);
        assert_eq!(by_origin(WORKER, 0), Why::Origin);
        assert_eq!(by_origin(WORKER, 5_000), Why::Beside);
        let left = Sample {
            left: true,
            ..sample([4, 0, 5], 210_000, 500_000)
        };
        assert_eq!(Why::of(&left, &alone), Why::Left);
    }

    #[test]
    fn every_reason_has_words_of_its_own() {
        let words: std::collections::BTreeSet<_> =
            Why::ALL.iter().map(|(why, _)| why.words()).collect();
        assert_eq!(words.len(), Why::ALL.len());
        assert!(!words.contains(""));
    }
}
