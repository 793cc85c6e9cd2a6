//! A small hit that the store begins with before the request is looked at: that is another thread's work,
//! and ours goes on meanwhile.

use std::pin::Pin;

use fugitive_core::{
    cache::Mode,
    content::{BLOCK, ContentId},
    manifest::Variant,
};
use fugitive_store::{Call, Hit, Store, StoreError};
use futures_util::{
    future::{MaybeDone, maybe_done},
    poll,
};
use js_sys::{Date, Uint8Array};
use web_sys::{Request, RequestCache, RequestDestination};

use crate::{
    answer::{Head, Held},
    catalogue::Listed,
    state::State,
};

/// A small hit that was asked for before all else.
pub struct Early {
    variant: Variant,
    asked: Asked,
}

/// What the store was asked for.
enum Asked {
    /// The bytes alone: the manifest says all else that an image's page could see.
    Bytes(MaybeDone<Call<Option<Uint8Array>>>),
    /// With the response that they came with.
    Hit(MaybeDone<Call<Option<Hit>>>),
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
        let variant = expected(&state.catalogue.find(url, accept.as_deref()))?.clone();
        let is_proven = state.catalogue.proves(&variant, Mode::Default, Date::now());
        let asked = if is_proven && request.destination() == RequestDestination::Image {
            let mut bytes = maybe_done(store.small(&variant.id, variant.len));
            let _ = poll!(&mut bytes);
            Asked::Bytes(bytes)
        } else {
            let mut hit = maybe_done(store.hit_expecting(url, Some(variant.id)));
            let _ = poll!(&mut hit);
            Asked::Hit(hit)
        };
        Some(Self { variant, asked })
    }

    /// What it is expected to be.
    pub fn expects(&self) -> ContentId {
        self.variant.id
    }

    /// What the store has for this URL.
    pub async fn held(self, state: &State, store: &Store, url: &str) -> Option<Held> {
        match self.asked {
            Asked::Hit(mut hit) => {
                (&mut hit).await;
                stored(state, Pin::new(&mut hit).take_output()?)
            }
            Asked::Bytes(mut bytes) => {
                (&mut bytes).await;
                match Pin::new(&mut bytes).take_output()? {
                    Ok(Some(bytes)) => {
                        let mut resource = Head::listed(url, &self.variant).resource;
                        resource.stored_at = state.catalogue.checked_at();
                        Some(Held::stated(resource, bytes))
                    }
                    // Of it there may be some.
                    _ => stored(state, store.hit_expecting(url, Some(self.variant.id)).await),
                }
            }
        }
    }
}

/// What the store said that it has.
pub fn stored(state: &State, hit: Result<Option<Hit>, StoreError>) -> Option<Held> {
    match hit {
        Ok(hit) => hit.map(Held::from),
        Err(error) => {
            state.store_failed(&error);
            None
        }
    }
}

/// The content that a hit in one go is expected to be.
pub fn expected(listed: &Listed) -> Option<&Variant> {
    match listed {
        Listed::As(variant) if variant.len <= BLOCK => Some(variant),
        _ => None,
    }
}
