//! The manifest: the origin's list of what may be shared, and the only root of trust.
//!
//! It is JSON, because it must be hostable as plain files and readable by a person. The index lies
//! at `/fugitive/manifest.json`. A small site's entries are in the index itself; a large site's are
//! in shards, each a run of the sorted keys, so that the images of one folder, and with them those
//! of one page, lie in one shard. A shard's name is its own content id, so that it can be cached
//! for ever and an index and its shards never mix.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    content::{ContentId, MAX_LEN},
    manners::Limits,
};

/// The version of the format that this code writes, and the highest it reads.
pub const VERSION: u32 = 1;
/// More entries than this in one file and the writer shards.
pub const SHARD_ENTRIES: usize = 512;
/// The largest index or shard that a client parses, in bytes.
pub const MAX_FILE: usize = 4 << 20;
/// Resources longer than this have an outboard on the origin, in bytes.
pub const OUTBOARD_OVER: u64 = 1 << 20;

/// The index.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Format version.
    pub version: u32,
    /// What the site asks of every visitor's client.
    #[serde(default)]
    pub policy: Policy,
    /// Entries of a site that needs no shards. The key is a path with its query as it stands in a
    /// request (`/img/a.jpg?w=2`), or an absolute URL for another host.
    #[serde(default)]
    pub entries: BTreeMap<String, Entry>,
    /// Shards, sorted by `first`.
    #[serde(default)]
    pub shards: Vec<Shard>,
}

/// A run of the sorted keys, kept in a file of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shard {
    /// The first key in it.
    pub first: String,
    /// The content id of the file, which is at `/fugitive/shard/<id>.json`, an object of entries.
    pub id: ContentId,
}

/// What the site asks of every visitor's client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// `false` makes every client inert within a minute.
    pub enabled: bool,
    /// The longest that a request waits for peers before the origin is asked, in milliseconds.
    pub max_wait_ms: u32,
    /// Requests wait for peers as long as that, though the origin may be faster: for who pays for
    /// its line. Else peers are waited for where they are expected to be no later.
    pub spare_origin: bool,
    /// Whether the server, which makes the manifest of what visitors name, is to be told what they got
    /// and it does not list, and what was not what it lists.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub claims: bool,
    /// What of a visitor's device and line may be used.
    #[serde(skip_serializing_if = "Limits::is_default")]
    pub manners: Limits,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            enabled: true,
            max_wait_ms: 800,
            spare_origin: false,
            claims: false,
            manners: Limits::default(),
        }
    }
}

/// One URL: the variants that the origin has for it, best first.
pub type Entry = Vec<Variant>;

/// One representation of a URL, as a request without credentials gets it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Variant {
    /// Content id of the identity-encoded bytes.
    pub id: ContentId,
    /// Their length.
    pub len: u64,
    /// `Content-Type`.
    #[serde(rename = "type")]
    pub mime: String,
    /// `Cache-Control`, where the origin sends one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<String>,
    /// `ETag` with its quotes, where the origin sends one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// `Last-Modified`, where the origin sends one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<String>,
    /// The media type that the request's `Accept` must name for this variant to be chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accept: Option<String>,
    /// Whether `/fugitive/bao/<id>` holds the outboard.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bao: bool,
}

/// Why a manifest is not used; the client goes on as if there were none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadManifest {
    /// Written for a later client.
    #[error("manifest version {0} is not known")]
    Version(u32),
    /// A resource longer than any this client handles.
    #[error("manifest lists {0} with an impossible length")]
    Length(String),
    /// Shards out of order would make look-ups miss.
    #[error("manifest shards are not sorted")]
    Unsorted,
}

impl Manifest {
    /// Checks what the types cannot.
    pub fn check(&self) -> Result<(), BadManifest> {
        if self.version == 0 || self.version > VERSION {
            return Err(BadManifest::Version(self.version));
        }
        if !self.shards.is_sorted_by(|a, b| a.first < b.first) {
            return Err(BadManifest::Unsorted);
        }
        check_entries(&self.entries)
    }

