//! What every driver of the store relies on, against the browser's own IndexedDB. Each test has a
//! database of its own.

use std::cell::Cell;

use fugitive_core::{
    content::{BLOCK, ContentId, GROUP, GROUPS_PER_BLOCK, group_bytes, group_count},
    deflate::{Kept, keep},
    tree::Outboard,
};
use fugitive_store::{Content, MAX_GROUPS, Resource, Store, StoreError};
use js_sys::{Function, Uint8Array};
use rexie::{ObjectStore, Rexie, TransactionMode};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_test::wasm_bindgen_test;

/// A name that no test had before.
pub fn name() -> String {
    thread_local!(static NEXT: Cell<u32> = const { Cell::new(0) });
    let next = NEXT.replace(NEXT.get() + 1);
    format!("test {next} {}", js_sys::Math::random())
}

pub async fn fresh() -> Store {
    Store::open_named(&name()).await.unwrap()
}

/// Bytes that no deflate makes smaller.
pub fn noise(len: u64, mut seed: u32) -> Vec<u8> {
    (0..len)
        .map(|_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 24) as u8
        })
        .collect()
}

pub fn cut(bytes: &[u8], pays: bool) -> Vec<Kept> {
    let len = bytes.len() as u64;
    (0..group_count(len))
        .map(|group| {
            let part = group_bytes(group..group + 1, len);
            keep(&bytes[part.start as usize..part.end as usize], pays)
        })
        .collect()
}

pub fn resource(url: &str, bytes: &[u8], listed: bool) -> Resource {
    Resource {
        url: url.into(),
        id: ContentId::of(bytes),
        len: bytes.len() as u64,
        status: 200,
        headers: vec![
            ("content-type".into(), "image/png".into()),
            ("etag".into(), "\"ä\"".into()),
        ],
        stored_at: 1_790_000_000_123.5,
        request_headers: vec![("accept".into(), "image/*".into())],
        listed,
    }
}

async fn content(store: &Store, bytes: &[u8]) -> Option<Content> {
    store.content(&ContentId::of(bytes)).await.unwrap()
}

/// Writes one byte of a block's record, as a bad disk would.
async fn damage(name: &str, id: &ContentId, block: u32, at: u32) {
    let other = Store::open_named(name).await.unwrap();
    drop(other);
    let database = Rexie::builder(name)
        .version(1)
        .add_object_store(ObjectStore::new("blocks"))
        .build()
        .await
        .unwrap();
    let transaction = database
        .transaction(&["blocks"], TransactionMode::ReadWrite)
        .unwrap();
    let blocks = transaction.store("blocks").unwrap();
    let key = js_sys::Array::of2(&id.to_hex().into(), &block.into());
    let record = blocks.get(key.clone().into()).await.unwrap().unwrap();
    let record: Uint8Array = record.dyn_into().unwrap();
    record.set_index(at, record.get_index(at) ^ 1);
    blocks.put(&record, Some(&key)).await.unwrap();
    transaction.done().await.unwrap();
    database.close();
}

fn js(body: &str) -> JsValue {
    Function::new_no_args(body).call0(&JsValue::NULL).unwrap()
}

