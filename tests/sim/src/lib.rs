//! The swarm in virtual time: the very engine, hedge and matchmaker that visitors and the server run,
//! and around them a model of everything else. One seed, one result, to the byte.
//!
//! [`workload`] says what is to be simulated, [`site`] and [`people`] draw it from the seed,
//! [`world`] runs it on [`net`]'s links by [`clock`]'s events: [`signal`] is the signal server with
//! its sockets, [`bridge`] a page's bridge, [`link`] what it has to others, [`worker`] the Service
//! Worker, [`prefetch`] what it fetches ahead, and [`player`] a video element. [`measure`] adds up,
//! [`causes`] tells why bytes came from the origin, [`lateness`] why pages were late, [`bound`] what
//! could have been reached, and [`report`] and [`charts`] print and draw.

#![warn(missing_docs)]

pub mod bound;
pub mod bridge;
pub mod causes;
pub mod charts;
pub mod clock;
pub mod lateness;
pub mod link;
pub mod log;
pub mod measure;
pub mod net;
pub mod origin;
pub mod parcel;
pub mod people;
pub mod player;
pub mod prefetch;
pub mod report;
pub mod shelf;
pub mod signal;
pub mod site;
pub mod stories;
pub mod told;
pub mod worker;
pub mod workload;
pub mod world;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::{bound::Bound, measure::Figures, site::Site, workload::Workload, world::World};

/// Microseconds since the start of a run.
pub type Time = u64;

/// Only what could be reached at most.
pub fn upper_bound(workload: &Workload, peers: usize, seed: u64) -> Bound {
    let site = Site::new(&workload.site, &mut ChaCha8Rng::seed_from_u64(seed));
    let people = people::draw(workload, &site, peers, seed);
    let alone = World::new(workload, &site, &people, seed, false).run(&mut |_| {});
    bound::bound(workload, &people, &alone)
}

/// Runs a workload with so many visitors, with peers and, for comparison, without.
pub fn run(
    workload: &Workload,
    peers: usize,
    seed: u64,
    progress: &mut dyn FnMut(&str),
) -> Figures {
    let site = Site::new(&workload.site, &mut ChaCha8Rng::seed_from_u64(seed));
    let people = people::draw(workload, &site, peers, seed);
    progress("origin only");
    let alone = World::new(workload, &site, &people, seed, false).run(progress);
    progress("with peers");
    let together = World::new(workload, &site, &people, seed, true).run(progress);
    progress("upper bound");
    let bound = bound::bound(workload, &people, &alone);
    Figures::new(workload, &site, &people, &alone, &together, bound)
}
