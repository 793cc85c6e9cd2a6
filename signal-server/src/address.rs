//! Whose connection it is: the visitor's address, behind proxies too, and how much of it is shown.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    sync::atomic::{AtomicBool, Ordering},
};

use ipnet::IpNet;
use warp::http::{HeaderMap, header::FORWARDED};

use crate::config::ProxyHeader;

const X_FORWARDED_FOR: &str = "x-forwarded-for";
/// Proxies in a row; more are not looked through.
const MOST_HOPS: usize = 16;

static WHOLE: AtomicBool = AtomicBool::new(false);

/// Whether addresses are shown whole from now on, in all logs of this process.
pub fn show_whole(whole: bool) {
    WHOLE.store(whole, Ordering::Relaxed);
}

/// The address of a visitor. Shown, it says the network only, unless [`show_whole`] was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visitor(pub IpAddr);

impl Visitor {
    /// The unit that limits count: one IPv4 address, or the /64 that one IPv6 customer has.
    pub fn block(self) -> IpAddr {
        self.masked(u128::MAX << 64, u32::MAX)
    }

    fn masked(self, v6: u128, v4: u32) -> IpAddr {
        match self.0 {
            IpAddr::V4(ip) => IpAddr::V4((ip.to_bits() & v4).into()),
            IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & v6)),
        }
    }
}

impl fmt::Display for Visitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if WHOLE.load(Ordering::Relaxed) || self.0.is_loopback() {
            self.0.fmt(f)
        } else {
            self.masked(u128::MAX << 80, u32::MAX << 8).fmt(f)
        }
    }
}

/// Who asks, by a connection from `remote`. What proxies say counts only as far as each of them is
/// trusted: the visitor is the last address in the chain that is not a trusted proxy's.
pub fn visitor(
    remote: IpAddr,
    headers: &HeaderMap,
    trusted: &[IpNet],
    header: ProxyHeader,
) -> Visitor {
    let remote = remote.to_canonical();
    let is_trusted = |ip: IpAddr| trusted.iter().any(|net| net.contains(&ip));
    if !is_trusted(remote) {
        return Visitor(remote);
    }
    let name = match header {
        ProxyHeader::XForwardedFor => X_FORWARDED_FOR,
        ProxyHeader::Forwarded => FORWARDED.as_str(),
    };
    let mut chain = Vec::new();
    for value in headers.get_all(name) {
        chain.extend(value.to_str().unwrap_or_default().split(','));
    }
    let mut visitor = remote;
    for hop in chain.into_iter().rev().take(MOST_HOPS) {
        let said = match header {
            ProxyHeader::XForwardedFor => parse(hop),
            ProxyHeader::Forwarded => hop.split(';').find_map(|pair| {
                let (name, value) = pair.trim().split_once('=')?;
                name.eq_ignore_ascii_case("for").then(|| parse(value))?
            }),
        };
        // What cannot be read is where the chain of those we trust ends.
        let Some(ip) = said else { break };
        visitor = ip;
        if !is_trusted(ip) {
            break;
        }
    }
    Visitor(visitor)
}

/// `1.2.3.4`, `1.2.3.4:5`, `::1`, `[::1]`, `[::1]:5`, in quotes or not.
fn parse(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    let text = match text.strip_prefix('[') {
        Some(v6) => v6.split_once(']')?.0,
        None => match text.split_once(':') {
            Some((v4, port)) if !port.contains(':') => v4,
            _ => text,
        },
    };
    text.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(nets: &[&str]) -> Vec<IpNet> {
        nets.iter().map(|net| net.parse().unwrap()).collect()
    }

    fn seen(remote: &str, name: &'static str, lines: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name, line.parse().unwrap());
        }
        let header = match name {
            "forwarded" => ProxyHeader::Forwarded,
            _ => ProxyHeader::XForwardedFor,
        };
        let trusted = nets(&["10.0.0.0/8", "fd00::/8"]);
        visitor(remote.parse().unwrap(), &headers, &trusted, header)
            .0
            .to_string()
    }

    #[test]
    fn stranger_cannot_say_who_it_is() {
        assert_eq!(seen("9.9.9.9", "x-forwarded-for", &["1.1.1.1"]), "9.9.9.9");
        assert_eq!(seen("9.9.9.9", "forwarded", &["for=1.1.1.1"]), "9.9.9.9");
    }

    #[test]
    fn trusted_proxies_are_looked_through_from_the_near_end() {
        let xff = |lines: &[&str]| seen("10.0.0.1", "x-forwarded-for", lines);
        assert_eq!(xff(&["6.6.6.6, 1.1.1.1"]), "1.1.1.1");
        assert_eq!(xff(&["6.6.6.6, 1.1.1.1, 10.2.2.2"]), "1.1.1.1");
        assert_eq!(xff(&["6.6.6.6", "1.1.1.1:99"]), "1.1.1.1");
        assert_eq!(xff(&["2001:db8::1, fd00::2"]), "2001:db8::1");
        assert_eq!(xff(&["1.1.1.1, ???"]), "10.0.0.1");
        assert_eq!(xff(&[]), "10.0.0.1");
        let forwarded = |line: &str| seen("::ffff:10.0.0.1", "forwarded", &[line]);
        assert_eq!(
            forwarded("for=6.6.6.6, proto=https;For=\"[2001:db8::7]:80\""),
            "2001:db8::7"
        );
        assert_eq!(forwarded("for=unknown"), "10.0.0.1");
    }

    #[test]
    fn address_is_shown_as_its_network() {
        let shown = |ip: &str| Visitor(ip.parse().unwrap()).to_string();
        assert_eq!(shown("203.0.113.77"), "203.0.113.0");
        assert_eq!(shown("2001:db8:1:2:3::4"), "2001:db8:1::");
        let block = |ip: &str| Visitor(ip.parse().unwrap()).block().to_string();
        assert_eq!(block("203.0.113.77"), "203.0.113.77");
        assert_eq!(block("2001:db8:1:2:3::4"), "2001:db8:1:2::");
    }
}
