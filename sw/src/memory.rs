//! The hot tier: the last small answers, as long as this instance lives.

use std::num::NonZeroUsize;

use fugitive_store::Resource;
use js_sys::Uint8Array;
use lru::LruCache;

/// Bytes of all answers together.
const ROOM: usize = 8 << 20;
/// A larger one is not kept: the store streams it as fast.
const LARGEST: usize = 512 << 10;
const ENTRIES: NonZeroUsize = NonZeroUsize::new(512).unwrap();

/// An answer.
#[derive(Clone)]
pub struct Recent {
    /// The response.
    pub resource: Resource,
    /// All of its bytes.
    pub bytes: Uint8Array,
    /// Its headers are what the manifest says: those that it came with were not looked at.
    pub is_stated: bool,
}

/// Small answers by URL.
pub struct Memory {
    answers: LruCache<String, Recent>,
    bytes: usize,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            answers: LruCache::new(ENTRIES),
            bytes: 0,
        }
    }
}

impl Memory {
    /// The last answer for this URL.
    pub fn get(&mut self, url: &str) -> Option<&Recent> {
        self.answers.get(url)
    }

    /// Whether there is one.
    pub fn has(&self, url: &str) -> bool {
        self.answers.contains(url)
    }

    /// Keeps an answer if it is small.
    pub fn put(&mut self, recent: Recent) {
        if recent.len() > LARGEST {
            return;
        }
        self.bytes += recent.len();
        if let Some((_, old)) = self.answers.push(recent.resource.url.clone(), recent) {
            self.bytes -= old.len();
        }
        while self.bytes > ROOM {
            match self.answers.pop_lru() {
                Some((_, old)) => self.bytes -= old.len(),
                None => self.bytes = 0,
            }
        }
    }

    /// The answer for a URL has these headers, if it is still this content.
    pub fn renew(&mut self, resource: &Resource) {
        if let Some(recent) = self.answers.peek_mut(&resource.url)
            && recent.resource.id == resource.id
        {
            recent.resource.clone_from(resource);
            recent.is_stated = false;
        }
    }

    /// Forgets an answer that is stale.
    pub fn forget(&mut self, url: &str) {
        if let Some(old) = self.answers.pop(url) {
            self.bytes -= old.len();
        }
    }
}

impl Recent {
    fn len(&self) -> usize {
        self.bytes.length() as usize
    }
}
