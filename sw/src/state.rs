//! What one instance of the worker knows and does for every request: the store, the pages, the port,
//! what was learnt and counted.

mod bridge;
mod page;

pub use page::Page;

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeSet, HashMap},
    rc::Rc,
};

use fugitive_core::{
    content::ContentId,
    hedge::{LARGE, Pace},
    manners,
    port::ToBridge,
};
use fugitive_store::{Resource, Store, StoreError, Stored};
use futures_util::future::join3;
use gloo::timers::future::TimeoutFuture;
use js_sys::{Object, Promise, Uint8Array};
use serde::Serialize;
use serde_wasm_bindgen::Serializer;
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::{JsFuture, future_to_promise, spawn_local};
use web_sys::{ReadableStream, Response};

use crate::{
    asking::Asking,
    catalogue::Catalogue,
    flow::Flow,
    link::Link,
    log,
    memory::Memory,
    origin,
    response::Answer,
    shell::Shell,
    tally::{Served, Source, Tally},
};

/// What Chromium's images accept.
const ACCEPT: &str = "image/jxl,image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8";
const PACE: &str = "pace";
const TALLY: &str = "tally";
/// A database that could not be opened is not tried again for this long, in milliseconds.
const STORE_AGAIN: f64 = 30_000.0;
/// What was learnt and counted is written down this long after the last change, in milliseconds.
const SAVE_AFTER: u32 = 1_000;
/// What an answer leaves to be done waits until none has followed it for so long, in milliseconds, or
/// for so many times as long.
const AFTER: u32 = 20;
const MAX_AFTER: u32 = 10;

/// What one instance of the worker knows. It may end at any time; what must outlive it is in the
/// store.
pub struct State {
    shell: Shell,
    store: RefCell<Option<Store>>,
    opening: RefCell<Option<Promise>>,
    store_failed_at: Cell<f64>,
    /// The manifest.
    pub catalogue: Rc<Catalogue>,
    /// The port.
    pub link: Rc<Link>,
    /// The hot tier.
    pub memory: RefCell<Memory>,
    /// What was learnt of this origin and its peers.
    pub pace: RefCell<Pace>,
    tally: RefCell<Tally>,
    pages: RefCell<HashMap<String, Page>>,
    /// What images of this browser accept: Chromium's, until one was seen.
    pub accept: RefCell<String>,
    /// When the first request began to wait for a bridge, since peers were last there.
    waiting_since: Cell<Option<f64>>,
    missed: Cell<bool>,
    /// How often a page began to have things fetched ahead: only the last one goes on.
    pub prefetches: Cell<u32>,
    used: RefCell<Vec<ContentId>>,
    /// Copies of which other word is to be written down.
    colds: RefCell<Vec<Resource>>,
    /// URLs that the origin is being asked about behind an answer.
    pub validating: RefCell<BTreeSet<String>>,
    save_pending: Cell<bool>,
    /// What answers have left to be done.
    afters: RefCell<Vec<Box<dyn FnOnce()>>>,
    settling: Cell<bool>,
}

impl State {
    /// Starts at once to open the store and to load what is known.
    pub fn begin(shell: Shell) -> Rc<Self> {
        let catalogue = Catalogue::new(shell.origin(), shell.manifest(), shell.script());
        let state = Rc::new(Self {
            shell,
            store: RefCell::default(),
            opening: RefCell::default(),
            store_failed_at: Cell::new(f64::NEG_INFINITY),
            catalogue: Rc::new(catalogue),
            link: Rc::new(Link::new()),
            memory: RefCell::default(),
            pace: RefCell::default(),
            tally: RefCell::default(),
            pages: RefCell::default(),
            accept: RefCell::new(ACCEPT.to_owned()),
            waiting_since: Cell::new(None),
            missed: Cell::new(false),
            prefetches: Cell::new(0),
            used: RefCell::default(),
            colds: RefCell::default(),
            validating: RefCell::default(),
            save_pending: Cell::new(false),
            afters: RefCell::default(),
            settling: Cell::new(false),
        });
        let begun = state.clone();
        spawn_local(async move {
            begun.store().await;
        });
        state
    }

    /// The store, opened if it is not; nothing where there is none to be had.
    pub async fn store(self: &Rc<Self>) -> Option<Store> {
        if let Some(store) = &*self.store.borrow() {
            return Some(store.clone());
        }
        if origin::clock() - self.store_failed_at.get() < STORE_AGAIN {
            return None;
        }
        let opening = self
            .opening
            .borrow_mut()
            .get_or_insert_with(|| {
                let state = self.clone();
                future_to_promise(async move {
                    state.open().await;
                    Ok(JsValue::UNDEFINED)
                })
            })
            .clone();
        let _ = JsFuture::from(opening).await;
        self.store.borrow().clone()
    }

