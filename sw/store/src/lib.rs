//! The store: what this browser holds of a site, in IndexedDB, for its own pages and for peers.
//!
//! The Service Worker writes and reads, the bridge's dedicated worker reads to serve; each opens a
//! [`Store`] of its own. It only keeps: whether a response may be stored, is fresh, or may be
//! shared is decided in `fugitive-core`, and the bytes were verified before they came here.
//!
//! ```ignore
//! let store = Store::open().await?;
//! match store.hit(url).await? {
//!     Some(Hit { resource, bytes: Some(bytes), .. }) => answer(resource, bytes),
//!     Some(Hit { resource, groups, .. }) => stream(resource, groups), // store.read(…) block by block
//!     None => { … store.put_whole(resource, groups).await?; }
//! }
//! ```
//!
//! Every call is one transaction unless it says otherwise: it is done or it is not, also when
//! nobody waits for it any more ([`Call`]). The schema is in `README.md`.

mod store;

mod read;
mod together;
mod write;

mod evict;
mod meta;

mod block;
mod runs;

mod connection;
mod error;

use fugitive_core::content::ContentId;
use js_sys::Uint8Array;
use serde::{Deserialize, Serialize};

pub use error::StoreError;
pub use store::{Call, Store};

/// Groups that one call reads or writes at most: 16 MiB of memory.
pub const MAX_GROUPS: u32 = 1024;
/// Contents that are held at most, however small: the bridge has a list of them in memory.
pub const MAX_CONTENTS: u32 = 16_384;
/// Bytes that are kept unless [`Store::set_budget`] says otherwise.
pub const DEFAULT_BUDGET: u64 = 256 << 20;

/// One URL's response as it was received, but for its bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resource {
    /// The whole URL, without its fragment.
    pub url: String,
    /// Of its identity-encoded bytes.
    pub id: ContentId,
    /// Their length.
    pub len: u64,
    /// HTTP status.
    pub status: u16,
    /// Response headers as the origin sent them.
    pub headers: Vec<(String, String)>,
    /// When it was received or last validated, in milliseconds since 1970.
    pub stored_at: f64,
    /// The request's headers that `Vary` selects.
    pub request_headers: Vec<(String, String)>,
    /// Whether the manifest lists it: its content may be served to peers.
    pub listed: bool,
    /// What it may be answered by before any wasm runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cold: Option<Box<Cold>>,
}

/// When a response is the answer without anybody deciding that anew. The worker's listener script reads
/// it, which cannot decide, and compares.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cold {
    /// The request's `Accept`.
    pub accept: String,
    /// The manifest that was known, if one was.
    pub manifest: Option<String>,
    /// By its own headers it is fresh until then, in milliseconds since 1970.
    pub until: f64,
    /// The manifest proves it for so long after it was checked, in milliseconds.
    pub proven: f64,
    /// How old it was when it was stored, in seconds.
    pub age: f64,
    /// Of its bytes: the sum of the block is BLAKE3, which no browser has.
    pub sum: String,
}

/// What is held of one content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Content {
    /// Which.
    pub id: ContentId,
    /// Its whole length.
    pub len: u64,
    /// Whether it may be served to peers.
    pub shared: bool,
    /// The runs of groups that are held: start, one past the end; sorted, not touching.
    pub groups: Vec<(u32, u32)>,
    /// When it was last written or touched, in milliseconds since 1970.
    pub used: f64,
    /// How often it was used; records from before this was counted have none.
    #[serde(default)]
    pub uses: u32,
    /// How many peers had it when its page was last looked at, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub near: Option<u32>,
    /// Bytes that it takes in the database.
    pub kept: u64,
}

impl Content {
    /// Whether every group is held.
    pub fn is_complete(&self) -> bool {
        runs::cover(
            &self.groups,
            0,
            fugitive_core::content::group_count(self.len),
        )
    }
}

/// What the store has for a URL.
#[derive(Clone, Debug)]
pub struct Hit {
    /// The response.
    pub resource: Resource,
    /// All bytes, if they are held and are no more than one block.
    pub bytes: Option<Uint8Array>,
    /// The runs of groups that are held.
    pub groups: Vec<(u32, u32)>,
}

/// What was done by a write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// The runs of groups of this content that are held now.
    pub groups: Vec<(u32, u32)>,
    /// What was evicted to make room, for this write or one before it that failed; peers must not
    /// be told of it any more.
    pub evicted: Vec<ContentId>,
}

#[cfg(all(test, target_family = "wasm"))]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_dedicated_worker);
