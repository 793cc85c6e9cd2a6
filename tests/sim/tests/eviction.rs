//! The eviction policy on what visitors of the workloads look at, beside LRU and beside what could
//! have been done with the future known.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::collections::{BTreeSet, HashMap};

use fugitive_core::evict::{Kept, worth};
use fugitive_sim::{people, site::Site, workload::Workload};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// Visits of one browser, one after the other.
const VISITS: usize = 300;
/// Time from one to the next, in milliseconds.
const BETWEEN: f64 = 4.0 * 3_600_000.0;

struct Use {
    content: u32,
    len: u64,
    at: f64,
    /// When it is used next, by its place in the trace.
    next: usize,
}

/// What one browser asks for that comes again and again: the visits of many, as if it were one's.
fn trace(name: &str, seed: u64) -> Vec<Use> {
    let workload = Workload::load(name).unwrap();
    let site = Site::new(&workload.site, &mut ChaCha8Rng::seed_from_u64(seed));
    let people = people::draw(&workload, &site, VISITS, seed);
    let mut uses = Vec::new();
    for (visit, person) in people.iter().enumerate() {
        for look in &person.looks {
            for &(at, content) in &look.images {
                let at = at.saturating_sub(person.comes()) as f64 / 1000.0;
                uses.push(Use {
                    content,
                    len: site.content(content).len(),
                    at: visit as f64 * BETWEEN + at,
                    next: usize::MAX,
                });
            }
        }
    }
    let mut later = HashMap::new();
    for place in (0..uses.len()).rev() {
        uses[place].next = later
            .insert(uses[place].content, place)
            .unwrap_or(usize::MAX);
    }
    uses
}

#[derive(Clone, Copy)]
struct Held {
    len: u64,
    uses: u32,
    used: f64,
    next: usize,
}

/// Shares of requests, and of bytes, that are answered from a store of this size; who goes is the one
/// of the least `keep`.
fn hits(trace: &[Use], budget: u64, keep: impl Fn(&Held, f64) -> f64) -> (f64, f64) {
    let mut held: HashMap<u32, Held> = HashMap::new();
    let (mut bytes, mut hit, mut hit_bytes) = (0, 0_u64, 0_u64);
    for one in trace {
        if let Some(held) = held.get_mut(&one.content) {
            hit += 1;
            hit_bytes += one.len;
            (held.uses, held.used, held.next) = (held.uses + 1, one.at, one.next);
            continue;
        }
        if one.len > budget / 2 {
            continue;
        }
        while bytes + one.len > budget {
            let value = |entry: &(&u32, &Held)| (keep(entry.1, one.at), *entry.0);
            let least = held
                .iter()
                .min_by(|a, b| value(a).partial_cmp(&value(b)).unwrap());
            let least = *least.unwrap().0;
            bytes -= held.remove(&least).unwrap().len;
        }
        bytes += one.len;
        held.insert(
            one.content,
            Held {
                len: one.len,
                uses: 1,
                used: one.at,
                next: one.next,
            },
        );
    }
    let all: u64 = trace.iter().map(|one| one.len).sum();
    (
        hit as f64 / trace.len() as f64,
        hit_bytes as f64 / all as f64,
    )
}

#[test]
fn policy_is_better_than_lru_on_every_workload_and_near_what_the_future_would_allow() {
    println!(
        "workload  budget   LRU         ours        offline     (share of requests, of bytes)"
    );
    // The others are one film, or the same people.
    for name in ["shop", "longtail"] {
        let trace = trace(name, 1);
        let distinct: BTreeSet<_> = trace.iter().map(|one| (one.content, one.len)).collect();
        let total: u64 = distinct.iter().map(|one| one.1).sum();
        for part in [20, 10, 5] {
            let budget = total / part;
            let lru = hits(&trace, budget, |held, _| held.used);
            let ours = hits(&trace, budget, |held, now| {
                let kept = Kept {
                    bytes: held.len,
                    uses: held.uses,
                    used: held.used,
                };
                worth(&kept, now)
            });
            // Who is wanted last goes first (Belady), or the largest of those by their size.
            let belady = hits(&trace, budget, |held, _| -(held.next as f64));
            let sized = hits(&trace, budget, |held, _| {
                -(held.next as f64 * held.len as f64)
            });
            let offline = (belady.0.max(sized.0), belady.1.max(sized.1));
            println!(
                "{name:9} {:5.0} %  {:.3} {:.3} {:.3} {:.3} {:.3} {:.3}",
                100.0 / part as f64,
                lru.0,
                lru.1,
                ours.0,
                ours.1,
                offline.0,
                offline.1,
            );
            assert!(ours.0 > lru.0 && ours.1 > lru.1, "{name}");
            // More than half of what LRU leaves to be gained.
            assert!(ours.0 - lru.0 > (offline.0 - lru.0) / 2.0, "{name}");
        }
    }
}
