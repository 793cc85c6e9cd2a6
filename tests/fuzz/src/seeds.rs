//! One message of every kind that the worker and the bridge say to each other, as seeds.
//!
//! `tests/seeds.rs` fails where a kind has none, or where the corpus has another.

use fugitive_core::{
    content::ContentId,
    port::{Connected, FromBridge, ToBridge},
};
use serde::Serialize;

/// Under their kinds; those of the port are no two the same.
pub fn port() -> Vec<(String, Vec<u8>)> {
    let to = to_bridge();
    let from = from_bridge();
    let seeds = to.iter().map(seed).chain(from.iter().map(seed));
    seeds.collect()
}

/// A message is a map with one key, its kind.
fn seed<T: Serialize>(message: &T) -> (String, Vec<u8>) {
    let json = serde_json::to_string(message).unwrap_or_default();
    let kind = json.split('"').nth(1).unwrap_or_default();
    (kind.to_owned(), json.into_bytes())
}

/// From the worker.
pub fn to_bridge() -> Vec<ToBridge> {
    let id = ContentId::of(b"fugitive");
    vec![
        ToBridge::Hello {
            client: "0f7c5d2a-9d62-4b39-a3b4-5d7f5a1f2b3c".into(),
        },
        ToBridge::Want {
            want: 1,
            id,
            len: 90_000,
            start: 5,
            end: 90_000,
            credit: 70_000,
            patience: 800,
            plays: true,
        },
        ToBridge::Context {
            ids: vec![id, ContentId::of(b"other")],
            page: Some("/gallery".into()),
        },
        ToBridge::Pace { id, rate: 312_500 },
        ToBridge::Origin {
            first_byte: 80,
            rate: 2_500_000,
        },
        ToBridge::Policy {
            limits: vec![1, 0, u64::MAX],
        },
        ToBridge::Prefetch {
            want: 2,
            id,
            len: 90_000_000,
            start: 16_384,
            end: Some(1 << 20),
        },
        ToBridge::Turns {
            page: "/list".into(),
        },
        ToBridge::Find { id, len: 90_000 },
        ToBridge::Credit { want: 1, to: 9 },
        ToBridge::Cancel { want: 1 },
        ToBridge::Stored {
            id,
            len: 90_000,
            groups: vec![(0, 2), (4, 6)],
        },
        ToBridge::Look {},
        ToBridge::Dropped { id },
    ]
}

/// From the bridge.
pub fn from_bridge() -> Vec<FromBridge> {
    let id = ContentId::of(b"fugitive");
    let connected = |rtt| Connected {
        rtt,
        got: 90_000,
        gave: 5,
    };
    vec![
        FromBridge::Peers {
            open: 3,
            coming: true,
        },
        FromBridge::Bytes {
            want: 1,
            offset: 5,
            tier: 2,
        },
        FromBridge::Unsure { want: 1 },
        FromBridge::Behind { want: 1, to: 9 },
        FromBridge::End { want: 1 },
        FromBridge::Failed {
            want: 1,
            why: "nobody has it".into(),
        },
        FromBridge::Totals {
            sent: 5,
            received: 90_000,
            wasted: 0,
        },
        FromBridge::Manners {
            quiet: Some("battery 22 %".into()),
            given: 5,
            daily: 1 << 30,
        },
        FromBridge::Connected {
            peers: vec![connected(Some(17)), connected(None)],
        },
        FromBridge::Near {
            near: vec![(id, 3), (ContentId::of(b"other"), 0)],
        },
        FromBridge::Manifest {},
    ]
}
