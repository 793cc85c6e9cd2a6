//! One clear line for each fault, in the worker's console.

use wasm_bindgen::JsValue;

/// Something went wrong; the page was served all the same.
pub fn warn(words: &[&str]) {
    web_sys::console::warn_1(&line(words));
}

/// Something that explains what is seen.
pub fn debug(words: &[&str]) {
    web_sys::console::debug_1(&line(words));
}

fn line(words: &[&str]) -> JsValue {
    JsValue::from_str(&["fugitive: ", &words.concat()].concat())
}

/// What a thrown value says.
pub fn reason(error: &JsValue) -> String {
    js_sys::Reflect::get(error, &"message".into())
        .ok()
        .and_then(|message| message.as_string())
        .or_else(|| error.as_string())
        .unwrap_or_default()
}
