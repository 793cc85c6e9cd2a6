//! The way of one image: memory, store, peers, network. Each step either answers or passes on.

use std::rc::Rc;

use fugitive_core::{
    cache::{self, Copy, Mode, Verdict, find},
    content::group_count,
    manifest::Variant,
    request::{Asked, asked, parse_content_range},
};
use fugitive_store::{Hit, Resource, Store};
use futures_util::future::join;
use js_sys::Uint8Array;
use wasm_bindgen::JsValue;
use web_sys::Response;

use crate::{
    asking::Asking,
    catalogue::Listed,
    cold,
    early::{Early, expected, stored},
    flow::{Flow, Stream},
    link::Peers,
    log,
    memory::Recent,
    origin::{self, Body, Fetching},
    race::{self, Won},
    relay::{from_origin, relay},
    response::{Answer, unsatisfiable},
    state::{Page, State},
    tally::Source,
    validate,
    writer::Writer,
};

/// What is known of a resource before its bytes are.
pub struct Head {
    /// The response as it is, or will be, in the store.
    pub resource: Resource,
    /// Whether the origin has the outboard.
    pub bao: bool,
    /// It is read as it is played.
    pub plays: bool,
}

impl Head {
    pub fn listed(url: &str, variant: &Variant) -> Self {
        let headers = [
            ("content-type", Some(&variant.mime)),
            ("cache-control", variant.cache.as_ref()),
            ("etag", variant.etag.as_ref()),
            ("last-modified", variant.modified.as_ref()),
        ];
        Self {
            resource: Resource {
                url: url.to_owned(),
                id: variant.id,
                len: variant.len,
                status: 200,
                headers: headers
                    .into_iter()
                    .filter_map(|(name, value)| Some((name.to_owned(), value?.clone())))
                    .collect(),
                stored_at: js_sys::Date::now(),
                request_headers: Vec::new(),
                listed: true,
                cold: None,
            },
            bao: variant.bao,
            plays: false,
        }
    }

    /// What proves to the origin that we mean the same bytes.
    pub fn validator(&self) -> Option<&str> {
        let strong = self.header("etag").filter(|tag| !tag.starts_with("W/"));
        strong.or(self.header("last-modified"))
    }

    fn header(&self, name: &str) -> Option<&str> {
        find(&self.resource.headers, name)
    }
}

/// What is held of the response to a URL.
pub struct Held {
    /// The response.
    pub resource: Resource,
    /// All of its bytes, if they are at hand.
    bytes: Option<Uint8Array>,
    groups: Vec<(u32, u32)>,
    source: Source,
    /// Its headers are what the manifest says: those that it came with were not looked at.
    is_stated: bool,
}

impl From<Hit> for Held {
    fn from(hit: Hit) -> Self {
        Self {
            resource: hit.resource,
            bytes: hit.bytes,
            groups: hit.groups,
            source: Source::Store,
            is_stated: false,
        }
    }
}

impl Held {
    /// The store has these bytes, of which the manifest says the rest.
    pub fn stated(resource: Resource, bytes: Uint8Array) -> Self {
        Self {
            groups: vec![(0, group_count(resource.len))],
            resource,
            bytes: Some(bytes),
            source: Source::Store,
            is_stated: true,
        }
    }

    fn is_complete(&self) -> bool {
        self.bytes.is_some() || self.groups == [(0, group_count(self.resource.len))]
    }
}

/// A stored response as the policy sees it.
pub fn copy_of(resource: &Resource) -> Copy<'_> {
    Copy {
        headers: &resource.headers,
        request: &resource.request_headers,
        stored_at: resource.stored_at,
    }
}

