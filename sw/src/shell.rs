//! What the listener script does for us: what Rust could not reach without a page of bindings.

use js_sys::{Object, Promise, Uint8Array};
use wasm_bindgen::prelude::*;
use web_sys::{ReadableStream, Response};

use crate::flow::Flow;

#[wasm_bindgen]
extern "C" {
    /// What the listener script does for us.
    pub type Shell;
    /// The origin that we serve.
    #[wasm_bindgen(method, getter)]
    pub fn origin(this: &Shell) -> String;
    /// Where the manifest is.
    #[wasm_bindgen(method, getter)]
    pub fn manifest(this: &Shell) -> String;
    /// Where the worker's own script is.
    #[wasm_bindgen(method, getter)]
    pub fn script(this: &Shell) -> String;
    /// A flow as a body.
    #[wasm_bindgen(method)]
    pub fn body(this: &Shell, flow: Flow) -> ReadableStream;
    /// A response of bytes or a stream, with names and values of headers on a line each.
    #[wasm_bindgen(method, catch)]
    pub fn response(
        this: &Shell,
        body: &Object,
        status: u16,
        text: &str,
        headers: &str,
    ) -> Result<Response, JsValue>;
    /// The client id of the window that holds the swarm, or undefined.
    #[wasm_bindgen(method)]
    pub fn holder(this: &Shell) -> Promise;
    /// A client by its id, or undefined.
    #[wasm_bindgen(method)]
    pub fn client(this: &Shell, id: &str) -> Promise;
    /// `navigator.deviceMemory`, in GiB, where the browser tells it.
    #[wasm_bindgen(method, getter)]
    pub fn memory(this: &Shell) -> Option<f32>;
    /// `navigator.hardwareConcurrency`.
    #[wasm_bindgen(method, getter)]
    pub fn cores(this: &Shell) -> Option<u32>;
    /// Whether the page with this client id has us switched off.
    #[wasm_bindgen(method, js_name = isOff)]
    pub fn is_off(this: &Shell, id: &str) -> Promise;
    /// Takes everything away: the site wants no worker any more.
    #[wasm_bindgen(method)]
    pub fn leave(this: &Shell) -> Promise;
    /// The SHA-256 sum of bytes, in Base64.
    #[wasm_bindgen(method)]
    pub fn digest(this: &Shell, bytes: &Uint8Array) -> Promise;
    /// A message to a page, if it is still there.
    #[wasm_bindgen(method)]
    pub fn say(this: &Shell, id: &str, message: &JsValue);
}
