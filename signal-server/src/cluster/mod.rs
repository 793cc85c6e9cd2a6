//! Many servers as one: a visitor of one server is a guest of others.
//!
//! Who finds too few peers at its own server is called out to the others that have peers of the
//! same origin. Those let it join as a *guest*, with its own ticket, over a connection that is not a
//! socket but goes through the [`Backbone`]: their matchmaker treats it as one of theirs, only
//! without room for others. So pairing, relay, `gone`, bans and coming back work across servers as
//! they do within one, and no server knows more than its own peers and its guests.
//!
//! Nothing here waits for an answer. Whatever is lost is made good by what is said again and again:
//! beats (a server that is silent is lost, and its peers with it), and the list of those who are
//! still guests (others are shown out).
//!
//! Servers that make the manifest of the same live site share that as well (see
//! [`upstream`](crate::upstream)).
//!
//! [`Alone`] is the backbone of one server, [`nats`] that of many.

pub mod abroad;
pub mod nats;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use self::nats::Nats;
use crate::{signalling::Signalling, upstream::Upstream};

/// One run of a server; random.
pub type ServerId = u64;

/// What carries messages from server to server. It may lose them, and must not wait.
pub trait Backbone: Send + Sync {
    /// To one server.
    fn tell(&self, server: ServerId, message: Vec<u8>);
    /// To all servers that attend to this origin.
    fn call(&self, origin: &str, message: Vec<u8>);
    /// To all servers.
    fn tell_all(&self, message: Vec<u8>);
    /// From now on, take what is called out for this origin.
    fn attend(&self, origin: &str);
    /// Take only what is called out for these.
    fn attend_only(&self, is_ours: &dyn Fn(&str) -> bool);
}

/// There are no others.
pub struct Alone;

impl Backbone for Alone {
    fn tell(&self, _: ServerId, _: Vec<u8>) {}
    fn call(&self, _: &str, _: Vec<u8>) {}
    fn tell_all(&self, _: Vec<u8>) {}
    fn attend(&self, _: &str) {}
    fn attend_only(&self, _: &dyn Fn(&str) -> bool) {}
}

/// Makes one server of this and all others that these NATS servers lead to.
pub fn join(
    urls: Vec<String>,
    signalling: &Signalling,
    upstream: Option<&Upstream>,
    end: CancellationToken,
) {
    let me = rand::random();
    tracing::info!("cluster: this is server {me:016x}");
    let (peers, sites) = (signalling.letters(), upstream.map(Upstream::letters));
    let take = move |letter: &[u8]| {
        if !sites.as_ref().is_some_and(|take| take(letter)) {
            peers(letter);
        }
    };
    let nats = Nats::start(urls, me, Arc::new(take), end);
    signalling.join_cluster(me, nats.clone());
    if let Some(upstream) = upstream {
        upstream.join_cluster(me, nats);
    }
}

/// What a message between servers is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// I am there.
    Beat,
    /// One of mine looks for peers; the body is an [`abroad::Call`].
    Call,
    /// My peer, your guest, says this: a `ToServer`.
    Say,
    /// Your peer, my guest, is told this: a `ToClient`.
    Hear,
    /// Your peer is not my guest any more.
    Closed,
    /// My peer is not your guest any more.
    Left,
    /// These of mine are still your guests: numbers of connections, 8 bytes each.
    Still,
    /// About a live site that both follow, by whose number it is known in the place of a connection's.
    Site,
    /// So many of mine are on these pages: 8 bytes for a page, 2 for the count.
    Crowds,
    /// My peer, your guest, reads less than your peer of this name sends it.
    Unread,
}

const KINDS: [Kind; 10] = [
    Kind::Beat,
    Kind::Call,
    Kind::Say,
    Kind::Hear,
    Kind::Closed,
    Kind::Left,
    Kind::Still,
    Kind::Site,
    Kind::Crowds,
    Kind::Unread,
];

/// A message between servers: its kind, who sends it, and the connection that it is about, by the
/// number that it has at the server whose peer it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Letter<'a> {
    /// About what.
    pub kind: Kind,
    /// Who sends it.
    pub from: ServerId,
    /// Whose business it is.
    pub conn: u64,
    /// The rest.
    pub body: &'a [u8],
}

const HEAD: usize = 17;

impl<'a> Letter<'a> {
    /// As bytes.
    pub fn bytes(&self) -> Vec<u8> {
        self.bytes_with(&[])
    }

    /// As bytes, with more behind the body.
    pub fn bytes_with(&self, more: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD + self.body.len() + more.len());
        bytes.push(self.kind as u8);
        bytes.extend_from_slice(&self.from.to_be_bytes());
        bytes.extend_from_slice(&self.conn.to_be_bytes());
        bytes.extend_from_slice(self.body);
        bytes.extend_from_slice(more);
        bytes
    }

    /// From bytes; nothing if they are none, or of a later version.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let (from, rest) = rest.split_first_chunk()?;
        let (conn, body) = rest.split_first_chunk()?;
        Some(Self {
            kind: *KINDS.get(usize::from(*kind))?,
            from: u64::from_be_bytes(*from),
            conn: u64::from_be_bytes(*conn),
            body,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letter_survives_the_wire_and_garbage_is_none() {
        for kind in KINDS {
            let letter = Letter {
                kind,
                from: 7,
                conn: u64::MAX,
                body: b"body",
            };
            assert_eq!(Letter::read(&letter.bytes()), Some(letter));
        }
        for garbage in [&[][..], &[1; HEAD - 1], &[10; HEAD], &[255; 99]] {
            assert_eq!(Letter::read(garbage), None);
        }
    }
}
