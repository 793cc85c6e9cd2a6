//! Messages between a Fugitive client and the signal server, on `/fugitive/signal`.
//!
//! Each WebSocket message is one binary frame: MessagePack with named fields. [`ToServer`] goes up,
//! [`ToClient`] comes down. Unknown fields are ignored and an unknown kind is an
//! [`Unreadable`] that the reader skips, so that two versions work with each other. The server
//! relays a [`Signal`] without looking into it. A client's first message may travel in the
//! WebSocket's [`handshake`].

pub mod handshake;

use fugitive_core::{content::ContentId, pack};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The version that a client states when it joins.
pub const VERSION: u32 = 1;
/// The largest message that either side reads, in bytes. An SDP with many candidates is some 4 KB.
pub const MAX_MESSAGE: usize = 32 * 1024;
/// Silence after which the client sends a [`ToServer::Heartbeat`], in seconds. A server that heard
/// nothing for three times as long takes the client for gone.
pub const HEARTBEAT_SECONDS: u32 = 20;

/// Measurements in one heartbeat; a server ignores the rest.
pub const MOST_MEASURED: usize = 32;
/// Contents that one peer may have announced; a server ignores the rest.
pub const MOST_HELD: usize = 64;

/// A peer, as the server names it: 32 lower-case hex digits, random, new for each join.
pub type PeerId = String;

/// From the client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToServer {
    /// The first message, in the [`handshake`] or after it. The context is the `Origin` of the handshake and this page.
    Join {
        /// [`VERSION`].
        version: u32,
        /// Path of the page, without query.
        page: String,
        /// How many peers the client would take now.
        want: u16,
        /// From the last [`ToClient::Welcome`], to keep the peer id over a navigation.
        #[serde(default)]
        ticket: Option<String>,
        /// How many connections the client has room for in all; a few dozen where it does not say.
        #[serde(default)]
        room: Option<u16>,
        /// Where the visitor is, if the visitor agreed to say it.
        #[serde(default)]
        position: Option<Position>,
    },
    /// Offer me this many more, of my page first.
    More {
        /// How many.
        want: u16,
        /// Of this page, which I am about to turn to, instead of mine.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        page: Option<String>,
    },
    /// The visitor went on to another page without leaving the one that joined: in another tab.
    Page {
        /// Its path, without query.
        page: String,
    },
    /// Pages on which the visitor was before, and of which I may hold something, the latest first:
    /// whoever is there now may be offered me. A server takes a dozen.
    Been {
        /// Their paths, without query.
        pages: Vec<String>,
    },
    /// To be relayed to a peer that was offered to us, or we to it.
    Signal {
        /// To whom.
        to: PeerId,
        /// What.
        signal: Signal,
    },
    /// I am still here, and that is how far others are. No measurement has to be sent twice.
    Heartbeat {
        /// At most [`MOST_MEASURED`].
        #[serde(default)]
        measured: Vec<Measured>,
        /// Whether I give others what I hold, where that changed; nothing at first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        serves: Option<bool>,
    },
    /// The channel to a peer that was offered to us, or we to it, is open.
    Up {
        /// Whose.
        peer: PeerId,
    },
    /// That channel closed, or did not come to be.
    Down {
        /// Whose.
        peer: PeerId,
    },
    /// Never offer me this peer again, nor me to it.
    Ban {
        /// Whom.
        peer: PeerId,
    },
    /// I hold all of these, and serve them. Good for a quarter of an hour; only what is longer than
    /// [`ToClient::Welcome`] says is worth it.
    Hold {
        /// At most [`MOST_HELD`].
        ids: Vec<ContentId>,
    },
    /// I do not hold these any more.
    Release {
        /// At most [`MOST_HELD`].
        ids: Vec<ContentId>,
    },
    /// Who holds this?
    Find {
        /// What.
        id: ContentId,
        /// How many at most.
        want: u16,
    },
    /// I leave now; nobody has to wait for my socket to time out.
    Leave {},
}

impl ToServer {
    /// Whether a message of this [`kind`] has a meaning in this version.
    pub fn knows(kind: &str) -> bool {
        matches!(
            kind,
            "join"
                | "more"
                | "page"
                | "been"
                | "signal"
                | "heartbeat"
                | "up"
                | "down"
                | "ban"
                | "hold"
                | "release"
                | "find"
                | "leave"
        )
    }
}

