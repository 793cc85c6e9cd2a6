//! Responses that are made here: headers that are kept, a status, a range.

use std::ops::Range;

use fugitive_core::{cache, request::content_range};
use fugitive_store::Resource;
use wasm_bindgen::JsValue;
use web_sys::{Headers, Response, ResponseInit};

use crate::{answer::copy_of, asking::Asking};

/// What an answer says of itself, whatever the stored one said.
const SET: [&str; 4] = ["accept-ranges", "age", "content-length", "content-range"];

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
pub struct Answer {
    /// Status.
    pub status: u16,
    /// What the status means.
    pub text: &'static str,
    /// Names and values, a line each.
    pub headers: String,
}

impl Answer {
    /// Of a range of a resource.
    pub fn new(asking: &Asking, resource: &Resource, range: &Range<u64>, is_part: bool) -> Self {
        let mut headers = String::new();
        let mut add = |name: &str, value: &str| {
            // A manifest may say what no header is.
            if [name, value].iter().any(|text| text.contains('\n')) {
                return;
            }
            for text in [name, "\n", value, "\n"] {
                headers.push_str(text);
            }
        };
        for (name, value) in &resource.headers {
            if !SET.contains(&name.as_str()) {
                add(name, value);
            }
        }
        add("accept-ranges", "bytes");
        // RFC 9111 §5.1.
        let age = cache::age(&copy_of(resource), js_sys::Date::now());
        add("age", &(age as u32).to_string());
        add("content-length", &(range.end - range.start).to_string());
        if is_part {
            add("content-range", &content_range(range, resource.len));
        }
        if asking.named {
            add("x-fugitive", "1");
        }
        Self {
            status: if is_part { 206 } else { resource.status },
            text: if is_part { "Partial Content" } else { "OK" },
            headers,
        }
    }
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
