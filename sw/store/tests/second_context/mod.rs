//! The store beside another worker that has the same database open through plain JavaScript.

use fugitive_core::content::{BLOCK, ContentId};
use fugitive_store::{Store, StoreError};
use js_sys::{Array, Function, Promise};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use wasm_bindgen_test::wasm_bindgen_test;
use web_sys::{Blob, BlobPropertyBag, Url, Worker};

use super::fixture::{cut, name, noise, resource};

/// Runs `body`, of an async function of `name`, in a worker of its own and returns what it returns.
async fn elsewhere(name: &str, body: &str) -> JsValue {
    let source = format!(
        "const settle = (request) => new Promise((done, failed) => {{
             request.onsuccess = () => done(request.result);
             request.onerror = () => failed(request.error);
         }});
         onmessage = async ({{ data: name }}) => {{
             postMessage(await (async () => {{ {body} }})());
         }};"
    );
    let options = BlobPropertyBag::new();
    options.set_type("text/javascript");
    let parts = Array::of1(&source.into());
    let blob = Blob::new_with_str_sequence_and_options(&parts, &options).unwrap();
    let worker = Worker::new(&Url::create_object_url_with_blob(&blob).unwrap()).unwrap();
    let answer = Function::new_with_args(
        "worker, name",
        "return new Promise((done, failed) => {
             worker.onmessage = ({ data }) => done(data);
             worker.onerror = failed;
             worker.postMessage(name);
         })",
    );
    let answer = answer.call2(&JsValue::NULL, &worker, &name.into()).unwrap();
    let answer = JsFuture::from(answer.unchecked_into::<Promise>())
        .await
        .unwrap();
    worker.terminate();
    answer
}

#[wasm_bindgen_test]
async fn other_context_sees_blocks_as_they_are_written_and_ours_stays_open() {
    let name = name();
    let store = Store::open_named(&name).await.unwrap();
    let bytes = noise(2 * BLOCK, 1);
    let resource = resource("https://a.b/x", &bytes, true);
    store
        .put_whole(resource.clone(), cut(&bytes, false))
        .await
        .unwrap();
    let record = elsewhere(
        &name,
        "const database = await settle(indexedDB.open(name, 1));
         const blocks = database.transaction('blocks').objectStore('blocks');
         const keys = await settle(blocks.getAllKeys());
         const record = await settle(blocks.get(keys[1]));
         return [keys.length, keys[1][0], keys[1][1], record.byteLength];",
    )
    .await;
    let record: Array = record.unchecked_into();
    assert_eq!(record.get(0), 2);
    let id = ContentId::of(&bytes).to_hex();
    assert_eq!(record.get(1).as_string(), Some(id));
    assert_eq!(record.get(2), 1);
    assert!(record.get(3).as_f64() > Some(BLOCK as f64));
    let hit = store.hit(&resource.url).await.unwrap().unwrap();
    assert_eq!(hit.groups, [(0, 32)]);
}

#[wasm_bindgen_test]
async fn deletion_by_another_context_while_we_write_ends_in_gone_and_never_hangs() {
    let name = name();
    let store = Store::open_named(&name).await.unwrap();
    let bytes = noise(BLOCK, 2);
    let writer = store.clone();
    let url = |n| format!("https://a.b/{n}");
    let writing = async move {
        for n in 0.. {
            let resource = resource(&url(n), &bytes, true);
            if let Err(error) = writer.put_whole(resource.clone(), cut(&bytes, false)).await {
                return error;
            }
        }
        StoreError::Missing
    };
    let deleting = Promise::new(&mut |done, _| {
        let name = name.clone();
        wasm_bindgen_futures::spawn_local(async move {
            let how = elsewhere(
                &name,
                "await new Promise(done => setTimeout(done, 50));
                 await settle(indexedDB.deleteDatabase(name));
                 return 'deleted';",
            )
            .await;
            done.call1(&JsValue::NULL, &how).unwrap();
        });
    });
    assert_eq!(writing.await, StoreError::Gone);
    let how = JsFuture::from(deleting).await.unwrap();
    assert_eq!(how.as_string().as_deref(), Some("deleted"));
    let hit = store.hit("https://a.b/0").await;
    assert_eq!(hit.unwrap_err(), StoreError::Gone);
    let again = Store::open_named(&name).await.unwrap();
    assert_eq!(again.usage().await.unwrap(), 0);
}
