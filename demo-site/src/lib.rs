//! The demo: its media, its origin with a distance to it, the check that a second visitor is filled by
//! the first, a swarm to look at, and a report of what Fugitive does to a page.

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
pub mod perf;
pub mod report;
#[cfg(feature = "check")]
pub mod swarm;
