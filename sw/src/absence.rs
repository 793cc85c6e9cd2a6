//! Whether the site has taken us away without a word: the manifest that it had, or the worker's own
//! script, has answered 404 or 410 for an hour. A network that fails says nothing of it.

use fugitive_store::Store;
use web_sys::{RequestCache, RequestInit};

use crate::origin;

/// Under which the store keeps since when what is missing: manifest, script, and when the script was
/// last asked for. Milliseconds of the date; 0 is not missing.
const ABSENCE: &str = "absence";
const HOUR: f64 = 3_600_000.0;
/// Of the script, while it is there.
const ASKED_EVERY: f64 = HOUR / 2.0;

/// Takes in what the manifest just answered (`None` where that says nothing).
pub async fn is_gone(store: &Store, manifest: Option<bool>, script: &str) -> bool {
    let now = js_sys::Date::now();
    let kept = store.meta_get::<[f64; 3]>(ABSENCE).await.ok().flatten();
    let before = kept.unwrap_or_default();
    let mut after = before;
    let [manifest_since, script_since, asked] = &mut after;
    take(manifest_since, manifest, now);
    if *script_since > 0.0 || now - *asked > ASKED_EVERY {
        *asked = now;
        take(script_since, is_missing(script).await, now);
    }
    if after != before {
        let _ = store.meta_put(ABSENCE, &after).await;
    }
    after[..2]
        .iter()
        .any(|since| *since > 0.0 && now - since >= HOUR)
}

/// Whether this status says that there is no such thing; nothing where it does not know.
pub fn says(status: u16) -> Option<bool> {
    match status {
        404 | 410 => Some(true),
        200..=399 => Some(false),
        _ => None,
    }
}

fn take(since: &mut f64, is_missing: Option<bool>, now: f64) {
    match is_missing {
        Some(true) if *since == 0.0 => *since = now,
        Some(false) => *since = 0.0,
        _ => {}
    }
}

async fn is_missing(script: &str) -> Option<bool> {
    let init = RequestInit::new();
    init.set_method("HEAD");
    init.set_cache(RequestCache::NoStore);
    says(origin::fetch(script, &init).await.ok()?.status())
}
