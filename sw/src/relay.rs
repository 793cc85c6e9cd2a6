//! The origin's own answer, kept on its way through where it may be.

use std::rc::Rc;

use fugitive_core::{
    ahead::WHOLE,
    cache::{self, Mode, find},
    content::ContentId,
    request::parse_content_range,
};
use fugitive_store::Resource;
use wasm_bindgen::JsValue;
use web_sys::{Response, ResponseInit};

use crate::{
    answer::Head,
    asking::Asking,
    flow::{Flow, Stream},
    origin::{self, Body, Fetching},
    response::{kept_headers, own_headers},
    state::State,
    tally::Source,
    writer::Writer,
};

/// Asks the origin for what the page asks for, as the page asks for it.
pub async fn from_origin(
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

/// An answer of the origin's on its way to the page.
pub async fn relay(
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
        (200, None, _) if may_keep(asking, &response, &headers) => {
            if cache::may_share(&headers) {
                state.catalogue.saw(&asking.url);
            }
            let resource = Resource {
                url: asking.url.clone(),
                id: ContentId([0; 32]),
                len: 0,
                status,
                headers: kept_headers(&headers),
                stored_at: js_sys::Date::now(),
                request_headers: cache::selecting(&asking.headers, &headers),
                listed: false,
                cold: None,
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

/// Whether an answer outside the manifest may be kept, for this visitor alone.
pub fn may_keep(asking: &Asking, response: &Response, headers: &cache::Headers) -> bool {
    let length = find(headers, "content-length").and_then(|value| value.parse::<u64>().ok());
    length.is_none_or(|length| length <= WHOLE)
        // How long a redirect holds is not what its end says.
        && !response.redirected()
        && asking.mode != Mode::NoStore
        && cache::storable(&asking.headers, response.status(), headers)
}
