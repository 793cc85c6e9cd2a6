//! The network side: requests to the origin, their bodies as a stream of pieces.

use std::{cell::Cell, ops::Range, rc::Rc};

use js_sys::{Promise, Reflect, Uint8Array};
use wasm_bindgen::{JsCast, JsValue, prelude::*};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{Headers, ReadableStreamDefaultReader, Request, RequestInit, Response};

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_name = fetch, catch)]
    fn fetch_url(url: &str, init: &RequestInit) -> Result<Promise, JsValue>;
    #[wasm_bindgen(js_name = fetch, catch)]
    fn fetch_request(request: &Request) -> Result<Promise, JsValue>;
    #[wasm_bindgen(js_namespace = performance)]
    fn now() -> f64;
}

/// Milliseconds on a clock that does not go back.
pub fn clock() -> f64 {
    now()
}

/// A request of our own.
pub async fn fetch(url: &str, init: &RequestInit) -> Result<Response, JsValue> {
    Ok(JsFuture::from(fetch_url(url, init)?)
        .await?
        .unchecked_into())
}

/// A fetch whose response is cancelled if nobody takes it.
///
/// The page's own request is passed on untouched, with its signal: with an init of ours it would
/// lose its `Range`, which a script may not set on such a request (Fetch, "no-CORS-safelisted").
#[derive(Default)]
pub struct Fetching {
    kept: Rc<Cell<bool>>,
}

impl Fetching {
    /// The page's request as it came.
    pub async fn request(&self, request: &Request) -> Result<Response, JsValue> {
        self.settle(fetch_request(request)?).await
    }

    /// Bytes from `start` on, if the resource is still the one with this validator.
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
        let init = RequestInit::new();
        init.set_headers(&headers);
        self.settle(fetch_url(url, &init)?).await
    }

    async fn settle(&self, promise: Promise) -> Result<Response, JsValue> {
        let guard = Unless {
            kept: self.kept.clone(),
            promise: promise.clone(),
        };
        let response: Response = JsFuture::from(promise).await?.unchecked_into();
        drop(guard);
        Ok(response)
    }

    /// The response is wanted: from here on its body decides.
    pub fn keep(&self) {
        self.kept.set(true);
    }
}

/// Cancels what a promise brings, unless it was kept.
struct Unless {
    kept: Rc<Cell<bool>>,
    promise: Promise,
}

impl Drop for Unless {
    fn drop(&mut self) {
        let (kept, promise) = (self.kept.clone(), self.promise.clone());
        spawn_local(async move {
            if let Ok(response) = JsFuture::from(promise).await
                && !kept.get()
            {
                drop(Body::of(response.unchecked_ref()));
            }
        });
    }
}

/// The value of a `Range` header.
pub fn byte_range(bytes: Range<u64>) -> String {
    let (start, last) = (bytes.start, bytes.end.saturating_sub(1));
    ["bytes=", &start.to_string(), "-", &last.to_string()].concat()
}

/// A response's body; cancelled when dropped.
pub struct Body(Option<ReadableStreamDefaultReader>);

impl Body {
    /// The body of a response, which may have none.
    pub fn of(response: &Response) -> Self {
        Self(
            response
                .body()
                .map(|body| body.get_reader().unchecked_into()),
        )
    }

    /// The next piece, or nothing at the end.
    pub async fn next(&mut self) -> Result<Option<Uint8Array>, JsValue> {
        let Some(reader) = &self.0 else {
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
        if let Some(reader) = &self.0 {
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
