//! One bounded request to a live site: only to addresses of the public Internet, no redirect
//! followed, hashed as it comes and never kept.

use std::{
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use fugitive_core::content::ContentId;
use http_body_util::{BodyExt, Empty};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{HttpConnector, dns::Name},
    },
    rt::TokioExecutor,
};
use tokio_rustls::rustls::crypto::ring;
use tower_service::Service;
use warp::http::{
    HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri,
    header::{ACCEPT, ACCEPT_ENCODING, USER_AGENT},
};

use crate::outboard::Growing;

/// A request that takes longer is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// What came of a request.
#[derive(Debug)]
pub struct Fetched {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The content id of the body.
    pub id: ContentId,
    /// The length of the body, in bytes.
    pub len: u64,
    /// Its outboard, if it is long enough for one.
    pub outboard: Option<Vec<u8>>,
}

/// Why nothing came.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// A request that cannot be made.
    #[error("not a request: {0}")]
    Request(#[from] warp::http::Error),
    /// A network of its own, or this machine.
    #[error("its address is not public")]
    Private,
    /// Not reached, or broken off.
    #[error("{0}")]
    Lost(String),
    /// Longer than allowed.
    #[error("it is too long")]
    TooLong,
    /// Took too long.
    #[error("it takes too long")]
    TooSlow,
}

/// Makes requests.
#[derive(Clone)]
pub struct Fetch {
    client: Client<HttpsConnector<HttpConnector<PublicOnly>>, Empty<Bytes>>,
    allow_private: bool,
    longest: u64,
}

impl Fetch {
    /// Bodies up to `longest` bytes. Private addresses only where the operator says so.
    pub fn new(allow_private: bool, longest: u64) -> io::Result<Self> {
        let mut http = HttpConnector::new_with_resolver(PublicOnly { allow_private });
        http.enforce_http(false);
        http.set_connect_timeout(Some(PATIENCE / 4));
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(ring::default_provider())?
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            allow_private,
            longest,
        })
    }

    /// Asks for it, with these headers and those that any request has.
    pub async fn get(
        &self,
        uri: &Uri,
        accept: &str,
        more: &[(HeaderName, HeaderValue)],
    ) -> Result<Fetched, Failed> {
        // What is an address already is never resolved.
        let host = uri.host().unwrap_or_default();
        let literal = host.trim_matches(['[', ']']).parse::<IpAddr>();
        if literal.is_ok_and(|ip| !self.allow_private && !is_public(ip)) {
            return Err(Failed::Private);
        }
        let mut request = Request::get(uri)
            .header(ACCEPT, accept)
            .header(ACCEPT_ENCODING, "identity")
            .header(USER_AGENT, "fugitive")
            .body(Empty::new())?;
        for (name, value) in more {
            request.headers_mut().insert(name, value.clone());
        }
        let all = async {
            let lost = |error: &dyn std::error::Error| {
                let cause = error.source().map(ToString::to_string);
                Failed::Lost(cause.unwrap_or_else(|| error.to_string()))
            };
            let response = self.client.request(request).await.map_err(|e| lost(&e))?;
            let (head, mut body) = response.into_parts();
            let mut growing = Growing::default();
            while let Some(frame) = body.frame().await {
                if let Ok(data) = frame.map_err(|e| lost(&e))?.into_data() {
                    growing.update(&data);
                    if growing.length() > self.longest {
                        return Err(Failed::TooLong);
                    }
                }
            }
            let len = growing.length();
            let (id, outboard) = growing.end();
            Ok(Fetched {
                status: head.status,
                headers: head.headers,
                id,
                len,
                outboard,
            })
        };
        let all = tokio::time::timeout(PATIENCE, all);
        all.await.unwrap_or(Err(Failed::TooSlow))
    }
}

/// Resolves names to public addresses, so that no name leads into a network that only we can see,
/// whatever it meant when it was last asked for.
#[derive(Clone)]
struct PublicOnly {
    allow_private: bool,
}

impl Service<Name> for PublicOnly {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let allow_private = self.allow_private;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let good = found.filter(|found| allow_private || is_public(found.ip()));
            let good: Vec<SocketAddr> = good.collect();
            if good.is_empty() {
                return Err(io::Error::other("its address is not public"));
            }
            Ok(good.into_iter())
        })
    }
}

/// Whether an address is one of the public Internet (IANA's special-purpose registries).
fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            !(ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_multicast()
                || ip.is_broadcast()
                || ip.is_documentation()
                || a == 0
                || a >= 240
                || (a == 100 && b & 0xc0 == 64)
                || (a == 198 && b & 0xfe == 18)
                || (a == 192 && b == 0 && c == 0))
        }
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = ip.segments();
    let [g1, g2, h1, h2] = [(g >> 8) as u8, g as u8, (h >> 8) as u8, h as u8];
    match (a, b) {
        // NAT64 leads to an IPv4 address.
        (0x64, 0xff9b) => [c, d, e, f] == [0; 4] && is_public(Ipv4Addr::new(g1, g2, h1, h2).into()),
        // 6to4 and Teredo do, too; nobody serves a site by them.
        (0x2002, _) | (0x2001, 0..0x200) | (0x2001, 0xdb8) => false,
        // Global unicast.
        _ => a & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_that_only_we_can_see_are_not_public() {
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "2002:a00:1::",
            "ff02::1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in ["1.1.1.1", "203.0.114.1", "2606:4700::1", "64:ff9b::101:101"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }
}