/// A response, or nothing where the browser should ask the network as if we were not there.
pub async fn answer(
    state: Rc<State>,
    asking: Asking,
    early: Option<Early>,
) -> Result<Option<Response>, JsValue> {
    if !state.catalogue.is_wanted() {
        state.leave();
        return Ok(None);
    }
    let is_off = async {
        match state.page(&asking.client) {
            // What is at hand does not wait for that.
            Page::Asked(_) if asking.is_on && asking.mode == Mode::Default => false,
            page => page.is_off().await,
        }
    };
    let (is_off, store) = join(is_off, state.store()).await;
    if is_off {
        return Ok(None);
    }
    state.saw_accept(&asking);
    keep_manifest(&state, &asking);
    let find = || state.catalogue.find(&asking.url, asking.header("accept"));
    let mut listed = find();
    let page_asked = {
        let (state, client) = (state.clone(), asking.client.clone());
        let id = listed.id();
        move || {
            if let Some(id) = id {
                state.link.asked(&client, id);
            }
        }
    };
    if matches!(asking.mode, Mode::Reload | Mode::NoStore) {
        page_asked();
        state.forget(&asking.url);
        if state.catalogue.is_elsewhere(&asking.url) {
            return Ok(None);
        }
        return from_network(&state, &asking, &listed).await;
    }

    let held = look(&state, &asking, store.as_ref(), &listed, early).await;
    // What is at hand is not kept waiting for it.
    if held.as_ref().is_some_and(|held| held.bytes.is_some()) {
        state.after_answer(page_asked);
    } else {
        page_asked();
    }
    let weigh = |listed: &Listed| match &held {
        Some(held) => weigh(&state, &asking, &held.resource, listed),
        None => Verdict::Other,
    };
    let mut verdict = weigh(&listed);
    let is_good = matches!(verdict, Verdict::Fresh | Verdict::WhileRevalidating);
    let is_doubtful = |listed: &Listed| match listed {
        Listed::As(variant) => !state.catalogue.proves(variant, asking.mode, asking.came),
        _ => false,
    };
    if !is_good && is_doubtful(&listed) {
        // One look at the manifest proves all that it lists.
        state.catalogue.prove(store.clone(), asking.came).await;
        listed = find();
        verdict = weigh(&listed);
    }
    let is_doubtful = is_doubtful(&listed);
    if state.catalogue.is_elsewhere(&asking.url)
        && (is_doubtful || !matches!(listed, Listed::As(_)))
    {
        return Ok(None);
    }
    let is_good = matches!(verdict, Verdict::Fresh | Verdict::WhileRevalidating);
    let is_at_hand = is_good && held.as_ref().is_some_and(Held::is_complete);
    if !is_at_hand && state.page(&asking.client).is_off().await {
        return Ok(None);
    }
    match (held, verdict) {
        (Some(held), Verdict::Fresh) => return from_copy(&state, &asking, held, &listed).await,
        (Some(held), Verdict::WhileRevalidating) => {
            validate::behind(&state, &asking, &held.resource);
            return from_copy(&state, &asking, held, &listed).await;
        }
        (Some(held), Verdict::Stale { if_error }) if held.is_complete() => {
            unlist(&state, &held.resource, &listed);
            return validate::first(&state, &asking, held, if_error).await;
        }
        (Some(held), _) => unlist(&state, &held.resource, &listed),
        (None, _) => {}
    }
    match &listed {
        _ if asking.mode == Mode::OnlyIfCached => Ok(None),
        Listed::As(variant) if !is_doubtful => {
            let mut groups = Vec::new();
            if let Some(store) = &store
                && let Ok(Some(content)) = store.content(&variant.id).await
            {
                groups = content.groups;
            }
            let head = Head::listed(&asking.url, variant);
            from_parts(&state, &asking, head, groups).await
        }
        _ => from_network(&state, &asking, &listed).await,
    }
}

/// Memory, or else the store.
async fn look(
    state: &Rc<State>,
    asking: &Asking,
    store: Option<&Store>,
    listed: &Listed,
    early: Option<Early>,
) -> Option<Held> {
    let kept = state.memory.borrow_mut().get(&asking.url).cloned();
    // Who asks by name may read the headers.
    if let Some(kept) = kept.filter(|kept| !(kept.is_stated && asking.named)) {
        return Some(Held {
            resource: kept.resource,
            bytes: Some(kept.bytes),
            groups: Vec::new(),
            source: Source::Memory,
            is_stated: false,
        });
    }
    let (store, expect) = (store?, expected(listed).map(|variant| variant.id));
    match early.filter(|early| Some(early.expects()) == expect) {
        Some(early) => early.held(state, store, &asking.url).await,
        None => stored(state, store.hit_expecting(&asking.url, expect).await),
    }
}

