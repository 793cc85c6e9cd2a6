//! The demo: its media, its origin with a distance to it, and the check that a second visitor is
//! filled by the first.

pub mod media;
