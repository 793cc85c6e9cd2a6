//! What an operator sees and sets: metrics, health, TLS with its certificates, signals to the binary.

use std::{path::Path, sync::Arc};

use fugitive_signal::{ToClient, ToServer};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName},
    },
};

use crate::{
    client::{description, join},
    running::{Running, until},
};

async fn admin(server: &Running) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    server.server.admin(listener);
    format!("http://{address}")
}

async fn get(url: String) -> (u16, String) {
    let response = reqwest::get(url).await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_say_what_happened_and_what_there_is() {
    let server = Running::start(&[("a.png", b"12345")]).await;
    let admin = admin(&server).await;
    server.get("/a.png").await.bytes().await.unwrap();
    let mut first = join(&server, "/", 0, None).await;
    let mut second = join(&server, "/", 4, None).await;
    let signal = description("x");
    let to = first.id.clone();
    second.say(&ToServer::Signal { to, signal }).await;
    assert!(matches!(first.hear().await, Some(ToClient::Signal { .. })));
    let peer = first.id.clone();
    second.say(&ToServer::Up { peer }).await;
    assert!(crate::client::connect(&server, None).await.is_err());
    let metrics = || get(format!("{admin}/metrics"));
    until("the channel is counted", || async {
        metrics().await.1.contains("\nfugitive_channels 1\n")
    })
    .await;
    let (status, text) = metrics().await;
    assert_eq!(status, 200);
    for line in [
        "fugitive_peers 2",
        "fugitive_connections 2",
        "fugitive_origins 1",
        "fugitive_pages 1",
        "fugitive_joins_total 2",
        "fugitive_signals_relayed_total 1",
        "fugitive_messages_total 4",
        "fugitive_joins_refused_total{why=\"origin\"} 1",
        "fugitive_origin_peers{origin=\"https://site\"} 2",
        "fugitive_requests_total{status=\"2xx\"} 1",
        // The image, and a word for who was refused.
        "fugitive_sent_bytes_total 14",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    drop((first, second));
    until("nobody is left", || async {
        let text = metrics().await.1;
        text.contains("\nfugitive_peers 0\n") && !text.contains("https://site")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn server_is_ready_until_it_drains_and_healthy_as_long_as_it_answers() {
    let server = Running::start(&[]).await;
    let admin = admin(&server).await;
    for url in [format!("{admin}/readyz"), server.url("/fugitive/readyz")] {
        assert_eq!(get(url).await.0, 200);
    }
    let client = join(&server, "/", 0, None).await;
    let draining = server.server.clone();
    tokio::spawn(async move { draining.drain(std::time::Duration::from_secs(10)).await });
    until("it is not ready", || async {
        get(server.url("/fugitive/readyz")).await.0 == 503
    })
    .await;
    assert_eq!(get(format!("{admin}/readyz")).await.0, 503);
    assert_eq!(get(format!("{admin}/healthz")).await.0, 200);
    assert_eq!(get(format!("{admin}/else")).await.0, 404);
    drop(client);
}

/// A new certificate for localhost, written where the server finds it.
fn certificate(folder: &Path) -> CertificateDer<'static> {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("chain.pem"), cert.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), signing_key.serialize_pem()).unwrap();
    cert.der().clone()
}

/// A connection that trusts this certificate alone.
async fn shake(
    server: &Running,
    trusted: &CertificateDer<'static>,
    protocol: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.into()];
    let stream = TcpStream::connect(server.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn files_come_by_http_2_over_tls_and_a_new_certificate_is_taken_without_a_new_start() {
    let folder = tempfile::tempdir().unwrap();
    let old = certificate(folder.path());
    let server = Running::with(&[("a.png", b"12345")], |config| {
        config.tls.chain = Some(folder.path().join("chain.pem"));
        config.tls.key = Some(folder.path().join("key.pem"));
    })
    .await;
    let stream = shake(&server, &old, "h2").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = hyper::Request::get("https://localhost/a.png");
    let request = request.body(Empty::<bytes::Bytes>::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(&body[..], b"12345");

    // The socket is for HTTP/1.1.
    let stream = shake(&server, &old, "http/1.1").await.unwrap();
    let mut request =
        tokio_tungstenite::tungstenite::client::IntoClientRequest::into_client_request(
            "wss://localhost/fugitive/signal",
        )
        .unwrap();
    let origin = "https://site".parse().unwrap();
    request.headers_mut().insert("origin", origin);
    tokio_tungstenite::client_async(request, stream)
        .await
        .unwrap();

    std::fs::write(folder.path().join("chain.pem"), "garbage").unwrap();
    assert!(server.server.reload(&server.config).is_err());
    shake(&server, &old, "h2")
        .await
        .expect("the old one goes on");
    let new = certificate(folder.path());
    server.server.reload(&server.config).unwrap();
    shake(&server, &new, "h2").await.unwrap();
    assert!(shake(&server, &old, "h2").await.is_err());
    // Who speaks no TLS gets nothing, and harms nobody.
    assert!(reqwest::get(server.url("/a.png")).await.is_err());
    shake(&server, &new, "h2").await.unwrap();
}
