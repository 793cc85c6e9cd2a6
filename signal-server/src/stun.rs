//! A STUN responder (RFC 8489, Binding only): tells a visitor the address that the world sees.
//!
//! It answers with little more than it was asked, and no address more often than a browser asks, so
//! that it is of no use for flooding others.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use bytecodec::{DecodeExt, EncodeExt};
use stun_codec::{
    Attribute as _, Message, MessageClass, MessageDecoder, MessageEncoder,
    rfc5389::{
        Attribute,
        attributes::{ErrorCode, Fingerprint, UnknownAttributes, XorMappedAddress},
        errors::UnknownAttribute,
        methods::BINDING,
    },
};
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

/// The longest request that is read, in bytes.
const LONGEST: usize = 1500;
/// Answers to one address in a second.
const ANSWERS: u16 = 50;
/// Addresses are counted in so many classes.
const CLASSES: usize = 1 << 14;

/// Answers until `end`.
pub async fn serve(socket: UdpSocket, end: CancellationToken) {
    let mut throttle = Throttle::new();
    let mut buffer = [0; LONGEST];
    loop {
        let received = tokio::select! {
            received = socket.recv_from(&mut buffer) => received,
            () = end.cancelled() => return,
        };
        match received {
            Ok((len, from)) => {
                if throttle.passes(from.ip())
                    && let Some(answer) = answer(&buffer[..len], from)
                    && let Err(error) = socket.send_to(&answer, from).await
                {
                    tracing::debug!("stun: {error}");
                }
            }
            // Of an earlier answer that found nobody.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => {
                tracing::warn!("stun: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// What is no Binding request gets no answer.
fn answer(request: &[u8], from: SocketAddr) -> Option<Vec<u8>> {
    let request = MessageDecoder::<Attribute>::new()
        .decode_from_bytes(request)
        .ok()?
        .ok()?;
    if request.class() != MessageClass::Request || request.method() != BINDING {
        return None;
    }
    let unknown: Vec<_> = request
        .unknown_attributes()
        .map(|attribute| attribute.get_type())
        .filter(|kind| kind.is_comprehension_required())
        .collect();
    let class = match unknown.is_empty() {
        true => MessageClass::SuccessResponse,
        false => MessageClass::ErrorResponse,
    };
    let mut answer = Message::<Attribute>::new(class, BINDING, request.transaction_id());
    if unknown.is_empty() {
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        answer.add_attribute(XorMappedAddress::new(from));
    } else {
        answer.add_attribute(ErrorCode::from(UnknownAttribute));
        answer.add_attribute(UnknownAttributes::new(unknown));
    }
    if request.get_attribute::<Fingerprint>().is_some() {
        let fingerprint = Fingerprint::new(&answer).ok()?;
        answer.add_attribute(fingerprint);
    }
    MessageEncoder::new().encode_into_bytes(answer).ok()
}

/// Counts by classes of addresses, so that made-up ones take no memory.
struct Throttle {
    counts: Vec<u16>,
    begun: Instant,
    key: u64,
}

impl Throttle {
    fn new() -> Self {
        Self {
            counts: vec![0; CLASSES],
            begun: Instant::now(),
            key: rand::random(),
        }
    }

    fn passes(&mut self, ip: IpAddr) -> bool {
        if self.begun.elapsed() >= Duration::from_secs(1) {
            self.counts.fill(0);
            self.begun = Instant::now();
        }
        let hash = std::hash::BuildHasher::hash_one(
            &std::hash::BuildHasherDefault::<std::hash::DefaultHasher>::default(),
            (self.key, ip),
        );
        let count = &mut self.counts[hash as usize % CLASSES];
        *count = count.saturating_add(1);
        *count <= ANSWERS
    }
}
