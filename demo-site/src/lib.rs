//! The demo: its media, its origin with a distance to it, the check that a second visitor is filled by
//! the first, and a swarm to look at.

#[cfg(feature = "check")]
pub mod check;
pub mod code;
#[cfg(feature = "check")]
pub mod log;
pub mod media;
pub mod origin;
#[cfg(test)]
mod pages;
#[cfg(feature = "check")]
pub mod swarm;
