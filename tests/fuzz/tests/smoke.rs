//! The fuzz targets on stable: the corpus, and so many mutations of it, from a fixed seed.
#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::{fs, panic, path::Path};

use fastrand::Rng;
use fugitive_fuzz::TARGETS;

const MUTATIONS: usize = 8_000;

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target);
    let mut paths: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn mutate(bytes: &mut Vec<u8>, others: &[Vec<u8>], rng: &mut Rng) {
    for _ in 0..rng.usize(1..6) {
        let at = rng.usize(0..=bytes.len());
        match rng.u8(0..8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.u8(0..8),
            1 if at < bytes.len() => bytes[at] = rng.choice([0, 1, 127, 128, 255]).unwrap_or(0),
            2 => bytes.truncate(at),
            3 => bytes.insert(at, rng.u8(..)),
            4 if at < bytes.len() => {
                bytes.remove(at);
            }
            5 => {
                let number = rng.choice([0, 1, u32::MAX, 1 << 31, 1 << 16]).unwrap_or(0);
                for (byte, new) in bytes.iter_mut().skip(at).zip(number.to_be_bytes()) {
                    *byte = new;
                }
            }
            6 => {
                if let Some(other) = rng.choice(others) {
                    let from = rng.usize(0..=other.len());
                    bytes.truncate(at);
                    bytes.extend_from_slice(&other[from..]);
                }
            }
            _ => {
                let end = rng.usize(at..=bytes.len().min(at + 64));
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
    bytes.truncate(200_000);
}

#[test]
fn no_target_panics_on_its_corpus_and_on_what_is_like_it() {
    for (name, target) in TARGETS {
        let corpus = corpus(name);
        assert!(!corpus.is_empty(), "{name} has no corpus");
        for bytes in &corpus {
            target(bytes);
        }
        let mut rng = Rng::with_seed(1);
        for round in 0..MUTATIONS {
            let mut bytes = rng.choice(&corpus).unwrap().clone();
            mutate(&mut bytes, &corpus, &mut rng);
            let outcome = panic::catch_unwind(|| target(&bytes));
            assert!(
                outcome.is_ok(),
                "{name}, mutation {round}: put this into its corpus: {:?}",
                &bytes[..bytes.len().min(2_000)]
            );
        }
    }
}

#[test]
fn smoke_run_notices_a_target_that_panics() {
    let fragile = |bytes: &[u8]| assert!(bytes.first() != Some(&0xff));
    let mut rng = Rng::with_seed(1);
    let seed = vec![vec![1, 2, 3]];
    let broke = (0..MUTATIONS).any(|_| {
        let mut bytes = seed[0].clone();
        mutate(&mut bytes, &seed, &mut rng);
        panic::catch_unwind(|| fragile(&bytes)).is_err()
    });
    assert!(broke);
}
