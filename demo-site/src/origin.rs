//! The demo's origin: the real server, and between it and the visitor as much distance as is asked
//! for, so that what peers save shows on one machine.
//!
//! A connection costs one round trip to set up, each direction is late by half of one, and all that
//! goes down shares one line.

use std::{future::Future, path::PathBuf};

use anyhow::{Context, Result};
use fugitive_distance::{Distance, connections};
use fugitive_server::{Config, Server};
use tokio::net::TcpListener;

/// Serves the demo until `shutdown`.
pub async fn serve(
    listener: TcpListener,
    site: PathBuf,
    client: PathBuf,
    cache: PathBuf,
    access_log: Option<PathBuf>,
    distance: Distance,
    shutdown: impl Future<Output = ()>,
) -> Result<()> {
    let server = Server::open(Config {
        site,
        client: Some(client),
        cache: Some(cache),
        access_log,
        // On one machine the origin is always nearer than another visitor.
        spare_origin: true,
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
