//! What goes first when room is needed: what is least worth its bytes. Not for how much room there is.
//!
//! Worth is what a content saves for each byte that it takes, and how soon: how often it was used, what
//! it costs to get again, over its size and over the time since it was last used. It is the greedy
//! rule of GDSF (Cherkasova 1998) with time in the place of GDSF's running clock (as hyperbolic
//! caching has it, Blankstein et al. 2017): it needs nothing written down but how often and when.
//! How rare it is among peers counts as well, see [`Kept::near`].
//! `tests/sim/tests/eviction.rs` holds it to LRU and to what could have been done with the future
//! known.

/// What is known of a content that could go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kept {
    /// What it takes, in bytes.
    pub bytes: u64,
    /// How often it was used since it came, the first time included.
    pub uses: u32,
    /// When it was last used, in milliseconds since 1970.
    pub used: f64,
    /// How many peers had it when that was last known: the fewer have what was used again, the more it
    /// is worth.
    pub near: Option<u32>,
}

/// What a request costs beside its bytes, as bytes: a round trip of 80 ms at 20 Mbit/s. It is why two
/// small pictures are worth more than one that is as large as both.
const REQUEST: f64 = 200_000.0;
/// What was used just now, and what was used this long ago, is of one page, in milliseconds.
const PAGE: f64 = 60_000.0;
/// Beyond so many, one use more says nothing.
const MAX_USES: u32 = 32;

/// How far what peers have raises or lowers what a content is worth.
const SWARM: f64 = 1.0;

/// What peers have says two things. What was used once and many have is likely to be used again; of what
/// was used again no more need be said, and it costs little to get where many have it and the origin where
/// nobody has. One holder says as much as if nothing were known: he may be gone.
fn by_peers(uses: u32, near: Option<u32>) -> f64 {
    let rarity = 1.0 / (1.0 + f64::from(near.unwrap_or(1))) - 0.5;
    match uses {
        0 | 1 => 1.0 - SWARM * rarity,
        _ => 1.0 + SWARM * rarity,
    }
}

/// What a content is worth at `now`, in milliseconds since 1970: the least worth goes first.
pub fn worth(kept: &Kept, now: f64) -> f64 {
    let uses = f64::from(kept.uses.clamp(1, MAX_USES));
    let bytes = kept.bytes.max(1) as f64;
    let age = (now - kept.used).max(0.0) + PAGE;
    uses * (REQUEST + bytes) / (bytes * age) * by_peers(kept.uses, kept.near)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: f64 = 1e12;

    fn of(change: impl Fn(&mut Kept)) -> f64 {
        let mut kept = Kept {
            bytes: 100_000,
            uses: 2,
            used: NOW - 3_600_000.0,
            near: None,
        };
        change(&mut kept);
        worth(&kept, NOW)
    }

    #[test]
    fn what_is_small_recent_or_frequent_is_worth_more() {
        let usual = of(|_| {});
        assert!(of(|kept| kept.bytes /= 2) > usual);
        assert!(of(|kept| kept.used += 60_000.0) > usual);
        assert!(of(|kept| kept.uses += 1) > usual);
    }

    #[test]
    fn of_what_is_used_again_the_rare_is_worth_more_and_of_the_rest_what_many_have() {
        let near = |uses, near| of(|kept| (kept.uses, kept.near) = (uses, near));
        for uses in [1, 2, 9] {
            let few: Vec<_> = (0..8).map(|holders| near(uses, Some(holders))).collect();
            assert!(few.is_sorted_by(|fewer, more| (fewer > more) == (uses > 1)));
            assert_eq!(near(uses, None), few[1]);
        }
    }

    proptest! {
        /// Peers can say what they like: what is worth this much more of itself stays above it.
        #[test]
        fn peers_shift_worth_within_narrow_bounds(
            bytes in 1..u64::MAX,
            uses in any::<u32>(),
            used in 0.0..NOW,
            near in any::<Option<u32>>(),
        ) {
            let unknown = Kept { bytes, uses, used, near: None };
            let shift = worth(&Kept { near, ..unknown }, NOW) / worth(&unknown, NOW);
            prop_assert!((1.0 - SWARM / 2.0..=1.0 + SWARM / 2.0).contains(&shift), "{}", shift);
        }
    }

    #[test]
    fn whatever_a_record_says_there_is_an_order() {
        for used in [f64::NEG_INFINITY, -1.0, 0.0, NOW * 2.0, f64::INFINITY] {
            for bytes in [0, 1, u64::MAX] {
                let worth = of(|kept| (kept.used, kept.bytes) = (used, bytes));
                assert!(worth >= 0.0 && worth.is_finite(), "{used} {bytes}");
            }
        }
    }
}
