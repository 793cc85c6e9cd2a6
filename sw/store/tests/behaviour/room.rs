//! A budget that is spent, a disk that is full.

use fugitive_core::{
    content::{BLOCK, ContentId},
    tree::Outboard,
};
use fugitive_store::StoreError;
use wasm_bindgen::JsCast;
use wasm_bindgen_test::wasm_bindgen_test;

use super::{content, js};
use crate::fixture::{cut, fresh, held, noise, resource};

/// Until the clock has moved on: what is used in one millisecond has no order.
async fn later() {
    let then = js_sys::Date::now();
    while js_sys::Date::now() < then + 2.0 {
        let next = js("return new Promise(done => setTimeout(done, 1))");
        let _ =
            wasm_bindgen_futures::JsFuture::from(next.unchecked_into::<js_sys::Promise>()).await;
    }
}

#[wasm_bindgen_test]
async fn least_recently_used_content_goes_first_and_takes_all_that_is_its() {
    let store = fresh().await;
    let all: Vec<_> = (0..4).map(|seed| noise(BLOCK, seed)).collect();
    let resources: Vec<_> = (all.iter().enumerate())
        .map(|(n, bytes)| resource(&format!("https://a.b/{n}"), bytes, true))
        .collect();
    for (resource, bytes) in resources.iter().zip(&all) {
        store
            .put_whole(resource.clone(), cut(bytes, false))
            .await
            .unwrap();
        later().await;
    }
    let tree = Outboard::of(&all[1]);
    store
        .put_outboard(&tree.id(), tree.nodes().to_vec())
        .await
        .unwrap();
    store.touch(vec![resources[0].id]).await.unwrap();
    later().await;

    store.set_budget(4 * BLOCK + 10_000);
    assert_eq!(store.make_room(0).await.unwrap(), []);
    let gone = store.make_room(BLOCK).await.unwrap();
    assert_eq!(gone, [resources[1].id]);
    assert_eq!(content(&store, &all[1]).await, None);
    assert_eq!(store.resource(&resources[1].url).await.unwrap(), None);
    assert_eq!(store.outboard(&tree.id()).await.unwrap(), None);
    let (id, len) = (resources[1].id, resources[1].len);
    assert_eq!(store.read(&id, len, 0..1).await, Err(StoreError::Missing));

    let gone = store.make_room(3 * BLOCK).await.unwrap();
    assert_eq!(gone, [resources[2].id, resources[3].id]);
    let hit = store.hit(&resources[0].url).await.unwrap().unwrap();
    assert_eq!(held(&hit).as_ref(), Some(&all[0]));
    assert_eq!(store.make_room(u64::MAX).await.unwrap(), [resources[0].id]);
    assert_eq!(store.usage().await.unwrap(), 0);
}

#[wasm_bindgen_test]
async fn of_equals_what_many_peers_have_goes_first_and_what_none_has_last() {
    let store = fresh().await;
    let all: Vec<_> = (0..3).map(|seed| noise(BLOCK, seed)).collect();
    let ids: Vec<_> = all.iter().map(|bytes| ContentId::of(bytes)).collect();
    for (n, bytes) in all.iter().enumerate() {
        let resource = resource(&format!("https://a.b/{n}"), bytes, true);
        store.put_whole(resource, cut(bytes, false)).await.unwrap();
    }
    let unknown = ContentId::of(b"not here");
    let near = vec![(ids[0], 0), (unknown, 3), (ids[1], 5)];
    store.set_near(near).await.unwrap();
    let near = async |n: usize| content(&store, &all[n]).await.unwrap().near;
    assert_eq!(near(1).await, Some(5));
    // What is written anew, or used, is as rare as before.
    let groups = cut(&all[1], false);
    let put = store.put_groups(&ids[1], BLOCK, 0, groups, true).await;
    put.unwrap();
    store.touch(ids.clone()).await.unwrap();
    assert_eq!((near(1).await, near(2).await), (Some(5), None));
    let gone = store.make_room(u64::MAX).await.unwrap();
    assert_eq!(gone, [ids[1], ids[2], ids[0]]);
}

#[wasm_bindgen_test]
async fn write_over_the_budget_evicts_others_and_says_which() {
    let store = fresh().await;
    store.set_budget(10 * BLOCK);
    let mut evicted = Vec::new();
    for seed in 0..40 {
        let bytes = noise(BLOCK, seed);
        let resource = resource(&format!("https://a.b/{seed}"), &bytes, true);
        let stored = store.put_whole(resource.clone(), cut(&bytes, false)).await;
        evicted.extend(stored.unwrap().evicted);
        assert!(store.usage().await.unwrap() <= 10 * BLOCK);
    }
    let left = store.holdings().await.unwrap();
    assert!(left.len() >= 8, "{} left", left.len());
    assert_eq!(left.len() + evicted.len(), 40);
    assert!(left.iter().all(|content| !evicted.contains(&content.id)));
    let kept: u64 = left.iter().map(|content| content.kept).sum();
    assert_eq!(store.usage().await.unwrap(), kept);
}

