//! Records that are damaged, databases that go away, and a second connection.

use fugitive_core::content::{BLOCK, ContentId, GROUP};
use fugitive_store::{Store, StoreError};
use futures_util::future::join_all;
use js_sys::{Function, Uint8Array};
use rexie::{ObjectStore, Rexie, TransactionMode};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_test::wasm_bindgen_test;

use super::{content, js};
use crate::fixture::{cut, held, name, noise, resource};

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
    assert_eq!((held(&hit), hit.groups), (None, vec![]));
    assert_eq!(content(&store, &bytes).await.unwrap().groups, []);
    assert_eq!(store.holdings().await.unwrap(), []);
    store
        .put_whole(resource.clone(), cut(&bytes, false))
        .await
        .unwrap();
    let hit = store.hit(&resource.url).await.unwrap().unwrap();
    assert_eq!(held(&hit), Some(bytes));

    // Found by who reads the bytes alone.
    damage(&name, &resource.id, 0, 80).await;
    let bytes = store.small(&resource.id, resource.len).await.unwrap();
    assert!(bytes.is_none());
    assert_eq!(store.holdings().await.unwrap(), []);
}

#[wasm_bindgen_test]
async fn trouble_with_one_of_many_reads_is_its_own() {
    let name = name();
    let store = Store::open_named(&name).await.unwrap();
    let contents: Vec<_> = (0..8).map(|n| noise(100 + n, 200 + n as u32)).collect();
    for bytes in &contents {
        let url = format!("https://a.b/{}", bytes.len());
        let put = store.put_whole(resource(&url, bytes, true), cut(bytes, false));
        put.await.unwrap();
    }
    let read = |bytes: &Vec<u8>| store.small(&ContentId::of(bytes), bytes.len() as u64);
    // Their transaction ends in the middle, once before and once after the others have come into it.
    for when in [1, 5] {
        js(&format!(
            "const real = IDBObjectStore.prototype.get;
             let count = 0;
             IDBObjectStore.prototype.get = function (key) {{
                 const request = real.call(this, key);
                 if (++count === {when}) this.transaction.abort();
                 return request;
             }};
             self.restore = () => {{ IDBObjectStore.prototype.get = real; }};"
        ));
        let held = join_all(contents.iter().map(read)).await;
        js("self.restore()");
        for (held, bytes) in held.into_iter().zip(&contents) {
            assert_eq!(held.unwrap().unwrap().to_vec(), *bytes);
        }
    }
    damage(&name, &ContentId::of(&contents[3]), 0, 80).await;
    let held = join_all(contents.iter().map(read)).await;
    for (n, (held, bytes)) in held.into_iter().zip(&contents).enumerate() {
        let held = held.unwrap().map(|held| held.to_vec());
        assert_eq!(held, (n != 3).then(|| bytes.clone()));
    }
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
    let hit = store.hit(&resource.url).await;
    assert_eq!(hit.unwrap_err(), StoreError::Gone);
    assert_eq!(store.usage().await, Err(StoreError::Gone));
    let put = store.put_whole(resource.clone(), cut(&bytes, false)).await;
    assert_eq!(put, Err(StoreError::Gone));
    assert_eq!(store.remove(&resource.id).await, Err(StoreError::Gone));
    assert_eq!(store.meta_put("k", &1).await, Err(StoreError::Gone));

    let again = Store::open_named(&name).await.unwrap();
    assert!(again.hit(&resource.url).await.unwrap().is_none());
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
