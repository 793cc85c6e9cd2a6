//! What goes first when room is needed: what is least worth its bytes. Not for how much room there is.
//!
//! Worth is what a content saves for each byte that it takes, and how soon: how often it was used, what
//! it costs to get again, over its size and over the time since it was last used. It is the greedy
//! rule of GDSF (Cherkasova 1998) with time in the place of GDSF's running clock (as hyperbolic
//! caching has it, Blankstein et al. 2017): it needs nothing written down but how often and when.
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
}

/// What a request costs beside its bytes, as bytes: a round trip of 80 ms at 20 Mbit/s. It is why two
/// small pictures are worth more than one that is as large as both.
const REQUEST: f64 = 200_000.0;
/// What was used just now, and what was used this long ago, is of one page, in milliseconds.
const PAGE: f64 = 60_000.0;
/// Beyond so many, one use more says nothing.
const MAX_USES: u32 = 32;

/// What a content is worth at `now`, in milliseconds since 1970: the least worth goes first.
pub fn worth(kept: &Kept, now: f64) -> f64 {
    let uses = f64::from(kept.uses.clamp(1, MAX_USES));
    let bytes = kept.bytes.max(1) as f64;
    let age = (now - kept.used).max(0.0) + PAGE;
    uses * (REQUEST + bytes) / (bytes * age)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: f64 = 1e12;

    fn of(change: impl Fn(&mut Kept)) -> f64 {
        let mut kept = Kept {
            bytes: 100_000,
            uses: 2,
            used: NOW - 3_600_000.0,
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
    fn whatever_a_record_says_there_is_an_order() {
        for used in [f64::NEG_INFINITY, -1.0, 0.0, NOW * 2.0, f64::INFINITY] {
            for bytes in [0, 1, u64::MAX] {
                let worth = of(|kept| (kept.used, kept.bytes) = (used, bytes));
                assert!(worth >= 0.0 && worth.is_finite(), "{used} {bytes}");
            }
        }
    }
}
