//! Who may join: allowed origins, join tokens, and a place within the limits.
//!
//! A join token is a JWT with `aud` (the origin) and `exp`, signed by whoever runs the site. The
//! date is the wall clock's, since another machine signed it; a clock that is wrong lets in or keeps
//! out, and does nothing worse.

use std::{
    fs, io,
    net::IpAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use ipnet::IpNet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use warp::http::{HeaderMap, StatusCode};

use crate::{
    address::{self, Visitor},
    clock::WallClock,
    config::{self, Config, ProxyHeader},
    limits::{Limits, Share, TooMany},
};

/// The longest token that is looked at, in bytes.
const LONGEST_TOKEN: usize = 4096;
/// Two clocks may be so far apart, in seconds.
const LEEWAY: u64 = 30;
/// The longest `Origin`, in bytes.
const LONGEST_ORIGIN: usize = 512;

/// What keeps a configuration from being used.
#[derive(Debug, thiserror::Error)]
pub enum BadAccess {
    /// The key's file.
    #[error("cannot read {0}: {1}")]
    Key(PathBuf, io::Error),
    /// What is in it.
    #[error("{0} is no Ed25519 public key in PEM: {1}")]
    NoKey(PathBuf, jsonwebtoken::errors::Error),
}

/// Why a handshake is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It says within what to pair, and is needed.
    #[error("no usable origin")]
    NoOrigin,
    /// The operator did not name it.
    #[error("origin is not allowed")]
    Origin,
    /// None, forged, expired, or of another origin.
    #[error("join token: {0}")]
    Token(&'static str),
    /// The server is about to end.
    #[error("draining")]
    Draining,
    /// See [`TooMany`].
    #[error(transparent)]
    TooMany(#[from] TooMany),
}

impl Refused {
    /// In a word, for counting.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NoOrigin | Self::Origin => "origin",
            Self::Token(_) => "token",
            Self::Draining => "draining",
            Self::TooMany(TooMany::Peers) => "peers of one address",
            Self::TooMany(TooMany::Joins) => "joins of one address",
            Self::TooMany(TooMany::OriginJoins) => "joins of one origin",
        }
    }

    /// As HTTP says it.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NoOrigin | Self::Origin => StatusCode::FORBIDDEN,
            Self::Token(_) => StatusCode::UNAUTHORIZED,
            Self::Draining => StatusCode::SERVICE_UNAVAILABLE,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
        }
    }
}

/// The rules in force.
pub struct Access {
    origins: Vec<String>,
    trusted_proxies: Vec<IpNet>,
    proxy_header: ProxyHeader,
    /// Empty: no token is needed.
    keys: Vec<(Algorithm, DecodingKey)>,
    limits: Arc<Limits>,
    draining: Arc<AtomicBool>,
    clock: WallClock,
}

#[derive(Deserialize)]
struct Claims {
    exp: u64,
}

impl Access {
    /// By the configuration. What was counted under `before` goes on counting if the limits are the
    /// same.
    pub fn new(
        config: &Config,
        before: Option<&Self>,
        clock: WallClock,
    ) -> Result<Self, BadAccess> {
        let config::Access {
            origins,
            trusted_proxies,
            proxy_header,
            token_secret,
            token_key,
            ticket_secret: _,
        } = &config.access;
        let mut keys = Vec::new();
        if let Some(secret) = token_secret {
            keys.push((
                Algorithm::HS256,
                DecodingKey::from_secret(secret.as_bytes()),
            ));
        }
        if let Some(path) = token_key {
            let pem = fs::read(path).map_err(|error| BadAccess::Key(path.clone(), error))?;
            let key = DecodingKey::from_ed_pem(&pem);
            let key = key.map_err(|error| BadAccess::NoKey(path.clone(), error))?;
            keys.push((Algorithm::EdDSA, key));
        }
        let limits = match before {
            Some(before) if *before.limits.config() == config.limits => before.limits.clone(),
            _ => Arc::new(Limits::new(config.limits.clone())),
        };
        let draining = before.map(|before| before.draining.clone());
        Ok(Self {
            draining: draining.unwrap_or_default(),
            origins: origins.clone(),
            trusted_proxies: trusted_proxies.clone(),
            proxy_header: *proxy_header,
            keys,
            limits,
            clock,
        })
    }

    /// Nobody joins any more.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether nobody joins any more.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Who asks.
    pub fn visitor(&self, remote: IpAddr, headers: &HeaderMap) -> Visitor {
        address::visitor(remote, headers, &self.trusted_proxies, self.proxy_header)
    }

    /// Whether a page of this origin may join from there.
    pub fn admit(
        &self,
        visitor: Visitor,
        origin: &str,
        token: Option<&str>,
    ) -> Result<Share, Refused> {
        if self.is_draining() {
            return Err(Refused::Draining);
        }
        if !is_origin(origin) {
            return Err(Refused::NoOrigin);
        }
        if !self.origins.is_empty() && !self.origins.iter().any(|allowed| allowed == origin) {
            return Err(Refused::Origin);
        }
        if !self.keys.is_empty() {
            self.check(origin, token.unwrap_or_default())?;
        }
        Ok(self.limits.join(visitor, origin)?)
    }

    fn check(&self, origin: &str, token: &str) -> Result<(), Refused> {
        match token.len() {
            0 => return Err(Refused::Token("there is none")),
            1..=LONGEST_TOKEN => {}
            _ => return Err(Refused::Token("too long")),
        }
        let now = self.clock.date().as_secs();
        for (algorithm, key) in &self.keys {
            let mut rules = Validation::new(*algorithm);
            rules.set_required_spec_claims(&["exp", "aud"]);
            rules.set_audience(&[origin]);
            // By us: the crate does not expect a clock before 1970.
            rules.validate_exp = false;
            if let Ok(data) = jsonwebtoken::decode::<Claims>(token, key, &rules) {
                return match data.claims.exp.saturating_add(LEEWAY) > now {
                    true => Ok(()),
                    false => Err(Refused::Token("expired")),
                };
            }
        }
        Err(Refused::Token("not one of ours for this origin"))
    }
}

/// Whether a handshake's `Origin` says within what to pair. Sandboxed frames and local files all say
/// `null`, and would meet each other.
fn is_origin(origin: &str) -> bool {
    origin != "null" && !origin.is_empty() && origin.len() <= LONGEST_ORIGIN
}