#[wasm_bindgen_test]
async fn more_contents_than_one_transaction_evicts_all_go() {
    let store = fresh().await;
    for seed in 0..70 {
        let bytes = noise(50, seed);
        let resource = resource(&format!("https://a.b/{seed}"), &bytes, true);
        store
            .put_whole(resource.clone(), cut(&bytes, false))
            .await
            .unwrap();
    }
    store.set_budget(0);
    assert_eq!(store.make_room(0).await.unwrap().len(), 70);
    assert_eq!(store.usage().await.unwrap(), 0);
    assert_eq!(store.holdings().await.unwrap(), []);
}

#[wasm_bindgen_test]
async fn content_larger_than_its_part_of_the_budget_leaves_no_trace() {
    let store = fresh().await;
    store.set_budget(4 * BLOCK);
    let small = noise(BLOCK, 1);
    let kept = resource("https://a.b/small", &small, true);
    store
        .put_whole(kept.clone(), cut(&small, false))
        .await
        .unwrap();
    let large = noise(3 * BLOCK, 2);
    let refused = resource("https://a.b/large", &large, true);
    let outcome = store.put_whole(refused.clone(), cut(&large, false)).await;
    assert_eq!(outcome, Err(StoreError::TooLarge));
    assert!(store.hit(&refused.url).await.unwrap().is_none());
    assert_eq!(content(&store, &large).await, None);
    assert!(content(&store, &small).await.is_some());

    // Piece by piece it gets its part, and others stay.
    let groups = cut(&large, false);
    let (id, len) = (refused.id, refused.len);
    let first = store
        .put_groups(&id, len, 0, groups[..16].to_vec(), true)
        .await;
    assert_eq!(first.unwrap().groups, [(0, 16)]);
    let second = store
        .put_groups(&id, len, 16, groups[16..32].to_vec(), true)
        .await;
    assert_eq!(second, Err(StoreError::TooLarge));
    assert!(content(&store, &small).await.is_some());
    let held = store.read(&id, len, 0..16).await.unwrap();
    assert_eq!(held, large[..BLOCK as usize]);
}

/// From now on the browser refuses whatever puts, until something was deleted, as Chromium does
/// when the disk is full; `forever` even then.
fn fill_disk(forever: bool) {
    js(&format!(
        "const store = IDBObjectStore.prototype;
         const {{ put, delete: remove }} = store;
         let full = true;
         store.put = function (...args) {{
             if (full) throw new DOMException('full', 'QuotaExceededError');
             return put.apply(this, args);
         }};
         store.delete = function (...args) {{
             this.transaction.addEventListener('complete', () => {{ full = {forever}; }});
             return remove.apply(this, args);
         }};
         self.restore = () => {{ store.put = put; store.delete = remove; }};"
    ));
}

#[wasm_bindgen_test]
async fn full_disk_makes_room_and_the_write_is_tried_once_more() {
    let store = fresh().await;
    let (old, new) = (noise(BLOCK, 12), noise(BLOCK, 13));
    let before = resource("https://a.b/old", &old, true);
    let after = resource("https://a.b/new", &new, true);
    store
        .put_whole(before.clone(), cut(&old, false))
        .await
        .unwrap();
    fill_disk(false);
    let stored = store.put_whole(after.clone(), cut(&new, false)).await;
    js("self.restore()");
    let stored = stored.unwrap();
    assert_eq!(stored.evicted, [before.id]);
    assert_eq!(stored.groups, [(0, 16)]);
    let hit = store.hit(&after.url).await.unwrap().unwrap();
    assert_eq!(held(&hit), Some(new));
    let left = store.holdings().await.unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(store.usage().await.unwrap(), left[0].kept);
}

#[wasm_bindgen_test]
async fn disk_that_stays_full_is_an_error_that_leaves_no_trace() {
    let store = fresh().await;
    let old = noise(BLOCK, 12);
    let before = resource("https://a.b/old", &old, true);
    let put = store.put_whole(before.clone(), cut(&old, false));
    put.await.unwrap();
    let bytes = noise(BLOCK, 14);
    let resource = resource("https://a.b/x", &bytes, true);
    fill_disk(true);
    let outcome = store.put_whole(resource.clone(), cut(&bytes, false)).await;
    js("self.restore()");
    assert_eq!(outcome, Err(StoreError::Quota));
    assert!(store.hit(&resource.url).await.unwrap().is_none());
    assert_eq!(store.holdings().await.unwrap(), []);
    // What went in vain is told with the next write that succeeds.
    let stored = store.put_whole(resource.clone(), cut(&bytes, false)).await;
    assert_eq!(stored.unwrap().evicted, [before.id]);
}
