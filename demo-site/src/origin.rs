//! The demo's origin: the real server, and between it and the visitor as much distance as is asked
//! for, so that what peers save shows on one machine.
//!
//! A connection costs one round trip to set up, each direction is late by half of one, and all that
//! goes down shares one line. Packet loss and slow start are not imitated.

use std::{
    future::Future,
    path::PathBuf,
    sync::Mutex,
    sync::{Arc, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use fugitive_server::{Config, Server};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, duplex, split},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{Instant, sleep_until},
};

/// Bytes that travel together.
const PIECE: usize = 8 * 1024;
/// Pieces that may be on their way in one direction of one connection.
const IN_FLIGHT: usize = 512;

/// How far away the origin is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Distance {
    /// Of a round trip.
    pub latency: Duration,
    /// Of the line down, for all connections together, in bit/s.
    pub bandwidth: Option<f64>,
}

impl Distance {
    fn is_none(self) -> bool {
        self.latency.is_zero() && self.bandwidth.is_none()
    }
}

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
    let line = Arc::new(Line::new(distance.bandwidth));
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let (stream, remote) = tokio::select! {
            accepted = listener.accept() => accepted.context("cannot accept")?,
            () = &mut shutdown => break,
        };
        let _ = stream.set_nodelay(true);
        let (near, far) = duplex(PIECE);
        tokio::spawn(server.clone().connection(near, remote));
        tokio::spawn(carry(stream, far, distance.latency, line.clone()));
    }
    server.close().await;
    Ok(())
}

/// A line of limited width: who wants to send waits until all before it have gone through.
struct Line {
    seconds_per_byte: f64,
    free: Mutex<Instant>,
}

impl Line {
    fn new(bandwidth: Option<f64>) -> Self {
        Self {
            seconds_per_byte: bandwidth.map_or(0.0, |bits| 8.0 / bits),
            free: Mutex::new(Instant::now()),
        }
    }

    async fn pass(&self, bytes: usize) {
        let through = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            let start = (*free).max(Instant::now());
            *free = start + Duration::from_secs_f64(self.seconds_per_byte * bytes as f64);
            *free
        };
        sleep_until(through).await;
    }
}

async fn carry(
    stream: TcpStream,
    far: impl AsyncRead + AsyncWrite + Send + 'static,
    latency: Duration,
    line: Arc<Line>,
) {
    let (client_read, client_write) = stream.into_split();
    let (server_read, server_write) = split(far);
    let open = Instant::now() + latency;
    let half = latency / 2;
    let up = delayed(client_read, server_write, half, open, None);
    let down = delayed(server_read, client_write, half, open, Some(line));
    tokio::join!(up, down);
}

/// Moves bytes from one to the other, each late by `late`, and none before `open`.
async fn delayed(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    late: Duration,
    open: Instant,
    line: Option<Arc<Line>>,
) {
    let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(IN_FLIGHT);
    let reading = async move {
        let mut piece = vec![0; PIECE];
        while let Ok(read @ 1..) = from.read(&mut piece).await {
            if let Some(line) = &line {
                line.pass(read).await;
            }
            let due = Instant::now().max(open) + late;
            if sender.send((due, piece[..read].to_vec())).await.is_err() {
                break;
            }
        }
    };
    let writing = async move {
        while let Some((due, piece)) = receiver.recv().await {
            sleep_until(due).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
        let _ = to.shutdown().await;
    };
    tokio::join!(reading, writing);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn answer_is_late_by_connection_and_round_trip() {
        let (mut client, near) = duplex(PIECE);
        let (mut server, far) = duplex(PIECE);
        let began = Instant::now();
        let latency = Duration::from_millis(80);
        let open = began + latency;
        let (near_read, near_write) = split(near);
        let (far_read, far_write) = split(far);
        tokio::spawn(delayed(near_read, far_write, latency / 2, open, None));
        tokio::spawn(delayed(far_read, near_write, latency / 2, open, None));
        client.write_all(b"ask").await.unwrap();
        let mut asked = [0; 3];
        server.read_exact(&mut asked).await.unwrap();
        server.write_all(b"get").await.unwrap();
        client.read_exact(&mut asked).await.unwrap();
        let took = began.elapsed().as_millis();
        assert!((160..165).contains(&took), "{took} ms");
    }

    #[tokio::test(start_paused = true)]
    async fn line_is_shared_by_all_who_use_it() {
        let line = Line::new(Some(8_000_000.0));
        let began = Instant::now();
        tokio::join!(line.pass(500_000), line.pass(500_000));
        let took = began.elapsed().as_millis();
        assert!((1000..1010).contains(&took), "{took} ms");
    }
}
