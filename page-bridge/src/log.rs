//! One clear line for each fault, in the console of the page or the worker. Never an exception.

use wasm_bindgen::{JsCast, JsValue};
use web_sys::console;

/// Something that a site owner would want to know.
pub fn warn(what: &str) {
    console::warn_1(&["fugitive: ", what].concat().into());
}

/// Something that happens in any healthy swarm.
pub fn debug(what: &str) {
    console::debug_1(&["fugitive: ", what].concat().into());
}

/// What a browser's exception says.
pub fn reason(error: &JsValue) -> String {
    match error.dyn_ref::<js_sys::Error>() {
        Some(error) => error.message().into(),
        None => error.as_string().unwrap_or_default(),
    }
}
