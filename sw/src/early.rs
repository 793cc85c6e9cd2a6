//! A small hit that the store begins with before the request is looked at: that is another thread's work,
//! and ours goes on meanwhile.

use std::pin::Pin;

use fugitive_core::content::{BLOCK, ContentId};
use fugitive_store::{Call, Hit, StoreError};
use futures_util::{
    future::{MaybeDone, maybe_done},
    poll,
};
use web_sys::{Request, RequestCache};

use crate::{catalogue::Listed, state::State};

/// A small hit that was asked for before all else.
pub struct Early {
    /// What it is expected to be.
    pub expect: ContentId,
    hit: MaybeDone<Call<Option<Hit>>>,
}

impl Early {
    /// Has the store begin with what may answer a request, if anything does.
    pub async fn begin(state: &State, request: &Request, url: &str) -> Option<Self> {
        let store = state.opened()?;
        let is_plain = request.cache() == RequestCache::Default && !url.contains('#');
        if !is_plain || state.memory.borrow().has(url) {
            return None;
        }
        let accept = request.headers().get("accept").ok().flatten();
        let expect = expected(&state.catalogue.find(url, accept.as_deref()))?;
        let mut hit = maybe_done(store.hit_expecting(url, Some(expect)));
        let _ = poll!(&mut hit);
        Some(Self { expect, hit })
    }

    /// What the store has.
    pub async fn hit(mut self) -> Option<Result<Option<Hit>, StoreError>> {
        (&mut self.hit).await;
        Pin::new(&mut self.hit).take_output()
    }
}

/// The content that a hit in one go is expected to be.
pub fn expected(listed: &Listed) -> Option<ContentId> {
    match listed {
        Listed::As(variant) if variant.len <= BLOCK => Some(variant.id),
        _ => None,
    }
}