    /// The store, if it is open.
    pub fn opened(&self) -> Option<Store> {
        self.store.borrow().clone()
    }

    /// Lets go of the store, for good.
    pub fn close(&self) {
        self.store_failed_at.set(f64::INFINITY);
        if let Some(store) = self.store.take() {
            store.close();
        }
    }

    async fn open(self: &Rc<Self>) {
        match Store::open().await {
            Ok(store) => {
                // At once: a hit may be waiting for it.
                let (pace, tally, ()) = join3(
                    store.meta_get::<Pace>(PACE),
                    store.meta_get::<Tally>(TALLY),
                    self.catalogue.load(&store),
                )
                .await;
                let limits = self.catalogue.policy().manners.bounded();
                let (memory, cores) = (self.shell.memory(), self.shell.cores());
                store.set_budget(manners::storage(memory, cores, &limits));
                if let Ok(Some(pace)) = pace {
                    self.pace.replace(pace);
                }
                if let Ok(Some(tally)) = tally {
                    self.tally.replace(tally);
                }
                self.store.replace(Some(store));
            }
            Err(error) => {
                self.store_failed_at.set(origin::clock());
                log::warn(&["no store: ", &error.to_string()]);
            }
        }
        self.opening.replace(None);
    }

    /// The store said that something is wrong: if it is gone, it is opened again when next needed.
    pub fn store_failed(&self, error: &StoreError) {
        match error {
            StoreError::Missing => return,
            StoreError::Gone => {
                self.store.replace(None);
                self.memory.replace(Memory::default());
            }
            _ => {}
        }
        log::warn(&["store: ", &error.to_string()]);
    }

    /// The bridge is told what can be served from now on, and what no longer.
    pub fn stored(&self, id: ContentId, len: u64, stored: Stored) {
        self.evicted(stored.evicted);
        self.link.say(&ToBridge::Stored {
            id,
            len,
            groups: stored.groups,
        });
    }

    /// The same of what had to make room.
    pub fn evicted(&self, ids: Vec<ContentId>) {
        for id in ids {
            self.link.say(&ToBridge::Dropped { id });
        }
    }

    /// The origin's first byte came after this; the bridge is told what is now expected of it.
    pub fn origin_answered(&self, ms: f64) {
        self.pace.borrow_mut().origin_answered(ms);
        self.tell_origin();
    }

    fn tell_origin(&self) {
        let policy = self.catalogue.stated_policy();
        if let Some(policy) = &policy {
            self.link.policy(&policy.manners);
        }
        // What is to be spared is nobody's rival; whether it is, a manifest must have said.
        if policy.is_none_or(|policy| policy.spare_origin) {
            return;
        }
        if let Some((first_byte, rate)) = self.pace.borrow().expects() {
            self.link.say(&ToBridge::Origin {
                first_byte: first_byte as u32,
                rate: rate as u64,
            });
        }
    }

    /// An answer was this much later than the network alone would have been, as far as can be said.
    pub fn regret(&self, ms: f64) {
        self.tally.borrow_mut().regret(ms);
    }

    /// How much longer a request waits for a bridge that is coming, in milliseconds.
    pub fn patience_left(&self) -> f64 {
        let now = origin::clock();
        let since = self.waiting_since.get().unwrap_or(now);
        self.waiting_since.set(Some(since));
        let patience = self.pace.borrow().patience(&self.catalogue.policy());
        let left = since + patience - now;
        if left <= 0.0 && patience > 0.0 && !self.missed.replace(true) {
            self.pace.borrow_mut().peers_did_not_come();
        }
        left
    }

    /// A copy still holds, with these headers.
    pub fn renew(self: &Rc<Self>, resource: Resource) {
        self.memory.borrow_mut().renew(&resource);
        let state = self.clone();
        spawn_local(async move {
            if let Some(store) = state.store().await
                && let Err(error) = store.put_resource(resource).await
            {
                state.store_failed(&error);
            }
        });
    }

    /// What is stored for a URL is not used again.
    pub fn forget(self: &Rc<Self>, url: &str) {
        self.memory.borrow_mut().forget(url);
        let (state, url) = (self.clone(), url.to_owned());
        spawn_local(async move { state.drop_stored(&url).await });
    }

    /// The same; it is over when nothing is stored any more.
    pub async fn drop_stored(self: &Rc<Self>, url: &str) {
        self.memory.borrow_mut().forget(url);
        if let Some(store) = self.store().await
            && let Err(error) = store.remove_resource(url).await
        {
            self.store_failed(&error);
        }
    }

    /// The manifest lists what was stored before it did: from now on it may be served.
    pub fn share(self: &Rc<Self>, mut resource: Resource, groups: Vec<(u32, u32)>) {
        let state = self.clone();
        spawn_local(async move {
            resource.listed = true;
            let (id, len) = (resource.id, resource.len);
            let Some(store) = state.store().await else {
                return;
            };
            match store.put_resource(resource).await {
                Ok(_) => {
                    let _ = store.set_shared(&id, true).await;
                    state.link.say(&ToBridge::Stored { id, len, groups });
                }
                Err(error) => state.store_failed(&error),
            }
        });
    }

