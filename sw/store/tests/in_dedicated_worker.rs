//! The store where the bridge has it: in a dedicated worker of a real browser.
#![cfg(target_family = "wasm")]
#![allow(clippy::unwrap_used)]

wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_dedicated_worker);

mod behaviour;
mod earlier;
mod fixture;
mod second_context;
