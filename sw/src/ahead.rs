//! What is got before it is asked for: what the browser has already, and what may be wanted next.

use std::{cell::RefCell, ops::Range, rc::Rc};

use fugitive_core::{
    ahead::{AT_ONCE, Ahead, LOOK, WHOLE, reach},
    content::{ContentId, GROUP},
    manifest::Variant,
};
use fugitive_store::Store;
use futures_util::future::Either;
use gloo::timers::future::TimeoutFuture;
use js_sys::Uint8Array;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Headers, RequestCache, RequestInit, RequestMode};

use crate::{
    answer::Head,
    catalogue::Listed,
    link::{Peers, Piece},
    log, origin,
    state::State,
    writer,
};

/// What the manifest has for what a page names.
fn listed(state: &Rc<State>, url: &str) -> Option<Variant> {
    match state.catalogue.find(url, Some(&state.accept.borrow())) {
        Listed::As(variant) => Some(variant),
        _ => None,
    }
}

/// Takes images that a page loaded before we were in control out of the browser's HTTP cache, one at
/// a time; what is not there any more is not fetched.
pub async fn adopt(state: &Rc<State>, urls: impl Iterator<Item = String>) {
    let Some(store) = state.store().await else {
        return;
    };
    state.catalogue.refresh(Some(store.clone()), false).await;
    for url in urls {
        let Some(variant) = listed(state, &url) else {
            continue;
        };
        let has = store.content(&variant.id).await;
        if variant.len > WHOLE || has.is_ok_and(|has| has.is_some_and(|has| has.is_complete())) {
            continue;
        }
        let accept = state.accept.borrow().clone();
        match cached(&url, &accept).await {
            Ok(Some(bytes)) if ContentId::of(&bytes) == variant.id => {
                let head = Head::listed(&url, &variant);
                writer::put_whole(state, head.resource, &bytes).await;
            }
            Ok(Some(_)) => log::debug(&["not adopted, another version is cached: ", &url]),
            Ok(None) => {}
            Err(error) => log::debug(&["not adopted: ", &url, ": ", &log::reason(&error)]),
        }
    }
}

/// A page says what it shows, or will: peers are asked who holds it before it is wanted.
pub async fn expect(
    state: &Rc<State>,
    client: &str,
    page: String,
    urls: impl Iterator<Item = String>,
) {
    let store = state.store().await;
    state.catalogue.refresh(store, false).await;
    let ids = urls.filter_map(|url| Some(listed(state, &url)?.id));
    state.link.expect(client, page, ids.collect());
}

/// A page plays this within so many seconds: peers need not be as fast with it as the network.
pub async fn lasts(state: &Rc<State>, client: &str, url: &str, seconds: f64) {
    let store = state.store().await;
    state.catalogue.refresh(store, false).await;
    if let Some(resource) = listed(state, url) {
        state.reach_bridge().await;
        let rate = (resource.len as f64 / seconds.max(1.0)) as u64;
        let id = resource.id;
        state.link.plays(client, id, rate);
    }
}

/// Has peers send what the page may want next, or the beginning where that is large, some at a time, into
/// the store, until another page begins to. Whatever can't be had from peers is left.
pub async fn prefetch(state: &Rc<State>, urls: impl Iterator<Item = String>) {
    let Some(store) = state.store().await else {
        return;
    };
    let turn = state.prefetches.get() + 1;
    state.prefetches.set(turn);
    if state.catalogue.policy().max_wait_ms == 0 {
        return;
    }
    let queue = RefCell::new(Ahead::new(urls));
    let lanes = (0..AT_ONCE).map(|_| async {
        while state.prefetches.get() == turn {
            state.reach_bridge().await;
            let has_peers = matches!(state.link.peers(), Peers::Here(_));
            let page_waits = origin::is_awaited();
            let url = queue.borrow_mut().next(has_peers, page_waits, now());
            let Some(url) = url else {
                if queue.borrow().is_over() {
                    return;
                }
                let again = queue.borrow().again_at().unwrap_or(now() + LOOK);
                let wait = TimeoutFuture::new(again.saturating_sub(now()) as u32 + 1);
                let changed = futures_util::future::select(state.link.changed(), wait).await;
                if let Either::Left(_) = changed {
                    queue.borrow_mut().peers_changed(now());
                }
                continue;
            };
            let is_lacking = !get(state, &store, &url).await;
            queue.borrow_mut().ended(is_lacking.then_some(url), now());
        }
    });
    futures_util::future::join_all(lanes).await;
}

fn now() -> u64 {
    origin::clock() as u64
}

/// Gets it from peers, unless it is there or can't be shared. Says whether there is nothing left to do.
async fn get(state: &Rc<State>, store: &Store, url: &str) -> bool {
    let Some(variant) = listed(state, url) else {
        return true;
    };
    let end = reach(variant.len, &variant.mime);
    let groups = match store.content(&variant.id).await {
        Ok(Some(content)) if content.is_complete() => return true,
        Ok(Some(content)) => content.groups,
        _ => Vec::new(),
    };
    if end == variant.len {
        let Some(bytes) = bytes(state, &variant, 0..end).await else {
            return false;
        };
        let head = Head::listed(url, &variant);
        writer::put_whole(state, head.resource, &bytes).await;
        return true;
    }
    let begun = groups.first().filter(|run| run.0 == 0);
    let start = begun.map_or(0, |run| u64::from(run.1) * GROUP);
    if start >= end {
        return true;
    }
    let Some(bytes) = bytes(state, &variant, start..end).await else {
        return false;
    };
    writer::put_beginning(state, &variant, start, &bytes).await;
    true
}

/// Bytes of a content from peers, verified group by group in the bridge.
async fn bytes(state: &Rc<State>, variant: &Variant, range: Range<u64>) -> Option<Vec<u8>> {
    let mut want = state.link.prefetch(variant.id, variant.len, range.clone());
    let length = (range.end - range.start) as usize;
    let mut bytes = Vec::with_capacity(length);
    loop {
        match want.next_piece().await {
            // A bridge of before this was asked for parts sends all of it.
            Piece::Bytes {
                offset,
                bytes: piece,
                ..
            } if offset == range.start + bytes.len() as u64 => {
                writer::append(&mut bytes, &piece);
                if bytes.len() > length {
                    bytes.truncate(length);
                    return Some(bytes);
                }
            }
            Piece::End => return (bytes.len() == length).then_some(bytes),
            _ => return None,
        }
    }
}

/// A response's bytes if the browser's HTTP cache has it.
async fn cached(url: &str, accept: &str) -> Result<Option<Vec<u8>>, JsValue> {
    let headers = Headers::new()?;
    headers.set("accept", accept)?;
    let init = RequestInit::new();
    init.set_headers(&headers);
    init.set_cache(RequestCache::OnlyIfCached);
    init.set_mode(RequestMode::SameOrigin);
    let response = origin::fetch(url, &init).await?;
    if response.status() != 200 {
        return Ok(None);
    }
    let buffer = JsFuture::from(response.array_buffer()?).await?;
    Ok(Some(
        Uint8Array::new(buffer.unchecked_ref::<JsValue>()).to_vec(),
    ))
}
