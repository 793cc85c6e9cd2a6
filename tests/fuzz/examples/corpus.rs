//! Writes the corpus: real messages of every kind, from which fuzzing begins. Run it when a message
//! or a format changes: `cargo run -p fugitive-fuzz --example corpus`. Files that a fuzzer added
//! stay.
#![expect(clippy::unwrap_used, reason = "it either writes all or says why not")]

use std::{collections::BTreeMap, fs, path::Path};

use fugitive_core::{
    content::{ContentId, GROUP, group_bytes},
    deflate::{self, Kept},
    manifest::{Manifest, Policy, Shard, Variant},
    tree::Outboard,
    wire::{self, Message, Near},
};
use fugitive_server::ticket::{Id, Tickets};
use fugitive_signal::{Measured, Signal, ToClient, ToServer};

fn write(target: &str, name: &str, bytes: &[u8]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(name), bytes).unwrap();
}

fn messages() -> Vec<(&'static str, Vec<u8>)> {
    let id = ContentId::of(b"fugitive");
    let control = [
        ("hello", Message::Hello { version: 1 }),
        ("ask", Message::Ask { ask: 1, id }),
        (
            "have",
            Message::Have {
                ask: 1,
                groups: vec![(0, 6), (9, 70_000)],
            },
        ),
        ("lack", Message::Lack { ask: 1 }),
        ("busy", Message::Busy { ask: 1, retry: 500 }),
        (
            "pull",
            Message::Pull {
                pull: 2,
                id,
                first: 0,
                count: 6,
                urgent: true,
            },
        ),
        ("stop", Message::Stop { pull: 2 }),
        ("gone", Message::Gone { pull: 2 }),
        ("page", Message::Page { tag: u64::MAX / 3 }),
        (
            "filter",
            Message::Filter {
                bits: vec![0x5a; 40],
            },
        ),
        (
            "flips",
            Message::Flips {
                bits: vec![1, 77, 319],
            },
        ),
        (
            "later",
            Message::Later {
                pull: 2,
                retry: 300,
            },
        ),
        (
            "seek",
            Message::Seek {
                ask: 3,
                id,
                len: 90_000,
                group: None,
            },
        ),
        (
            "seek_part",
            Message::Seek {
                ask: 3,
                id,
                len: 50_000_000,
                group: Some(1_500),
            },
        ),
        (
            "found",
            Message::Found {
                ask: 3,
                peer: Some("c".into()),
            },
        ),
        (
            "which",
            Message::Which {
                ask: 4,
                ids: id.0[..16].to_vec(),
                deep: true,
            },
        ),
        (
            "these",
            Message::These {
                ask: 4,
                held: vec![0],
                part: vec![1],
                near: vec![Near {
                    peer: "c".into(),
                    held: vec![1],
                }],
            },
        ),
        ("more", Message::More { want: 4 }),
        (
            "meet",
            Message::Meet {
                peers: vec!["c".into(), "d".into()],
            },
        ),
        (
            "relay",
            Message::Signal {
                to: "b".into(),
                signal: vec![1, 2, 3],
            },
        ),
        (
            "relayed",
            Message::Signalled {
                from: "c".into(),
                signal: vec![1, 2, 3],
            },
        ),
        ("ping", Message::Ping { nonce: 9 }),
        ("pong", Message::Pong { nonce: 9 }),
    ];
    let mut messages: Vec<_> = control
        .iter()
        .map(|(name, message)| (*name, wire::encode(message)))
        .collect();
    let content = vec![7; 3 * GROUP as usize + 5];
    let outboard = Outboard::of(&content);
    for (name, run, deflated) in [("frame", 0..2, false), ("frame-deflated", 2..4, true)] {
        let groups: Vec<Kept> = run
            .clone()
            .map(|group| {
                let at = group_bytes(group..group + 1, content.len() as u64);
                let bytes = &content[at.start as usize..at.end as usize];
                // Short, so that a fuzzer's time goes into the header.
                deflate::keep(&bytes[..bytes.len().min(64)], deflated)
            })
            .collect();
        let proof = outboard.proof(run.clone());
        messages.push((name, wire::encode_frame(2, run.start, &groups, &proof)));
    }
    messages
}

/// One step of the engine target.
fn step(flags: u8, message: &[u8]) -> Vec<u8> {
    let len = (message.len() as u16).to_le_bytes();
    [&[flags, len[0], len[1]], message].concat()
}

fn engine() {
    let content: Vec<u8> = (0..90_000_u32).map(|i| (i * 31 + i / 253) as u8).collect();
    let id = ContentId::of(&content);
    let have = |ask| {
        let groups = vec![(0, 6)];
        wire::encode(&Message::Have { ask, groups })
    };
    let hello = wire::encode(&Message::Hello { version: 2 });
    let all: Vec<Vec<u8>> = messages()
        .iter()
        .map(|(_, message)| step(0x10, message))
        .collect();
    write("engine", "every-message", &all.concat());
    // Answers are numbered from one on; some of these fit the questions.
    let mut honest = vec![step(0, &hello), step(1, &hello)];
    for ask in 1..8 {
        honest.push(step(0x10, &have(ask)));
        honest.push(step(0x11, &have(ask)));
    }
    let mut liar = honest.clone();
    honest.extend([step(0x10, &[0]), step(0x10, &[0])]);
    write("engine", "honest", &honest.concat());
    liar.extend([step(0x10, &[0]), step(0x10, &[0, 0x00, 0x20])]);
    liar.push(step(0x16, &[]));
    liar.push(step(0x18, &hello));
    write("engine", "liar", &liar.concat());
    let ask = wire::encode(&Message::Ask { ask: 1, id });
    let other = ContentId::of(b"other");
    let pull = Message::Pull {
        pull: 1,
        id: other,
        first: 0,
        count: 4,
        urgent: false,
    };
    let asks = [
        step(0, &ask),
        step(0, &wire::encode(&pull)),
        step(0x24, &[]),
    ];
    write("engine", "asker", &asks.concat());
}

