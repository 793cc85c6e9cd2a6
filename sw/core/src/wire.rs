//! What two peers say to each other over a data channel.
//!
//! The first byte of a message tells its kind: [`CONTROL`], MessagePack with named fields after it,
//! or [`GROUPS`], a fixed binary header and bytes. Everything here is bounded, and a message that
//! does not parse is the sender's fault; a control message of a kind that this version does not know
//! is not, and is skipped.
//!
//! A group frame, little-endian:
//! ```text
//! 0  u8   GROUPS
//! 1  u8   n, number of groups, 1 to 16
//! 2  u16  number of 64-byte nodes in the proof
//! 4  u32  the pull that it answers
//! 8  u32  number of the first group
//! 12 u32  × n: bytes of the group as sent; the highest bit says: inflate
//!    proof, then the groups
//! ```

use serde::{Deserialize, Serialize};

use crate::{
    content::{ContentId, GROUP, GROUPS_PER_BLOCK},
    deflate::Kept,
    pack::{self, PackError},
    tree::NODE,
};

/// First byte of a control message.
pub const CONTROL: u8 = 1;
/// First byte of a group frame.
pub const GROUPS: u8 = 2;
/// The version that a peer states in its [`Message::Hello`].
pub const VERSION: u32 = 2;
/// Groups in a frame as this version sends it: 64 KiB is where a data channel is at its best.
pub const FRAME_GROUPS: u32 = 4;
/// The largest control message that is read, in bytes.
pub const MAX_CONTROL: usize = 16 * 1024;
/// The largest group frame that is read, in bytes.
pub const MAX_FRAME: usize =
    HEADER + GROUPS_PER_BLOCK as usize * (4 + GROUP as usize) + MAX_PROOF_NODES * NODE;
/// The largest signal that is relayed, in bytes.
pub const MAX_SIGNAL: usize = 12 * 1024;
/// Contents in one question, at most.
pub const MAX_WHICH: usize = 128;
/// Bytes of a content id that tell it from the others of a site.
pub const SHORT: usize = 8;
/// More runs than this are not told in one answer.
pub const MAX_RUNS: usize = 256;

const HEADER: usize = 12;
const MAX_PROOF_NODES: usize = 64;
const INFLATE: u32 = 1 << 31;

/// A control message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Message {
    /// The first message of each side.
    Hello {
        /// [`VERSION`].
        version: u32,
    },
    /// Do you hold this?
    Ask {
        /// Number of the question.
        ask: u32,
        /// Which content.
        id: ContentId,
    },
    /// Yes, these runs of groups (start, one past the end).
    Have {
        /// Number of the question.
        ask: u32,
        /// At most [`MAX_RUNS`].
        groups: Vec<(u32, u32)>,
    },
    /// No.
    Lack {
        /// Number of the question.
        ask: u32,
    },
    /// Perhaps, but not now.
    Busy {
        /// Number of the question.
        ask: u32,
        /// Ask again after this many milliseconds.
        retry: u32,
    },
    /// Send me these groups, in order.
    Pull {
        /// Number of the pull.
        pull: u32,
        /// Which content.
        id: ContentId,
        /// First group.
        first: u32,
        /// How many, at most a block's.
        count: u32,
        /// Before what else I pulled.
        #[serde(default)]
        urgent: bool,
    },
    /// I no longer need what I pulled.
    Stop {
        /// Number of the pull.
        pull: u32,
    },
    /// I can't send (the rest of) what you pulled.
    Gone {
        /// Number of the pull.
        pull: u32,
    },
    /// I am on the page that this is a keyed hash of: the key is who we two are.
    Page {
        /// The hash.
        tag: u64,
    },
    /// What I hold of that page, and what not (see the engine's filters).
    Filter {
        /// A Bloom filter's words, little-endian.
        #[serde(with = "serde_bytes")]
        bits: Vec<u8>,
    },
    /// Bits of my filter that changed since.
    Flips {
        /// Numbers of bits.
        bits: Vec<u32>,
    },
    /// I serve others now.
    Later {
        /// Number of the pull.
        pull: u32,
        /// Pull again after this many milliseconds.
        retry: u32,
    },
    /// Which of these do you hold?
    Which {
        /// Number of the question.
        ask: u32,
        /// The first [`SHORT`] bytes of at most [`MAX_WHICH`] content ids.
        #[serde(with = "serde_bytes")]
        ids: Vec<u8>,
        /// And which do your peers?
        #[serde(default)]
        deep: bool,
    },
    /// These, by their places in the question.
    These {
        /// Number of the question.
        ask: u32,
        /// Held whole.
        held: Vec<u32>,
        /// Held in part.
        part: Vec<u32>,
        /// Peers of mine who hold some of the rest: dial them, and I relay your signals.
        #[serde(default)]
        near: Vec<Near>,
    },
    /// Do you, or do your peers, hold this?
    Seek {
        /// Number of the question.
        ask: u32,
        /// Which content.
        id: ContentId,
        /// Its whole length.
        len: u64,
        /// Only peers of yours who hold this group of it.
        #[serde(default)]
        group: Option<u32>,
    },
    /// A peer of mine does.
    Found {
        /// Number of the question.
        ask: u32,
        /// Which one: dial it, and I relay your signals. If it is none, pull it from me.
        #[serde(default)]
        peer: Option<String>,
    },
    /// Introduce me to peers of yours.
    More {
        /// How many I would take.
        want: u16,
    },
    /// These are peers of mine; I relay signals between you.
    Meet {
        /// Their ids.
        peers: Vec<String>,
    },
    /// To be relayed to a peer of yours.
    Signal {
        /// To whom.
        to: String,
        /// As its driver reads it.
        #[serde(with = "serde_bytes")]
        signal: Vec<u8>,
    },
    /// Relayed from a peer of mine.
    Signalled {
        /// From whom.
        from: String,
        /// As its driver wrote it.
        #[serde(with = "serde_bytes")]
        signal: Vec<u8>,
    },
    /// To be answered with a pong at once.
    Ping {
        /// Comes back.
        nonce: u32,
    },
    /// The answer.
    Pong {
        /// As asked.
        nonce: u32,
    },
}

