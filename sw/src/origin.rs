//! The network side: requests to the origin, their bodies as a stream of pieces.

use std::cell::RefCell;

use js_sys::{Reflect, Uint8Array};
use wasm_bindgen::{JsCast, JsValue, prelude::*};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    AbortController, Headers, ReadableStreamDefaultReader, Request, RequestInit, Response,
};

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_name = fetch, catch)]
    fn fetch_url(url: &str, init: &RequestInit) -> Result<js_sys::Promise, JsValue>;
    #[wasm_bindgen(js_name = fetch, catch)]
    fn fetch_request(request: &Request, init: &RequestInit) -> Result<js_sys::Promise, JsValue>;
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

/// A fetch that ends when it is dropped before it was taken.
pub struct Fetching(RefCell<Option<AbortController>>);

impl Fetching {
    /// One that nothing was fetched with yet.
    pub fn new() -> Self {
        Self(RefCell::new(AbortController::new().ok()))
    }

    /// The page's request as it came.
    pub async fn request(&self, request: &Request) -> Result<Response, JsValue> {
        let promise = fetch_request(request, &self.init())?;
        Ok(JsFuture::from(promise).await?.unchecked_into())
    }

    /// Bytes from `start` on, if the resource is still the one with this validator.
    pub async fn rest(
        &self,
        url: &str,
        start: u64,
        end: u64,
        validator: Option<&str>,
    ) -> Result<Response, JsValue> {
        let headers = Headers::new()?;
        let range = [
            "bytes=",
            &start.to_string(),
            "-",
            &end.saturating_sub(1).to_string(),
        ];
        headers.set("range", &range.concat())?;
        if let Some(validator) = validator {
            headers.set("if-range", validator)?;
        }
        let init = self.init();
        init.set_headers(&headers);
        fetch(url, &init).await
    }

    fn init(&self) -> RequestInit {
        let init = RequestInit::new();
        if let Some(controller) = &*self.0.borrow() {
            init.set_signal(Some(&controller.signal()));
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
            wasm_bindgen_futures::spawn_local(async move {
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
