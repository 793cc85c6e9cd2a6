//! The corpus has what is said today: a kind of message without a seed is one that no fuzzer reaches.
#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::{collections::BTreeSet, fmt::Debug, fs, path::Path};

use fugitive_core::port::{FromBridge, ToBridge};
use fugitive_fuzz::seeds;
use serde::de::DeserializeOwned;

/// All kinds there are: a kind that there is not is refused with their names.
fn kinds<T: DeserializeOwned + Debug>() -> BTreeSet<String> {
    let refused = serde_json::from_str::<T>(r#"{"":{}}"#).unwrap_err();
    let refused = refused.to_string();
    let (_, expected) = refused.split_once("expected one of").unwrap();
    let names = expected.split('`').skip(1).step_by(2);
    names.map(str::to_owned).collect()
}

#[test]
fn every_kind_of_message_on_the_port_has_a_seed() {
    let kinds: BTreeSet<_> = &kinds::<ToBridge>() | &kinds::<FromBridge>();
    assert!(kinds.contains("want") && kinds.contains("peers"));
    let seeded: BTreeSet<_> = seeds::port().into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(seeded, kinds);
}

#[test]
fn corpus_has_the_seeds_as_they_are_said_today() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/port");
    for (kind, bytes) in seeds::port() {
        let there = fs::read(folder.join(&kind)).unwrap_or_default();
        let how = "cargo run -p fugitive-fuzz --example corpus";
        assert!(there == bytes, "{kind} is not what is said today: {how}");
    }
}
