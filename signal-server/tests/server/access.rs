//! Who may join: origins, tokens, addresses behind proxies, and how much one of them may take.

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use fugitive_server::config::{Config, Rate};
use fugitive_signal::{ToClient, ToServer, encode, handshake};
use futures_util::SinkExt;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest},
};

use crate::{
    client::{Client, join, joining},
    running::Running,
};

pub const SECRET: &str = "not a secret any more";
/// Of RFC 8410, §10.
const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";

async fn knock(
    server: &Running,
    origin: &str,
    query: &str,
    headers: &[(&'static str, &str)],
) -> Result<Client, u16> {
    knock_at(server.address, origin, query, headers).await
}

/// A handshake; the status if it is refused.
pub async fn knock_at(
    server: SocketAddr,
    origin: &str,
    query: &str,
    headers: &[(&'static str, &str)],
) -> Result<Client, u16> {
    let url = format!("ws://{server}/fugitive/signal{query}");
    let mut request = url.into_client_request().unwrap();
    let head = request.headers_mut();
    head.insert("origin", origin.parse().unwrap());
    for (name, value) in headers {
        head.insert(*name, value.parse().unwrap());
    }
    match connect_async(request).await {
        Ok((socket, _)) => Ok(Client {
            socket,
            id: String::new(),
            ticket: String::new(),
            offered: Vec::new(),
        }),
        Err(Error::Http(response)) => Err(response.status().as_u16()),
        Err(other) => panic!("{other}"),
    }
}

/// As a visitor of this address, who comes through a proxy on this machine.
async fn from(server: &Running, address: &str) -> Result<Client, u16> {
    knock(server, "https://site", "", &[("x-forwarded-for", address)]).await
}

fn behind_a_proxy(config: &mut Config) {
    config.access.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
}

/// A query with a join token.
pub fn token(algorithm: Algorithm, key: &EncodingKey, audience: &str, expires_in: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let claims = json!({"aud": audience, "exp": now.as_secs() as i64 + expires_in});
    let token = jsonwebtoken::encode(&Header::new(algorithm), &claims, key).unwrap();
    format!("?token={token}")
}

#[tokio::test(flavor = "multi_thread")]
async fn only_named_origins_may_join_until_the_configuration_says_otherwise() {
    let server = Running::with(&[], |config| {
        config.access.origins = vec!["https://site".into()];
    })
    .await;
    assert!(knock(&server, "https://site", "", &[]).await.is_ok());
    for other in [
        "https://site:444",
        "http://site",
        "https://site.evil",
        "null",
    ] {
        assert_eq!(
            knock(&server, other, "", &[]).await.err(),
            Some(403),
            "{other}"
        );
    }
    let mut config = server.config.clone();
    config.access.origins = vec!["https://new".into()];
    server.server.reload(&config).unwrap();
    assert!(knock(&server, "https://new", "", &[]).await.is_ok());
    assert_eq!(
        knock(&server, "https://site", "", &[]).await.err(),
        Some(403)
    );
    config.access.token_key = Some("/nowhere.pem".into());
    config.access.origins.clear();
    assert!(server.server.reload(&config).is_err());
    assert!(knock(&server, "https://new", "", &[]).await.is_ok());
    assert_eq!(
        knock(&server, "https://site", "", &[]).await.err(),
        Some(403)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn token_is_needed_and_must_be_of_the_key_for_the_origin_and_not_expired() {
    let folder = tempfile::tempdir().unwrap();
    let public = folder.path().join("key.pem");
    std::fs::write(&public, PUBLIC).unwrap();
    let server = Running::with(&[], |config| {
        config.access.token_secret = Some(SECRET.into());
        config.access.token_key = Some(public);
    })
    .await;
    let hmac = EncodingKey::from_secret(SECRET.as_bytes());
    let ed = EncodingKey::from_ed_pem(PRIVATE.as_bytes()).unwrap();
    let other = EncodingKey::from_secret(b"another");
    // The public key as an HMAC secret: the classic forgery.
    let confused = EncodingKey::from_secret(PUBLIC.as_bytes());
    let (here, there) = ("https://site", "https://other");
    for good in [
        token(Algorithm::HS256, &hmac, here, 60),
        token(Algorithm::EdDSA, &ed, here, 60),
    ] {
        let mut client = knock(&server, here, &good, &[]).await.ok().unwrap();
        client.say(&joining("/", 0, None)).await;
        assert!(matches!(
            client.hear().await,
            Some(ToClient::Welcome { .. })
        ));
    }
    for bad in [
        String::new(),
        "?token=".into(),
        "?token=a.b.c".into(),
        format!("?token={}", "x".repeat(5000)),
        token(Algorithm::HS256, &hmac, there, 60),
        token(Algorithm::HS256, &hmac, here, -3600),
        token(Algorithm::HS256, &other, here, 60),
        token(Algorithm::HS256, &confused, here, 60),
        token(Algorithm::HS512, &hmac, here, 60),
    ] {
        assert_eq!(
            knock(&server, here, &bad, &[]).await.err(),
            Some(401),
            "{bad}"
        );
    }
    let log = server.log(1).await.join("\n");
    assert!(log.contains("/fugitive/signal HTTP"), "{log}");
    assert!(!log.contains("token"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_holds_a_bounded_number_of_peers_and_gives_them_back() {
    let server = Running::with(&[], |config| {
        behind_a_proxy(config);
        config.limits.peers_per_address = 2;
    })
    .await;
    let first = from(&server, "203.0.113.1").await.ok().unwrap();
    let _second = from(&server, "203.0.113.1").await.ok().unwrap();
    assert_eq!(from(&server, "203.0.113.1").await.err(), Some(429));
    assert!(from(&server, "203.0.113.2").await.is_ok());
    // What a visitor puts before the proxy's word is not believed.
    assert_eq!(
        from(&server, "198.51.100.7, 203.0.113.1").await.err(),
        Some(429)
    );
    drop(first);
    crate::running::until("there is room again", || async {
        from(&server, "203.0.113.1").await.is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_joins_of_one_address_are_refused_but_for_a_few() {
    let server = Running::with(&[], |config| {
        behind_a_proxy(config);
        config.limits.joins_per_address = Rate::new(1, 20);
    })
    .await;
    let mut bystander = join(&server, "/", 0, None).await;
    let knocks = (0..10).map(|_| async {
        let mut let_in = 0;
        let mut held = Vec::new();
        for _ in 0..1000 {
            match from(&server, "2001:db8::1").await {
                Ok(client) => {
                    let_in += 1;
                    held.push(client);
                }
                Err(status) => assert_eq!(status, 429),
            }
        }
        let_in
    });
    let begun = std::time::Instant::now();
    let let_in: u64 = futures_util::future::join_all(knocks)
        .await
        .into_iter()
        .sum();
    assert!(let_in <= 21 + begun.elapsed().as_secs(), "{let_in}");
    assert_eq!(
        from(&server, "2001:db8::2").await.err(),
        Some(429),
        "the same /64"
    );
    assert!(from(&server, "2001:db8:0:1::1").await.is_ok());
    bystander
        .say(&ToServer::More {
            want: 1,
            page: None,
        })
        .await;
    assert!(bystander.hear().await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_one_address_are_limited_together() {
    let server = Running::with(&[], |config| {
        behind_a_proxy(config);
        config.limits.messages_per_address = Rate::new(1, 50);
    })
    .await;
    let first = from(&server, "203.0.113.1").await.ok().unwrap();
    let second = from(&server, "203.0.113.1").await.ok().unwrap();
    let mut other = from(&server, "203.0.113.2").await.ok().unwrap();
    for (mut client, messages) in [(first, 70), (second, 20)] {
        client.say(&joining("/", 0, None)).await;
        for _ in 0..messages {
            // It may be closed before all is sent.
            let beat = encode(&ToServer::Heartbeat {
                measured: Vec::new(),
                serves: None,
            });
            let _ = client.socket.send(Message::binary(beat)).await;
        }
        // What it sent after the end may cost it the reason.
        let why = client.refused().await;
        assert!(
            why.is_empty() || why == "too many messages of one address",
            "{why}"
        );
    }
    other.say(&joining("/", 0, None)).await;
    let welcome = tokio::time::timeout(Duration::from_secs(5), other.hear()).await;
    assert!(matches!(welcome, Ok(Some(ToClient::Welcome { .. }))));
}

#[tokio::test(flavor = "multi_thread")]
async fn visitor_stays_who_it_was_over_a_restart_where_the_secret_is_kept() {
    let keep = |config: &mut Config| config.access.ticket_secret = Some(SECRET.into());
    let before = join(&Running::with(&[], keep).await, "/", 0, None).await;
    let after = join(
        &Running::with(&[], keep).await,
        "/",
        0,
        Some(before.ticket.clone()),
    )
    .await;
    assert_eq!(after.id, before.id);
    let stranger = join(&Running::start(&[]).await, "/", 0, Some(before.ticket)).await;
    assert_ne!(stranger.id, before.id);
}

/// As a browser offers it.
fn offered(message: &[u8]) -> String {
    handshake::offer(message).unwrap().join(", ")
}

#[tokio::test(flavor = "multi_thread")]
async fn who_joins_with_the_handshake_is_welcome_without_another_word() {
    let server = Running::with(&[], |_| {}).await;
    let before = join(&server, "/", 4, None).await;
    let message = joining("/", 4, None);
    let protocol = [("sec-websocket-protocol", &*offered(&encode(&message)))];
    let client = knock(&server, "https://site", "", &protocol).await;
    let mut client = client.unwrap_or_else(|status| panic!("{status}"));
    match client.hear().await {
        Some(ToClient::Welcome { id, .. }) => client.id = id,
        other => panic!("{other:?}"),
    }
    let peers = vec![before.id.clone()];
    assert_eq!(client.hear().await, Some(ToClient::Offered { peers }));
    // What follows is heard as ever.
    client
        .say(&ToServer::More {
            want: 1,
            page: None,
        })
        .await;
    assert!(matches!(
        client.hear().await,
        Some(ToClient::Offered { .. })
    ));
    // And who offers the name alone joins after it.
    let protocol = [("sec-websocket-protocol", handshake::NAME)];
    let client = knock(&server, "https://site", "", &protocol).await;
    let mut client = client.unwrap_or_else(|status| panic!("{status}"));
    client.say(&joining("/", 0, None)).await;
    assert!(matches!(
        client.hear().await,
        Some(ToClient::Welcome { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn handshake_that_carries_what_is_no_join_is_refused_and_nobody_suffers() {
    let server = Running::with(&[], |_| {}).await;
    let long = format!("fugitive, fugitive.join.{}", "A".repeat(6_000));
    let garbage = ["fugitive, fugitive.join.A", "fugitive.join.AAAA", &*long];
    for value in garbage {
        let protocol = [("sec-websocket-protocol", value)];
        let knocked = knock(&server, "https://site", "", &protocol).await;
        assert_eq!(knocked.err(), Some(400), "{value}");
    }
    // What decodes is as welcome as a first message that says the same.
    for (message, why) in [
        (&b"\xc1\xc1"[..], "unreadable"),
        (
            &encode(&ToServer::More {
                want: 1,
                page: None,
            }),
            "first message",
        ),
    ] {
        let protocol = [("sec-websocket-protocol", &*offered(message))];
        let client = knock(&server, "https://site", "", &protocol).await;
        let client = client.unwrap_or_else(|status| panic!("{status}"));
        let said = client.refused().await;
        assert!(said.contains(why), "{said}");
    }
    join(&server, "/", 1, None).await;
}