    /// The shard that would hold `key`.
    pub fn shard_of(&self, key: &str) -> Option<&Shard> {
        let after = self.shards.partition_point(|s| s.first.as_str() <= key);
        self.shards.get(after.checked_sub(1)?)
    }
}

/// Checks the entries of an index or a shard.
pub fn check_entries(entries: &BTreeMap<String, Entry>) -> Result<(), BadManifest> {
    match entries.iter().find(|(_, entry)| !is_possible(entry)) {
        Some((key, _)) => Err(BadManifest::Length(key.clone())),
        None => Ok(()),
    }
}

/// Whether what an entry says can be: for who reads entries one by one.
pub fn is_possible(entry: &[Variant]) -> bool {
    entry.iter().all(|variant| variant.len <= MAX_LEN)
}

/// The key of a URL in the manifest of `origin`: path and query, or the whole URL if it is another
/// host's. The fragment never reaches a server and is not part of it.
pub fn key<'a>(origin: &str, url: &'a str) -> &'a str {
    let url = url.split_once('#').map_or(url, |(before, _)| before);
    match url.strip_prefix(origin) {
        Some(path) if path.starts_with('/') => path,
        _ => url,
    }
}

/// The variant that a request with this `Accept` header gets.
pub fn choose<'a>(entry: &'a [Variant], accept: Option<&str>) -> Option<&'a Variant> {
    entry.iter().find(|variant| match &variant.accept {
        None => true,
        Some(needed) => accept.is_some_and(|header| {
            header
                .split(',')
                .any(|part| part.split(';').next().unwrap_or_default().trim() == needed)
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variant(text: &str) -> Variant {
        Variant {
            id: ContentId::of(text.as_bytes()),
            len: text.len() as u64,
            mime: "image/png".into(),
            cache: None,
            etag: None,
            modified: None,
            accept: None,
            bao: false,
        }
    }

    #[test]
    fn key_is_the_path_at_home_and_the_url_elsewhere() {
        assert_eq!(key("https://a.b", "https://a.b/x.png?q=1#f"), "/x.png?q=1");
        assert_eq!(key("https://a.b", "https://c.d/x.png"), "https://c.d/x.png");
        assert_eq!(key("https://a.b", "https://a.bc/x"), "https://a.bc/x");
    }

    #[test]
    fn shard_is_found_by_the_greatest_first_key_that_is_not_after() {
        let shard = |first: &str| Shard {
            first: first.into(),
            id: ContentId::of(first.as_bytes()),
        };
        let manifest = Manifest {
            version: 1,
            shards: vec![shard("/a/1"), shard("/b/1")],
            ..Manifest::default()
        };
        assert_eq!(manifest.shard_of("/a/9").unwrap().first, "/a/1");
        assert_eq!(manifest.shard_of("/b/1").unwrap().first, "/b/1");
        assert!(manifest.shard_of("/a/0").is_none());
    }

    #[test]
    fn variant_is_chosen_by_accept_and_the_last_one_takes_the_rest() {
        let mut avif = variant("avif");
        avif.accept = Some("image/avif".into());
        let entry = vec![avif, variant("png")];
        let chosen = |accept| choose(&entry, accept).unwrap().len;
        assert_eq!(chosen(Some("image/avif,image/webp;q=0.8,*/*")), 4);
        assert_eq!(chosen(Some("image/webp,*/*")), 3);
        assert_eq!(chosen(None), 3);
    }

    #[test]
    fn manifest_from_the_future_or_with_a_mad_length_is_refused() {
        let future = Manifest {
            version: 9,
            ..Manifest::default()
        };
        assert_eq!(future.check(), Err(BadManifest::Version(9)));
        let mut mad = variant("x");
        mad.len = u64::MAX;
        let manifest = Manifest {
            version: 1,
            entries: [("/x".to_owned(), vec![mad])].into(),
            ..Manifest::default()
        };
        assert_eq!(manifest.check(), Err(BadManifest::Length("/x".into())));
    }
}