/// From the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToClient {
    /// The answer to a join.
    Welcome {
        /// Who you are.
        id: PeerId,
        /// Show it at the next join to stay who you are.
        ticket: String,
        /// Where to gather candidates.
        ice: Vec<IceServer>,
        /// Contents longer than this may be announced by [`ToServer::Hold`]; none if not given.
        #[serde(default)]
        hold_over: Option<u64>,
    },
    /// Peers to dial. They have been told nothing yet: the one that is offered peers calls.
    Offered {
        /// Whom.
        peers: Vec<PeerId>,
    },
    /// A peer that was offered to you, or you to it, went away. Said at once if you are to dial it, or it
    /// dials you just now; else when it is not back after a few seconds, or you say something to it.
    Gone {
        /// Who.
        peer: PeerId,
    },
    /// The answer to a [`ToServer::Find`]: peers to dial, as if offered.
    Holders {
        /// Of what.
        id: ContentId,
        /// Whom.
        peers: Vec<PeerId>,
    },
    /// This server is about to end: join again, elsewhere if there is one.
    Elsewhere {
        /// After so many milliseconds, so that not all come at once.
        after: u32,
    },
    /// From a peer that was offered to you, or you to it.
    Signal {
        /// From whom.
        from: PeerId,
        /// What.
        signal: Signal,
    },
    /// The manifest changed on the origin.
    Manifest {},
    /// Why the server is about to close, or what it refused.
    Refused {
        /// In words, for the log.
        why: String,
    },
}

/// What two peers say to each other to set up a connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signal {
    /// A session description.
    Description {
        /// `offer` or `answer`.
        kind: String,
        /// SDP.
        sdp: String,
    },
    /// An ICE candidate; an empty one says that there are no more.
    Candidate {
        /// The candidate line.
        candidate: String,
        /// `sdpMid`.
        #[serde(default)]
        mid: Option<String>,
        /// `sdpMLineIndex`.
        #[serde(default)]
        line: Option<u16>,
    },
}

/// A place, in tenths of a degree: some ten kilometres.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Latitude + 90°.
    pub lat: u16,
    /// Longitude + 180°.
    pub lon: u16,
}

/// How long a message takes to a peer and back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// To whom.
    pub peer: PeerId,
    /// In milliseconds.
    pub rtt: u16,
}

/// As RTCIceServer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IceServer {
    /// `stun:` and `turn:` URLs.
    pub urls: Vec<String>,
    /// For TURN.
    #[serde(default)]
    pub username: Option<String>,
    /// For TURN.
    #[serde(default)]
    pub credential: Option<String>,
}

/// Too long, not MessagePack, or of a kind that this version does not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unreadable message: {0}")]
pub struct Unreadable(pub String);

/// One message as bytes.
pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Fails only for types that a message does not have.
    let _ = pack::write(message, &mut bytes);
    bytes
}

/// Bytes as a message.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Unreadable> {
    if bytes.len() > MAX_MESSAGE {
        return Err(Unreadable([&bytes.len().to_string(), " bytes"].concat()));
    }
    pack::read(bytes).map_err(|error| Unreadable(error.to_string()))
}

/// What the sender calls a message, known here or not; `None` if it is not a message at all. With
/// it a reader tells a later version, which it ignores, from garbage.
pub fn kind(bytes: &[u8]) -> Option<String> {
    let bytes = Some(bytes).filter(|bytes| bytes.len() <= MAX_MESSAGE)?;
    pack::kind(bytes).map(str::to_owned)
}

/// To whom a [`ToServer::Signal`] goes, and its signal as it stands, which [`envelope`] takes on;
/// nothing if it is another message.
pub fn addressed(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let bytes = Some(bytes).filter(|bytes| bytes.len() <= MAX_MESSAGE)?;
    let [to, signal] = pack::fields(bytes, "signal", ["to", "signal"])?;
    Some((pack::text(to)?, signal))
}

/// From whom a [`ToClient::Signal`] is, which is to be handed on as it stands; nothing if it is another
/// message.
pub fn sender(bytes: &[u8]) -> Option<&str> {
    let [from, _] = pack::fields(bytes, "signal", ["from", "signal"])?;
    pack::text(from)
}

