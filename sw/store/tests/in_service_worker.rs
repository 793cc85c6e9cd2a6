//! The store where it is written: in a Service Worker of a real browser.
#![cfg(target_family = "wasm")]
#![allow(clippy::unwrap_used)]

wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_service_worker);

mod behaviour;
mod fixture;
