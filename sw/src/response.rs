//! Responses that are made here: headers that are kept, a status, a range.

use std::ops::Range;

use fugitive_core::{cache, request::content_range};
use fugitive_store::Resource;
use wasm_bindgen::JsValue;
use web_sys::{Headers, Response, ResponseInit};

use crate::{answer::copy_of, asking::Asking};

/// Headers without those that speak of the transfer rather than of the content.
pub fn kept_headers(headers: &[(String, String)]) -> Vec<(String, String)> {
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

/// Headers of an answer that the browser has decoded, if it was `encoded`.
pub fn own_headers(headers: &[(String, String)], encoded: bool) -> Result<JsValue, JsValue> {
    let own = Headers::new()?;
    for (name, value) in headers {
        let decoded = encoded && (name == "content-encoding" || name == "content-length");
        if !decoded {
            own.append(name, value)?;
        }
    }
    Ok(own.into())
}

/// Status and headers of an answer from what is held.
pub fn init(
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
    // RFC 9111 §5.1.
    let age = cache::age(&copy_of(resource), js_sys::Date::now());
    headers.set("age", &(age as u32).to_string())?;
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

/// Nothing of what is asked for exists.
pub fn unsatisfiable(asking: &Asking, len: u64) -> Result<Response, JsValue> {
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