/// A [`ToClient::Signal`] up to its signal, which is to follow.
pub fn envelope(from: &str) -> Vec<u8> {
    // Written by hand, since each signal that is relayed has one. Maps of one and of two fields, and
    // texts of six and four bytes.
    let mut bytes = Vec::with_capacity(32 + from.len());
    bytes.extend_from_slice(b"\x81\xa6signal\x82\xa4from");
    // Fails only for types that a message does not have.
    let _ = pack::write(from, &mut bytes);
    bytes.extend_from_slice(b"\xa6signal");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_survives_the_wire() {
        let message = ToServer::Signal {
            to: "ab".into(),
            signal: Signal::Candidate {
                candidate: "candidate:1".into(),
                mid: Some("0".into()),
                line: None,
            },
        };
        assert_eq!(decode(&encode(&message)), Ok(message));
    }

    #[test]
    fn signal_is_handed_on_as_it_stands() {
        let signal = Signal::Description {
            kind: "offer".into(),
            sdp: "v=0".repeat(900),
        };
        let to = "0f".repeat(16);
        let sent = encode(&ToServer::Signal {
            to: to.clone(),
            signal: signal.clone(),
        });
        let (whom, raw) = addressed(&sent).unwrap();
        assert_eq!(whom, to);
        let from = "1e".repeat(16);
        let relayed = [envelope(&from), raw.to_vec()].concat();
        assert_eq!((sender(&relayed), sender(&sent)), (Some(&*from), None));
        assert_eq!(relayed, encode(&ToClient::Signal { from, signal }));
        for length in 0..sent.len() {
            assert_eq!(addressed(&sent[..length]), None);
        }
        assert_eq!(addressed(&encode(&ToServer::Leave {})), None);
        assert_eq!(
            addressed(&encode(&ToServer::More {
                want: 1,
                page: None
            })),
            None
        );
    }

    #[test]
    fn field_from_the_future_is_ignored() {
        #[derive(Serialize)]
        #[serde(rename_all = "kebab-case")]
        enum Later {
            Gone { peer: String, mood: u8 },
        }
        let bytes = encode(&Later::Gone {
            peer: "ab".into(),
            mood: 3,
        });
        assert_eq!(decode(&bytes), Ok(ToClient::Gone { peer: "ab".into() }));
    }

    #[test]
    fn kind_is_told_without_knowing_it_and_garbage_has_none() {
        #[derive(Serialize)]
        #[serde(rename_all = "kebab-case")]
        enum Later {
            Dance { with: Vec<u8> },
        }
        let told = kind(&encode(&Later::Dance { with: vec![1; 9] }));
        assert_eq!(told.as_deref(), Some("dance"));
        for message in [
            ToServer::Join {
                version: 1,
                page: "/".into(),
                want: 1,
                ticket: None,
                room: None,
                position: None,
            },
            ToServer::More {
                want: 1,
                page: None,
            },
            ToServer::Page { page: "/".into() },
            ToServer::Signal {
                to: "ab".into(),
                signal: Signal::Candidate {
                    candidate: String::new(),
                    mid: None,
                    line: None,
                },
            },
            ToServer::Heartbeat {
                measured: vec![Measured {
                    peer: "ab".into(),
                    rtt: 7,
                }],
                serves: None,
            },
            ToServer::Up { peer: "ab".into() },
            ToServer::Down { peer: "ab".into() },
            ToServer::Ban { peer: "ab".into() },
            ToServer::Hold {
                ids: vec![ContentId::of(b"x")],
            },
            ToServer::Release { ids: Vec::new() },
            ToServer::Find {
                id: ContentId::of(b"x"),
                want: 1,
            },
            ToServer::Leave {},
        ] {
            let bytes = encode(&message);
            assert!(ToServer::knows(&kind(&bytes).unwrap()));
            assert_eq!(decode(&bytes), Ok(message));
        }
        assert!(!ToServer::knows("dance"));
        for garbage in [
            &[0xc1, 0xff][..],
            &[0x80],
            &[0x82, 0xa1, b'a'],
            b"hello",
            &[],
        ] {
            assert_eq!(kind(garbage), None);
        }
    }

    #[test]
    fn kind_from_the_future_and_garbage_are_unreadable_not_a_panic() {
        #[derive(Serialize)]
        enum Later {
            Dance {},
        }
        assert!(decode::<ToClient>(&encode(&Later::Dance {})).is_err());
        assert!(decode::<ToClient>(&[0xc1, 0xff]).is_err());
        assert!(decode::<ToClient>(&vec![0; MAX_MESSAGE + 1]).is_err());
    }
}