#[wasm_bindgen_test]
async fn response_and_bytes_come_back_in_one_hit_of_one_transaction() {
    let store = fresh().await;
    let bytes = noise(3 * GROUP + 17, 1);
    let resource = resource("https://a.b/x.png?w=2", &bytes, true);
    assert_eq!(store.hit(&resource.url).await.unwrap(), None);
    let stored = store
        .put_whole(resource.clone(), cut(&bytes, false))
        .await
        .unwrap();
    assert_eq!(stored.groups, [(0, 4)]);
    assert_eq!(stored.evicted, []);

    js("const real = IDBDatabase.prototype.transaction;
        self.transactions = 0;
        IDBDatabase.prototype.transaction = function (...args) {
            self.transactions += 1;
            return real.apply(this, args);
        };
        self.restore = () => { IDBDatabase.prototype.transaction = real; };");
    let hit = store.hit(&resource.url).await.unwrap().unwrap();
    let transactions = js("self.restore(); return self.transactions;");
    assert_eq!(transactions.as_f64(), Some(1.0));

    assert_eq!(hit.resource, resource);
    assert_eq!(hit.bytes, Some(bytes));
    assert_eq!(hit.groups, [(0, 4)]);
    assert_eq!(store.resource(&resource.url).await.unwrap(), Some(resource));
}

#[wasm_bindgen_test]
async fn empty_resource_is_held_whole() {
    let store = fresh().await;
    let resource = resource("https://a.b/empty.svg", b"", true);
    store
        .put_whole(resource.clone(), cut(b"", true))
        .await
        .unwrap();
    let hit = store.hit(&resource.url).await.unwrap().unwrap();
    assert_eq!(hit.bytes, Some(Vec::new()));
    assert!(content(&store, b"").await.unwrap().is_complete());
}

#[wasm_bindgen_test]
async fn groups_that_come_out_of_order_merge_into_their_blocks() {
    let store = fresh().await;
    let bytes = noise(2 * BLOCK + 5, 2);
    let (id, len) = (ContentId::of(&bytes), bytes.len() as u64);
    let groups = cut(&bytes, false);
    let put = |from: usize, to: usize| {
        let store = store.clone();
        let groups = groups[from..to].to_vec();
        async move {
            let stored = store
                .put_groups(&id, len, from as u32, groups.to_vec(), true)
                .await;
            stored.unwrap().groups
        }
    };
    assert_eq!(put(20, 24).await, [(20, 24)]);
    assert_eq!(put(2, 4).await, [(2, 4), (20, 24)]);
    assert_eq!(store.read(&id, len, 0..2).await, Err(StoreError::Missing));
    assert_eq!(store.read(&id, len, 3..21).await, Err(StoreError::Missing));
    // Over the edge of a block, and over what is held.
    assert_eq!(put(3, 21).await, [(2, 24)]);
    assert_eq!(put(32, 33).await, [(2, 24), (32, 33)]);
    assert_eq!(put(24, 32).await, [(2, 33)]);
    let part = store.read(&id, len, 2..33).await.unwrap();
    assert_eq!(part, bytes[2 * GROUP as usize..]);
    assert!(!content(&store, &bytes).await.unwrap().is_complete());
    assert_eq!(put(0, 2).await, [(0, 33)]);
    assert!(content(&store, &bytes).await.unwrap().is_complete());
    assert_eq!(store.read(&id, len, 0..33).await.unwrap(), bytes);
}

#[wasm_bindgen_test]
async fn first_copy_of_a_group_stays_when_another_comes() {
    let store = fresh().await;
    let bytes = b"<svg/>".repeat(1_000);
    let resource = resource("https://a.b/x.svg", &bytes, true);
    store
        .put_whole(resource.clone(), cut(&bytes, true))
        .await
        .unwrap();
    let before = store.usage().await.unwrap();
    store
        .put_whole(resource.clone(), cut(&bytes, false))
        .await
        .unwrap();
    assert_eq!(store.usage().await.unwrap(), before);
    let hit = store.hit(&resource.url).await.unwrap().unwrap();
    assert_eq!(hit.bytes, Some(bytes));
}

#[wasm_bindgen_test]
async fn deflated_groups_are_kept_deflated_and_read_inflated() {
    let store = fresh().await;
    let bytes = b"fugitive ".repeat(5_000);
    let (id, len) = (ContentId::of(&bytes), bytes.len() as u64);
    let groups = cut(&bytes, true);
    assert!(groups.iter().all(|group| group.deflated));
    store
        .put_groups(&id, len, 0, groups.to_vec(), true)
        .await
        .unwrap();
    assert_eq!(store.read_kept(&id, len, 0..3).await.unwrap(), groups);
    assert_eq!(store.read_kept(&id, len, 1..2).await.unwrap(), groups[1..2]);
    let middle = store.read(&id, len, 1..2).await.unwrap();
    assert_eq!(middle, bytes[GROUP as usize..2 * GROUP as usize]);
    assert_eq!(store.read(&id, len, 0..3).await.unwrap(), bytes);
    assert!(store.usage().await.unwrap() < len / 10);
}

#[wasm_bindgen_test]
async fn a_million_bytes_come_back_by_any_range_and_hit_says_what_is_held() {
    let store = fresh().await;
    let bytes = noise(1_000_000, 3);
    let resource = resource("https://a.b/v.mp4", &bytes, true);
    let (id, len) = (resource.id, resource.len);
    store.put_resource(resource.clone()).await.unwrap();
    let groups = cut(&bytes, false);
    for (block, part) in groups.chunks(GROUPS_PER_BLOCK as usize).enumerate() {
        let first = block as u32 * GROUPS_PER_BLOCK;
        store
            .put_groups(&id, len, first, part.to_vec(), true)
            .await
            .unwrap();
    }
    let count = group_count(len);
    for range in [0..count, 0..1, 15..17, 31..62, count - 1..count, 7..7] {
        let part = group_bytes(range.clone(), len);
        let part = &bytes[part.start as usize..part.end as usize];
        assert_eq!(store.read(&id, len, range.clone()).await.unwrap(), part);
        let kept = store.read_kept(&id, len, range.clone()).await.unwrap();
        assert_eq!(kept, groups[range.start as usize..range.end as usize]);
    }
    let hit = store.hit(&resource.url).await.unwrap().unwrap();
    assert_eq!(hit.bytes, None);
    assert_eq!(hit.groups, [(0, count)]);
    assert!(store.usage().await.unwrap() >= len);
}

#[wasm_bindgen_test]
async fn hit_of_a_small_resource_that_is_not_whole_has_no_bytes() {
    let store = fresh().await;
    let bytes = noise(3 * GROUP, 4);
    let resource = resource("https://a.b/x.jpg", &bytes, true);
    store.put_resource(resource.clone()).await.unwrap();
    let hit = store.hit(&resource.url).await.unwrap().unwrap();
    assert_eq!((hit.bytes, hit.groups), (None, vec![]));
    let groups = cut(&bytes, false);
    let id = resource.id;
    store
        .put_groups(&id, resource.len, 1, groups[1..2].to_vec(), true)
        .await
        .unwrap();
    let hit = store.hit(&resource.url).await.unwrap().unwrap();
    assert_eq!((hit.bytes, hit.groups), (None, vec![(1, 2)]));
}

#[wasm_bindgen_test]
async fn lengths_and_runs_that_cannot_be_are_refused() {
    let store = fresh().await;
    let bytes = noise(2 * GROUP, 5);
    let (id, len) = (ContentId::of(&bytes), bytes.len() as u64);
    let groups = cut(&bytes, false);
    let refused = |outcome: Result<_, StoreError>| matches!(outcome, Err(StoreError::Other(_)));
    let put =
        |len, first, groups: &[Kept]| store.put_groups(&id, len, first, groups.to_vec(), true);
    assert!(refused(put(len, 1, &groups).await));
    assert!(refused(put(len, u32::MAX, &groups).await));
    assert!(refused(put(len - 1, 0, &groups).await));
    assert!(refused(put(u64::MAX, 0, &groups).await));
    let huge = u64::from(MAX_GROUPS + 1) * GROUP;
    let read = store.read(&id, huge, 0..MAX_GROUPS + 1).await;
    assert!(matches!(read, Err(StoreError::Other(_))));
    assert_eq!(store.usage().await.unwrap(), 0);
    put(len, 0, &groups).await.unwrap();
    assert!(refused(put(2 * len, 2, &groups).await), "another length");
    let mut wordy = resource("https://a.b/x", &bytes, true);
    wordy.headers.push(("x".into(), "y".repeat(40_000)));
    assert!(refused(store.put_resource(wordy.clone()).await));
}

#[wasm_bindgen_test]
async fn only_shared_contents_are_holdings() {
    let store = fresh().await;
    let (private, public) = (noise(100, 6), noise(200, 7));
    let mine = resource("https://a.b/me.png", &private, false);
    let theirs = resource("https://a.b/all.png", &public, true);
    store
        .put_whole(mine.clone(), cut(&private, false))
        .await
        .unwrap();
    store
        .put_whole(theirs.clone(), cut(&public, false))
        .await
        .unwrap();
    let nothing_yet = resource("https://a.b/none.png", b"none", true);
    store.put_resource(nothing_yet.clone()).await.unwrap();
    let holdings = store.holdings().await.unwrap();
    assert_eq!(holdings.len(), 1);
    assert_eq!(holdings[0].id, theirs.id);
    assert_eq!(holdings[0].groups, [(0, 1)]);

    // Listed after all: the same bytes under another URL.
    let listed = resource("https://a.b/you.png", &private, true);
    store.put_resource(listed.clone()).await.unwrap();
    assert_eq!(store.holdings().await.unwrap().len(), 2);
    // And no longer.
    store.set_shared(&mine.id, false).await.unwrap();
    assert_eq!(store.holdings().await.unwrap().len(), 1);
}

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
    assert_eq!(hit.bytes.as_ref(), Some(&all[0]));
    assert_eq!(store.make_room(u64::MAX).await.unwrap(), [resources[0].id]);
    assert_eq!(store.usage().await.unwrap(), 0);
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
    assert_eq!(store.hit(&refused.url).await.unwrap(), None);
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

#[wasm_bindgen_test]
async fn damaged_block_is_missing_and_can_be_stored_anew() {
    let name = name();
    let store = Store::open_named(&name).await.unwrap();
    let bytes = noise(3 * BLOCK, 8);
    let resource = resource("https://a.b/x.webm", &bytes, true);
    let (id, len) = (resource.id, resource.len);
    let groups = cut(&bytes, false);
    store
        .put_whole(resource.clone(), groups.clone())
        .await
        .unwrap();
    let usage = store.usage().await.unwrap();
    damage(&name, &id, 1, 5_000).await;
    assert_eq!(store.read(&id, len, 0..16).await.unwrap().len(), 16 << 14);
    assert_eq!(store.read(&id, len, 0..48).await, Err(StoreError::Missing));
    let held = content(&store, &bytes).await.unwrap();
    assert_eq!(held.groups, [(0, 16), (32, 48)]);
    assert!(store.usage().await.unwrap() < usage);
    store
        .put_groups(&id, len, 16, groups[16..32].to_vec(), true)
        .await
        .unwrap();
    assert_eq!(store.usage().await.unwrap(), usage);
    assert_eq!(store.read(&id, len, 0..48).await.unwrap(), bytes);

    // Found by a write: what was damaged is not kept beside the new.
    damage(&name, &id, 2, 5_000).await;
    let stored = store
        .put_groups(&id, len, 32, groups[32..34].to_vec(), true)
        .await;
    assert_eq!(stored.unwrap().groups, [(0, 34)]);
}

#[wasm_bindgen_test]
async fn damaged_small_resource_is_a_hit_without_bytes() {
    let name = name();
    let store = Store::open_named(&name).await.unwrap();
    let bytes = noise(2 * GROUP, 9);
    let resource = resource("https://a.b/x.gif", &bytes, true);
    store
        .put_whole(resource.clone(), cut(&bytes, false))
        .await
        .unwrap();
    damage(&name, &resource.id, 0, 80).await;
    let hit = store.hit(&resource.url).await.unwrap().unwrap();
    assert_eq!((hit.bytes, hit.groups), (None, vec![]));
    assert_eq!(content(&store, &bytes).await.unwrap().groups, []);
    assert_eq!(store.holdings().await.unwrap(), []);
    store
        .put_whole(resource.clone(), cut(&bytes, false))
        .await
        .unwrap();
    let hit = store.hit(&resource.url).await.unwrap().unwrap();
    assert_eq!(hit.bytes, Some(bytes));
}

#[wasm_bindgen_test]
async fn database_deleted_under_us_is_gone_and_opens_again_empty() {
    let name = name();
    let store = Store::open_named(&name).await.unwrap();
    let bytes = noise(100, 10);
    let resource = resource("https://a.b/x", &bytes, true);
    store
        .put_whole(resource.clone(), cut(&bytes, false))
        .await
        .unwrap();
    Store::delete_named(&name).await.unwrap();
    assert_eq!(store.hit(&resource.url).await, Err(StoreError::Gone));
    assert_eq!(store.usage().await, Err(StoreError::Gone));
    let put = store.put_whole(resource.clone(), cut(&bytes, false)).await;
    assert_eq!(put, Err(StoreError::Gone));
    assert_eq!(store.remove(&resource.id).await, Err(StoreError::Gone));
    assert_eq!(store.meta_put("k", &1).await, Err(StoreError::Gone));

    let again = Store::open_named(&name).await.unwrap();
    assert_eq!(again.hit(&resource.url).await.unwrap(), None);
    again
        .put_whole(resource.clone(), cut(&bytes, false))
        .await
        .unwrap();
    assert!(again.hit(&resource.url).await.unwrap().is_some());
}

#[wasm_bindgen_test]
async fn later_version_is_given_way_and_then_there_is_no_store() {
    let name = name();
    let store = Store::open_named(&name).await.unwrap();
    let later = Rexie::builder(&name)
        .version(2)
        .add_object_store(ObjectStore::new("blocks"))
        .build()
        .await
        .unwrap();
    assert_eq!(store.usage().await, Err(StoreError::Gone));
    let outcome = Store::open_named(&name).await;
    assert!(matches!(outcome.err(), Some(StoreError::Unavailable(_))));
    later.close();
}

#[wasm_bindgen_test]
async fn database_of_another_shape_is_replaced() {
    let name = name();
    let other = Rexie::builder(&name)
        .version(1)
        .add_object_store(ObjectStore::new("blocks"))
        .build()
        .await
        .unwrap();
    let store = Store::open_named(&name).await.unwrap();
    assert_eq!(store.usage().await.unwrap(), 0);
    drop(other);
}

#[wasm_bindgen_test]
async fn two_connections_write_at_once_and_count_exactly() {
    let name = name();
    let one = Store::open_named(&name).await.unwrap();
    let two = Store::open_named(&name).await.unwrap();
    let bytes = noise(4 * BLOCK, 11);
    let (id, len) = (ContentId::of(&bytes), bytes.len() as u64);
    let groups = cut(&bytes, false);
    let (sender, even) = (one.clone(), groups.clone());
    let evens = async move {
        for n in (0..64).step_by(2) {
            let part = &even[n..n + 1];
            sender
                .put_groups(&id, len, n as u32, part.to_vec(), true)
                .await
                .unwrap();
        }
    };
    let (done, ended) = promise();
    wasm_bindgen_futures::spawn_local(async move {
        evens.await;
        done.call0(&JsValue::NULL).unwrap();
    });
    for n in (1..64).step_by(2) {
        let part = &groups[n..n + 1];
        two.put_groups(&id, len, n as u32, part.to_vec(), true)
            .await
            .unwrap();
    }
    wasm_bindgen_futures::JsFuture::from(ended).await.unwrap();
    assert_eq!(one.read(&id, len, 0..64).await.unwrap(), bytes);
    let content = one.content(&id).await.unwrap().unwrap();
    assert_eq!(content.groups, [(0, 64)]);
    assert_eq!(one.usage().await.unwrap(), content.kept);
}

fn promise() -> (Function, js_sys::Promise) {
    let mut done = None;
    let promise = js_sys::Promise::new(&mut |resolve, _| done = Some(resolve));
    (done.unwrap().unchecked_into(), promise)
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
    assert_eq!(hit.bytes, Some(new));
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
    assert_eq!(store.hit(&resource.url).await.unwrap(), None);
    assert_eq!(store.holdings().await.unwrap(), []);
    // What went in vain is told with the next write that succeeds.
    let stored = store.put_whole(resource.clone(), cut(&bytes, false)).await;
    assert_eq!(stored.unwrap().evicted, [before.id]);
}

#[wasm_bindgen_test]
async fn hash_tree_is_kept_for_a_content_that_is_held() {
    let store = fresh().await;
    let bytes = noise(2_000_000, 15);
    let tree = Outboard::of(&bytes);
    let (id, len) = (tree.id(), bytes.len() as u64);
    let early = store.put_outboard(&id, tree.nodes().to_vec()).await;
    assert_eq!(early, Err(StoreError::Missing));
    let groups = cut(&bytes[..GROUP as usize], false);
    store
        .put_groups(&id, len, 0, groups.to_vec(), true)
        .await
        .unwrap();
    let short = store.put_outboard(&id, tree.nodes()[1..].to_vec()).await;
    assert!(matches!(short, Err(StoreError::Other(_))));
    assert_eq!(store.outboard(&id).await.unwrap(), None);
    let usage = store.usage().await.unwrap();
    for _ in 0..2 {
        store
            .put_outboard(&id, tree.nodes().to_vec())
            .await
            .unwrap();
        let more = store.usage().await.unwrap() - usage;
        assert_eq!(more, tree.nodes().len() as u64);
    }
    let kept = store.outboard(&id).await.unwrap();
    assert_eq!(kept.as_deref(), Some(tree.nodes()));
    store.remove(&id).await.unwrap();
    assert_eq!(store.outboard(&id).await.unwrap(), None);
    assert_eq!(store.usage().await.unwrap(), 0);
}

#[wasm_bindgen_test]
async fn one_content_has_a_bounded_number_of_urls() {
    let store = fresh().await;
    let bytes = noise(100, 16);
    let url = |n| format!("https://a.b/x.png?bust={n}");
    for n in 0..80 {
        let resource = resource(&url(n), &bytes, true);
        store
            .put_whole(resource.clone(), cut(&bytes, false))
            .await
            .unwrap();
    }
    let mut held = 0;
    for n in 0..80 {
        held += u32::from(store.resource(&url(n)).await.unwrap().is_some());
    }
    assert_eq!(held, 64);
    assert!(store.hit(&url(79)).await.unwrap().is_some());
}

#[wasm_bindgen_test]
async fn removed_resource_leaves_the_bytes_to_other_urls() {
    let store = fresh().await;
    let bytes = noise(100, 17);
    let (one, two) = (
        resource("https://a.b/1", &bytes, true),
        resource("https://a.b/2", &bytes, true),
    );
    store
        .put_whole(one.clone(), cut(&bytes, false))
        .await
        .unwrap();
    store.put_resource(two.clone()).await.unwrap();
    store.remove_resource(&one.url).await.unwrap();
    assert_eq!(store.hit(&one.url).await.unwrap(), None);
    let hit = store.hit(&two.url).await.unwrap().unwrap();
    assert_eq!(hit.bytes, Some(bytes));
    store.remove(&two.id).await.unwrap();
    assert_eq!(store.hit(&two.url).await.unwrap(), None);
}

#[wasm_bindgen_test]
async fn url_that_changed_has_the_new_bytes() {
    let store = fresh().await;
    for seed in [18, 19] {
        let bytes = noise(100, seed);
        let resource = resource("https://a.b/x", &bytes, true);
        store
            .put_whole(resource.clone(), cut(&bytes, false))
            .await
            .unwrap();
        let hit = store.hit("https://a.b/x").await.unwrap().unwrap();
        assert_eq!(hit.resource.id, resource.id);
        assert_eq!(hit.bytes, Some(bytes));
    }
}

#[wasm_bindgen_test]
async fn small_things_are_kept_under_their_names() {
    let store = fresh().await;
    assert_eq!(store.meta_get::<Vec<String>>("peers").await.unwrap(), None);
    let peers = vec!["a".to_owned(), "b".to_owned()];
    store.meta_put("peers", &peers).await.unwrap();
    assert_eq!(store.meta_get("peers").await.unwrap(), Some(peers));
    assert_eq!(store.meta_get::<u32>("peers").await.unwrap(), None);
    store
        .meta_put_js("date", js_sys::Date::new_0().into())
        .await
        .unwrap();
    let date = store.meta_get_js("date").await.unwrap().unwrap();
    assert!(date.is_instance_of::<js_sys::Date>());
    store.meta_remove("peers").await.unwrap();
    assert_eq!(store.meta_get_js("peers").await.unwrap(), None);
    let own = store.meta_put("store.usage", &0).await;
    assert!(matches!(own, Err(StoreError::Other(_))));
    let function = store.meta_put_js("f", js("return () => 1")).await;
    assert!(matches!(function, Err(StoreError::Other(_))));
}

#[wasm_bindgen_test]
async fn closed_store_is_gone_for_all_its_clones() {
    let store = fresh().await;
    let clone = store.clone();
    store.close();
    assert_eq!(clone.usage().await, Err(StoreError::Gone));
}

#[wasm_bindgen_test]
async fn write_that_nobody_waits_for_any_more_is_whole_or_absent() {
    let store = fresh().await;
    let bytes = noise(BLOCK, 20);
    let groups = cut(&bytes, false);
    for polls in 0..24 {
        let resource = resource(&format!("https://a.b/{polls}"), &bytes, true);
        let mut write = Box::pin(store.put_whole(resource.clone(), groups.clone()));
        let mut left = polls;
        std::future::poll_fn(|context| {
            if left == 0 {
                return std::task::Poll::Ready(());
            }
            left -= 1;
            write.as_mut().poll(context).map(|_| left = 0)
        })
        .await;
        drop(write);
        let hit = store.hit(&resource.url).await.unwrap();
        assert!(hit.is_none_or(|hit| hit.bytes.as_ref() == Some(&bytes)));
    }
    let content = store.content(&ContentId::of(&bytes)).await.unwrap();
    let kept = content.map_or(0, |content| content.kept);
    assert_eq!(store.usage().await.unwrap(), kept);
}
