//! What every driver of the store relies on, against the browser's own IndexedDB. Each test has a
//! database of its own.

use fugitive_core::content::ContentId;
use fugitive_store::{Content, Store};
use js_sys::Function;
use wasm_bindgen::JsValue;

mod holding;
mod room;
mod trouble;

pub async fn content(store: &Store, bytes: &[u8]) -> Option<Content> {
    store.content(&ContentId::of(bytes)).await.unwrap()
}

pub fn js(body: &str) -> JsValue {
    Function::new_no_args(body).call0(&JsValue::NULL).unwrap()
}
