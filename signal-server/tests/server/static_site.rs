//! A static site: ranges, conditional requests, types, and no way out of the folder.

use std::{fs, os::unix::fs::symlink};

use fugitive_server::{Config, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::running::{Running, bytes, header, put};

#[tokio::test(flavor = "multi_thread")]
async fn file_comes_with_type_length_and_validators() {
    let image = bytes(70_000);
    let server = Running::start(&[("img/a b.jpg", &image)]).await;
    let response = server.get("/img/a%20b.jpg").await;
    assert_eq!(response.status(), 200);
    assert_eq!(header(&response, "content-type"), "image/jpeg");
    assert_eq!(header(&response, "content-length"), "70000");
    assert_eq!(header(&response, "accept-ranges"), "bytes");
    assert_eq!(header(&response, "cache-control"), "public, max-age=3600");
    assert!(header(&response, "etag").starts_with('"'));
    assert!(header(&response, "last-modified").ends_with("GMT"));
    assert!(response.bytes().await.unwrap() == image);
}

#[tokio::test(flavor = "multi_thread")]
async fn folder_is_its_index_and_without_the_slash_a_redirect() {
    let server = Running::start(&[("index.html", b"top"), ("sub/index.html", b"sub")]).await;
    let top = server.get("/").await;
    assert_eq!(header(&top, "content-type"), "text/html; charset=utf-8");
    assert_eq!(header(&top, "cache-control"), "no-cache");
    assert_eq!(top.text().await.unwrap(), "top");
    assert_eq!(server.get("/sub/").await.text().await.unwrap(), "sub");
    let (status, answer) = server.status_of("/sub?a=1").await;
    assert_eq!(status, 301);
    assert!(answer.contains("location: /sub/?a=1\r\n"), "{answer}");
    assert_eq!(server.get("/sub/index.html/").await.status(), 404);
    fs::create_dir(server.site().join("empty")).unwrap();
    assert_eq!(server.get("/empty/").await.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_are_answered_by_rfc_9110() {
    let video = bytes(1000);
    let server = Running::start(&[("v.mp4", &video)]).await;
    for (range, content_range, part) in [
        ("bytes=0-0", "bytes 0-0/1000", &video[..1]),
        ("bytes=10-19", "bytes 10-19/1000", &video[10..20]),
        ("bytes=990-", "bytes 990-999/1000", &video[990..]),
        ("bytes=-5", "bytes 995-999/1000", &video[995..]),
        ("bytes=0-5000", "bytes 0-999/1000", &video[..]),
        (
            "bytes=7-18446744073709551615",
            "bytes 7-999/1000",
            &video[7..],
        ),
        ("bytes=-5000", "bytes 0-999/1000", &video[..]),
    ] {
        let response = server.get_with("/v.mp4", &[("range", range)]).await;
        assert_eq!(response.status(), 206, "{range}");
        assert_eq!(header(&response, "content-range"), content_range);
        assert_eq!(header(&response, "content-type"), "video/mp4");
        assert!(response.bytes().await.unwrap() == part, "{range}");
    }
    for beyond in ["bytes=1000-", "bytes=-0", "bytes=2000-3000"] {
        let response = server.get_with("/v.mp4", &[("range", beyond)]).await;
        assert_eq!(response.status(), 416, "{beyond}");
        assert_eq!(header(&response, "content-range"), "bytes */1000");
    }
    for nonsense in ["bytes=5-1", "lines=1-2", "bytes=a-b"] {
        let response = server.get_with("/v.mp4", &[("range", nonsense)]).await;
        assert_eq!(response.status(), 200, "{nonsense}");
    }
    let several = server
        .get_with("/v.mp4", &[("range", "bytes=0-1,500-501")])
        .await;
    assert_eq!(several.status(), 206);
    assert!(header(&several, "content-type").starts_with("multipart/byteranges"));
}

#[tokio::test(flavor = "multi_thread")]
async fn range_of_something_that_changed_is_the_whole() {
    let server = Running::start(&[("v.mp4", &bytes(1000))]).await;
    let etag = header(&server.head("/v.mp4").await, "etag").to_owned();
    let range = ("range", "bytes=10-19");
    let same = server
        .get_with("/v.mp4", &[range, ("if-range", &etag)])
        .await;
    assert_eq!(same.status(), 206);
    assert_eq!(header(&same, "content-type"), "video/mp4");
    put(&server.site(), "v.mp4", &bytes(1001));
    let changed = server
        .get_with("/v.mp4", &[range, ("if-range", &etag)])
        .await;
    assert_eq!(changed.status(), 200);
    assert_eq!(header(&changed, "content-length"), "1001");
}

#[tokio::test(flavor = "multi_thread")]
async fn conditional_requests_spare_what_the_client_has() {
    let server = Running::start(&[("a.png", b"x")]).await;
    let head = server.head("/a.png").await;
    let (etag, modified) = (header(&head, "etag"), header(&head, "last-modified"));
    for (name, value) in [
        ("if-none-match", etag),
        ("if-none-match", "*"),
        ("if-none-match", &format!("\"other\", W/{etag}")),
        ("if-modified-since", modified),
    ] {
        let response = server.get_with("/a.png", &[(name, value)]).await;
        assert_eq!(response.status(), 304, "{name}: {value}");
        assert_eq!(header(&response, "etag"), etag);
        assert_eq!(header(&response, "cache-control"), "public, max-age=3600");
        assert!(response.bytes().await.unwrap().is_empty());
    }
    for (name, value) in [
        ("if-none-match", "\"other\""),
        ("if-modified-since", "Thu, 01 Jan 1970 00:00:00 GMT"),
        ("if-modified-since", "yesterday"),
        ("if-match", etag),
        ("if-unmodified-since", modified),
    ] {
        let response = server.get_with("/a.png", &[(name, value)]).await;
        assert_eq!(response.status(), 200, "{name}: {value}");
    }
    let failed = server
        .get_with("/a.png", &[("if-match", "\"other\"")])
        .await;
    assert_eq!(failed.status(), 412);
}

#[tokio::test(flavor = "multi_thread")]
async fn entity_tag_is_another_after_each_write_of_the_same_second() {
    let server = Running::start(&[]).await;
    let mut tags = std::collections::HashSet::new();
    for content in [b"1", b"2", b"3"] {
        let new = server.site().join("new");
        fs::write(&new, content).unwrap();
        fs::rename(&new, server.site().join("a.png")).unwrap();
        tags.insert(header(&server.head("/a.png").await, "etag").to_owned());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(tags.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn head_is_get_without_the_body() {
    let server = Running::start(&[("a.png", &bytes(5000)), ("empty.png", b"")]).await;
    for path in ["/a.png", "/empty.png", "/fugitive/manifest.json"] {
        let head = server.head(path).await;
        let get = server.get(path).await;
        assert_eq!(head.status(), get.status());
        let without_date = |response: &reqwest::Response| {
            let mut headers = response.headers().clone();
            headers.remove("date");
            headers
        };
        assert_eq!(without_date(&head), without_date(&get), "{path}");
        assert!(head.bytes().await.unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_methods_are_not_allowed() {
    let server = Running::start(&[("a.png", b"x")]).await;
    for path in ["/a.png", "/fugitive/manifest.json"] {
        let request = reqwest::Client::new().post(server.url(path)).body("x");
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 405);
        assert_eq!(header(&response, "allow"), "GET, HEAD");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_a_path_leads_out_of_the_site() {
    let server = Running::start(&[("index.html", b"top"), ("sub/a.png", b"x")]).await;
    fs::write(server.folder.path().join("secret.txt"), "secret").unwrap();
    for target in [
        "/../secret.txt",
        "/sub/../../secret.txt",
        "/..%2fsecret.txt",
        "/%2e%2e/secret.txt",
        "/%2e%2e%2fsecret.txt",
        "/.%2e/secret.txt",
        "/sub/%2e%2e/%2e%2e/secret.txt",
        "/..%5csecret.txt",
        "/%252e%252e/secret.txt",
        "/..%00/secret.txt",
        "//etc/passwd",
        "/%2fetc/passwd",
        "/sub//a.png",
        "/./index.html",
        "http://x/../secret.txt",
        "/fugitive/../../secret.txt",
        "/fugitive/bao/../../secret.txt",
        "/fugitive/shard/..%2f..%2fsecret.txt",
    ] {
        let (status, answer) = server.status_of(target).await;
        assert!(status == 404 || status == 400, "{target}: {status}");
        assert!(!answer.contains("secret\n") && !answer.contains("root:"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn links_are_followed_within_the_site_and_not_out_of_it() {
    let server = Running::start(&[("a.txt", b"inside"), (".hidden", b"hidden")]).await;
    let site = server.site();
    fs::write(server.folder.path().join("secret.txt"), "secret").unwrap();
    symlink(site.join("a.txt"), site.join("b.txt")).unwrap();
    symlink("../secret.txt", site.join("out.txt")).unwrap();
    symlink("..", site.join("up")).unwrap();
    symlink(site.join(".hidden"), site.join("shown.txt")).unwrap();
    symlink("round", site.join("round")).unwrap();
    assert_eq!(server.get("/b.txt").await.text().await.unwrap(), "inside");
    for path in ["/out.txt", "/up/secret.txt", "/shown.txt"] {
        assert_eq!(server.get(path).await.status(), 404, "{path}");
    }
    assert!(server.get("/round").await.status().as_u16() >= 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn hidden_files_and_missing_ones_are_not_found() {
    let server = Running::start(&[
        (".env", b"x"),
        (".git/config", b"x"),
        ("a/.b/c.png", b"x"),
        ("a/c.png", b"x"),
    ])
    .await;
    for path in [
        "/.env",
        "/%2eenv",
        "/.git/config",
        "/a/.b/c.png",
        "/missing.png",
        "/a/c.png/d",
        &format!("/{}", "x".repeat(300)),
    ] {
        assert_eq!(server.get(path).await.status(), 404, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pipe_in_the_site_holds_up_nobody() {
    let server = Running::start(&[]).await;
    let made = std::process::Command::new("mkfifo")
        .arg(server.site().join("pipe.mp4"))
        .status()
        .unwrap();
    assert!(made.success());
    assert_eq!(server.get("/pipe.mp4").await.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_file_arrives_whole_by_many_at_once() {
    let video = bytes(9_000_001);
    let server = Running::start(&[("v.mp4", &video)]).await;
    let url = server.url("/v.mp4");
    let downloads: Vec<_> = (0..8)
        .map(|_| {
            let url = url.clone();
            tokio::spawn(async move { reqwest::get(url).await.unwrap().bytes().await.unwrap() })
        })
        .collect();
    for download in downloads {
        assert!(download.await.unwrap() == video);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connection_that_the_caller_accepted_is_served_over_any_stream() {
    let site = tempfile::tempdir().unwrap();
    put(site.path(), "a.png", b"pixels");
    let config = Config {
        site: site.path().to_owned(),
        ..Config::default()
    };
    let server = Server::open(config).unwrap();
    let (mut ours, theirs) = tokio::io::duplex(64);
    tokio::spawn(server.connection(theirs, ([127, 0, 0, 1], 1).into()));
    let request = b"GET /a.png HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    ours.write_all(request).await.unwrap();
    let mut answer = String::new();
    ours.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("pixels"));
}
