//! What a hit and an eviction cost beside more and more contents. A bench: `./tests/run bench cache`
//! reads the line that begins with `cost: `.
#![cfg(target_family = "wasm")]
#![allow(clippy::unwrap_used)]

use fugitive_core::content::ContentId;
use futures_util::future::join_all;
use wasm_bindgen_test::{console_log, wasm_bindgen_test};

mod fixture;

use fixture::{cut, fresh, noise, resource};

wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_dedicated_worker);

const HITS: usize = 100;
/// Writes at once.
const AT_ONCE: usize = 32;
/// Bytes of a content.
const BYTES: u64 = 700;

#[wasm_bindgen_test]
async fn hit_and_eviction_beside_many_contents() {
    let mut rows = Vec::new();
    for stored in [100, 1_000, 10_000] {
        let store = fresh().await;
        let url = |number: usize| format!("https://a.b/{number}.png");
        let numbers: Vec<_> = (0..stored).collect();
        for some in numbers.chunks(AT_ONCE) {
            let puts = some.iter().map(|number| {
                let bytes = noise(BYTES, *number as u32);
                store.put_whole(resource(&url(*number), &bytes, true), cut(&bytes, false))
            });
            for stored in join_all(puts).await {
                stored.unwrap();
            }
        }
        let mut taken: Vec<_> = Vec::new();
        for hit in 0..HITS {
            let url = url(hit * stored / HITS);
            let began = js_sys::Date::now();
            // Ten at a time, since the clock is coarse.
            for _ in 0..10 {
                assert!(store.hit(&url).await.unwrap().is_some());
            }
            taken.push((js_sys::Date::now() - began) / 10.0);
        }
        taken.sort_by(f64::total_cmp);
        let usage = store.usage().await.unwrap();
        store.set_budget(usage);
        let began = js_sys::Date::now();
        let evicted: Vec<ContentId> = store.make_room(usage / 16).await.unwrap();
        let whole = js_sys::Date::now() - began;
        assert!(!evicted.is_empty());
        let each = whole / evicted.len() as f64;
        rows.push(format!(
            "\"{stored}\":{{\"hit_ms\":{:.2},\"evict_ms\":{each:.2},\"whole_ms\":{whole:.0}}}",
            taken[HITS / 2]
        ));
    }
    console_log!("cost: {{{}}}", rows.join(","));
}
