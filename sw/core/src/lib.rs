//! Every decision of Fugitive. No browser, no clock, no I/O and no global randomness: time,
//! randomness and bytes are arguments.

pub mod content;
pub mod deflate;
pub mod engine;
pub mod manifest;
pub mod port;
pub mod tree;
pub mod wire;
