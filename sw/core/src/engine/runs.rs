//! Sets of groups as runs, sorted and apart: what is open, what came, what is held.

use std::ops::Range;

/// Up to where a run that contains this group goes on.
pub(super) fn run_from(runs: &[(u32, u32)], group: u32) -> Option<u32> {
    runs.iter()
        .find(|(start, end)| *start <= group && group < *end)
        .map(|(_, end)| *end)
}

/// Adds a run, whatever it overlaps or touches.
pub(super) fn add(runs: &mut Vec<Range<u32>>, mut run: Range<u32>) {
    if run.is_empty() {
        return;
    }
    let from = runs.partition_point(|before| before.end < run.start);
    let mut to = from;
    while runs.get(to).is_some_and(|met| met.start <= run.end) {
        run.start = run.start.min(runs[to].start);
        run.end = run.end.max(runs[to].end);
        to += 1;
    }
    runs.drain(from..to);
    runs.insert(from, run);
}

/// Takes a run out, as far as it is in.
pub(super) fn take(runs: &mut Vec<Range<u32>>, run: &Range<u32>) {
    if run.is_empty() {
        return;
    }
    let mut at = 0;
    while at < runs.len() && runs[at].start < run.end {
        let met = runs[at].clone();
        if met.end <= run.start {
            at += 1;
            continue;
        }
        runs.remove(at);
        for rest in [met.start..run.start, run.end..met.end] {
            if !rest.is_empty() {
                runs.insert(at, rest);
                at += 1;
            }
        }
    }
}

/// The parts of a run that are not in the set.
pub(super) fn lacking(runs: &[Range<u32>], run: &Range<u32>) -> Vec<Range<u32>> {
    let mut lacking = Vec::new();
    let mut at = run.start;
    for held in runs {
        if held.end <= at {
            continue;
        }
        if held.start >= run.end {
            break;
        }
        if held.start > at {
            lacking.push(at..held.start);
        }
        at = held.end;
    }
    if at < run.end {
        lacking.push(at..run.end);
    }
    lacking
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn set(runs: &[Range<u32>]) -> BTreeSet<u32> {
        runs.iter().cloned().flatten().collect()
    }

    proptest! {
        #[test]
        fn runs_are_the_set_of_their_groups_and_stay_apart(
            steps in prop::collection::vec((any::<bool>(), 0u32..40, 0u32..12), 0..30),
        ) {
            let (mut runs, mut groups) = (Vec::new(), BTreeSet::new());
            for (adds, start, len) in steps {
                let run = start..start + len;
                let lacks: BTreeSet<_> = run.clone().filter(|g| !groups.contains(g)).collect();
                prop_assert_eq!(set(&lacking(&runs, &run)), lacks);
                if adds {
                    add(&mut runs, run.clone());
                    groups.extend(run);
                } else {
                    take(&mut runs, &run);
                    groups.retain(|group| !run.contains(group));
                }
                prop_assert_eq!(set(&runs), groups.clone());
                prop_assert!(runs.iter().all(|run| !run.is_empty()));
                prop_assert!(runs.windows(2).all(|two| two[0].end < two[1].start));
            }
        }
    }
}
