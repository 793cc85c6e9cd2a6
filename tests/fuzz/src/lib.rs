//! What hostile bytes meet: each parser as a function that takes any bytes, never panics, and checks
//! what must hold of what it read.
//!
//! `libfuzzer/` runs the same functions under libFuzzer (`cargo +nightly fuzz run wire
//! ../corpus/wire` in there); `tests/smoke.rs` runs them on stable, on the same corpus and on
//! mutations of it.

mod engine;
pub mod seeds;

use std::{collections::BTreeMap, str};

use fugitive_core::{
    content::{ContentId, GROUP, group_bytes, group_count},
    deflate::{self, Kept},
    manifest::{self, Entry, Manifest},
    pack,
    port::{FromBridge, ToBridge},
    request::{self, Asked},
    tree::{self, Outboard},
    wire::{self, Incoming},
};
use fugitive_server::ticket::Tickets;
use fugitive_signal::{ToClient, ToServer, handshake};

pub use engine::engine;

/// A function that takes any bytes.
pub type Target = fn(&[u8]);

/// All targets; each has a folder of its name in the corpus.
pub const TARGETS: [(&str, Target); 11] = [
    ("wire", wire),
    ("engine", engine),
    ("pack", pack),
    ("signal", signal),
    ("port", port),
    ("manifest", manifest),
    ("range", range),
    ("outboard", outboard),
    ("proof", proof),
    ("inflate", inflate),
    ("ticket", ticket),
];

/// A data-channel message.
pub fn wire(bytes: &[u8]) {
    match wire::decode(bytes) {
        Ok(Incoming::Control(message)) => {
            let again = wire::encode(&message);
            assert_eq!(wire::decode(&again), Ok(Incoming::Control(message)));
        }
        Ok(Incoming::Groups(frame)) => {
            assert!(bytes.len() <= wire::MAX_FRAME);
            let kept: Vec<Kept> = frame.groups.iter().map(kept).collect();
            assert_eq!(kept.is_empty(), frame.groups.is_empty());
            let again = wire::encode_frame(frame.pull, frame.first, &kept, frame.proof);
            assert_eq!(wire::decode(&again), Ok(Incoming::Groups(frame)));
        }
        Ok(Incoming::Unknown) | Err(_) => {}
    }
}

fn kept(group: &(&[u8], bool)) -> Kept {
    Kept {
        bytes: group.0.to_vec(),
        deflated: group.1,
    }
}

/// MessagePack, as all that we read with it.
pub fn pack(bytes: &[u8]) {
    let _ = pack::kind(bytes);
    let _ = pack::read::<wire::Message>(bytes);
    let _ = pack::read::<ToServer>(bytes);
    let _ = pack::read::<ToClient>(bytes);
    let _ = pack::read::<Vec<(u32, u64)>>(bytes);
    let _ = pack::read::<BTreeMap<String, Option<ContentId>>>(bytes);
}

/// A message between a client and the signal server.
pub fn signal(bytes: &[u8]) {
    let _ = fugitive_signal::kind(bytes);
    if let Ok(offered) = str::from_utf8(bytes)
        && let Ok(Some(Some(message))) = handshake::read([offered].into_iter())
    {
        assert!(message.len() <= handshake::MOST + 2);
        let again = handshake::offer(&message).map(|offered| offered.join(","));
        let read = again.map(|again| handshake::read([&*again].into_iter()));
        assert!(read.is_none_or(|read| read == Ok(Some(Some(message)))));
    }
    if let Ok(message) = fugitive_signal::decode::<ToServer>(bytes) {
        let again = fugitive_signal::encode(&message);
        assert_eq!(fugitive_signal::decode(&again), Ok(message));
    }
    if let Ok(message) = fugitive_signal::decode::<ToClient>(bytes) {
        let again = fugitive_signal::encode(&message);
        assert_eq!(fugitive_signal::decode(&again), Ok(message));
    }
}

/// A message between the Service Worker and the bridge, as JSON, whose data model JavaScript values
/// have.
pub fn port(bytes: &[u8]) {
    if let Ok(message) = serde_json::from_slice::<ToBridge>(bytes) {
        let again = serde_json::to_vec(&message).unwrap_or_default();
        assert_eq!(
            serde_json::from_slice::<ToBridge>(&again).ok(),
            Some(message)
        );
    }
    if let Ok(message) = serde_json::from_slice::<FromBridge>(bytes) {
        let again = serde_json::to_vec(&message).unwrap_or_default();
        assert_eq!(
            serde_json::from_slice::<FromBridge>(&again).ok(),
            Some(message)
        );
    }
}