fn signal() {
    let candidate = Signal::Candidate {
        candidate: "candidate:1 1 udp 2113937151 192.0.2.1 54321 typ host".into(),
        mid: Some("0".into()),
        line: Some(0),
    };
    let description = Signal::Description {
        kind: "offer".into(),
        sdp: "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\n".into(),
    };
    let up = [
        (
            "more",
            ToServer::More {
                want: 3,
                page: None,
            },
        ),
        ("page", ToServer::Page { page: "/a".into() }),
        (
            "signal",
            ToServer::Signal {
                to: "0".repeat(32),
                signal: candidate,
            },
        ),
        (
            "heartbeat",
            ToServer::Heartbeat {
                measured: vec![Measured {
                    peer: "1".repeat(32),
                    rtt: 17,
                }],
                serves: None,
            },
        ),
        ("leave", ToServer::Leave {}),
    ];
    for (name, message) in up {
        write("signal", name, &fugitive_signal::encode(&message));
        write("pack", name, &fugitive_signal::encode(&message));
    }
    let down = [
        (
            "offered",
            ToClient::Offered {
                peers: vec!["0".repeat(32), "f".repeat(32)],
            },
        ),
        (
            "gone",
            ToClient::Gone {
                peer: "0".repeat(32),
            },
        ),
        (
            "signalled",
            ToClient::Signal {
                from: "0".repeat(32),
                signal: description,
            },
        ),
        ("manifest", ToClient::Manifest {}),
        ("refused", ToClient::Refused { why: "no".into() }),
    ];
    for (name, message) in down {
        write("signal", name, &fugitive_signal::encode(&message));
        write("pack", name, &fugitive_signal::encode(&message));
    }
}

fn port() {
    for (name, bytes) in fugitive_fuzz::seeds::port() {
        write("port", &name, &bytes);
    }
}

fn manifest() {
    let variant = |accept: Option<&str>, len| Variant {
        id: ContentId::of(b"fugitive"),
        len,
        mime: "image/webp".into(),
        cache: Some("max-age=60".into()),
        etag: Some("\"a\"".into()),
        modified: Some("Mon, 05 Jan 2026 00:00:00 GMT".into()),
        accept: accept.map(str::to_owned),
        bao: len > 1 << 20,
    };
    let entry = vec![variant(Some("image/webp"), 5), variant(None, 2 << 20)];
    let entries = BTreeMap::from([("/a.jpg".to_owned(), entry)]);
    let shard = Shard {
        first: "/a".into(),
        id: ContentId::of(b"shard"),
    };
    let index = Manifest {
        version: 1,
        policy: Policy::default(),
        entries: entries.clone(),
        shards: vec![shard],
    };
    write("manifest", "index", &serde_json::to_vec(&index).unwrap());
    write("manifest", "shard", &serde_json::to_vec(&entries).unwrap());
}

fn main() {
    for (name, message) in messages() {
        write("wire", name, &message);
        write("pack", name, message.get(1..).unwrap_or_default());
    }
    engine();
    signal();
    port();
    manifest();
    for (name, text) in [
        ("closed", "\x0ebytes=0-9"),
        ("open", "\x0ebytes=5-"),
        ("suffix", "\x0ebytes=-5"),
        ("several", "\x0ebytes=0-1,5-6"),
        ("if-range", "\x0ebytes=0-9\n\"a\"\n\"a\""),
        ("content-range", "\x0ebytes 5-9/98"),
    ] {
        write("range", name, text.as_bytes());
    }
    let content = vec![7; 5 * GROUP as usize + 1];
    let nodes = Outboard::of(&content);
    write("outboard", "five", &[&[5], nodes.nodes()].concat());
    write("outboard", "one", &[0]);
    for (name, bytes) in [
        ("right", &[200, 9][..]),
        ("node", &[200, 9, 1, 0, 3]),
        ("last", &[255, 255, 0]),
        ("one-group", &[3, 0, 0, 0, 9]),
    ] {
        write("proof", name, bytes);
    }
    let text = b"<svg xmlns='http://www.w3.org/2000/svg'/>".repeat(50);
    for (name, bytes) in [("text", &text[..2048]), ("zeros", &[0; 16_320])] {
        let kept = deflate::keep(bytes, true);
        let size = (bytes.len() / 64) as u8;
        write("inflate", name, &[&[size], &kept.bytes[..]].concat());
    }
    let foreign = Tickets::new(&[1; 64]).issue(Id([7; 16]), "https://a.example", 1);
    write("ticket", "of-another-key", foreign.as_bytes());
    write("ticket", "dots", b"..");
}
