//! Reading from a real store, in a browser.

use fugitive_core::{content::group_bytes, deflate::keep};
use fugitive_store::Resource;
use futures_util::future::join_all;
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

use super::*;

wasm_bindgen_test_configure!(run_in_browser);

const LEN: u64 = 2_300_000;

fn groups(bytes: &[u8], groups: Range<u32>) -> Vec<Kept> {
    let group = |group| {
        let part = group_bytes(group..group + 1, LEN);
        keep(&bytes[part.start as usize..part.end as usize], false)
    };
    groups.map(group).collect()
}

/// A store that holds these groups of some bytes, and whose reads of blocks are counted.
async fn serve(held: Range<u32>) -> (Serve, ContentId, Vec<u8>) {
    let bytes: Vec<u8> = (0..LEN).map(|at| ((at * at) >> 7) as u8).collect();
    let id = ContentId::of(&bytes);
    let name = format!("serve {}", js_sys::Math::random());
    let store = Store::open_named(&name).await.unwrap();
    let resource = Resource {
        url: "https://a.b/c.png".into(),
        id,
        len: LEN,
        status: 200,
        headers: Vec::new(),
        stored_at: 1.0,
        request_headers: Vec::new(),
        listed: true,
        cold: None,
    };
    store.put_resource(resource).await.unwrap();
    put(&store, &id, &bytes, held).await;
    let serve = Serve::default();
    serve.keep(&Rc::new(Outboard::of(&bytes)));
    serve.store.replace(Some(store));
    js_sys::eval(
        "self.__reads = 0;
         self.__getAll ??= IDBObjectStore.prototype.getAll;
         IDBObjectStore.prototype.getAll = function (...of) {
           self.__reads += 1;
           return self.__getAll.apply(this, of);
         };",
    )
    .unwrap();
    (serve, id, bytes)
}

async fn put(store: &Store, id: &ContentId, bytes: &[u8], held: Range<u32>) {
    for first in held.clone().step_by(GROUPS_PER_BLOCK as usize) {
        let run = first..held.end.min(first + GROUPS_PER_BLOCK);
        let put = store.put_groups(id, LEN, first, groups(bytes, run), true);
        put.await.unwrap();
    }
}

fn reads() -> f64 {
    js_sys::eval("self.__reads").unwrap().as_f64().unwrap()
}

#[wasm_bindgen_test]
async fn block_is_read_once_for_all_its_pieces() {
    let (serve, id, bytes) = serve(0..group_count(LEN)).await;
    let pieces = [0..4, 4..8, 8..12, 12..16, 0..16];
    let read = pieces
        .iter()
        .map(|piece| serve.read(&id, LEN, piece.clone()));
    for (piece, read) in pieces.iter().zip(join_all(read).await) {
        assert!(read.unwrap().groups == groups(&bytes, piece.clone()));
    }
    assert_eq!(reads(), 1.0);
    // The last block is shorter, and another one.
    let last = 128..group_count(LEN);
    for _ in 0..2 {
        let read = serve.read(&id, LEN, last.clone()).await.unwrap();
        assert!(read.groups == groups(&bytes, last.clone()));
    }
    assert_eq!(reads(), 2.0);
}

#[wasm_bindgen_test]
async fn part_of_a_block_is_served_and_what_comes_later_too() {
    let (serve, id, bytes) = serve(0..6).await;
    let read = serve.read(&id, LEN, 2..6).await.unwrap();
    assert!(read.groups == groups(&bytes, 2..6));
    assert!(serve.read(&id, LEN, 4..8).await.is_err());
    let store = serve.store().await.unwrap();
    put(&store, &id, &bytes, 6..16).await;
    let read = serve.read(&id, LEN, 4..8).await.unwrap();
    assert!(read.groups == groups(&bytes, 4..8));
}

#[wasm_bindgen_test]
async fn only_so_many_blocks_are_kept() {
    let (serve, id, _) = serve(0..group_count(LEN)).await;
    for number in 0..=MAX_BLOCKS as u32 {
        let start = number * GROUPS_PER_BLOCK;
        serve.read(&id, LEN, start..start + 1).await.unwrap();
    }
    assert_eq!(serve.blocks.borrow().len(), MAX_BLOCKS);
}
