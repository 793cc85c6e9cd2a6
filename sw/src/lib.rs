//! The Service Worker: requests in, responses out.
//!
//! In the order in which a request walks through it: [`worker`] hears of it, [`state`] knows the page,
//! [`answer`] finds out where its bytes are, [`validate`] asks whether a stale copy still holds,
//! [`catalogue`] knows the manifest, [`link`] reaches the bridge, [`origin`] the network, whose answer
//! [`relay`] passes on; [`race`] finds who has the first byte, [`flow`] streams the bytes to the page
//! and [`writer`] to the store. [`cold`] says what the next worker may answer before it is here,
//! [`tally`] counts, [`context`] knows what is looked at, [`absence`] notices that the site wants no
//! worker. What can be decided without a browser is decided in `fugitive-core`.

mod absence;
mod ahead;
mod answer;
mod asking;
mod catalogue;
mod claims;
mod cold;
mod context;
mod early;
mod flow;
mod link;
mod log;
mod memory;
mod origin;
mod race;
mod relay;
mod response;
mod shell;
mod state;
mod tally;
mod validate;
mod worker;
mod writer;
