//! What an operator may set: one file, the environment, and flags, each over the one before.
//!
//! `fugitive.toml` beside this crate's manifest documents every key with its default; a test holds
//! it to these types. Not here: what follows from a value.

mod read;

use std::{collections::BTreeMap, net::SocketAddr, num::NonZeroU32, path::PathBuf};

use fugitive_core::{manifest, manners};
use fugitive_signal::IceServer;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use self::read::{BadConfig, read};

/// Every key with its default, as a file to begin from.
pub const REFERENCE: &str = include_str!("../fugitive.toml");

/// What to serve, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Where to listen; port 0 takes any that is free.
    pub listen: SocketAddr,
    /// Where to answer the operator.
    pub admin: Option<SocketAddr>,
    /// TLS without a proxy.
    pub tls: Tls,
    /// The folder of the site.
    pub site: PathBuf,
    /// A file for one line a request, in Common Log Format.
    pub access_log: Option<PathBuf>,
    /// Client files from a folder, not from the binary.
    pub client: Option<PathBuf>,
    /// Globs: only these are listed in the manifest. Empty: all media.
    pub include: Vec<String>,
    /// Globs: these are never listed.
    pub exclude: Vec<String>,
    /// Folders that other hosts serve, as `URL=FOLDER`: listed by whole URLs.
    pub also_listed: Vec<String>,
    /// Requests wait for peers up to 0.8 s, though the origin may be faster.
    pub spare_origin: bool,
    /// What the site asks of its visitors' clients.
    pub policy: Policy,
    /// With fewer visitors on a page nobody there is told of another; 0 is no limit.
    pub threshold: usize,
    /// Where outboards are kept; one folder for one site. Else they are made anew at each start.
    pub cache: Option<PathBuf>,
    /// What clients are told for gathering candidates.
    pub ice: Vec<IceServer>,
    /// TURN servers that share a secret with us.
    pub turn: Turn,
    /// Where to answer STUN requests, by UDP.
    pub stun: Option<SocketAddr>,
    /// Databases in MaxMind's format, of cities and of networks.
    pub geo: Vec<PathBuf>,
    /// How long clients have to go elsewhere after SIGTERM, in seconds.
    pub drain_seconds: u32,
    /// NATS servers, over which this server and others are one.
    pub cluster: Vec<String>,
    /// What is logged, as a filter of the `tracing` crate.
    pub log: String,
    /// How it is logged.
    pub log_format: LogFormat,
    /// Whether logs hold whole addresses of visitors.
    pub log_addresses: bool,
    /// Who may join.
    pub access: Access,
    /// How much one address or origin may take.
    pub limits: Limits,
    /// When a connection is given up.
    pub timeouts: Timeouts,
    /// Who holds which large content.
    pub directory: Directory,
    /// A live site whose manifest is made of what visitors name.
    pub upstream: Upstream,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            admin: None,
            tls: Tls::default(),
            site: PathBuf::new(),
            access_log: None,
            client: None,
            include: Vec::new(),
            exclude: Vec::new(),
            also_listed: Vec::new(),
            spare_origin: false,
            policy: Policy::default(),
            threshold: 0,
            cache: None,
            ice: Vec::new(),
            turn: Turn::default(),
            stun: None,
            geo: Vec::new(),
            drain_seconds: 10,
            cluster: Vec::new(),
            log: "info".into(),
            log_format: LogFormat::Text,
            log_addresses: false,
            access: Access::default(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            directory: Directory::default(),
            upstream: Upstream::default(),
        }
    }
}

/// What the site asks of its visitors' clients: it stands in the manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Policy {
    /// `false` makes every client inert within a minute.
    pub enabled: bool,
    /// The longest that a request waits for peers before the origin is asked, in milliseconds.
    pub max_wait_ms: u32,
    /// Limits of what visitors do for others, by name.
    pub manners: BTreeMap<String, u64>,
}

impl Default for Policy {
    fn default() -> Self {
        let manifest::Policy {
            enabled,
            max_wait_ms,
            ..
        } = manifest::Policy::default();
        Self {
            enabled,
            max_wait_ms,
            manners: BTreeMap::new(),
        }
    }
}

/// There is no such limit.
#[derive(Debug, thiserror::Error)]
#[error("policy.manners: there is no limit {0}")]
pub struct BadLimit(String);

impl Config {
    /// As the manifest has it.
    pub fn stated_policy(&self) -> Result<manifest::Policy, BadLimit> {
        let mut manners = manners::Limits::default();
        for (name, value) in &self.policy.manners {
            if !manners.set(&name.replace('-', "_"), *value as f64) {
                return Err(BadLimit(name.clone()));
            }
        }
        Ok(manifest::Policy {
            enabled: self.policy.enabled,
            max_wait_ms: self.policy.max_wait_ms,
            spare_origin: self.spare_origin,
            claims: !self.upstream.sites.is_empty(),
            manners,
        })
    }
}