/// A manifest's index, or a shard.
pub fn manifest(bytes: &[u8]) {
    if bytes.len() > manifest::MAX_FILE {
        return;
    }
    if let Ok(index) = serde_json::from_slice::<Manifest>(bytes)
        && index.check().is_ok()
    {
        for key in index
            .entries
            .keys()
            .chain(index.shards.iter().map(|s| &s.first))
        {
            if let Some(shard) = index.shard_of(key) {
                assert!(shard.first <= *key);
            }
        }
        check_entries(&index.entries);
    }
    if let Ok(shard) = serde_json::from_slice::<BTreeMap<String, Entry>>(bytes)
        && manifest::check_entries(&shard).is_ok()
    {
        check_entries(&shard);
    }
}

fn check_entries(entries: &BTreeMap<String, Entry>) {
    for (key, entry) in entries {
        let _ = manifest::key("https://a.example", key);
        for accept in [None, Some("image/avif,image/webp,*/*;q=0.8"), Some(key)] {
            let chosen = manifest::choose(entry, accept);
            assert!(chosen.is_none_or(|chosen| entry.contains(chosen)));
        }
    }
}

/// `Range`, `If-Range` and `ETag`, one a line, and `Content-Range`; the first byte is a length.
pub fn range(bytes: &[u8]) {
    let Some((len, text)) = bytes.split_first() else {
        return;
    };
    let Ok(text) = str::from_utf8(text) else {
        return;
    };
    let len = u64::from(*len) * 7;
    let mut lines = text.split('\n');
    let (range, condition, etag) = (lines.next(), lines.next(), lines.next());
    if let Asked::Part(part) = request::asked(range, condition, etag, None, len) {
        assert!(
            part.start < part.end && part.end <= len,
            "{part:?} of {len}"
        );
        let written = request::content_range(&part, len);
        assert_eq!(
            request::parse_content_range(&written),
            Some((part.start, len))
        );
    }
    let _ = request::parse_content_range(text);
}

/// An outboard from elsewhere, of a content that it is not the outboard of.
pub fn outboard(bytes: &[u8]) {
    let Some((groups, nodes)) = bytes.split_first() else {
        return;
    };
    let len = u64::from(*groups) * GROUP + 1;
    let id = ContentId::of(b"something else");
    let checked = Outboard::checked(id, len, nodes.to_vec());
    // One group needs no nodes, and then its hash is checked with its bytes.
    if let Ok(outboard) = checked {
        assert_eq!(group_count(len), 1);
        assert!(outboard.check(0, nodes).is_err());
    }
}

/// Groups and their proof: two bytes say of what, the rest is laid over the proof and the groups.
pub fn proof(bytes: &[u8]) {
    let [size, at, rest @ ..] = bytes else {
        return;
    };
    let len = 1 + usize::from(*size) * 700;
    let content: Vec<u8> = (0..len).map(|i| (i * 7 + i / 251) as u8).collect();
    let outboard = Outboard::of(&content);
    let (id, len) = (outboard.id(), len as u64);
    let groups = group_count(len);
    let first = u32::from(*at) % groups;
    let run = first..(first + 1 + u32::from(*at) / 32).min(groups);
    let covered = group_bytes(run.clone(), len);
    let proof = outboard.proof(run.clone());
    let sent = &content[covered.start as usize..covered.end as usize];
    assert_eq!(tree::verify(&id, len, run.clone(), sent, &proof), Ok(()));
    let mut wrong = [&proof[..], sent].concat();
    for (byte, over) in wrong.iter_mut().zip(rest) {
        *byte ^= over;
    }
    let is_same = wrong[..proof.len()] == proof && &wrong[proof.len()..] == sent;
    let (proof, sent) = wrong.split_at(proof.len());
    let verified = tree::verify(&id, len, run.clone(), sent, proof);
    assert_eq!(verified.is_ok(), is_same);
    // And what came as it is, in the place of both.
    let split = rest.len().min(usize::from(*size));
    let _ = tree::verify(&id, len, run, &rest[split..], &rest[..split]);
}

/// A deflated group, which must not become more than a group.
pub fn inflate(bytes: &[u8]) {
    let Some((size, bytes)) = bytes.split_first() else {
        return;
    };
    let len = usize::from(*size) * 64;
    for deflated in [true, false] {
        let kept = Kept {
            bytes: bytes.to_vec(),
            deflated,
        };
        if let Ok(inflated) = deflate::inflate(kept, len) {
            assert_eq!(inflated.len(), len);
        }
    }
}

/// A ticket that the server did not issue.
pub fn ticket(bytes: &[u8]) {
    let tickets = Tickets::new(&[9; 64]);
    if let Ok(text) = str::from_utf8(bytes) {
        assert_eq!(tickets.check(text, "https://a.example", &[1]), None);
    }
}