/// A peer of a peer, in [`Message::These`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Near {
    /// Who.
    pub peer: String,
    /// Places in the question of what it holds whole.
    pub held: Vec<u32>,
}

/// A group frame as read: slices of the message that it came in.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The pull that it answers.
    pub pull: u32,
    /// Number of the first group.
    pub first: u32,
    /// The groups as sent, and whether each must be inflated.
    pub groups: Vec<(&'a [u8], bool)>,
    /// The nodes above them.
    pub proof: &'a [u8],
}

/// A data-channel message as read.
#[derive(Debug, PartialEq)]
pub enum Incoming<'a> {
    /// A control message.
    Control(Message),
    /// Groups.
    Groups(Frame<'a>),
    /// A control message of a kind that a later version may know.
    Unknown,
}

/// Why the sender of a message is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadMessage {
    /// Nothing in it.
    #[error("empty message")]
    Empty,
    /// Neither a control message nor a group frame.
    #[error("message of unknown shape {0}")]
    Shape(u8),
    /// Longer than anything this protocol sends.
    #[error("message of {0} bytes")]
    TooLong(usize),
    /// A control message that is not MessagePack.
    #[error("control message does not parse")]
    Control,
    /// A group frame whose numbers contradict each other or its length.
    #[error("group frame does not parse")]
    Frame,
}

/// A control message as bytes.
pub fn encode(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64);
    bytes.push(CONTROL);
    // Fails only for types that a message does not have.
    let _ = pack::write(message, &mut bytes);
    bytes
}

/// A group frame as bytes.
pub fn encode_frame(pull: u32, first: u32, groups: &[Kept], proof: &[u8]) -> Vec<u8> {
    let total: usize = groups.iter().map(|group| group.bytes.len()).sum();
    let mut bytes = Vec::with_capacity(HEADER + groups.len() * 4 + proof.len() + total);
    bytes.extend_from_slice(&[GROUPS, groups.len() as u8]);
    bytes.extend_from_slice(&((proof.len() / NODE) as u16).to_le_bytes());
    bytes.extend_from_slice(&pull.to_le_bytes());
    bytes.extend_from_slice(&first.to_le_bytes());
    for group in groups {
        let inflate = if group.deflated { INFLATE } else { 0 };
        bytes.extend_from_slice(&(group.bytes.len() as u32 | inflate).to_le_bytes());
    }
    bytes.extend_from_slice(proof);
    for group in groups {
        bytes.extend_from_slice(&group.bytes);
    }
    bytes
}

