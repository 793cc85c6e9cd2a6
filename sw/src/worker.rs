//! The worker as the listeners see it: it hears of requests and of messages.

use std::{cell::RefCell, pin::pin, rc::Rc};

use fugitive_core::port::ToBridge;
use futures_channel::oneshot;
use futures_util::future::{Either, select};
use gloo::events::EventListener;
use js_sys::{Array, Promise};
use serde::Serialize;
use serde_wasm_bindgen::Serializer;
use wasm_bindgen::{JsCast, JsValue, prelude::*};
use wasm_bindgen_futures::future_to_promise;
use web_sys::{ExtendableMessageEvent, FetchEvent, MessagePort};

use crate::{ahead, answer, asking::Asking, cold, early::Early, log, shell::Shell, state::State};

/// Resources of a page that was reloaded past the worker.
const MAX_RELOADED: usize = 512;

/// The worker.
#[wasm_bindgen]
pub struct Worker(Rc<State>);

#[wasm_bindgen]
impl Worker {
    /// Starts at once to open the store and to load what is known.
    #[wasm_bindgen(constructor)]
    pub fn new(shell: Shell) -> Self {
        Self(State::begin(shell))
    }

    /// Resolves when the manifest is known, or known not to be had.
    pub fn prepare(&self) -> Promise {
        let state = self.0.clone();
        future_to_promise(async move {
            let store = state.store().await;
            state.catalogue.refresh(store, false).await;
            Ok(JsValue::UNDEFINED)
        })
    }

    /// Whether the site wants a worker, as far as that is known.
    #[wasm_bindgen(js_name = isWanted)]
    pub fn is_wanted(&self) -> bool {
        self.0.catalogue.is_wanted()
    }

    /// Lets go of the store, for good.
    pub fn close(&self) {
        self.0.close();
    }

    /// Resolves with a response, or undefined where the network should answer. `on` is what the request
    /// says of its page: that it has us not switched off.
    pub fn answer(&self, event: FetchEvent, url: String, named: bool, on: bool) -> Promise {
        let state = self.0.clone();
        let request = event.request();
        future_to_promise(async move {
            let early = Early::begin(&state, &request, &url).await;
            let client = event.client_id().unwrap_or_default();
            let mut asking = Asking::new(event, request, url, client, named);
            asking.is_on = on;
            let signal = asking.signal();
            // A page that gives up before the first byte ends all that was begun for it.
            let (given_up, aborted) = oneshot::channel::<()>();
            let given_up = RefCell::new(Some(given_up));
            let _listener = EventListener::once(&signal, "abort", move |_| {
                given_up.take();
            });
            match select(pin!(answer::answer(state, asking, early)), aborted).await {
                Either::Left((response, _)) => {
                    Ok(response?.map_or(JsValue::UNDEFINED, JsValue::from))
                }
                Either::Right(_) => Err(signal.reason()),
            }
        })
    }

    /// The listener script has answered with what is stored; `since` is when it was asked.
    pub fn answered(&self, event: FetchEvent, since: f64, id: String, bytes: f64) -> Promise {
        let state = self.0.clone();
        let request = event.request();
        let url = request.url();
        let client = event.client_id().unwrap_or_default();
        let mut asking = Asking::new(event, request, url, client, false);
        asking.since = since;
        future_to_promise(async move {
            cold::answered(state, asking, &id, bytes).await;
            Ok(JsValue::UNDEFINED)
        })
    }

    /// What is held for a URL is older than what is there. Resolves when it is gone.
    pub fn forget(&self, url: String) -> Promise {
        let state = self.0.clone();
        future_to_promise(async move {
            state.drop_stored(&url).await;
            Ok(JsValue::UNDEFINED)
        })
    }

    /// A message from a page. Resolves when what it asks for is done.
    pub fn heard(&self, event: ExtendableMessageEvent) -> Promise {
        let state = self.0.clone();
        future_to_promise(async move {
            hear(&state, &event).await;
            Ok(JsValue::UNDEFINED)
        })
    }
}

/// A message from a page.
async fn hear(state: &Rc<State>, event: &ExtendableMessageEvent) {
    let data = event.data();
    let field = |name: &str| js_sys::Reflect::get(&data, &name.into()).unwrap_or_default();
    let port = || event.ports().get(0).dyn_into::<MessagePort>().ok();
    let sender = event
        .source()
        .and_then(|source| js_sys::Reflect::get(&source, &"id".into()).ok())
        .and_then(|id| id.as_string())
        .unwrap_or_default();
    match field("fugitive").as_string().as_deref() {
        Some("bridge") => {
            if let Some(port) = port() {
                let handed = field("handed").is_truthy();
                state.link.take(port, &sender, handed, state.clone());
            }
        }
        Some("closing") if state.link.is_with(Some(&sender)) => state.page_went_away(),
        Some("adopt") => {
            let urls: Array = field("urls").dyn_into().unwrap_or_default();
            ahead::adopt(state, urls.iter().filter_map(|url| url.as_string())).await;
        }
        Some("reloaded") => {
            let urls: Array = field("urls").dyn_into().unwrap_or_default();
            for url in urls.iter().take(MAX_RELOADED) {
                if let Some(url) = url.as_string() {
                    state.forget(&url);
                }
            }
        }
        Some("prefetch") => {
            let urls: Array = field("urls").dyn_into().unwrap_or_default();
            ahead::prefetch(state, urls.iter().filter_map(|url| url.as_string())).await;
        }
        Some("expect") => {
            let urls: Array = field("urls").dyn_into().unwrap_or_default();
            let urls = urls.iter().filter_map(|url| url.as_string());
            if let Some(page) = field("page").as_string() {
                ahead::expect(state, &sender, page, urls).await;
            }
        }
        Some("turns") => {
            if let Some(page) = field("page").as_string() {
                state.reach_bridge().await;
                state.link.turns(page);
            }
        }
        Some("lasts") => {
            if let Some((url, seconds)) = field("url").as_string().zip(field("seconds").as_f64()) {
                ahead::lasts(state, &sender, &url, seconds).await;
            }
        }
        Some("stats") => {
            state.settle();
            state.store().await;
            state.reach_bridge().await;
            // What it answers is shown next time.
            state.link.say(&ToBridge::Look {});
            let answer = state.stats().serialize(&Serializer::json_compatible());
            if let (Some(port), Ok(answer)) = (port(), answer) {
                let _ = port.post_message(&answer);
            }
        }
        Some("alone") => {
            state.pace.borrow_mut().peers_are_unwanted();
            state.save_soon();
        }
        Some("closing") => state.link.finished(&sender),
        _ => log::debug(&["a page says what this version does not know"]),
    }
}
