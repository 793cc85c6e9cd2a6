//! A TURN server: coturn, which knows visitors by what our server hands out.

use std::{
    net::{SocketAddr, UdpSocket},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use fugitive_distance::{Distance, datagrams};
use fugitive_server::config;
use tempfile::TempDir;

use crate::browser::PATIENCE;

const SECRET: &str = "known to the server and to coturn";

/// A running one; ends with this value.
pub struct Turn {
    process: Child,
    at: SocketAddr,
    url: String,
    folder: TempDir,
}

impl Turn {
    /// Starts one that seems to be so far away from everybody: who is relayed has the latency twice,
    /// his own way and the other's.
    pub async fn start(distance: Distance) -> Result<Self> {
        let folder = TempDir::new()?;
        // Nothing else takes a port between here and there that was given by chance.
        let at = UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
        let process = run(at, &folder)?;
        let near = datagrams(at, distance).await?;
        let turn = Self {
            process,
            at,
            url: format!("turn:{near}?transport=udp"),
            folder,
        };
        answers(at)?;
        Ok(turn)
    }

    /// Ends at once, and is there again a moment later: it knows nobody of before.
    pub fn begin_anew(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        self.process = run(self.at, &self.folder)?;
        answers(self.at)
    }

    /// As the server is told of it.
    pub fn config(&self) -> config::Turn {
        config::Turn {
            urls: vec![self.url.clone()],
            secret: Some(SECRET.into()),
            ..config::Turn::default()
        }
    }
}

fn run(at: SocketAddr, folder: &TempDir) -> Result<Child> {
    Command::new("turnserver")
        .args(["-n", "--no-cli", "--no-tls", "--no-dtls", "--no-tcp"])
        .args(["--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1"])
        .args(["--realm=site", "--use-auth-secret", "--log-file=stdout"])
        .arg("--allow-loopback-peers")
        .arg(format!("--listening-port={}", at.port()))
        .arg(format!("--static-auth-secret={SECRET}"))
        .arg(format!("--pidfile={}", folder.path().join("pid").display()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("coturn does not start")
}

impl Drop for Turn {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Waits until it answers a STUN request.
fn answers(server: SocketAddr) -> Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    let mut request = [0; 20];
    request[1] = 1;
    request[4..8].copy_from_slice(&0x2112_a442_u32.to_be_bytes());
    let began = Instant::now();
    loop {
        // Nobody is there yet: an error here, or no answer.
        let sent = socket.send_to(&request, server);
        if sent.is_ok() && socket.recv_from(&mut [0; 256]).is_ok() {
            return Ok(());
        }
        ensure!(began.elapsed() < PATIENCE, "coturn never answers");
    }
}
