//! Every decision of Fugitive. No browser, no clock, no I/O and no global randomness: time,
//! randomness and bytes are arguments.
//!
//! In the order in which a request walks through them: [`request`] reads what is asked for,
//! [`cache`] says whether a stored copy will do, [`manifest`] what may be shared,
//! [`manners`] what the visitor allows, [`hedge`] how long
//! to wait for peers, [`port`] asks the bridge, whose [`engine`] speaks [`wire`] and believes only
//! what [`tree`] verifies. [`ahead`] says what is fetched before it is wanted. [`content`] names and cuts bytes, [`deflate`] keeps them small,
//! [`pack`] writes and reads messages.

pub mod ahead;
pub mod cache;
pub mod content;
pub mod deflate;
pub mod engine;
pub mod evict;
pub mod hedge;
pub mod manifest;
pub mod manners;
pub mod pack;
pub mod port;
pub mod request;
pub mod tree;
pub mod wire;
