//! The bridge: the page side of Fugitive.
//!
//! Two halves out of one module. The window's half ([`window`]) owns what only a window can own, the
//! peer connections. The other half, the engine host ([`host`]), runs in a dedicated worker, or in
//! the same window where a browser cannot give a worker a data channel, and does not know which. It
//! drives the swarm engine of `fugitive-core` with real channels, and decides nothing itself.
//!
//! In the order in which a request walks through them: a Service Worker asks over a port ([`ports`]),
//! the host gives the question to the engine, which does as much for others as
//! the governor ([`governor`]) says, finds peers through the signal server
//! ([`signalling`]) and the window's connections, and a peer's question is answered from the store
//! ([`serve`]).

mod connections;
mod governor;
mod host;
mod log;
mod ports;
mod rest;
mod serve;
mod signalling;
mod talk;
mod window;
