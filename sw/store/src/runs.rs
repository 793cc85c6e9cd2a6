//! Runs of groups that are held: sorted, disjoint, never touching. Not for bytes.

/// Adds `from..to`, joining what it touches.
pub(crate) fn add(runs: &mut Vec<(u32, u32)>, from: u32, to: u32) {
    if from >= to {
        return;
    }
    let start = runs.partition_point(|run| run.1 < from);
    let end = runs.partition_point(|run| run.0 <= to);
    let joined = runs[start..end]
        .iter()
        .fold((from, to), |all, run| (all.0.min(run.0), all.1.max(run.1)));
    runs.splice(start..end, [joined]);
}

/// Takes `from..to` away.
pub(crate) fn remove(runs: &mut Vec<(u32, u32)>, from: u32, to: u32) {
    if from >= to {
        return;
    }
    let mut left = Vec::with_capacity(runs.len() + 1);
    for &(start, end) in runs.iter() {
        if start < from.min(end) {
            left.push((start, from.min(end)));
        }
        if to.max(start) < end {
            left.push((to.max(start), end));
        }
    }
    *runs = left;
}

/// Whether all of `from..to` is held.
pub(crate) fn cover(runs: &[(u32, u32)], from: u32, to: u32) -> bool {
    from >= to || runs.iter().any(|run| run.0 <= from && to <= run.1)
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    #[wasm_bindgen_test(unsupported = test)]
    fn runs_that_touch_become_one() {
        let mut runs = Vec::new();
        for (from, to) in [(8, 9), (0, 2), (4, 4), (4, 6), (2, 4), (20, 30), (7, 21)] {
            add(&mut runs, from, to);
        }
        assert_eq!(runs, [(0, 6), (7, 30)]);
        assert!(cover(&runs, 1, 6) && cover(&runs, 3, 3) && !cover(&runs, 5, 8));
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn what_is_taken_away_leaves_both_ends() {
        let mut runs = vec![(0, 6), (7, 30)];
        remove(&mut runs, 4, 10);
        assert_eq!(runs, [(0, 4), (10, 30)]);
        remove(&mut runs, 0, 16);
        assert_eq!(runs, [(16, 30)]);
        remove(&mut runs, 20, 21);
        assert_eq!(runs, [(16, 20), (21, 30)]);
        remove(&mut runs, 40, 41);
        assert_eq!(runs, [(16, 20), (21, 30)]);
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn any_order_of_adding_and_taking_agrees_with_a_list_of_every_group() {
        let mut seed = 7_u32;
        let mut random = move |below: u32| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) % below
        };
        let (mut runs, mut every) = (Vec::new(), [false; 64]);
        for _ in 0..2_000 {
            let from = random(64);
            let to = (from + random(12)).min(64);
            let held = random(3) > 0;
            if held {
                add(&mut runs, from, to);
            } else {
                remove(&mut runs, from, to);
            }
            every[from as usize..to as usize].fill(held);
            let mut all = [false; 64];
            for &(from, to) in &runs {
                assert!(from < to);
                all[from as usize..to as usize].fill(true);
            }
            assert_eq!(all, every);
            assert!(runs.windows(2).all(|two| two[0].1 < two[1].0));
        }
    }
}
