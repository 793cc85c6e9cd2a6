//! The demo: its media, its origin with a distance to it, and the check that a second visitor is
//! filled by the first.

#[cfg(feature = "check")]
pub mod check;
pub mod media;
pub mod origin;
#[cfg(test)]
mod pages;
