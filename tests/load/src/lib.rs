//! Load for a signal server: thousands of made-up visitors that join, are offered to each other,
//! exchange session descriptions, beat, navigate and leave, at a given rate; and the benches that
//! set our server beside others.
//!
//! A [`crowd`] is made of [`peer`]s that speak a [`dialect`]: ours, or that of a server we are
//! compared with ([`others`], [`floor`]). [`measure`] counts, [`process`] starts servers and reads what they
//! took, [`bench`] and [`bench_cluster`] go through the rounds.
//!
//! Everything runs on one thread: the generator is given one core, the server another.

#![warn(missing_docs)]

pub mod bench;
pub mod bench_cluster;
pub mod crowd;
pub mod dialect;
pub mod floor;
pub mod measure;
pub mod others;
pub mod peer;
pub mod process;
