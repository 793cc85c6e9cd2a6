//! The access log: what reached the server, and what left it.

use futures_util::StreamExt;

use crate::running::{Running, bytes};

fn fields(line: &str) -> (String, u16, u64) {
    let mut quoted = line.split('"');
    let (head, request, tail) = (
        quoted.next().unwrap(),
        quoted.next().unwrap(),
        quoted.next().unwrap(),
    );
    assert!(head.starts_with("127.0.0.1 - - ["), "{line}");
    let mut tail = tail.split_whitespace();
    let status = tail.next().unwrap().parse().unwrap();
    let bytes = tail.next().unwrap().parse().unwrap();
    (request.to_owned(), status, bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_is_one_line_with_the_bytes_of_its_body() {
    let server = Running::start(&[("a.png", &bytes(5000)), ("index.html", b"top")]).await;
    server.get("/").await.bytes().await.unwrap();
    server.get("/a.png?w=1").await.bytes().await.unwrap();
    let part = server.get_with("/a.png", &[("range", "bytes=0-99")]).await;
    part.bytes().await.unwrap();
    server.head("/a.png").await;
    server.get("/missing").await.bytes().await.unwrap();
    let manifest = server.get("/fugitive/manifest.json").await;
    let manifest = manifest.bytes().await.unwrap().len() as u64;
    let lines: Vec<_> = server.log(6).await.iter().map(|l| fields(l)).collect();
    let request = |text: &str| format!("{text} HTTP/1.1");
    assert_eq!(
        lines,
        [
            (request("GET /"), 200, 3),
            (request("GET /a.png?w=1"), 200, 5000),
            (request("GET /a.png"), 206, 100),
            (request("HEAD /a.png"), 200, 0),
            (request("GET /missing"), 404, 9),
            (request("GET /fugitive/manifest.json"), 200, manifest),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn download_that_was_broken_off_counts_for_about_what_it_took() {
    let len = 64 << 20;
    let server = Running::start(&[("v.mp4", &bytes(len))]).await;
    let mut body = server.get("/v.mp4").await.bytes_stream();
    let mut taken = 0;
    while taken < 1 << 20 {
        taken += body.next().await.unwrap().unwrap().len() as u64;
    }
    drop(body);
    let lines = server.log(1).await;
    let (_, status, sent) = fields(&lines[0]);
    assert_eq!(status, 200);
    assert!(sent >= taken && sent < len as u64 / 2, "{sent} of {taken}");
}

#[tokio::test(flavor = "multi_thread")]
async fn request_cannot_forge_a_line() {
    let server = Running::start(&[]).await;
    server.status_of("/a\"_200_5%0a").await;
    let lines = server.log(1).await;
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0].matches('"').count(), 2, "{}", lines[0]);
}