/// What may be done with a stored copy.
fn weigh(state: &State, asking: &Asking, copy: &Resource, listed: &Listed) -> Verdict {
    if let Listed::As(variant) = listed {
        if variant.id != copy.id {
            return Verdict::Other;
        }
        if state.catalogue.proves(variant, asking.mode, asking.came) {
            return Verdict::Fresh;
        }
    }
    let now = js_sys::Date::now();
    cache::judge(&asking.headers, asking.mode, &copy_of(copy), now)
}

/// Looks at the manifest behind an answer, if it is time to.
pub fn keep_manifest(state: &Rc<State>, asking: &Asking) {
    if state.catalogue.is_recent() {
        return;
    }
    let busy = asking.busy();
    let state = state.clone();
    wasm_bindgen_futures::spawn_local(async move {
        let store = state.store().await;
        state.catalogue.refresh(store, false).await;
        drop(busy);
    });
}

/// The origin no longer shares what it once did: neither do we.
fn unlist(state: &Rc<State>, copy: &Resource, listed: &Listed) {
    if copy.listed && *listed == Listed::No {
        state.unshare(copy.id);
    }
}

/// What is held, as it is.
pub async fn from_copy(
    state: &Rc<State>,
    asking: &Asking,
    mut held: Held,
    listed: &Listed,
) -> Result<Option<Response>, JsValue> {
    if let Listed::As(variant) = listed
        && variant.id == held.resource.id
        && !held.resource.listed
    {
        held.resource.listed = true;
        state.share(held.resource.clone(), held.groups.clone());
    }
    if let Some(bytes) = held.bytes.take() {
        if held.source == Source::Store {
            state.memory.borrow_mut().put(Recent {
                resource: held.resource.clone(),
                bytes: bytes.clone(),
                is_stated: held.is_stated,
            });
            state.used(held.resource.id);
        }
        return small(state, asking, held, bytes);
    }
    state.used(held.resource.id);
    let head = Head {
        resource: held.resource,
        bao: matches!(listed, Listed::As(variant) if variant.bao),
        plays: false,
    };
    from_parts(state, asking, head, held.groups).await
}

/// The origin's answer. What is asked for by name and is not listed the page gets itself, with its
/// own rights.
async fn from_network(
    state: &Rc<State>,
    asking: &Asking,
    listed: &Listed,
) -> Result<Option<Response>, JsValue> {
    if asking.named {
        return Ok(None);
    }
    let head = match listed {
        Listed::As(variant) => Some(Rc::new(Head::listed(&asking.url, variant))),
        _ => None,
    };
    from_origin(state, asking, head.as_ref()).await.map(Some)
}

fn asked_of(asking: &Asking, resource: &Resource) -> Asked {
    asked(
        asking.header("range"),
        asking.header("if-range"),
        find(&resource.headers, "etag"),
        find(&resource.headers, "last-modified"),
        resource.len,
    )
}

/// An answer whose bytes are all at hand.
fn small(
    state: &Rc<State>,
    asking: &Asking,
    held: Held,
    bytes: Uint8Array,
) -> Result<Option<Response>, JsValue> {
    let resource = held.resource;
    let (range, is_part) = match asked_of(asking, &resource) {
        Asked::Several => return Ok(None),
        Asked::Unsatisfiable => return unsatisfiable(asking, resource.len).map(Some),
        Asked::Whole => (0..resource.len, false),
        Asked::Part(range) => (range, true),
    };
    let part = bytes.subarray(range.start as u32, range.end as u32);
    let head = Answer::new(asking, &resource, &range, is_part);
    let response = state.response(&head, &part)?;
    let mut served = asking.served(Some(resource.id));
    served.add(held.source, u64::from(part.length()));
    let ms = origin::clock() - served.since;
    let then = state.clone();
    state.after_answer(move || {
        then.served_in(&served, ms);
        if held.is_stated {
            cold::look_up(then, resource, bytes);
        } else {
            cold::look(&then, &resource, &bytes);
        }
    });
    Ok(Some(response))
}

