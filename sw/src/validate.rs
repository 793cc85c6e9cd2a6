//! A copy that is no longer fresh is not fetched again before the origin says that it has another one
//! (RFC 9111 §4.3).

use std::rc::Rc;

use fugitive_core::{cache, content::ContentId};
use fugitive_store::Resource;
use js_sys::Uint8Array;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::Response;

use crate::{
    answer::{Held, from_copy},
    asking::Asking,
    catalogue::Listed,
    log,
    origin::{self, Body, Fetching},
    relay::{may_keep, relay},
    response::kept_headers,
    state::State,
    writer,
};

/// The copy if the origin says that it still holds, else what the origin has now. `if_error` says
/// that it will do where the origin can't answer (RFC 5861 §4).
pub async fn first(
    state: &Rc<State>,
    asking: &Asking,
    mut held: Held,
    if_error: bool,
) -> Result<Option<Response>, JsValue> {
    let began = origin::clock();
    let fetching = Fetching::default();
    let condition = cache::condition(&held.resource.headers);
    let answer = match condition {
        None if !asking.named => fetching.request(&asking.request).await,
        condition => fetching.whether(asking, condition).await,
    };
    let response = match answer {
        Ok(response) if response.status() < 500 || !if_error => response,
        Err(error) if !if_error => return Err(error),
        _ => return from_copy(state, asking, held, &Listed::No).await,
    };
    state.origin_answered(origin::clock() - began);
    if response.status() == 304 {
        if renewed(state, asking, &mut held.resource, &response) {
            return from_copy(state, asking, held, &Listed::No).await;
        }
        // It speaks of another response than the one we asked about.
        let response = fetching.whether(asking, None).await?;
        fetching.keep();
        return relay(state, asking, response, None).await.map(Some);
    }
    let headers = origin::headers(&response.headers());
    if response.status() != 206 && !may_keep(asking, &response, &headers) {
        state.forget(&asking.url);
    }
    fetching.keep();
    relay(state, asking, response, None).await.map(Some)
}

/// Asks about a copy that has been used already (RFC 5861 §3).
pub fn behind(state: &Rc<State>, asking: &Asking, copy: &Resource) {
    if !state.validating.borrow_mut().insert(asking.url.clone()) {
        return;
    }
    let (state, asking, copy) = (state.clone(), asking.clone(), copy.clone());
    let busy = asking.busy();
    spawn_local(async move {
        if let Err(error) = ask(&state, &asking, copy).await {
            log::debug(&[&asking.url, " is not validated: ", &log::reason(&error)]);
        }
        state.validating.borrow_mut().remove(&asking.url);
        drop(busy);
    });
}

async fn ask(state: &Rc<State>, asking: &Asking, mut copy: Resource) -> Result<(), JsValue> {
    let fetching = Fetching::default();
    let condition = cache::condition(&copy.headers);
    let response = fetching.whether(asking, condition).await?;
    if response.status() == 304 {
        renewed(state, asking, &mut copy, &response);
        return Ok(());
    }
    let headers = origin::headers(&response.headers());
    if response.status() != 200 || !may_keep(asking, &response, &headers) {
        drop(Body::of(&response));
        return Ok(());
    }
    let buffer = JsFuture::from(response.array_buffer()?).await?;
    let bytes = Uint8Array::new(buffer.unchecked_ref::<JsValue>()).to_vec();
    let resource = Resource {
        id: ContentId::of(&bytes),
        len: bytes.len() as u64,
        headers: kept_headers(&headers),
        stored_at: js_sys::Date::now(),
        request_headers: cache::selecting(&asking.headers, &headers),
        listed: false,
        cold: None,
        ..copy
    };
    fetching.keep();
    writer::put_whole(state, resource, &bytes).await;
    Ok(())
}

/// Writes down that a copy still holds; `false` if the origin meant another one.
fn renewed(state: &Rc<State>, asking: &Asking, copy: &mut Resource, told: &Response) -> bool {
    let headers = origin::headers(&told.headers());
    if !cache::validated(&mut copy.headers, &headers) {
        state.forget(&asking.url);
        return false;
    }
    copy.stored_at = js_sys::Date::now();
    copy.cold = None;
    if cache::may_keep(&copy.headers) {
        state.renew(copy.clone());
    } else {
        state.forget(&asking.url);
    }
    true
}
