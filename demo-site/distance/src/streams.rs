//! Bytes in order: connections.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex, split},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{Instant, sleep_until},
};

use crate::{Distance, Line};

/// Bytes that travel together.
const PIECE: usize = 8 * 1024;
/// Pieces that may be on their way in one direction of one connection.
const IN_FLIGHT: usize = 512;

/// Accepts connections until it is dropped, and hands `serve` the far end of each. A connection is
/// open after a round trip, each direction is late by half of one, and all that comes back, on
/// whichever connection, goes through one line.
///
/// # Errors
/// Nothing can be accepted any more.
pub async fn connections(
    listener: TcpListener,
    distance: Distance,
    serve: impl Fn(DuplexStream, SocketAddr),
) -> io::Result<()> {
    let line = Arc::new(Line::new(distance.bandwidth));
    loop {
        let (stream, remote) = listener.accept().await?;
        let _ = stream.set_nodelay(true);
        let (near, far) = duplex(PIECE);
        serve(near, remote);
        tokio::spawn(carry(stream, far, distance.latency, line.clone()));
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
    use tokio::io::duplex;

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
}
