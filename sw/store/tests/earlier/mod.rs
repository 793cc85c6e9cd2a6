//! Databases as earlier versions of the client left them: what they hold is still a hit. A change of
//! the schema brings a fixture of the one before it.

use fugitive_store::Store;
use js_sys::{Function, Promise};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use wasm_bindgen_test::wasm_bindgen_test;

use super::fixture::{held, name};

const FIXTURES: &[&str] = &[include_str!("version1.json")];

/// Makes a database of a fixture.
async fn make(name: &str, fixture: &str) {
    let body = "return new Promise((done, failed) => {
      const fixture = JSON.parse(text);
      const opening = indexedDB.open(name, fixture.version);
      opening.onerror = failed;
      opening.onupgradeneeded = () => {
        const database = opening.result;
        database.createObjectStore('resources', { keyPath: 'url' }).createIndex('id', 'id');
        database.createObjectStore('contents', { keyPath: 'id' });
        for (const store of ['blocks', 'outboards', 'meta']) database.createObjectStore(store);
      };
      opening.onsuccess = () => {
        const database = opening.result;
        const transaction = database.transaction([...database.objectStoreNames], 'readwrite');
        const store = (name) => transaction.objectStore(name);
        fixture.resources.forEach((record) => store('resources').put(record));
        fixture.contents.forEach((record) => store('contents').put(record));
        fixture.blocks.forEach(([key, bytes]) => store('blocks').put(Uint8Array.from(bytes), key));
        fixture.meta.forEach(([key, value]) => store('meta').put(value, key));
        transaction.onabort = failed;
        transaction.oncomplete = () => (database.close(), done());
      };
    });";
    let make = Function::new_with_args("name, text", body);
    let (name, text) = (JsValue::from_str(name), JsValue::from_str(fixture));
    let made = make.call2(&JsValue::NULL, &name, &text).unwrap();
    JsFuture::from(made.unchecked_into::<Promise>())
        .await
        .unwrap();
}

#[wasm_bindgen_test]
async fn what_an_earlier_version_stored_is_a_hit_and_counts() {
    for fixture in FIXTURES {
        let name = name();
        make(&name, fixture).await;
        let store = Store::open_named(&name).await.unwrap();
        let hit = store.hit("https://a.b/picture.png").await.unwrap().unwrap();
        assert_eq!(
            held(&hit).as_deref(),
            Some(&b"a picture of the first version"[..])
        );
        assert_eq!(hit.resource.headers.len(), 2);
        assert_eq!(store.usage().await.unwrap(), 102);
        let held = store.holdings().await.unwrap();
        assert_eq!(held.len(), 1);
        store.touch(vec![held[0].id]).await.unwrap();
        let touched = store.content(&held[0].id).await.unwrap().unwrap();
        assert!(touched.used > held[0].used && touched.uses == held[0].uses + 1);
        assert_eq!(store.make_room(u64::MAX).await.unwrap(), [held[0].id]);
        assert_eq!(store.usage().await.unwrap(), 0);
    }
}
