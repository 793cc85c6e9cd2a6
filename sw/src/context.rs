//! The page that the visitor looks at: what it shows is what peers are asked for in advance.

use std::collections::{HashMap, HashSet, VecDeque};

use fugitive_core::content::ContentId;

/// Pages that are remembered as looked at before.
const MAX_BEFORE: usize = 16;

/// A page and what it asked for, or will.
#[derive(Default)]
pub struct Context {
    /// Its client id.
    pub client: String,
    /// Its path, once it said so.
    pub page: Option<String>,
    /// What it asked for.
    pub ids: HashSet<ContentId>,
    /// How fast it plays what it plays, in bytes a second.
    pub paces: HashMap<ContentId, u64>,
    /// Pages that were looked at before, the oldest first: what they still ask for turns nobody back.
    before: VecDeque<String>,
}

impl Context {
    /// Whether the page is the one that is looked at, which a page never heard of is from now on.
    pub fn turns_to(&mut self, client: &str) -> bool {
        if self.client == client {
            return true;
        }
        if self.before.iter().any(|before| before == client) {
            return false;
        }
        if self.before.len() >= MAX_BEFORE {
            self.before.pop_front();
        }
        let last = std::mem::replace(&mut self.client, client.to_owned());
        self.before.push_back(last);
        (self.page, self.ids, self.paces) = Default::default();
        true
    }
}
