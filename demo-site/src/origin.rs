//! The demo's origin: the real server, and between it and the visitor as much distance as is asked
//! for, so that what peers save shows on one machine.
//!
//! A connection costs one round trip to set up, each direction is late by half of one, and all that
//! goes down shares one line.

use std::{future::Future, path::PathBuf};

use anyhow::{Context, Result};
use fugitive_distance::{Distance, connections};
use fugitive_server::{
    Config, Server,
    config::{Policy, Tls},
};
use tokio::net::TcpListener;

/// What is served, and how.
pub struct Demo {
    /// The pages and the media.
    pub site: PathBuf,
    /// The client files.
    pub client: PathBuf,
    /// What the server remembers.
    pub cache: PathBuf,
    /// Where it writes what it answered.
    pub access_log: Option<PathBuf>,
    /// A chain and its key.
    pub tls: Tls,
    /// How far away it is.
    pub distance: Distance,
}

/// By which its visitors wait for each other.
pub fn policy() -> Policy {
    Policy {
        max_wait_ms: 1_500,
        ..Policy::default()
    }
}

/// Serves the demo until `shutdown`.
pub async fn serve(
    listener: TcpListener,
    demo: Demo,
    shutdown: impl Future<Output = ()>,
) -> Result<()> {
    let distance = demo.distance;
    let server = Server::open(Config {
        site: demo.site,
        client: Some(demo.client),
        cache: Some(demo.cache),
        access_log: demo.access_log,
        tls: demo.tls,
        // On one machine the origin is always nearer than another visitor.
        spare_origin: true,
        policy: policy(),
        ..Config::default()
    })?;
    if distance.is_none() {
        server.run(listener, shutdown).await;
        return Ok(());
    }
    let serve = |stream, remote| {
        tokio::spawn(server.clone().connection(stream, remote));
    };
    tokio::select! {
        failed = connections(listener, distance, serve) => failed.context("cannot accept")?,
        () = shutdown => {}
    }
    server.close().await;
    Ok(())
}
