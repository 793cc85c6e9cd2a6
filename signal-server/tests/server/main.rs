//! The server over real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what fails here is a test"
)]

mod access;
mod access_log;
mod binary;
mod client;
mod client_files;
mod clocks;
mod cluster;
mod cluster_wide;
mod deploy;
mod endings;
mod faults;
mod hostile;
mod ice;
mod manifest;
mod operation;
mod process;
mod running;
mod signalling;
mod static_site;
mod top;
mod upstream;
mod upstream_cluster;
