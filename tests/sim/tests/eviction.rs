//! The eviction policy on what visitors of the workloads look at, beside LRU and beside what could
//! have been done with the future known.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::collections::{BTreeSet, HashMap};

use fugitive_core::evict::{Kept, worth};
use fugitive_sim::{
    people::{self, Person},
    site::Site,
    workload::Workload,
};
use rand::{RngExt, SeedableRng};
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

/// What one visit asks for that begins then.
fn uses(person: &Person, site: &Site, begins: f64) -> Vec<Use> {
    let images = person.looks.iter().flat_map(|look| &look.images);
    images
        .map(|&(at, content)| Use {
            content,
            len: site.content(content).len(),
            at: begins + at.saturating_sub(person.comes()) as f64 / 1000.0,
            next: usize::MAX,
        })
        .collect()
}

/// What one browser asks for that comes again and again: the visits of many, as if it were one's.
fn trace(name: &str, seed: u64) -> Vec<Use> {
    let workload = Workload::load(name).unwrap();
    let site = Site::new(&workload.site, &mut ChaCha8Rng::seed_from_u64(seed));
    let people = people::draw(&workload, &site, VISITS, seed);
    let mut uses = Vec::new();
    for (visit, person) in people.iter().enumerate() {
        uses.extend(self::uses(person, &site, visit as f64 * BETWEEN));
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
                    near: None,
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

/// Browsers that come again, and what each looks at, as one row in time.
const BROWSERS: usize = 40;
/// Who is connected to whom in a visit, by lot.
const PEERS: usize = 6;

/// Of all requests, and of all bytes: which came from the browser's own store, and from there or a peer.
#[derive(Clone, Copy, Debug)]
struct Shares {
    own: (f64, f64),
    near: (f64, f64),
}

/// What one browser keeps.
struct Shelf {
    held: HashMap<u32, (u64, Kept)>,
    bytes: u64,
}

/// Browsers with stores of this size who ask a few of the others for what they lack.
fn swarm(visits: &[(usize, Vec<Use>)], budget: u64, keep: impl Fn(&Kept, f64) -> f64) -> Shares {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let mut shelves: Vec<Shelf> = (0..BROWSERS)
        .map(|_| Shelf {
            held: HashMap::new(),
            bytes: 0,
        })
        .collect();
    let (mut all, mut own, mut near) = ((0, 0), (0, 0), (0, 0));
    let count = |sum: &mut (u64, u64), len| (sum.0, sum.1) = (sum.0 + 1, sum.1 + len);
    for (browser, uses) in visits {
        let peers: Vec<usize> = (0..PEERS)
            .map(|_| rng.random_range(0..BROWSERS))
            .filter(|peer| peer != browser)
            .collect();
        for one in uses {
            let has = |peer: &&usize| shelves[**peer].held.contains_key(&one.content);
            let holders = peers.iter().filter(has).count() as u32;
            count(&mut all, one.len);
            let shelf = &mut shelves[*browser];
            if let Some((_, kept)) = shelf.held.get_mut(&one.content) {
                count(&mut own, one.len);
                count(&mut near, one.len);
                (kept.uses, kept.used, kept.near) = (kept.uses + 1, one.at, Some(holders));
                continue;
            }
            if holders > 0 {
                count(&mut near, one.len);
            }
            if one.len > budget / 2 {
                continue;
            }
            while shelf.bytes + one.len > budget {
                let value = |(id, (_, kept)): &(&u32, &(u64, Kept))| (keep(kept, one.at), **id);
                let least = shelf.held.iter().min_by(|a, b| {
                    let (a, b) = (value(a), value(b));
                    a.partial_cmp(&b).unwrap()
                });
                let least = *least.unwrap().0;
                shelf.bytes -= shelf.held.remove(&least).unwrap().0;
            }
            shelf.bytes += one.len;
            let kept = Kept {
                bytes: one.len,
                uses: 1,
                used: one.at,
                near: Some(holders),
            };
            shelf.held.insert(one.content, (one.len, kept));
        }
    }
    let share = |part: (u64, u64)| {
        let of = |part, all| part as f64 / all as f64;
        (of(part.0, all.0), of(part.1, all.1))
    };
    Shares {
        own: share(own),
        near: share(near),
    }
}

#[test]
fn what_peers_have_tells_what_to_keep_and_spares_store_and_origin() {
    println!(
        "workload  room  own store: LRU    without  with      own or peers: LRU  without  with"
    );
    for name in ["shop", "longtail"] {
        let workload = Workload::load(name).unwrap();
        let site = Site::new(&workload.site, &mut ChaCha8Rng::seed_from_u64(1));
        let people = people::draw(&workload, &site, 20 * BROWSERS, 1);
        let visits: Vec<_> = people
            .iter()
            .enumerate()
            .map(|(visit, person)| {
                let begins = visit as f64 * BETWEEN / BROWSERS as f64;
                (visit % BROWSERS, uses(person, &site, begins))
            })
            .collect();
        let distinct: BTreeSet<_> = (visits.iter().flat_map(|(_, uses)| uses))
            .map(|one| (one.content, one.len))
            .collect();
        let total: u64 = distinct.iter().map(|one| one.1).sum();
        for part in [40, 20, 10] {
            let budget = total / part;
            let lru = swarm(&visits, budget, |kept, _| kept.used);
            let without = swarm(&visits, budget, |kept, now| {
                worth(
                    &Kept {
                        near: None,
                        ..*kept
                    },
                    now,
                )
            });
            let with = swarm(&visits, budget, worth);
            println!(
                "{name:9} {:3.0} %  {:.3?} {:.3?} {:.3?}  {:.3?} {:.3?} {:.3?}",
                100.0 / part as f64,
                lru.own,
                without.own,
                with.own,
                lru.near,
                without.near,
                with.near
            );
            assert!(with.own.0 > lru.own.0 && with.own.1 > lru.own.1, "{name}");
            assert!(
                with.own.0 > without.own.0 && with.own.1 > without.own.1,
                "{name}"
            );
            // Nor is the origin asked more often, and where there is little room it sends less.
            let least = if part > 10 { 0.0 } else { -0.001 };
            assert!(with.near.0 > without.near.0 - 0.001, "{name}");
            assert!(with.near.1 > without.near.1 + least, "{name}");
        }
    }
}
