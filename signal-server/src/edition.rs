//! The form in which a manifest is published: an index, and shards where there is too much for one
//! file. Pure: entries in, named bytes out.

use std::collections::BTreeMap;

use fugitive_core::{
    content::ContentId,
    manifest::{Entry, Manifest, Policy, SHARD_ENTRIES, Shard, VERSION},
};

/// A file is closed before it grows over this, in bytes: well below what a client parses.
const FILE: usize = 1 << 20;
/// A shard this full ends where a folder ends, so that a change in one folder leaves the shards of
/// the others as they were.
const FULL_ENOUGH: usize = SHARD_ENTRIES / 2;
/// About what an entry takes in JSON, beside its key, in bytes.
const ENTRY: usize = 400;

/// The files of one manifest.
#[derive(Debug, PartialEq, Eq)]
pub struct Edition {
    /// `/fugitive/manifest.json`.
    pub index: Vec<u8>,
    /// `/fugitive/shard/<id>.json`.
    pub shards: Vec<(ContentId, Vec<u8>)>,
}

impl Edition {
    /// Fails only if JSON cannot hold the entries.
    pub fn of(entries: &BTreeMap<String, Entry>, policy: Policy) -> serde_json::Result<Self> {
        let mut manifest = Manifest {
            version: VERSION,
            policy,
            ..Manifest::default()
        };
        let mut shards = Vec::new();
        if entries.len() <= SHARD_ENTRIES && size(entries) <= FILE {
            manifest.entries = entries.clone();
        } else {
            for run in runs(entries) {
                let Some((first, _)) = run.first() else {
                    continue;
                };
                let map: BTreeMap<&str, &Entry> = run.iter().copied().collect();
                let bytes = serde_json::to_vec(&map)?;
                let id = ContentId::of(&bytes);
                manifest.shards.push(Shard {
                    first: (*first).to_owned(),
                    id,
                });
                shards.push((id, bytes));
            }
        }
        Ok(Self {
            index: serde_json::to_vec(&manifest)?,
            shards,
        })
    }
}

fn size(entries: &BTreeMap<String, Entry>) -> usize {
    entries.keys().map(|key| key.len() + ENTRY).sum()
}

fn folder(key: &str) -> &str {
    key.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn runs(entries: &BTreeMap<String, Entry>) -> Vec<Vec<(&str, &Entry)>> {
    let mut runs = Vec::new();
    let mut run: Vec<(&str, &Entry)> = Vec::new();
    let mut bytes = 0;
    for (key, entry) in entries {
        let next = key.len() + ENTRY;
        if let Some((last, _)) = run.last() {
            let full = run.len() >= SHARD_ENTRIES || bytes + next > FILE;
            let ripe = run.len() >= FULL_ENOUGH && folder(last) != folder(key);
            if full || ripe {
                runs.push(std::mem::take(&mut run));
                bytes = 0;
            }
        }
        bytes += next;
        run.push((key, entry));
    }
    runs.push(run);
    runs
}

#[cfg(test)]
mod tests {
    use fugitive_core::manifest::{MAX_FILE, Variant, check_entries};

    use super::*;

    fn of(entries: &BTreeMap<String, Entry>) -> Edition {
        Edition::of(entries, Policy::default()).unwrap()
    }

    fn entries(keys: impl IntoIterator<Item = String>) -> BTreeMap<String, Entry> {
        let entry = |key: &String| {
            vec![Variant {
                id: ContentId::of(key.as_bytes()),
                len: 1,
                mime: "image/png".into(),
                cache: None,
                etag: None,
                modified: None,
                accept: None,
                bao: false,
            }]
        };
        keys.into_iter()
            .map(|key| (key.clone(), entry(&key)))
            .collect()
    }

    fn gallery(folders: u32, each: u32) -> BTreeMap<String, Entry> {
        entries((0..folders).flat_map(|f| (0..each).map(move |i| format!("/g{f:03}/{i:03}.png"))))
    }

    #[test]
    fn small_site_has_no_shards_and_an_empty_one_has_an_index() {
        let edition = of(&gallery(2, 256));
        assert!(edition.shards.is_empty());
        let index: Manifest = serde_json::from_slice(&edition.index).unwrap();
        assert_eq!(index.entries.len(), 512);
        let empty: Manifest = serde_json::from_slice(&of(&BTreeMap::new()).index).unwrap();
        assert_eq!(empty.check(), Ok(()));
    }

    #[test]
    fn every_key_is_in_the_shard_that_the_index_says() {
        let all = gallery(7, 200);
        let edition = of(&all);
        let index: Manifest = serde_json::from_slice(&edition.index).unwrap();
        assert_eq!(index.check(), Ok(()));
        assert!(index.entries.is_empty());
        let mut seen = 0;
        for (id, bytes) in &edition.shards {
            assert_eq!(*id, ContentId::of(bytes));
            let shard: BTreeMap<String, Entry> = serde_json::from_slice(bytes).unwrap();
            assert!(shard.len() <= SHARD_ENTRIES);
            assert_eq!(check_entries(&shard), Ok(()));
            for (key, entry) in &shard {
                assert_eq!(index.shard_of(key).unwrap().id, *id);
                assert_eq!(&all[key], entry);
                seen += 1;
            }
        }
        assert_eq!(seen, all.len());
    }

    #[test]
    fn images_of_one_folder_lie_in_one_shard_and_a_new_one_changes_only_that() {
        let mut all = gallery(10, 200);
        let before = of(&all);
        let index: Manifest = serde_json::from_slice(&before.index).unwrap();
        for folder in 0..10 {
            let shard = |i: u32| {
                index
                    .shard_of(&format!("/g{folder:03}/{i:03}.png"))
                    .unwrap()
            };
            assert_eq!(shard(0), shard(199));
        }
        all.extend(entries(["/g004/new.png".to_owned()]));
        let after = of(&all);
        let kept = after.shards.iter().filter(|s| before.shards.contains(s));
        assert_eq!(kept.count(), before.shards.len() - 1);
    }

    #[test]
    fn long_names_do_not_make_a_file_that_no_client_parses() {
        let long = "%C3%BC".repeat(1000);
        let edition = of(&entries((0..500).map(|i| format!("/{i:03}{long}"))));
        assert!(edition.shards.len() > 1);
        assert!(
            edition
                .shards
                .iter()
                .all(|(_, bytes)| bytes.len() < MAX_FILE)
        );
    }
}