/// TURN servers that share a secret with us (coturn: `use-auth-secret`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Turn {
    /// Their `turn:` and `turns:` URLs.
    pub urls: Vec<String>,
    /// The secret.
    pub secret: Option<String>,
    /// How long a visitor may use what it was told.
    pub seconds: u64,
}

impl Default for Turn {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            secret: None,
            seconds: 6 * 60 * 60,
        }
    }
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Who may join.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Access {
    /// Origins whose pages may join. Empty: all.
    pub origins: Vec<String>,
    /// Networks of proxies whose word is taken for the visitor's address.
    pub trusted_proxies: Vec<IpNet>,
    /// The header in which they say it; they must overwrite or extend it.
    pub proxy_header: ProxyHeader,
    /// Secret of join tokens that are signed by HMAC (HS256). With it, or a key, a token is needed.
    pub token_secret: Option<String>,
    /// PEM file of the public key of join tokens that are signed by Ed25519 (EdDSA).
    pub token_key: Option<PathBuf>,
    /// Secret of resume tickets. Servers that share it know each other's visitors; without it a
    /// restarted server takes all for strangers.
    pub ticket_secret: Option<String>,
}

/// Where a proxy says for whom it asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProxyHeader {
    /// `X-Forwarded-For`.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// How much one address (IPv6: one /64) or one origin may take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limits {
    /// Peers that are connected at once from one address.
    pub peers_per_address: usize,
    /// Joins from one address.
    pub joins_per_address: Rate,
    /// Messages from one address.
    pub messages_per_address: Rate,
    /// Joins from pages of one origin.
    pub joins_per_origin: Rate,
    /// Messages from pages of one origin.
    pub messages_per_origin: Rate,
    /// Addresses that are not limited: a proxy in front that is not named as trusted would
    /// otherwise be one visitor.
    pub unlimited: Vec<IpNet>,
}

impl Default for Limits {
    fn default() -> Self {
        let any = |address: [u8; 4], length| IpNet::new(address.into(), length).ok();
        Self {
            peers_per_address: 1000,
            joins_per_address: Rate::new(20, 400),
            messages_per_address: Rate::new(1000, 20_000),
            joins_per_origin: Rate::new(0, 0),
            messages_per_origin: Rate::new(0, 0),
            unlimited: any([127, 0, 0, 0], 8)
                .into_iter()
                .chain(
                    Some(std::net::Ipv6Addr::LOCALHOST)
                        .map(|ip| IpNet::from(std::net::IpAddr::from(ip))),
                )
                .collect(),
        }
    }
}

/// TLS without a proxy: both files, or neither.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Tls {
    /// PEM file of the certificate and those between it and a root.
    pub chain: Option<PathBuf>,
    /// PEM file of its key.
    pub key: Option<PathBuf>,
}

/// When a connection is given up, in seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Timeouts {
    /// The head of a request, or a TLS handshake, is not there.
    pub head_seconds: u64,
    /// The client takes nothing of what is sent to it.
    pub stalled_seconds: u64,
    /// A peer said nothing, not even when asked.
    pub silence_seconds: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            head_seconds: 15,
            stalled_seconds: 120,
            silence_seconds: 60,
        }
    }
}

/// Who holds which large content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Directory {
    /// Whether there is one.
    pub enabled: bool,
    /// Only contents longer than this, in bytes.
    pub over_bytes: u64,
    /// Announcements that are kept at most; some 200 bytes each.
    pub most: usize,
}

impl Default for Directory {
    fn default() -> Self {
        Self {
            enabled: true,
            over_bytes: 16 << 20,
            most: 1_000_000,
        }
    }
}

/// A live site whose manifest is made of what visitors name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Upstream {
    /// Origins that may be fetched from; the first is the site, the others its helpers.
    pub sites: Vec<String>,
    /// Globs: paths that may be shared though the origin does not say `public`.
    pub paths: Vec<String>,
    /// Requests to them, of all servers of a cluster together.
    pub per_second: NonZeroU32,
    /// Longer resources are not listed.
    pub longest_bytes: u64,
    /// URLs that are listed at most.
    pub most: usize,
    /// Whether they may be in networks that the public does not reach.
    pub allow_private: bool,
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            sites: Vec::new(),
            paths: Vec::new(),
            per_second: NonZeroU32::MIN.saturating_add(9),
            longest_bytes: 256 << 20,
            most: 10_000,
            allow_private: false,
        }
    }
}

/// A token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rate {
    /// How many a second on and on; 0: no limit.
    pub per_second: u32,
    /// How many at once.
    pub burst: u32,
}

impl Rate {
    /// So many a second, so many at once.
    pub const fn new(per_second: u32, burst: u32) -> Self {
        Self { per_second, burst }
    }
}
