//! What is put comes back.

use fugitive_core::{
    content::{BLOCK, ContentId, GROUP, GROUPS_PER_BLOCK, group_bytes, group_count},
    deflate::Kept,
    tree::Outboard,
};
use fugitive_store::{Cold, MAX_GROUPS, Resource, StoreError};
use futures_util::future::{join_all, join3};
use wasm_bindgen::JsCast;
use wasm_bindgen_test::wasm_bindgen_test;

use super::{content, js};
use crate::fixture::{cut, fresh, held, noise, resource};

fn count_transactions() {
    js("const real = IDBDatabase.prototype.transaction;
        self.transactions = 0;
        IDBDatabase.prototype.transaction = function (...args) {
            self.transactions += 1;
            return real.apply(this, args);
        };
        self.restore = () => { IDBDatabase.prototype.transaction = real; };");
}

/// How many there were since.
fn transactions() -> u32 {
    let count = js("self.restore(); return self.transactions;");
    count.as_f64().unwrap() as u32
}

#[wasm_bindgen_test]
async fn response_and_bytes_come_back_in_one_hit_of_one_transaction() {
    let store = fresh().await;
    let bytes = noise(3 * GROUP + 17, 1);
    let resource = resource("https://a.b/x.png?w=2", &bytes, true);
    assert!(store.hit(&resource.url).await.unwrap().is_none());
    let stored = store
        .put_whole(resource.clone(), cut(&bytes, false))
        .await
        .unwrap();
    assert_eq!(stored.groups, [(0, 4)]);
    assert_eq!(stored.evicted, []);

    count_transactions();
    let hit = store.hit(&resource.url).await.unwrap().unwrap();
    assert_eq!(transactions(), 1);

    assert_eq!(hit.resource, resource);
    assert_eq!(held(&hit), Some(bytes));
    assert_eq!(hit.groups, [(0, 4)]);
    assert_eq!(store.resource(&resource.url).await.unwrap(), Some(resource));
}

#[wasm_bindgen_test]
async fn hit_is_what_the_url_has_whatever_was_expected() {
    let store = fresh().await;
    let (bytes, other) = (noise(100, 20), noise(200, 21));
    let (here, there) = (
        resource("https://a.b/here", &bytes, true),
        resource("https://a.b/there", &other, true),
    );
    for (resource, bytes) in [(&here, &bytes), (&there, &other)] {
        let put = store.put_whole(resource.clone(), cut(bytes, false));
        put.await.unwrap();
    }
    for expect in [here.id, there.id, ContentId::of(b"nowhere")] {
        let hit = store.hit_expecting(&here.url, Some(expect)).await;
        assert_eq!(held(&hit.unwrap().unwrap()), Some(bytes.clone()));
        let none = store.hit_expecting("https://a.b/none", Some(expect)).await;
        assert!(none.unwrap().is_none());
    }
}

#[wasm_bindgen_test]
async fn bytes_alone_of_what_is_small_are_those_that_were_put() {
    let store = fresh().await;
    // As they are, deflated, of a whole block, and none.
    for (bytes, pays) in [
        (noise(3 * GROUP + 17, 23), false),
        (b"again ".repeat(10_000), true),
        (noise(BLOCK, 24), false),
        (Vec::new(), false),
    ] {
        let resource = resource("https://a.b/x", &bytes, true);
        let (id, len) = (resource.id, resource.len);
        assert!(store.small(&id, len).await.unwrap().is_none());
        let groups = cut(&bytes, pays);
        if len > GROUP {
            let put = store.put_groups(&id, len, 0, groups[..1].to_vec(), true);
            put.await.unwrap();
            // In part they are not all.
            assert!(store.small(&id, len).await.unwrap().is_none());
        }
        store.put_whole(resource, groups).await.unwrap();
        let held = store.small(&id, len).await.unwrap().unwrap();
        assert_eq!(held.to_vec(), bytes);
    }
    let large = store.small(&ContentId::of(b"large"), BLOCK + 1).await;
    assert!(
        large
            .unwrap_err()
            .to_string()
            .contains("longer than a block")
    );
}

#[wasm_bindgen_test]
async fn reads_that_come_at_once_are_one_transaction_and_each_has_its_own() {
    let store = fresh().await;
    let contents: Vec<_> = (0..70).map(|n| noise(100 + n, 100 + n as u32)).collect();
    for bytes in &contents {
        let url = format!("https://a.b/{}", bytes.len());
        let put = store.put_whole(resource(&url, bytes, true), cut(bytes, false));
        put.await.unwrap();
    }
    let absent = noise(50, 99);
    let read = |bytes: &Vec<u8>| store.small(&ContentId::of(bytes), bytes.len() as u64);
    let all = || join_all(contents[..24].iter().chain([&absent]).map(read));
    count_transactions();
    let first = all().await;
    assert_eq!(transactions(), 1);
    // A write that comes between does not wait for ever, nor do they for it.
    let other = noise(60, 98);
    let put = store.put_whole(
        resource("https://a.b/other", &other, true),
        cut(&other, false),
    );
    let (second, put, third) = join3(all(), put, all()).await;
    put.unwrap();
    for held in [first, second, third] {
        let mut held = held.into_iter().map(Result::unwrap);
        for bytes in &contents[..24] {
            assert_eq!(held.next().unwrap().unwrap().to_vec(), *bytes);
        }
        assert!(held.next().unwrap().is_none());
    }
    // More than one transaction takes.
    count_transactions();
    let held = join_all(contents.iter().map(read)).await;
    assert_eq!(transactions(), 2);
    for (held, bytes) in held.into_iter().zip(&contents) {
        assert_eq!(held.unwrap().unwrap().to_vec(), *bytes);
    }
}

#[wasm_bindgen_test]
async fn word_for_a_cold_worker_is_added_to_the_response_it_was_meant_for_alone() {
    let store = fresh().await;
    let bytes = noise(100, 22);
    let resource = resource("https://a.b/x", &bytes, true);
    let put = store.put_whole(resource.clone(), cut(&bytes, false));
    put.await.unwrap();
    let with = |sum: &str| Resource {
        cold: Some(Box::new(Cold {
            sum: sum.into(),
            ..Cold::default()
        })),
        ..resource.clone()
    };
    let gone = Resource {
        url: "https://a.b/gone".into(),
        ..with("gone")
    };
    let put = store.put_cold(vec![gone.clone(), with("first")]);
    put.await.unwrap();
    let held = store.resource(&resource.url).await.unwrap();
    assert_eq!(held, Some(with("first")));
    assert_eq!(store.resource(&gone.url).await.unwrap(), None);

    let validated = Resource {
        stored_at: resource.stored_at + 1.0,
        ..resource.clone()
    };
    store.put_resource(validated.clone()).await.unwrap();
    store.put_cold(vec![with("late")]).await.unwrap();
    let held = store.resource(&resource.url).await.unwrap();
    assert_eq!(held, Some(validated));
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
    assert_eq!(held(&hit), Some(Vec::new()));
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
    assert_eq!(held(&hit), Some(bytes));
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
    assert_eq!(held(&hit), None);
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
    assert_eq!((held(&hit), hit.groups), (None, vec![]));
    let groups = cut(&bytes, false);
    let id = resource.id;
    store
        .put_groups(&id, resource.len, 1, groups[1..2].to_vec(), true)
        .await
        .unwrap();
    let hit = store.hit(&resource.url).await.unwrap().unwrap();
    assert_eq!((held(&hit), hit.groups), (None, vec![(1, 2)]));
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
    assert!(store.hit(&one.url).await.unwrap().is_none());
    let hit = store.hit(&two.url).await.unwrap().unwrap();
    assert_eq!(held(&hit), Some(bytes));
    store.remove(&two.id).await.unwrap();
    assert!(store.hit(&two.url).await.unwrap().is_none());
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
        assert_eq!(held(&hit), Some(bytes));
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
        assert!(hit.is_none_or(|hit| held(&hit).as_ref() == Some(&bytes)));
    }
    let content = store.content(&ContentId::of(&bytes)).await.unwrap();
    let kept = content.map_or(0, |content| content.kept);
    assert_eq!(store.usage().await.unwrap(), kept);
}
