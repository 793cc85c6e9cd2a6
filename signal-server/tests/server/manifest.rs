//! The manifest of a running server.

use std::{collections::BTreeMap, fs, io::Write as _, time::Duration};

use bao_tree::{
    BaoTree, BlockSize, ChunkRanges, blake3,
    io::{outboard::PreOrderMemOutboard, sync::valid_ranges},
};
use fugitive_core::{
    content::ContentId,
    manifest::{Entry, check_entries},
};

use crate::running::{Running, bytes, header, put, until};

#[tokio::test(flavor = "multi_thread")]
async fn manifest_says_what_the_server_sends() {
    let image = bytes(5000);
    let server = Running::start(&[("img/\u{e4} b.png", &image), ("index.html", b"x")]).await;
    let manifest = server.manifest().await;
    assert_eq!(manifest.check(), Ok(()));
    assert_eq!(
        manifest.entries.keys().collect::<Vec<_>>(),
        ["/img/%C3%A4%20b.png"]
    );
    for (key, entry) in &manifest.entries {
        let response = server.get(key).await;
        let sent = |name| Some(header(&response, name).to_owned());
        let variant = &entry[0];
        assert_eq!(variant.etag, sent("etag"));
        assert_eq!(variant.modified, sent("last-modified"));
        assert_eq!(variant.cache, sent("cache-control"));
        assert_eq!(Some(variant.mime.clone()), sent("content-type"));
        let body = response.bytes().await.unwrap();
        assert_eq!(variant.len, body.len() as u64);
        assert_eq!(variant.id, ContentId::of(&body));
        assert!(!variant.bao);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn manifest_is_revalidated_and_compressed() {
    let server = Running::start(&[("a.png", b"x"), ("b.png", b"y")]).await;
    let path = "/fugitive/manifest.json";
    let plain = server.get(path).await;
    assert_eq!(header(&plain, "content-type"), "application/json");
    assert_eq!(header(&plain, "cache-control"), "no-cache");
    let plain = plain.bytes().await.unwrap();
    let br = server
        .get_with(path, &[("accept-encoding", "gzip, br")])
        .await;
    assert_eq!(header(&br, "content-encoding"), "br");
    let etag = header(&br, "etag").to_owned();
    let mut unpacked = Vec::new();
    let packed = br.bytes().await.unwrap();
    brotli::BrotliDecompress(&mut packed.as_ref(), &mut unpacked).unwrap();
    assert!(packed.len() < plain.len() && unpacked == plain);
    let gzip = server.get_with(path, &[("accept-encoding", "gzip")]).await;
    let packed = gzip.bytes().await.unwrap();
    let mut unpacked = Vec::new();
    let mut reader = flate2::read::GzDecoder::new(packed.as_ref());
    std::io::Read::read_to_end(&mut reader, &mut unpacked).unwrap();
    assert!(unpacked == plain);
    let again = server
        .get_with(path, &[("accept-encoding", "br"), ("if-none-match", &etag)])
        .await;
    assert_eq!(again.status(), 304);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_excluded_is_served_and_not_listed() {
    let files: [(&str, &[u8]); 4] = [
        ("a.png", b"x"),
        ("private/b.png", b"x"),
        ("c.gif", b"x"),
        (".d.png", b"x"),
    ];
    let server = Running::with(&files, |config| {
        config.exclude = vec!["private".into(), "*.gif".into()];
    })
    .await;
    let manifest = server.manifest().await;
    assert_eq!(manifest.entries.keys().collect::<Vec<_>>(), ["/a.png"]);
    assert_eq!(server.get("/private/b.png").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn manifest_follows_the_folder() {
    let server = Running::start(&[("a.png", b"x"), ("old/b.png", b"x")]).await;
    let before = server.manifest().await;
    assert_eq!(before.entries.len(), 2);
    fs::write(server.site().join("a.png"), b"changed").unwrap();
    fs::create_dir(server.site().join("new")).unwrap();
    fs::write(server.site().join("new/c.png"), b"new").unwrap();
    fs::remove_dir_all(server.site().join("old")).unwrap();
    until("the manifest follows", || async {
        let now = server.manifest().await;
        let id = |key: &str| now.entries.get(key).map(|entry| entry[0].id);
        now.entries.len() == 2
            && id("/a.png") == Some(ContentId::of(b"changed"))
            && id("/new/c.png") == Some(ContentId::of(b"new"))
    })
    .await;
    fs::write(server.site().join("new/d.png"), b"deeper").unwrap();
    until("a folder that is new is watched, too", || async {
        server.manifest().await.entries.contains_key("/new/d.png")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn file_that_is_being_written_is_listed_when_it_is_done() {
    let server = Running::start(&[("a.png", b"x")]).await;
    assert_eq!(server.manifest().await.entries.len(), 1);
    let path = server.site().join("v.mp4");
    let mut file = fs::File::create(&path).unwrap();
    let mut whole = Vec::new();
    for _ in 0..15 {
        let part = bytes(200_000);
        file.write_all(&part).unwrap();
        whole.extend(part);
        let listed = server.manifest().await;
        assert!(!listed.entries.contains_key("/v.mp4"));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    drop(file);
    until("it is listed", || async {
        server.manifest().await.entries.contains_key("/v.mp4")
    })
    .await;
    let entry = server.manifest().await.entries["/v.mp4"][0].clone();
    assert_eq!(entry.id, ContentId::of(&whole));
}

#[tokio::test(flavor = "multi_thread")]
async fn large_site_is_sharded_and_an_old_index_still_finds_its_shards() {
    let names: Vec<String> = (0..650)
        .map(|i| format!("g{}/{i:03}.png", i / 130))
        .collect();
    let files: Vec<(&str, &[u8])> = names
        .iter()
        .map(|name| (name.as_str(), name.as_bytes()))
        .collect();
    let server = Running::start(&files).await;
    let index = server.manifest().await;
    assert!(index.entries.is_empty() && index.shards.len() > 1);
    let mut listed = 0;
    for shard in &index.shards {
        let path = format!("/fugitive/shard/{}.json", shard.id);
        let response = server.get(&path).await;
        assert!(header(&response, "cache-control").contains("immutable"));
        let body = response.bytes().await.unwrap();
        assert_eq!(ContentId::of(&body), shard.id);
        let entries: BTreeMap<String, Entry> = serde_json::from_slice(&body).unwrap();
        assert_eq!(check_entries(&entries), Ok(()));
        for (key, entry) in &entries {
            assert_eq!(index.shard_of(key).unwrap(), shard);
            assert_eq!(entry[0].id, ContentId::of(&key.as_bytes()[1..]));
        }
        listed += entries.len();
    }
    assert_eq!(listed, 650);
    put(&server.site(), "g0/new.png", b"new");
    until("the index changes", || async {
        server.manifest().await != index
    })
    .await;
    for shard in &index.shards {
        let path = format!("/fugitive/shard/{}.json", shard.id);
        assert_eq!(server.get(&path).await.status(), 200);
    }
    let unknown = format!("/fugitive/shard/{}.json", ContentId::of(b"?"));
    assert_eq!(server.get(&unknown).await.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn outboard_of_a_large_file_proves_its_groups() {
    let video = bytes(3_000_017);
    let server = Running::start(&[("v.mp4", &video), ("s.mp4", &video[..1 << 20])]).await;
    let manifest = server.manifest().await;
    assert!(!manifest.entries["/s.mp4"][0].bao);
    let variant = &manifest.entries["/v.mp4"][0];
    assert!(variant.bao);
    let path = format!("/fugitive/bao/{}", variant.id);
    let response = server.get(&path).await;
    assert!(header(&response, "cache-control").contains("immutable"));
    let data = response.bytes().await.unwrap();
    let outboard = PreOrderMemOutboard {
        root: blake3::Hash::from(variant.id.0),
        tree: BaoTree::new(variant.len, BlockSize::from_chunk_log(4)),
        data: data.to_vec(),
    };
    assert_eq!(data.len() as u64, outboard.tree.outboard_size());
    let mut valid = ChunkRanges::empty();
    for range in valid_ranges(&outboard, video.as_slice(), &ChunkRanges::all()) {
        valid |= ChunkRanges::from(range.unwrap());
    }
    assert_eq!(valid, ChunkRanges::from(..outboard.tree.chunks()));
    let part = server.get_with(&path, &[("range", "bytes=64-127")]).await;
    assert_eq!(part.status(), 206);
    assert!(part.bytes().await.unwrap() == data[64..128]);
    fs::remove_file(server.site().join("v.mp4")).unwrap();
    until("the video is unlisted", || async {
        server.manifest().await.entries.len() == 1
    })
    .await;
    let kept = server.get(&path).await.status();
    assert_eq!(kept, 200, "for those who have the old index");
}

#[tokio::test(flavor = "multi_thread")]
async fn outboards_survive_in_a_cache_of_ones_own() {
    let cache = tempfile::tempdir().unwrap();
    let video = bytes(2_000_000);
    for _ in 0..2 {
        let server = Running::with(&[("v.mp4", &video)], |config| {
            config.cache = Some(cache.path().to_owned());
        })
        .await;
        let id = server.manifest().await.entries["/v.mp4"][0].id;
        assert!(cache.path().join("bao").join(id.to_hex()).exists());
        let outboard = server.get(&format!("/fugitive/bao/{id}")).await;
        assert_eq!(outboard.status(), 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn policy_is_what_the_configuration_says_now() {
    let server = Running::with(&[("a.png", b"x")], |config| {
        config.policy.max_wait_ms = 300;
        config.policy.manners.insert("upload".into(), 7);
    })
    .await;
    let policy = server.manifest().await.policy;
    assert!(policy.enabled);
    assert_eq!((policy.max_wait_ms, policy.manners.upload), (300, 7));

    let mut config = server.config.clone();
    config.policy.manners.insert("uplaod".into(), 7);
    config.policy.enabled = false;
    assert!(server.server.reload(&config).is_err());
    config.policy.manners.clear();
    server.server.reload(&config).unwrap();
    until("the site takes itself away", || async {
        let policy = server.manifest().await.policy;
        !policy.enabled && policy.manners.is_default()
    })
    .await;
}
