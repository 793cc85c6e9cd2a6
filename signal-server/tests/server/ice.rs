//! What visitors gather candidates with: a real TURN server takes the passwords, and our own STUN
//! responder says what it sees.

use std::{
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::Duration,
};

use bytecodec::{DecodeExt, EncodeExt};
use fugitive_signal::{IceServer, ToClient, ToServer};
use stun_codec::{
    Message, MessageClass, MessageDecoder, MessageEncoder, TransactionId,
    rfc5389::{Attribute, attributes::XorMappedAddress, methods::BINDING},
};
use tokio::{net::UdpSocket, time::timeout};

use crate::{
    client::connect,
    running::{Running, until},
};

const SECRET: &str = "known to both";

/// coturn, with the secret and no other way in.
struct Turn {
    process: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Turn {
    fn start() -> Self {
        let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let folder = tempfile::tempdir().unwrap();
        let process = Command::new("turnserver")
            .args(["-n", "--no-cli", "--no-tls", "--no-dtls", "--no-tcp"])
            .args([
                "--listening-ip=127.0.0.1",
                "--relay-ip=127.0.0.1",
                "--realm=site",
            ])
            .args([
                "--use-auth-secret",
                "--allow-loopback-peers",
                "--log-file=stdout",
            ])
            .arg(format!("--listening-port={port}"))
            .arg(format!("--static-auth-secret={SECRET}"))
            .arg(format!("--pidfile={}", folder.path().join("pid").display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("coturn is installed");
        Self {
            process,
            port,
            _folder: folder,
        }
    }

    /// Whether it relays for this user.
    fn takes(&self, user: &str, password: &str) -> bool {
        let output = Command::new("turnutils_uclient")
            .args(["-y", "-c", "-n", "1", "-m", "1", "-u", user, "-w", password])
            .args(["-p", &self.port.to_string(), "127.0.0.1"])
            .output()
            .unwrap();
        output.status.success()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn told(server: &Running) -> Vec<IceServer> {
    let mut client = connect(server, Some("https://site")).await.unwrap();
    let page = "/".into();
    client
        .say(&ToServer::Join {
            version: 1,
            page,
            want: 0,
            ticket: None,
            room: None,
            position: None,
        })
        .await;
    match client.hear().await {
        Some(ToClient::Welcome { ice, .. }) => ice,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn turn_server_takes_the_password_of_a_welcome_and_no_other() {
    let turn = Turn::start();
    let server = Running::with(&[], |config| {
        config.turn.urls = vec![format!("turn:127.0.0.1:{}", turn.port)];
        config.turn.secret = Some(SECRET.into());
    })
    .await;
    let told = told(&server).await;
    let user = told[0].username.as_deref().unwrap();
    let password = told[0].credential.as_deref().unwrap();
    until("coturn relays", || async { turn.takes(user, password) }).await;
    assert!(!turn.takes(user, "guessed"));
    let (expiry, peer) = user.split_once(':').unwrap();
    let later = format!("{}:{peer}", expiry.parse::<u64>().unwrap() + 1);
    assert!(!turn.takes(&later, password), "nobody can lengthen it");

    let mut config = server.config.clone();
    config.turn.seconds = 0;
    server.server.reload(&config).unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let expired = self::told(&server).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (user, password) = (&expired[0].username, &expired[0].credential);
    assert!(!turn.takes(user.as_ref().unwrap(), password.as_ref().unwrap()));
}

async fn stun(server: &Running) -> (SocketAddr, UdpSocket) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    server.server.stun(socket);
    (address, UdpSocket::bind("127.0.0.1:0").await.unwrap())
}

fn binding(id: u8) -> Vec<u8> {
    let id = TransactionId::new([id; 12]);
    let request = Message::<Attribute>::new(MessageClass::Request, BINDING, id);
    MessageEncoder::new().encode_into_bytes(request).unwrap()
}

async fn answer(socket: &UdpSocket) -> Option<Message<Attribute>> {
    let mut buffer = [0; 1500];
    let received = timeout(Duration::from_secs(5), socket.recv(&mut buffer));
    let len = received.await.ok()?.unwrap();
    let decoded = MessageDecoder::<Attribute>::new().decode_from_bytes(&buffer[..len]);
    Some(decoded.unwrap().ok().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn stun_tells_the_address_that_the_server_sees() {
    let server = Running::start(&[]).await;
    let (address, socket) = stun(&server).await;
    socket.send_to(&binding(7), address).await.unwrap();
    let answer = answer(&socket).await.unwrap();
    assert_eq!(answer.class(), MessageClass::SuccessResponse);
    assert_eq!(answer.transaction_id(), TransactionId::new([7; 12]));
    let seen = answer.get_attribute::<XorMappedAddress>().unwrap();
    assert_eq!(seen.address(), socket.local_addr().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn stun_survives_garbage_refuses_what_it_must_understand_and_floods_nobody() {
    let server = Running::start(&[]).await;
    let (address, socket) = stun(&server).await;
    let mut garbage = crate::running::bytes(40_000);
    for (i, piece) in garbage.chunks_mut(100).enumerate() {
        // Every other one begins as a request does.
        if i % 2 == 0 {
            piece[..8].copy_from_slice(&[0, 1, 0, 80, 0x21, 0x12, 0xa4, 0x42]);
        }
        socket.send_to(piece, address).await.unwrap();
    }
    socket.send_to(&[], address).await.unwrap();
    // Another second, another ration.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let mut buffer = [0; 1500];
    while socket.try_recv(&mut buffer).is_ok() {}

    let mut strange = binding(9);
    strange[3] = 8;
    strange.extend([0x7f, 0xff, 0, 4, 1, 2, 3, 4]);
    socket.send_to(&strange, address).await.unwrap();
    let refused = answer(&socket).await.unwrap();
    assert_eq!(refused.class(), MessageClass::ErrorResponse);

    for _ in 0..400 {
        socket.send_to(&binding(1), address).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut answers = 0;
    while socket.try_recv(&mut buffer).is_ok() {
        answers += 1;
    }
    assert!((1..=100).contains(&answers), "{answers}");
}
