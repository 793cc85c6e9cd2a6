//! The network side: requests to the origin, their bodies as a stream of pieces.

use std::{
    cell::{Cell, RefCell},
    ops::Range,
};

use js_sys::{Promise, Reflect, Uint8Array};
use wasm_bindgen::{JsCast, JsValue, prelude::*};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{
    AbortController, AbortSignal, Headers, ReadableStreamDefaultReader, Request, RequestCache,
    RequestCredentials, RequestInit, RequestMode, Response,
};

use crate::asking::Asking;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_name = fetch, catch)]
    fn fetch_url(url: &str, init: &RequestInit) -> Result<Promise, JsValue>;
    #[wasm_bindgen(js_name = fetch, catch)]
    fn fetch_request(request: &Request) -> Result<Promise, JsValue>;
    #[wasm_bindgen(js_name = fetch, catch)]
    fn fetch_request_with(request: &Request, init: &RequestInit) -> Result<Promise, JsValue>;
    #[wasm_bindgen(js_namespace = performance)]
    fn now() -> f64;
}

/// Milliseconds on a clock that does not go back.
pub fn clock() -> f64 {
    now()
}

/// A request of our own.
pub async fn fetch(url: &str, init: &RequestInit) -> Result<Response, JsValue> {
    settle(fetch_url(url, init)?).await
}

thread_local! {
    static AWAITED: Cell<u32> = const { Cell::new(0) };
}

/// Whether a page waits for something that the origin is asked for, or may be.
pub fn is_awaited() -> bool {
    AWAITED.get() > 0
}

/// A page waits for something that the origin is asked for, or may be.
pub struct Awaited(());

impl Default for Awaited {
    fn default() -> Self {
        AWAITED.set(AWAITED.get() + 1);
        Self(())
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        AWAITED.set(AWAITED.get() - 1);
    }
}

/// A fetch that is aborted when this is dropped, unless its response was kept.
pub struct Fetching(RefCell<Option<AbortController>>);

impl Default for Fetching {
    fn default() -> Self {
        Self(RefCell::new(AbortController::new().ok()))
    }
}

impl Fetching {
    /// The page's request as it came, but for an end of our own beside the page's.
    ///
    /// One with a `Range` is passed on untouched: with an init it would lose it, because a script
    /// may not set that header on such a request (Fetch, "request-no-cors" guard).
    pub async fn request(&self, request: &Request) -> Result<Response, JsValue> {
        if request.headers().has("range")? {
            return awaited(fetch_request(request)?).await;
        }
        let init = self.init(Some(&request.signal()));
        // With an init these would be the worker's.
        init.set_referrer(&request.referrer());
        init.set_referrer_policy(request.referrer_policy());
        awaited(fetch_request_with(request, &init)?).await
    }

    /// What the page asks for, on a condition if there is one. Not by the page's own request, to which
    /// no header can be added; past the browser's cache, which would answer for the origin.
    pub async fn whether(
        &self,
        asking: &Asking,
        condition: Option<(&str, &str)>,
    ) -> Result<Response, JsValue> {
        let headers = Headers::new()?;
        for name in ["accept", "range"] {
            if let Some(value) = asking.header(name) {
                headers.set(name, value)?;
            }
        }
        if let Some((name, value)) = condition {
            headers.set(name, value)?;
        }
        let request = &asking.request;
        let init = self.init(Some(&request.signal()));
        init.set_headers(&headers);
        init.set_cache(RequestCache::NoStore);
        init.set_credentials(request.credentials());
        init.set_mode(RequestMode::SameOrigin);
        init.set_referrer(&request.referrer());
        init.set_referrer_policy(request.referrer_policy());
        awaited(fetch_url(&asking.url, &init)?).await
    }

    /// Bytes of a resource, if it is still the one with this validator.
    pub async fn rest(
        &self,
        url: &str,
        bytes: Range<u64>,
        validator: Option<&str>,
    ) -> Result<Response, JsValue> {
        let headers = Headers::new()?;
        headers.set("range", &byte_range(bytes))?;
        if let Some(validator) = validator {
            headers.set("if-range", validator)?;
        }
        let init = self.init(None);
        init.set_headers(&headers);
        awaited(fetch_url(url, &init)?).await
    }

    /// A resource, as anybody gets it.
    pub async fn whole(&self, url: &str) -> Result<Response, JsValue> {
        let init = self.init(None);
        init.set_credentials(RequestCredentials::SameOrigin);
        awaited(fetch_url(url, &init)?).await
    }

    fn init(&self, page: Option<&AbortSignal>) -> RequestInit {
        let init = RequestInit::new();
        if let Some(controller) = &*self.0.borrow() {
            let signal = controller.signal();
            match page {
                Some(page) => {
                    let both = js_sys::Array::of2(page, &signal);
                    init.set_signal(Some(&AbortSignal::any(&both)));
                }
                None => init.set_signal(Some(&signal)),
            }
        }
        init
    }

    /// The response is wanted: from here on its body decides.
    pub fn keep(&self) {
        self.0.take();
    }
}

impl Drop for Fetching {
    fn drop(&mut self) {
        if let Some(controller) = self.0.take() {
            controller.abort();
        }
    }
}

async fn awaited(promise: Promise) -> Result<Response, JsValue> {
    let _awaited = Awaited::default();
    settle(promise).await
}

async fn settle(promise: Promise) -> Result<Response, JsValue> {
    Ok(JsFuture::from(promise).await?.unchecked_into())
}

/// The value of a `Range` header.
pub fn byte_range(bytes: Range<u64>) -> String {
    let (start, last) = (bytes.start, bytes.end.saturating_sub(1));
    ["bytes=", &start.to_string(), "-", &last.to_string()].concat()
}

/// A response's body; cancelled when dropped.
pub struct Body(Option<(ReadableStreamDefaultReader, Awaited)>);

impl Body {
    /// The body of a response, which may have none.
    pub fn of(response: &Response) -> Self {
        let body = response.body();
        Self(body.map(|body| (body.get_reader().unchecked_into(), Awaited::default())))
    }

    /// The next piece, or nothing at the end.
    pub async fn next(&mut self) -> Result<Option<Uint8Array>, JsValue> {
        let Some((reader, _)) = &self.0 else {
            return Ok(None);
        };
        let read = JsFuture::from(reader.read()).await?;
        if Reflect::get(&read, &"done".into())?.is_truthy() {
            self.0 = None;
            return Ok(None);
        }
        Ok(Some(Reflect::get(&read, &"value".into())?.unchecked_into()))
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if let Some((reader, _)) = &self.0 {
            // Cancelling a body that failed rejects; that it failed is known already.
            let cancelled = reader.cancel();
            spawn_local(async move {
                let _ = JsFuture::from(cancelled).await;
            });
        }
    }
}

/// All headers of a request or response, names in lower case.
pub fn headers(headers: &Headers) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for entry in js_sys::try_iter(headers)
        .ok()
        .flatten()
        .into_iter()
        .flatten()
    {
        let Ok(entry) = entry else { break };
        let pair: js_sys::Array = entry.unchecked_into();
        if let (Some(name), Some(value)) = (pair.get(0).as_string(), pair.get(1).as_string()) {
            all.push((name, value));
        }
    }
    all
}
