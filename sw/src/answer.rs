//! The way of one image: memory, store, peers, network. Each step either answers or passes on.

use std::{ops::Range, rc::Rc};

use fugitive_core::{
    cache,
    content::ContentId,
    manifest::Variant,
    request::{Asked, asked, content_range, parse_content_range},
};
use fugitive_store::Resource;
use futures_channel::oneshot;
use js_sys::Uint8Array;
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::future_to_promise;
use web_sys::{AbortSignal, FetchEvent, Headers, Request, Response, ResponseInit};

use crate::{
    catalogue::Listed,
    flow::{self, Flow, Stream, Won},
    link::Peers,
    log,
    origin::{self, Body, Fetching},
    tally::{Served, Source},
    worker::State,
    writer::Writer,
};

/// The longest resource that is adopted or kept whole, in bytes.
pub const WHOLE: u64 = 16 << 20;

/// One request as it came.
pub struct Asking {
    request: Request,
    url: String,
    client: String,
    named: bool,
    since: f64,
    headers: Vec<(String, String)>,
    event: FetchEvent,
}

impl Asking {
    /// `url` is what is asked for, which for `named` is not the request's own.
    pub fn new(
        event: FetchEvent,
        request: Request,
        url: String,
        client: String,
        named: bool,
    ) -> Self {
        Self {
            headers: origin::headers(&request.headers()),
            request,
            url: match url.split_once('#') {
                Some((before, _)) => before.to_owned(),
                None => url,
            },
            client,
            named,
            since: origin::clock(),
            event,
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// Aborted when the page gives up.
    pub fn signal(&self) -> AbortSignal {
        self.request.signal()
    }

    fn served(&self, id: Option<ContentId>) -> Served {
        Served {
            url: self.url.clone(),
            client: self.client.clone(),
            bytes: [0; 5],
            since: self.since,
            id,
        }
    }

    /// Keeps the worker alive until what is returned is dropped.
    fn busy(&self) -> oneshot::Sender<()> {
        let (sender, receiver) = oneshot::channel::<()>();
        let done = future_to_promise(async move {
            let _ = receiver.await;
            Ok(JsValue::UNDEFINED)
        });
        if let Err(error) = self.event.wait_until(&done) {
            log::debug(&["worker may end early: ", &log::reason(&error)]);
        }
        sender
    }
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers
        .iter()
        .find(|(header, _)| header == name)
        .map(|(_, value)| value.as_str())
}

/// What is known of a resource before its bytes are.
pub struct Head {
    /// The response as it is, or will be, in the store.
    pub resource: Resource,
    /// Whether the origin has the outboard.
    pub bao: bool,
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
            },
            bao: variant.bao,
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

/// A response, or nothing where the browser should ask the network as if we were not there.
pub async fn answer(state: Rc<State>, asking: Asking) -> Result<Option<Response>, JsValue> {
    if !state.catalogue.is_wanted() {
        state.leave();
        return Ok(None);
    }
    if state.is_off(&asking.client).await {
        return Ok(None);
    }
    if let Some(accept) = asking.header("accept") {
        state.accept.replace(accept.to_owned());
    }
    let store = state.store().await;
    keep_manifest(&state, &asking);
    let listed = state.catalogue.find(&asking.url, asking.header("accept"));
    if let Listed::As(variant) = &listed {
        state.link.asked(&asking.client, variant.id);
    }

    if let Some(response) = from_memory(&state, &asking, &listed)? {
        return Ok(Some(response));
    }
    let mut held = Vec::new();
    if let Some(store) = &store {
        match store.hit(&asking.url).await {
            Ok(Some(hit)) if is_fresh(&state, &asking, &hit.resource, &listed) => {
                if let Listed::As(variant) = &listed
                    && variant.id == hit.resource.id
                    && !hit.resource.listed
                {
                    state.share(hit.resource.clone(), hit.groups.clone());
                }
                if let Some(bytes) = hit.bytes {
                    state.memory.borrow_mut().put(&hit.resource, &bytes);
                    state.used(hit.resource.id);
                    return small(&state, &asking, &hit.resource, &bytes, Source::Store);
                }
                let bao = matches!(&listed, Listed::As(variant) if variant.bao);
                let head = Head {
                    resource: hit.resource,
                    bao,
                };
                return from_parts(&state, &asking, head, hit.groups).await;
            }
            Ok(Some(hit)) => unlist(&state, &hit.resource, &listed),
            Ok(None) => {}
            Err(error) => state.store_failed(&error),
        }
        if let Listed::As(variant) = &listed
            && let Ok(Some(content)) = store.content(&variant.id).await
        {
            held = content.groups;
        }
    }
    match listed {
        Listed::As(variant) => {
            let head = Head::listed(&asking.url, &variant);
            from_parts(&state, &asking, head, held).await
        }
        _ if asking.named => Ok(None),
        _ => from_origin(&state, &asking, None).await.map(Some),
    }
}

fn keep_manifest(state: &Rc<State>, asking: &Asking) {
    let now = origin::clock();
    if state.catalogue.is_recent(now) {
        return;
    }
    let busy = asking.busy();
    let state = state.clone();
    wasm_bindgen_futures::spawn_local(async move {
        let store = state.store().await;
        state.catalogue.refresh(store, now, false).await;
        drop(busy);
    });
}

/// Whether a stored copy may be used without asking the origin.
fn is_fresh(state: &State, asking: &Asking, copy: &Resource, listed: &Listed) -> bool {
    if let Listed::As(variant) = listed {
        if variant.id != copy.id {
            return false;
        }
        if state.catalogue.is_recent(origin::clock()) {
            return true;
        }
    }
    cache::fresh(
        &asking.headers,
        &copy.request_headers,
        copy.status,
        &copy.headers,
        copy.stored_at,
        js_sys::Date::now(),
    )
}

/// The origin no longer shares what it once did: neither do we.
fn unlist(state: &Rc<State>, copy: &Resource, listed: &Listed) {
    if copy.listed && *listed == Listed::No {
        state.unshare(copy.id);
    }
}

fn from_memory(
    state: &Rc<State>,
    asking: &Asking,
    listed: &Listed,
) -> Result<Option<Response>, JsValue> {
    let kept = state.memory.borrow_mut().get(&asking.url).cloned();
    let Some((resource, bytes)) = kept else {
        return Ok(None);
    };
    if is_fresh(state, asking, &resource, listed) {
        return small(state, asking, &resource, &bytes, Source::Memory);
    }
    state.memory.borrow_mut().forget(&asking.url);
    Ok(None)
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
    resource: &Resource,
    bytes: &[u8],
    source: Source,
) -> Result<Option<Response>, JsValue> {
    let (range, is_part) = match asked_of(asking, resource) {
        Asked::Several => return Ok(None),
        Asked::Unsatisfiable => return unsatisfiable(asking, resource.len).map(Some),
        Asked::Whole => (0..resource.len, false),
        Asked::Part(range) => (range, true),
    };
    let part = &bytes[range.start as usize..range.end as usize];
    let init = init(asking, resource, &range, is_part)?;
    let body = Uint8Array::from(part);
    let response = Response::new_with_opt_buffer_source_and_init(Some(&body), &init)?;
    let mut served = asking.served(Some(resource.id));
    served.add(source, part.len() as u64);
    state.served(&served);
    Ok(Some(response))
}

/// An answer that is streamed from wherever its parts are.
async fn from_parts(
    state: &Rc<State>,
    asking: &Asking,
    head: Head,
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
        let hedge = flow::hedge(&gap);
        // What is asked for by name has another URL than the request.
        let in_parts = is_part || hedge != gap || asking.named;
        let fetching = async |fetching: &Fetching| {
            if in_parts {
                let url = &head.resource.url;
                fetching.rest(url, hedge.clone(), head.validator()).await
            } else {
                fetching.request(&asking.request).await
            }
        };
        match flow::race(state, &head, gap, fetching).await? {
            Won::Peers(want, bytes, tier) => stream.begin(want, bytes, tier),
            Won::Origin(response) if in_parts && stream.begin_with(&response, &hedge) => {}
            // The page fetches it itself, with its own rights.
            Won::Origin(response) if asking.named => {
                drop(Body::of(&response));
                return Ok(None);
            }
            Won::Origin(response) => {
                if response.ok() && length_of(&response).is_some_and(|stated| stated != len) {
                    state.catalogue.distrust(&asking.url);
                }
                return relay(state, asking, response, Some(&head)).await.map(Some);
            }
        }
    }
    let init = init(asking, &head.resource, &range, is_part)?;
    stream.write_with(Writer::parts(state, head, range, asking.busy()));
    let body = state.body(Flow::new(stream));
    Response::new_with_opt_readable_stream_and_init(Some(&body), &init).map(Some)
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

async fn from_origin(
    state: &Rc<State>,
    asking: &Asking,
    head: Option<&Rc<Head>>,
) -> Result<Response, JsValue> {
    let began = origin::clock();
    let fetching = Fetching::default();
    let response = fetching.request(&asking.request).await?;
    state.origin_answered(origin::clock() - began);
    fetching.keep();
    relay(state, asking, response, head).await
}

/// The origin's own answer, kept on its way through where it may be.
async fn relay(
    state: &Rc<State>,
    asking: &Asking,
    response: Response,
    head: Option<&Rc<Head>>,
) -> Result<Response, JsValue> {
    let status = response.status();
    let headers = origin::headers(&response.headers());
    let length = find(&headers, "content-length").and_then(|value| value.parse::<u64>().ok());
    let mut served = asking.served(None);
    let encoded = find(&headers, "content-encoding").is_some();
    let part = find(&headers, "content-range").and_then(parse_content_range);

    let writer = match (status, head, part) {
        (200, Some(head), _) => Some(Writer::from_origin(state, head.clone(), 0, asking.busy())),
        (206, Some(head), Some((start, len))) if len == head.resource.len => Some(
            Writer::from_origin(state, head.clone(), start, asking.busy()),
        ),
        (200, None, _)
            if length.is_none_or(|length| length <= WHOLE)
                && cache::storable(&asking.headers, status, &headers) =>
        {
            let resource = Resource {
                url: asking.url.clone(),
                id: ContentId([0; 32]),
                len: 0,
                status,
                headers: kept_headers(&headers),
                stored_at: js_sys::Date::now(),
                request_headers: selecting(&asking.headers, &headers),
                listed: false,
            };
            Some(Writer::unlisted(state, resource, asking.busy()))
        }
        _ => None,
    };
    let Some(writer) = writer else {
        served.add(Source::Network, length.unwrap_or_default());
        state.served(&served);
        return Ok(response);
    };
    let start = part.map_or(0, |(start, _)| start);
    // What is decoded on its way has another length than the header says.
    let end = length.filter(|_| !encoded).map(|length| start + length);
    let body = Body::of(&response);
    let init = ResponseInit::new();
    init.set_status(status);
    init.set_status_text(&response.status_text());
    init.set_headers(&own_headers(&headers, encoded)?);
    let mut stream = Stream::relay(state.clone(), head.cloned(), start, end, body, served);
    stream.write_with(writer);
    let body = state.body(Flow::new(stream));
    Response::new_with_opt_readable_stream_and_init(Some(&body), &init)
}

/// Headers without those that speak of the transfer rather than of the content.
fn kept_headers(headers: &[(String, String)]) -> Vec<(String, String)> {
    let transfer = [
        "content-encoding",
        "content-length",
        "connection",
        "transfer-encoding",
    ];
    headers
        .iter()
        .filter(|(name, _)| !transfer.contains(&name.as_str()))
        .cloned()
        .collect()
}

fn own_headers(headers: &[(String, String)], encoded: bool) -> Result<JsValue, JsValue> {
    let own = Headers::new()?;
    for (name, value) in headers {
        let decoded = encoded && (name == "content-encoding" || name == "content-length");
        if !decoded {
            own.append(name, value)?;
        }
    }
    Ok(own.into())
}

/// The request's headers that `Vary` names.
fn selecting(request: &[(String, String)], response: &[(String, String)]) -> Vec<(String, String)> {
    let vary = find(response, "vary").unwrap_or_default();
    let named = |name: &str| vary.split(',').any(|v| v.trim().eq_ignore_ascii_case(name));
    request
        .iter()
        .filter(|(name, _)| named(name))
        .cloned()
        .collect()
}

fn init(
    asking: &Asking,
    resource: &Resource,
    range: &Range<u64>,
    is_part: bool,
) -> Result<ResponseInit, JsValue> {
    let headers = Headers::new()?;
    for (name, value) in &resource.headers {
        headers.append(name, value)?;
    }
    headers.set("accept-ranges", "bytes")?;
    headers.set("content-length", &(range.end - range.start).to_string())?;
    if is_part {
        headers.set("content-range", &content_range(range, resource.len))?;
    }
    if asking.named {
        headers.set("x-fugitive", "1")?;
    }
    let init = ResponseInit::new();
    init.set_status(if is_part { 206 } else { resource.status });
    init.set_status_text(if is_part { "Partial Content" } else { "OK" });
    init.set_headers(&headers);
    Ok(init)
}

fn unsatisfiable(asking: &Asking, len: u64) -> Result<Response, JsValue> {
    let headers = Headers::new()?;
    if asking.named {
        headers.set("x-fugitive", "1")?;
    }
    headers.set("content-range", &["bytes */", &len.to_string()].concat())?;
    let init = ResponseInit::new();
    init.set_status(416);
    init.set_status_text("Range Not Satisfiable");
    init.set_headers(&headers);
    Response::new_with_opt_str_and_init(None, &init)
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
