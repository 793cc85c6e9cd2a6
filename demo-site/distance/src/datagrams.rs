//! Datagrams: UDP to a server that seems to be far away.

use std::{
    collections::{HashMap, hash_map::Entry},
    io,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::UdpSocket,
    sync::mpsc,
    time::{Instant, sleep_until},
};

use crate::{Distance, Line, QUEUE};

/// The largest datagram.
const LARGEST: usize = 65_536;

/// Listens, for as long as the program runs, at an address that stands for `server`. Each client has
/// a way up of its own, of the distance's width; down only the latency counts.
///
/// # Errors
/// No socket is to be had.
pub async fn datagrams(server: SocketAddr, distance: Distance) -> io::Result<SocketAddr> {
    let near = Arc::new(UdpSocket::bind("127.0.0.1:0").await?);
    let address = near.local_addr()?;
    tokio::spawn(async move {
        let mut clients: HashMap<SocketAddr, Way> = HashMap::new();
        let mut datagram = vec![0; LARGEST];
        loop {
            // An error is an earlier datagram's, which nobody was there to take.
            let Ok((len, from)) = near.recv_from(&mut datagram).await else {
                continue;
            };
            let way = match clients.entry(from) {
                Entry::Occupied(there) => there.into_mut(),
                Entry::Vacant(place) => match way_up(near.clone(), from, server, distance).await {
                    Ok(way) => place.insert(way),
                    Err(_) => continue,
                },
            };
            way.send(&datagram[..len]);
        }
    });
    Ok(address)
}

/// The way to the server, and behind it the one back to this client.
async fn way_up(
    near: Arc<UdpSocket>,
    client: SocketAddr,
    server: SocketAddr,
    distance: Distance,
) -> io::Result<Way> {
    let far = Arc::new(UdpSocket::bind("127.0.0.1:0").await?);
    let half = distance.latency / 2;
    let up = Way::new(far.clone(), server, half, distance.bandwidth);
    let down = Way::new(near, client, half, None);
    tokio::spawn(async move {
        let mut datagram = vec![0; LARGEST];
        loop {
            if let Ok((len, _)) = far.recv_from(&mut datagram).await {
                down.send(&datagram[..len]);
            }
        }
    });
    Ok(up)
}

/// One direction.
struct Way {
    line: Line,
    late: Duration,
    on_way: mpsc::UnboundedSender<(Instant, Vec<u8>)>,
}

impl Way {
    fn new(socket: Arc<UdpSocket>, to: SocketAddr, late: Duration, bandwidth: Option<f64>) -> Self {
        // Bounded by what the line lets in.
        let (on_way, mut arrivals) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
        tokio::spawn(async move {
            while let Some((due, datagram)) = arrivals.recv().await {
                sleep_until(due).await;
                // Who is gone gets nothing.
                let _ = socket.send_to(&datagram, to).await;
            }
        });
        Self {
            line: Line::new(bandwidth),
            late,
            on_way,
        }
    }

    fn send(&self, datagram: &[u8]) {
        if let Some(through) = self.line.through(datagram.len(), QUEUE) {
            let _ = self.on_way.send((through + self.late, datagram.to_vec()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answer_is_late_by_a_round_trip() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        tokio::spawn(async move {
            let mut datagram = [0; 2_000];
            while let Ok((len, from)) = server.recv_from(&mut datagram).await {
                server.send_to(&datagram[..len], from).await.unwrap();
            }
        });
        let latency = Duration::from_millis(60);
        let distance = Distance {
            latency,
            bandwidth: None,
        };
        let near = datagrams(address, distance).await.unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let began = Instant::now();
        client.send_to(b"ping", near).await.unwrap();
        let mut answer = [0; 8];
        let (len, _) = client.recv_from(&mut answer).await.unwrap();
        assert_eq!(&answer[..len], b"ping");
        assert!(began.elapsed() >= latency);
    }
}
