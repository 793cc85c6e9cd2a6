//! One request as it came.

use fugitive_core::{
    cache::{Mode, find},
    content::ContentId,
};
use futures_channel::oneshot;
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::future_to_promise;
use web_sys::{AbortSignal, FetchEvent, Request, RequestCache, RequestDestination};

use crate::{log, origin, tally::Served};

/// One request as it came.
#[derive(Clone)]
pub struct Asking {
    /// The page's own.
    pub request: Request,
    /// What is asked for, without its fragment.
    pub url: String,
    /// The page.
    pub client: String,
    /// Asked for by `fugitive.fetch`: the request has another URL.
    pub named: bool,
    /// Its page has us not switched off, as far as the request says.
    pub is_on: bool,
    /// When it came, on the clock of [`origin::clock`].
    pub since: f64,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// How its answer may be come by.
    pub mode: Mode,
    /// When it came, in milliseconds since 1970.
    pub came: f64,
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
            mode: match request.cache() {
                // A named one never is, whatever Firefox makes of its If-Range.
                RequestCache::NoStore if !named => Mode::NoStore,
                RequestCache::Reload => Mode::Reload,
                RequestCache::NoCache => Mode::NoCache,
                RequestCache::ForceCache => Mode::ForceCache,
                RequestCache::OnlyIfCached => Mode::OnlyIfCached,
                _ => Mode::Default,
            },
            request,
            url: match url.split_once('#') {
                Some((before, _)) => before.to_owned(),
                None => url,
            },
            client,
            named,
            is_on: false,
            since: origin::clock(),
            came: js_sys::Date::now(),
            event,
        }
    }

    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// Whether it is read as it is played.
    pub fn plays(&self) -> bool {
        let destination = self.request.destination();
        matches!(
            destination,
            RequestDestination::Video | RequestDestination::Audio
        )
    }

    /// Aborted when the page gives up.
    pub fn signal(&self) -> AbortSignal {
        self.request.signal()
    }

    /// An answer, to be counted.
    pub fn served(&self, id: Option<ContentId>) -> Served {
        Served {
            url: self.url.clone(),
            client: self.client.clone(),
            bytes: [0; 5],
            since: self.since,
            id,
        }
    }

    /// Keeps the worker alive until what is returned is dropped.
    pub fn busy(&self) -> oneshot::Sender<()> {
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