/// An answer that is streamed from wherever its parts are.
async fn from_parts(
    state: &Rc<State>,
    asking: &Asking,
    mut head: Head,
    held: Vec<(u32, u32)>,
) -> Result<Option<Response>, JsValue> {
    let len = head.resource.len;
    let (range, is_part) = match asked_of(asking, &head.resource) {
        Asked::Several => return Ok(None),
        Asked::Unsatisfiable => return unsatisfiable(asking, len).map(Some),
        Asked::Whole => (0..len, false),
        Asked::Part(range) => (range, true),
    };
    if len == 0 {
        return Ok(None);
    }
    head.plays = asking.plays();
    let head = Rc::new(head);
    let mut stream = Stream::new(
        state.clone(),
        head.clone(),
        range.clone(),
        held,
        asking.served(Some(head.resource.id)),
    );
    if let Some(gap) = stream.gap() {
        // A large resource comes from the origin only as far as peers are late with it.
        let hedge = race::hedge(&gap);
        // What is asked for by name has another URL than the request.
        // Nor is a range of another host's, whose answer would not say which it is.
        let is_elsewhere = state.catalogue.is_elsewhere(&asking.url);
        let in_parts = (is_part || hedge != gap || asking.named) && !is_elsewhere;
        let fetching = async |fetching: &Fetching, bytes| {
            if in_parts {
                let url = &head.resource.url;
                fetching.rest(url, bytes, head.validator()).await
            } else if asking.named {
                fetching.whole(&asking.url).await
            } else {
                fetching.request(&asking.request).await
            }
        };
        match race::race(state, &head, gap, false, fetching).await? {
            Won::Peers(want, bytes, tier) => stream.begin(want, bytes, tier),
            Won::Origin(response, bytes, behind) => {
                if !(in_parts && stream.begin_with(&response, &bytes, behind)) {
                    if response.ok() && length_of(&response).is_some_and(|stated| stated != len) {
                        state.catalogue.distrust(&asking.url);
                    }
                    // The page fetches it itself, with its own rights.
                    if asking.named {
                        drop(Body::of(&response));
                        return Ok(None);
                    }
                    return relay(state, asking, response, Some(&head)).await.map(Some);
                }
            }
        }
    }
    let answer = Answer::new(asking, &head.resource, &range, is_part);
    stream.write_with(Writer::parts(state, head, range, asking.busy()));
    let body = state.body(Flow::new(stream));
    state.response(&answer, &body).map(Some)
}

/// The whole length that a response of the origin states.
fn length_of(response: &Response) -> Option<u64> {
    let headers = origin::headers(&response.headers());
    if find(&headers, "content-encoding").is_some() {
        return None;
    }
    match find(&headers, "content-range") {
        Some(range) => parse_content_range(range).map(|(_, len)| len),
        None => find(&headers, "content-length")?.parse().ok(),
    }
}

/// Whether peers can be asked now; waits as long as it is worth for a bridge that is coming.
pub async fn peers_ready(state: &Rc<State>) -> bool {
    if state.catalogue.policy().max_wait_ms == 0 {
        return false;
    }
    state.reach_bridge().await;
    loop {
        match state.link.peers() {
            Peers::Here(_) => return true,
            Peers::None => return false,
            Peers::Unknown | Peers::Coming => {}
        }
        let left = state.patience_left();
        if left <= 0.0 {
            log::debug(&["peers are not waited for any longer"]);
            return false;
        }
        let timeout = gloo::timers::future::TimeoutFuture::new(left as u32 + 1);
        futures_util::future::select(state.link.changed(), timeout).await;
    }
}