/// Reads a data-channel message.
pub fn decode(bytes: &[u8]) -> Result<Incoming<'_>, BadMessage> {
    match bytes.first() {
        None => Err(BadMessage::Empty),
        Some(&CONTROL) if bytes.len() > MAX_CONTROL => Err(BadMessage::TooLong(bytes.len())),
        Some(&CONTROL) => match pack::read(&bytes[1..]) {
            Ok(message) => Ok(Incoming::Control(message)),
            Err(PackError::UnknownKind) => Ok(Incoming::Unknown),
            Err(PackError::Malformed) => Err(BadMessage::Control),
        },
        Some(&GROUPS) if bytes.len() > MAX_FRAME => Err(BadMessage::TooLong(bytes.len())),
        Some(&GROUPS) => decode_frame(bytes)
            .map(Incoming::Groups)
            .ok_or(BadMessage::Frame),
        Some(&other) => Err(BadMessage::Shape(other)),
    }
}

fn decode_frame(bytes: &[u8]) -> Option<Frame<'_>> {
    let (header, rest) = bytes.split_at_checked(HEADER)?;
    let word = |bytes: &[u8]| Some(u32::from_le_bytes(*bytes.first_chunk()?));
    let count = u32::from(header[1]);
    let nodes = usize::from(u16::from_le_bytes([header[2], header[3]]));
    if count == 0 || count > GROUPS_PER_BLOCK || nodes > MAX_PROOF_NODES {
        return None;
    }
    let first = word(&header[8..])?;
    first.checked_add(count)?;
    let (lengths, rest) = rest.split_at_checked(count as usize * 4)?;
    let (proof, mut rest) = rest.split_at_checked(nodes * NODE)?;
    let mut groups = Vec::with_capacity(count as usize);
    for length in lengths.chunks_exact(4) {
        let length = word(length)?;
        let group;
        (group, rest) = rest.split_at_checked((length & !INFLATE) as usize)?;
        if group.len() as u64 > GROUP {
            return None;
        }
        groups.push((group, length & INFLATE != 0));
    }
    rest.is_empty().then_some(Frame {
        pull: word(&header[4..])?,
        first,
        groups,
        proof,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn control_message_survives_the_wire() {
        let message = Message::Have {
            ask: 7,
            groups: vec![(0, 4), (9, 10)],
        };
        assert_eq!(
            decode(&encode(&message)),
            Ok(Incoming::Control(message.clone()))
        );
    }

    #[test]
    fn kind_from_the_future_is_skipped_and_a_field_from_the_future_ignored() {
        #[derive(Serialize)]
        #[serde(rename_all = "kebab-case")]
        enum Later {
            Dance { step: u32 },
            Lack { ask: u32, mood: u32 },
        }
        let bytes = |later: &Later| {
            [
                vec![CONTROL],
                rmp_serde::to_vec_named(later).unwrap_or_default(),
            ]
            .concat()
        };
        assert_eq!(
            decode(&bytes(&Later::Dance { step: 1 })),
            Ok(Incoming::Unknown)
        );
        assert_eq!(
            decode(&bytes(&Later::Lack { ask: 1, mood: 2 })),
            Ok(Incoming::Control(Message::Lack { ask: 1 }))
        );
    }

    proptest! {
        #[test]
        fn frame_survives_the_wire(
            pull: u32, first in 0..u32::MAX - 16,
            groups in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..300), any::<bool>()), 1..17),
            nodes in 0usize..20,
        ) {
            let kept: Vec<_> = groups.iter()
                .map(|(bytes, deflated)| Kept { bytes: bytes.clone(), deflated: *deflated })
                .collect();
            let proof = vec![3; nodes * NODE];
            let bytes = encode_frame(pull, first, &kept, &proof);
            let Ok(Incoming::Groups(frame)) = decode(&bytes) else {
                return Err(TestCaseError::fail("does not parse"));
            };
            prop_assert_eq!((frame.pull, frame.first, frame.proof), (pull, first, &proof[..]));
            prop_assert_eq!(frame.groups.len(), kept.len());
            for ((bytes, deflated), kept) in frame.groups.iter().zip(&kept) {
                prop_assert_eq!((*bytes, *deflated), (&kept.bytes[..], kept.deflated));
            }
            prop_assert!(decode(&bytes[..bytes.len() - 1]).is_err() || bytes.len() == 1);
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..2000), kind in 0u8..4) {
            let _ = decode(&bytes);
            let _ = decode(&[vec![kind], bytes].concat());
        }
    }

    #[test]
    fn oversized_messages_are_refused_by_length_alone() {
        let mut control = vec![0; MAX_CONTROL + 1];
        control[0] = CONTROL;
        assert_eq!(decode(&control), Err(BadMessage::TooLong(MAX_CONTROL + 1)));
        let mut frame = vec![0; MAX_FRAME + 1];
        frame[0] = GROUPS;
        assert_eq!(decode(&frame), Err(BadMessage::TooLong(MAX_FRAME + 1)));
    }
}
