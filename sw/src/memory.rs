//! The hot tier: the last small answers, as long as this instance lives.

use std::num::NonZeroUsize;

use fugitive_store::Resource;
use lru::LruCache;

/// Bytes of all answers together.
const ROOM: usize = 8 << 20;
/// A larger one is not kept: the store streams it as fast.
const LARGEST: usize = 512 << 10;
const ENTRIES: NonZeroUsize = NonZeroUsize::new(512).unwrap();

/// Small answers by URL.
pub struct Memory {
    answers: LruCache<String, (Resource, Vec<u8>)>,
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
    pub fn get(&mut self, url: &str) -> Option<&(Resource, Vec<u8>)> {
        self.answers.get(url)
    }

    /// Whether there is one.
    pub fn has(&self, url: &str) -> bool {
        self.answers.contains(url)
    }

    /// Keeps an answer if it is small.
    pub fn put(&mut self, resource: &Resource, bytes: &[u8]) {
        if bytes.len() > LARGEST {
            return;
        }
        self.bytes += bytes.len();
        let entry = (resource.clone(), bytes.to_vec());
        if let Some((_, (_, old))) = self.answers.push(resource.url.clone(), entry) {
            self.bytes -= old.len();
        }
        while self.bytes > ROOM {
            match self.answers.pop_lru() {
                Some((_, (_, old))) => self.bytes -= old.len(),
                None => self.bytes = 0,
            }
        }
    }

    /// The answer for a URL has other headers now.
    pub fn renew(&mut self, resource: &Resource) {
        if let Some((kept, _)) = self.answers.peek_mut(&resource.url) {
            kept.clone_from(resource);
        }
    }

    /// Forgets an answer that is stale.
    pub fn forget(&mut self, url: &str) {
        if let Some((_, old)) = self.answers.pop(url) {
            self.bytes -= old.len();
        }
    }
}
