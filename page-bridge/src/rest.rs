//! The page goes first between two steps of ours that together would be a long task.

use js_sys::Promise;
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::JsFuture;
use web_sys::MessageChannel;

/// Resolves in another task. Not by a timer: those of hidden tabs are late by a second.
pub async fn rest() {
    let Ok(channel) = MessageChannel::new() else {
        return;
    };
    let heard = Promise::new(&mut |heard, _| {
        channel.port1().set_onmessage(Some(&heard));
        let _ = channel.port2().post_message(&JsValue::NULL);
    });
    let _ = JsFuture::from(heard).await;
    channel.port1().close();
}
