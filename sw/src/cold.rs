//! What the next worker may answer before its wasm runs. A hit that starts a worker would else wait for
//! all of ours to be compiled and to look about: so each copy has word of when it is the answer without
//! anybody deciding that, and the listener script compares (`js/cold.js`). What that cannot say for
//! certain has no such word.

use std::rc::Rc;

use fugitive_core::{
    cache,
    content::{BLOCK, group_count},
};
use fugitive_store::{Cold, Resource};
use js_sys::Uint8Array;
use wasm_bindgen_futures::{JsFuture, spawn_local};

use crate::{
    answer::{copy_of, keep_manifest},
    asking::Asking,
    catalogue::{Catalogue, Listed},
    state::State,
    tally::Source,
};

/// What can be said of a copy now, but for its bytes' sum.
fn terms(state: &State, resource: &Resource) -> Option<Cold> {
    if resource.len > BLOCK || state.catalogue.is_elsewhere(&resource.url) {
        return None;
    }
    let accept = state.accept.borrow().clone();
    let request = [("accept".to_owned(), accept.clone())];
    let copy = copy_of(resource);
    let proven = match state.catalogue.find(&resource.url, Some(&accept)) {
        Listed::As(variant) if variant.id != resource.id => return None,
        Listed::As(variant) => Catalogue::proves_for(&variant),
        Listed::No | Listed::Unknown => 0.0,
    };
    let until = cache::fresh_until(&request, &copy).unwrap_or_default();
    (proven > 0.0 || until > 0.0).then(|| Cold {
        accept,
        manifest: state.catalogue.id(),
        until,
        proven,
        age: cache::age_then(&copy),
        sum: String::new(),
    })
}

/// The word for a copy of these bytes.
pub async fn word(state: &State, resource: &Resource, bytes: &Uint8Array) -> Option<Box<Cold>> {
    let terms = terms(state, resource)?;
    let sum = match &resource.cold {
        Some(cold) => cold.sum.clone(),
        None => {
            let sum = JsFuture::from(state.digest(bytes)).await;
            sum.ok()?.as_string()?
        }
    };
    Some(Box::new(Cold { sum, ..terms }))
}

/// A copy was a hit: where it has no word, or one from before another manifest, it is given one with
/// the next save.
pub fn look(state: &Rc<State>, resource: &Resource, bytes: &Uint8Array) {
    let is_said = resource.cold.as_ref().is_some_and(|cold| {
        cold.accept == *state.accept.borrow() && cold.manifest == state.catalogue.id()
    });
    if is_said || resource.cold.is_none() && terms(state, resource).is_none() {
        return;
    }
    let (state, mut resource, bytes) = (state.clone(), resource.clone(), bytes.clone());
    spawn_local(async move {
        resource.cold = word(&state, &resource, &bytes).await;
        state.memory.borrow_mut().renew(&resource);
        state.cold_changed(resource);
    });
}

/// The same of a copy of which only the bytes were read: what else is stored of it is read now.
pub fn look_up(state: Rc<State>, stated: Resource, bytes: Uint8Array) {
    spawn_local(async move {
        let Some(store) = state.opened() else {
            return;
        };
        match store.resource(&stated.url).await {
            Ok(Some(mut copy)) if copy.id == stated.id => {
                if !copy.listed {
                    copy.listed = true;
                    state.share(copy.clone(), vec![(0, group_count(copy.len))]);
                }
                state.memory.borrow_mut().renew(&copy);
                look(&state, &copy, &bytes);
            }
            Ok(_) => {}
            Err(error) => state.store_failed(&error),
        }
    });
}

/// The listener script has answered: what belongs to an answer is done now.
pub async fn answered(state: Rc<State>, asking: Asking, id: &str, bytes: f64) {
    let _busy = asking.busy();
    state.store().await;
    if !state.catalogue.is_wanted() {
        state.leave();
        return;
    }
    keep_manifest(&state, &asking);
    state.saw_accept(&asking);
    let listed = state.catalogue.find(&asking.url, asking.header("accept"));
    if let Listed::As(variant) = listed {
        state.link.asked(&asking.client, variant.id);
    }
    let id = id.parse().ok();
    if let Some(id) = id {
        state.used(id);
    }
    let mut served = asking.served(id);
    served.add(Source::Store, bytes as u64);
    state.served(&served);
}
