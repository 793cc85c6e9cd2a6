//! The manifest as this worker knows it: loaded from the store at once, from the origin at most once
//! a minute while media are asked for, and whenever the signal server says that it changed.
//!
//! A look-up never waits for the network: what is not known yet goes to the origin.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeSet, HashMap},
    pin::pin,
    rc::Rc,
};

use fugitive_core::{
    cache::{self, Copy, Mode, Verdict},
    content::ContentId,
    manifest::{self, Entry, MAX_FILE, Manifest, Policy, Variant},
};
use fugitive_store::Store;
use futures_util::future::{join, select};
use gloo::timers::future::TimeoutFuture;
use js_sys::{Date, Promise, Reflect};
use serde::{Deserialize, Serialize};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::{JsFuture, future_to_promise, spawn_local};
use web_sys::{Headers, RequestCache, RequestInit, Response};

use crate::{
    absence,
    claims::{Claim, Claims},
    log, origin,
};

/// The manifest is believed for this long without asking again, in milliseconds.
const BELIEVED_FOR: f64 = 60_000.0;
/// Nobody waits longer for it, in milliseconds: who doubts asks about the resource itself.
const PROVE_WITHIN: f64 = 500.0;
const SAVED: &str = "manifest";
const CHECKED: &str = "manifest.checked";
/// Of the manifest.
const ENTRIES: &str = "entries";

/// Entries as the browser has parsed them. Most are never asked for: each is read when it is, or a cold
/// worker would read all of a site's before its first answer.
struct Entries(JsValue);

impl Entries {
    fn choose(&self, key: &str, accept: Option<&str>) -> Option<Variant> {
        let entry = Reflect::get(&self.0, &key.into()).ok()?;
        if entry.is_undefined() {
            return None;
        }
        let entry: Option<Entry> = serde_wasm_bindgen::from_value(entry).ok();
        match entry.filter(|entry| manifest::is_possible(entry)) {
            Some(entry) => manifest::choose(&entry, accept).cloned(),
            None => {
                log::warn(&["not an entry of the manifest: ", key]);
                None
            }
        }
    }
}

/// The manifest, but for its entries, and those.
struct Index {
    manifest: Manifest,
    entries: Entries,
    /// By which one manifest is told from another.
    id: Option<String>,
}

/// The manifest and what of its shards was needed so far.
pub struct Catalogue {
    origin: String,
    url: String,
    /// The worker's own.
    script: String,
    /// What the manifest's answer last said of whether there is one.
    is_missing: Cell<Option<bool>>,
    /// The site has taken us away.
    gone: Cell<bool>,
    index: RefCell<Option<Index>>,
    shards: RefCell<HashMap<ContentId, Option<Entries>>>,
    /// URLs of which the manifest said what the origin then did not.
    distrusted: RefCell<BTreeSet<String>>,
    etag: RefCell<Option<String>>,
    /// When the origin last said that this is its manifest, in milliseconds since 1970.
    checked_at: Cell<f64>,
    claims: Rc<Claims>,
    refreshing: RefCell<Option<Promise>>,
    refreshing_since: Cell<f64>,
}

/// What the manifest says of a URL.
#[derive(Clone, Debug, PartialEq)]
pub enum Listed {
    /// This is what the origin has.
    As(Variant),
    /// The origin does not share it.
    No,
    /// Not known yet.
    Unknown,
}