    /// The origin no longer shares a content.
    pub fn unshare(self: &Rc<Self>, id: ContentId) {
        self.link.say(&ToBridge::Dropped { id });
        let state = self.clone();
        spawn_local(async move {
            if let Some(store) = state.store().await
                && let Err(error) = store.set_shared(&id, false).await
            {
                state.store_failed(&error);
            }
        });
    }

    /// A content was used; written down with the next save.
    pub fn used(&self, id: ContentId) {
        self.used.borrow_mut().push(id);
    }

    /// Other word of a copy; written down with the next save.
    pub fn cold_changed(self: &Rc<Self>, resource: Resource) {
        self.colds.borrow_mut().push(resource);
        self.save_soon();
    }

    /// The sum of bytes, in Base64, as a promise.
    pub fn digest(&self, bytes: &Uint8Array) -> Promise {
        self.shell.digest(bytes)
    }

    /// What this browser's images accept, if this is one.
    pub fn saw_accept(&self, asking: &Asking) {
        let accept = asking.header("accept");
        if let Some(accept) = accept.filter(|accept| accept.contains("image/")) {
            self.accept.replace(accept.to_owned());
        }
    }

    /// What `stats()` shows.
    pub fn stats(&self) -> Tally {
        self.tally.borrow().clone().shown(&self.link)
    }

    /// A flow as a body.
    pub fn body(&self, flow: Flow) -> ReadableStream {
        self.shell.body(flow)
    }

    /// An answer, of bytes or of a stream.
    pub fn response(&self, head: &Answer, body: &Object) -> Result<Response, JsValue> {
        self.shell
            .response(body, head.status, head.text, &head.headers)
    }

    /// What an answer leaves to be done, when it is on its way to the page and none has followed it.
    pub fn after_answer(self: &Rc<Self>, act: impl FnOnce() + 'static) {
        self.afters.borrow_mut().push(Box::new(act));
        if self.settling.replace(true) {
            return;
        }
        let state = self.clone();
        spawn_local(async move {
            for _ in 0..MAX_AFTER {
                let before = state.afters.borrow().len();
                TimeoutFuture::new(AFTER).await;
                if state.afters.borrow().len() == before {
                    break;
                }
            }
            state.settling.set(false);
            state.settle();
        });
    }

    /// All that answers have left is done now.
    pub fn settle(&self) {
        for act in self.afters.take() {
            act();
        }
    }

    /// An answer went out: counted, and the page is told.
    pub fn served(self: &Rc<Self>, served: &Served) {
        self.served_in(served, origin::clock() - served.since);
    }

    /// The same of one that took so many milliseconds.
    pub fn served_in(self: &Rc<Self>, served: &Served, took: f64) {
        #[derive(Serialize)]
        struct Message<'a> {
            fugitive: &'static str,
            url: &'a str,
            source: &'static str,
            bytes: f64,
            ms: f64,
        }
        self.tally.borrow_mut().count(served);
        let from_peers =
            served.bytes[Source::Tier1 as usize] + served.bytes[Source::Tier2 as usize];
        if from_peers == served.total()
            && from_peers <= LARGE
            && let Some(regret) = self.pace.borrow().regret(from_peers, took)
        {
            self.regret(regret);
        }
        self.save_soon();
        let message = Message {
            fugitive: "served",
            url: &served.url,
            source: served.source(),
            bytes: served.total() as f64,
            ms: took,
        };
        if let Ok(message) = message.serialize(&Serializer::json_compatible()) {
            self.shell.say(&served.client, &message);
        }
    }

    /// The site wants no worker any more: what is open is answered by the network from now on.
    pub fn leave(&self) {
        log::warn(&["the site wants none"]);
        let left = self.shell.leave();
        spawn_local(async move {
            let _ = JsFuture::from(left).await;
        });
    }

    /// What was learnt and counted goes into the store, after a while.
    pub fn save_soon(self: &Rc<Self>) {
        if self.save_pending.replace(true) {
            return;
        }
        let state = self.clone();
        spawn_local(async move {
            TimeoutFuture::new(SAVE_AFTER).await;
            state.save_pending.set(false);
            let (pace, tally) = (state.pace.borrow().clone(), state.tally.borrow().clone());
            let (used, colds) = (state.used.take(), state.colds.take());
            if let Some(store) = state.store().await {
                let _ = store.touch(used).await;
                if !colds.is_empty() {
                    let _ = store.put_cold(colds).await;
                }
                let _ = store.meta_put(PACE, &pace).await;
                let _ = store.meta_put(TALLY, &tally).await;
            }
        });
    }
}
