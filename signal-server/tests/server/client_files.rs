//! Client files, as the pack lays them out.

use std::{fs, path::Path};

use crate::running::{Running, header};

fn pack(folder: &Path) {
    fs::create_dir_all(folder.join("fugitive")).unwrap();
    for name in [
        "fugitive.js",
        "fugitive-sw.js",
        "fugitive/bridge-ab12.js",
        "fugitive/sw-cd34.wasm",
    ] {
        fs::write(folder.join(name), format!("plain {name}")).unwrap();
        fs::write(folder.join(format!("{name}.br")), "brotli").unwrap();
        fs::write(folder.join(format!("{name}.gz")), "gzip").unwrap();
    }
}

async fn packed() -> Running {
    let mut client = None;
    let server = Running::with(&[("fugitive.js", b"the site's own")], |config| {
        client = config.site.parent().map(|folder| folder.join("client"));
        config.client = client.clone();
    })
    .await;
    pack(&client.unwrap());
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn worker_script_may_control_the_whole_site_and_has_a_policy_of_its_own() {
    let server = packed().await;
    let worker = server.get("/fugitive-sw.js").await;
    assert_eq!(header(&worker, "service-worker-allowed"), "/");
    assert_eq!(header(&worker, "cache-control"), "no-cache");
    assert!(header(&worker, "content-type").starts_with("text/javascript"));
    let policy = header(&worker, "content-security-policy");
    assert!(policy.contains("'wasm-unsafe-eval'") && policy.contains("connect-src *"));
}

#[tokio::test(flavor = "multi_thread")]
async fn loader_is_kept_for_minutes_and_what_carries_its_hash_for_ever() {
    let server = packed().await;
    let loader = server.get("/fugitive.js").await;
    assert_eq!(header(&loader, "cache-control"), "public, max-age=300");
    assert_eq!(loader.text().await.unwrap(), "plain fugitive.js");
    let bridge = server.get("/fugitive/bridge-ab12.js").await;
    assert!(header(&bridge, "cache-control").contains("immutable"));
    assert!(header(&bridge, "content-type").starts_with("text/javascript"));
    let wasm = server.get("/fugitive/sw-cd34.wasm").await;
    assert!(header(&wasm, "cache-control").contains("max-age=31536000"));
    assert_eq!(header(&wasm, "content-type"), "application/wasm");
}

#[tokio::test(flavor = "multi_thread")]
async fn encoding_is_what_the_client_takes() {
    let server = packed().await;
    let mut tags = std::collections::HashSet::new();
    for (accept, encoding, body) in [
        ("gzip, deflate, br, zstd", "br", "brotli"),
        ("gzip", "gzip", "gzip"),
        ("br;q=0, gzip", "gzip", "gzip"),
        ("identity", "", "plain fugitive/sw-cd34.wasm"),
        ("", "", "plain fugitive/sw-cd34.wasm"),
    ] {
        let path = "/fugitive/sw-cd34.wasm";
        let response = server.get_with(path, &[("accept-encoding", accept)]).await;
        assert_eq!(header(&response, "content-encoding"), encoding, "{accept}");
        assert_eq!(header(&response, "vary"), "accept-encoding");
        let etag = header(&response, "etag").to_owned();
        let again = server
            .get_with(
                path,
                &[("accept-encoding", accept), ("if-none-match", &etag)],
            )
            .await;
        assert_eq!(again.status(), 304);
        tags.insert(etag);
        assert_eq!(response.text().await.unwrap(), body);
    }
    assert_eq!(tags.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_below_fugitive_that_nobody_knows_are_not_found() {
    let server = packed().await;
    for path in [
        "/fugitive/other.js",
        "/fugitive/sw-cd34.wasm.br",
        "/fugitive/fetch/1",
        "/fugitive/signal",
        "/fugitive/bao/x",
        "/fugitive/%2e%2e/fugitive.js",
    ] {
        assert_eq!(server.status_of(path).await.0, 404, "{path}");
    }
}