impl Listed {
    /// The content that the origin has, where that is known.
    pub fn id(&self) -> Option<ContentId> {
        match self {
            Self::As(variant) => Some(variant.id),
            Self::No | Self::Unknown => None,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Saved {
    etag: Option<String>,
    text: String,
    /// Of the text; none was kept by an earlier version.
    id: Option<String>,
}

/// Read by the listener script too.
#[derive(Serialize, Deserialize)]
struct Checked {
    /// The manifest.
    id: Option<String>,
    at: f64,
}

impl Catalogue {
    /// Knows nothing yet.
    pub fn new(origin: String, url: String, script: String) -> Self {
        Self {
            origin,
            url,
            script,
            is_missing: Cell::default(),
            gone: Cell::default(),
            index: RefCell::default(),
            shards: RefCell::default(),
            distrusted: RefCell::default(),
            etag: RefCell::default(),
            checked_at: Cell::new(f64::NEG_INFINITY),
            claims: Rc::default(),
            refreshing: RefCell::default(),
            refreshing_since: Cell::default(),
        }
    }

    /// What the last instance knew.
    pub async fn load(&self, store: &Store) {
        let (saved, checked) = join(
            store.meta_get::<Saved>(SAVED),
            store.meta_get::<Checked>(CHECKED),
        )
        .await;
        if let Ok(Some(saved)) = saved
            && self.index.borrow().is_none()
            && self.take(&saved).is_ok()
        {
            // One that a later one was to replace was not checked.
            if let Ok(Some(checked)) = checked
                && checked.id == saved.id
            {
                self.checked_at.set(checked.at);
            }
            self.etag.replace(saved.etag);
        }
    }

    /// Whether a URL is another host's: of that only what the manifest lists is ours to keep, since CORS
    /// hides what its headers say.
    pub fn is_elsewhere(&self, url: &str) -> bool {
        manifest::key(&self.origin, url).len() == url.len()
    }

    /// What the site asks of its visitors' clients.
    pub fn policy(&self) -> Policy {
        self.stated_policy().unwrap_or_default()
    }

    /// The same, or nothing while no manifest was read.
    pub fn stated_policy(&self) -> Option<Policy> {
        let index = self.index.borrow();
        index.as_ref().map(|index| index.manifest.policy.clone())
    }

    /// Whether the site wants a worker at all.
    pub fn is_wanted(&self) -> bool {
        self.policy().enabled && !self.gone.get()
    }

    /// Whether the origin was asked for the manifest not long ago.
    pub fn is_recent(&self) -> bool {
        (0.0..BELIEVED_FOR).contains(&(Date::now() - self.checked_at.get()))
    }

    /// By which the manifest that is known is told from another.
    pub fn id(&self) -> Option<String> {
        self.index.borrow().as_ref()?.id.clone()
    }

    /// For how long after it was checked the manifest proves what it lists, in milliseconds.
    pub fn proves_for(variant: &Variant) -> f64 {
        let headers = said(variant);
        let checked = Copy {
            headers: headers.as_slice(),
            request: &[],
            stored_at: 0.0,
        };
        let fresh = cache::fresh_until(&[], &checked).unwrap_or_default();
        fresh.max(BELIEVED_FOR)
    }

    /// When the origin last said that this is its manifest, in milliseconds since 1970.
    pub fn checked_at(&self) -> f64 {
        self.checked_at.get()
    }

    /// Whether the manifest, as it was last checked, proves that this is what the origin has: as if
    /// the origin had answered so then. For a request that came at `came`, and wants to have it so.
    pub fn proves(&self, variant: &Variant, mode: Mode, came: f64) -> bool {
        if mode == Mode::NoCache {
            return self.checked_at.get() >= came;
        }
        let headers = said(variant);
        let checked = Copy {
            headers: headers.as_slice(),
            request: &[],
            stored_at: self.checked_at.get(),
        };
        self.is_recent() || cache::judge(&[], mode, &checked, Date::now()) == Verdict::Fresh
    }

    /// Asks the origin for the manifest unless that was done after `since`; does not wait for long.
    pub async fn prove(self: &Rc<Self>, store: Option<Store>, since: f64) {
        if self.checked_at.get() >= since {
            return;
        }
        let refresh = self.refresh(store, true);
        let waited = Date::now() - self.refreshing_since.get();
        let left = if self.refreshing.borrow().is_some() {
            (PROVE_WITHIN - waited).max(0.0)
        } else {
            PROVE_WITHIN
        };
        select(pin!(refresh), TimeoutFuture::new(left as u32)).await;
    }

    /// What the origin has for a URL and this `Accept`, if that is known without asking.
    pub fn find(self: &Rc<Self>, url: &str, accept: Option<&str>) -> Listed {
        let key = manifest::key(&self.origin, url);
        let index = self.index.borrow();
        let Some(index) = index.as_ref() else {
            return Listed::Unknown;
        };
        if self.distrusted.borrow().contains(url) {
            return Listed::No;
        }
        let found = match index.manifest.shard_of(key) {
            None => index.entries.choose(key, accept),
            Some(shard) => match self.shards.borrow().get(&shard.id) {
                Some(Some(entries)) => entries.choose(key, accept),
                // Being fetched, or not to be had.
                Some(None) => return Listed::Unknown,
                None => {
                    spawn_local(self.clone().fetch_shard(shard.id));
                    return Listed::Unknown;
                }
            },
        };
        found.map_or(Listed::No, Listed::As)
    }

    /// The origin has something else than the manifest says: it is not believed of this URL until
    /// there is another manifest.
    pub fn distrust(&self, url: &str) {
        log::warn(&["the manifest is wrong or old: ", url]);
        self.distrusted.borrow_mut().insert(url.to_owned());
        self.claim(Claim::Differs, url);
    }

    /// The page got something that everybody may have: a server that wants to know of that is told.
    pub fn saw(&self, url: &str) {
        self.claim(Claim::Seen, url);
    }

    fn claim(&self, claim: Claim, url: &str) {
        if self.policy().claims {
            self.claims.claim(claim, self.folder(), url);
        }
    }

    /// Where what belongs to the manifest lies.
    fn folder(&self) -> &str {
        self.url.rsplit_once('/').map_or("", |(folder, _)| folder)
    }

    /// Asks the origin if it is time to, or `at_once`. Who comes while it is asked waits for the same
    /// answer.
    pub async fn refresh(self: &Rc<Self>, store: Option<Store>, at_once: bool) {
        let under_way = self.refreshing.borrow().clone();
        let asked = match under_way {
            Some(asked) => asked,
            None if !at_once && self.is_recent() => return,
            None => {
                self.refreshing_since.set(Date::now());
                let catalogue = self.clone();
                let asked = future_to_promise(async move {
                    catalogue.ask(store).await;
                    catalogue.refreshing.replace(None);
                    Ok(JsValue::UNDEFINED)
                });
                self.refreshing.replace(Some(asked.clone()));
                asked
            }
        };
        let _ = JsFuture::from(asked).await;
    }

    async fn ask(&self, store: Option<Store>) {
        let now = Date::now();
        let fetched = self.fetch().await;
        if let Some(store) = &store {
            // A site that never had a manifest misses none.
            let is_missing = self.is_missing.take();
            let is_missing = is_missing.filter(|missing| !missing || self.index.borrow().is_some());
            let is_gone = absence::is_gone(store, is_missing, &self.script).await;
            self.gone.set(is_gone);
        }
        let saved = match fetched {
            Ok(None) => None,
            Ok(Some(saved)) => match self.take(&saved) {
                Ok(()) => {
                    self.etag.replace(saved.etag.clone());
                    Some(saved)
                }
                Err(why) => {
                    log::warn(&["manifest not used: ", &why]);
                    return self.forget(now);
                }
            },
            Err(why) => {
                // Once a minute at most, also when there is none.
                log::debug(&["no manifest: ", &why]);
                return self.forget(now);
            }
        };
        self.checked_at.set(now);
        if let Some(store) = store {
            let checked = Checked {
                id: self.id(),
                at: now,
            };
            spawn_local(async move {
                // What was proven by another one no longer is, whatever ends this worker in between.
                let _ = store.meta_put(CHECKED, &checked).await;
                if let Some(saved) = saved {
                    let _ = store.meta_put(SAVED, &saved).await;
                }
            });
        }
    }

    /// Without a manifest nothing is shared; the next look is a minute away.
    fn forget(&self, now: f64) {
        self.index.replace(None);
        self.etag.replace(None);
        self.checked_at.set(now);
    }

    fn take(&self, saved: &Saved) -> Result<(), String> {
        let value = json(&saved.text)?;
        let entries = Reflect::get(&value, &ENTRIES.into()).map_err(|e| log::reason(&e))?;
        let none = js_sys::Object::new();
        Reflect::set(&value, &ENTRIES.into(), &none).map_err(|e| log::reason(&e))?;
        let manifest: Manifest =
            serde_wasm_bindgen::from_value(value).map_err(|e| e.to_string())?;
        manifest.check().map_err(|bad| bad.to_string())?;
        self.shards
            .borrow_mut()
            .retain(|id, _| manifest.shards.iter().any(|shard| shard.id == *id));
        self.index.replace(Some(Index {
            manifest,
            entries: Entries(entries),
            id: saved.id.clone(),
        }));
        self.distrusted.take();
        Ok(())
    }

    /// The manifest if it is another than the one we have.
    async fn fetch(&self) -> Result<Option<Saved>, String> {
        let headers = Headers::new().map_err(|e| log::reason(&e))?;
        if let Some(etag) = self.etag.borrow().as_deref() {
            let _ = headers.set("if-none-match", etag);
        }
        let init = RequestInit::new();
        init.set_headers(&headers);
        // We keep it ourselves; an answer from the HTTP cache would prove nothing.
        init.set_cache(RequestCache::NoStore);
        let response = origin::fetch(&self.url, &init)
            .await
            .map_err(|e| log::reason(&e))?;
        self.is_missing.set(absence::says(response.status()));
        if response.status() == 304 {
            return Ok(None);
        }
        let text = text(&response).await?;
        let etag = response.headers().get("etag").ok().flatten();
        let id = ContentId::of(text.as_bytes()).to_hex();
        Ok(Some(Saved {
            etag,
            text,
            id: Some(id),
        }))
    }

    async fn fetch_shard(self: Rc<Self>, id: ContentId) {
        self.shards.borrow_mut().insert(id, None);
        match self.shard(id).await {
            Ok(entries) => {
                self.shards.borrow_mut().insert(id, Some(entries));
            }
            Err(why) => log::warn(&["shard of the manifest not used: ", &why]),
        }
    }

    async fn shard(&self, id: ContentId) -> Result<Entries, String> {
        let url = [self.folder(), "/shard/", &id.to_hex(), ".json"].concat();
        let response = origin::fetch(&url, &RequestInit::new())
            .await
            .map_err(|e| log::reason(&e))?;
        let text = text(&response).await?;
        if ContentId::of(text.as_bytes()) != id {
            return Err("its bytes are not those that the manifest names".into());
        }
        Ok(Entries(json(&text)?))
    }

    /// Where the origin keeps the outboard of a content.
    pub fn outboard_url(&self, id: &ContentId) -> String {
        [self.folder(), "/bao/", &id.to_hex()].concat()
    }
}

/// What the origin says of how it may be kept.
fn said(variant: &Variant) -> Option<(String, String)> {
    let said = variant.cache.clone()?;
    Some(("cache-control".to_owned(), said))
}

async fn text(response: &Response) -> Result<String, String> {
    if !response.ok() {
        return Err(["status ", &response.status().to_string()].concat());
    }
    let text = response.text().map_err(|e| log::reason(&e))?;
    let text = JsFuture::from(text).await.map_err(|e| log::reason(&e))?;
    let length = text.unchecked_ref::<js_sys::JsString>().length();
    if length as usize > MAX_FILE {
        return Err(["too long: ", &length.to_string()].concat());
    }
    text.as_string().ok_or_else(|| "not text".into())
}

/// The browser's own parser does the work, and costs no bytes in the wasm.
fn json(text: &str) -> Result<JsValue, String> {
    js_sys::JSON::parse(text).map_err(|e| log::reason(&e))
}
