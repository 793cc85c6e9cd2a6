//! How much one address or one origin may take: token buckets, and peers at once.
//!
//! A connection holds a [`Share`]; what it counts for is given back when that is dropped.

use std::{
    collections::HashMap,
    hash::Hash,
    net::IpAddr,
    num::NonZeroU32,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use crate::{
    address::Visitor,
    config::{self, Rate},
};

/// A bucket that nobody used for so long is full again and is forgotten, whatever its rate.
const IDLE: Duration = Duration::from_secs(120);
/// Below so many buckets nobody looks for idle ones.
const FEW: usize = 1024;
/// One line in the log for so much time, for each who is refused.
const QUIET: u64 = 60;

/// Why a join is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooMany {
    /// Connected at once.
    #[error("too many peers of one address")]
    Peers,
    /// In a row, from one address.
    #[error("too many joins of one address")]
    Joins,
    /// In a row, from one origin.
    #[error("too many joins of one origin")]
    OriginJoins,
}

struct Bucket {
    joins: Option<DefaultDirectRateLimiter>,
    messages: Option<DefaultDirectRateLimiter>,
    peers: AtomicUsize,
    /// In seconds since the limits began.
    used: AtomicU64,
    complained: AtomicU64,
}

impl Bucket {
    fn new(joins: Rate, messages: Rate) -> Self {
        Self {
            joins: limiter(joins),
            messages: limiter(messages),
            peers: AtomicUsize::new(0),
            used: AtomicU64::new(0),
            complained: AtomicU64::new(0),
        }
    }
}

fn limiter(rate: Rate) -> Option<DefaultDirectRateLimiter> {
    let per_second = NonZeroU32::new(rate.per_second)?;
    let burst = NonZeroU32::new(rate.burst).unwrap_or(per_second);
    Some(RateLimiter::direct(
        Quota::per_second(per_second).allow_burst(burst),
    ))
}

fn passes(limiter: Option<&DefaultDirectRateLimiter>) -> bool {
    limiter.is_none_or(|limiter| limiter.check().is_ok())
}

struct Buckets<K> {
    map: HashMap<K, Arc<Bucket>>,
    /// Look for idle ones when there are so many.
    look_at: usize,
}

impl<K: Hash + Eq> Buckets<K> {
    fn new() -> Self {
        Self {
            map: HashMap::new(),
            look_at: FEW,
        }
    }

    fn get(&mut self, key: K, now: u64, new: impl FnOnce() -> Bucket) -> Arc<Bucket> {
        if self.map.len() >= self.look_at {
            self.map.retain(|_, bucket| {
                let idle = now.saturating_sub(bucket.used.load(Ordering::Relaxed));
                bucket.peers.load(Ordering::Relaxed) > 0 || idle < IDLE.as_secs()
            });
            self.look_at = (self.map.len() * 2).max(FEW);
        }
        let bucket = self.map.entry(key).or_insert_with(|| Arc::new(new()));
        bucket.used.store(now, Ordering::Relaxed);
        bucket.clone()
    }
}

/// All buckets.
pub struct Limits {
    config: config::Limits,
    begun: Instant,
    addresses: Mutex<Buckets<IpAddr>>,
    origins: Mutex<Buckets<Box<str>>>,
}

impl Limits {
    /// All buckets full.
    pub fn new(config: config::Limits) -> Self {
        Self {
            config,
            begun: Instant::now(),
            addresses: Mutex::new(Buckets::new()),
            origins: Mutex::new(Buckets::new()),
        }
    }

    /// What these were made of.
    pub fn config(&self) -> &config::Limits {
        &self.config
    }

    /// A place for one more connection.
    pub fn join(&self, visitor: Visitor, origin: &str) -> Result<Share, TooMany> {
        let config = &self.config;
        let now = self.begun.elapsed().as_secs();
        let mut share = Share::default();
        if !config.unlimited.iter().any(|net| net.contains(&visitor.0)) {
            let bucket = self
                .addresses
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get(visitor.block(), now, || {
                    Bucket::new(config.joins_per_address, config.messages_per_address)
                });
            let refuse = |why| {
                let last = bucket.complained.swap(now + 1, Ordering::Relaxed);
                if last == 0 || now.saturating_sub(last) >= QUIET {
                    tracing::warn!("signal: refused {visitor}: {why}");
                }
                Err(why)
            };
            if !passes(bucket.joins.as_ref()) {
                return refuse(TooMany::Joins);
            }
            if bucket.peers.fetch_add(1, Ordering::Relaxed) >= config.peers_per_address {
                bucket.peers.fetch_sub(1, Ordering::Relaxed);
                return refuse(TooMany::Peers);
            }
            share.address = Some(bucket);
        }
        let (joins, messages) = (config.joins_per_origin, config.messages_per_origin);
        if joins.per_second > 0 || messages.per_second > 0 {
            let bucket = self
                .origins
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get(origin.into(), now, || Bucket::new(joins, messages));
            if !passes(bucket.joins.as_ref()) {
                return Err(TooMany::OriginJoins);
            }
            bucket.peers.fetch_add(1, Ordering::Relaxed);
            share.origin = Some(bucket);
        }
        Ok(share)
    }
}

/// What one connection takes of the limits.
#[derive(Default)]
pub struct Share {
    address: Option<Arc<Bucket>>,
    origin: Option<Arc<Bucket>>,
}

impl Share {
    /// Takes a message off the buckets; says whose bucket was empty.
    pub fn message(&self) -> Result<(), &'static str> {
        let has = |bucket: &Option<Arc<Bucket>>| {
            bucket
                .as_ref()
                .is_none_or(|bucket| passes(bucket.messages.as_ref()))
        };
        if !has(&self.address) {
            return Err("too many messages of one address");
        }
        if !has(&self.origin) {
            return Err("too many messages of one origin");
        }
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        for bucket in [&self.address, &self.origin].into_iter().flatten() {
            bucket.peers.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visitor(last: u8) -> Visitor {
        Visitor(IpAddr::from([203, 0, 113, last]))
    }

    #[test]
    fn one_address_gets_its_peers_and_its_joins_and_others_do_not_notice() {
        let limits = Limits::new(config::Limits {
            peers_per_address: 2,
            joins_per_address: Rate::new(1, 5),
            ..config::Limits::default()
        });
        let first = limits.join(visitor(1), "o");
        let _second = limits.join(visitor(1), "o").ok().unwrap();
        assert_eq!(limits.join(visitor(1), "o").err(), Some(TooMany::Peers));
        drop(first);
        assert!(limits.join(visitor(1), "o").is_ok());
        assert!(limits.join(visitor(1), "o").is_ok());
        assert_eq!(limits.join(visitor(1), "o").err(), Some(TooMany::Joins));
        assert!(limits.join(visitor(2), "o").is_ok());
    }

    #[test]
    fn origin_is_limited_where_the_operator_says_so_and_loopback_is_not() {
        let limits = Limits::new(config::Limits {
            joins_per_origin: Rate::new(1, 1),
            messages_per_address: Rate::new(1, 2),
            joins_per_address: Rate::new(1, 1),
            ..config::Limits::default()
        });
        let share = limits.join(visitor(1), "o").ok().unwrap();
        assert_eq!(
            limits.join(visitor(2), "o").err(),
            Some(TooMany::OriginJoins)
        );
        assert!(limits.join(visitor(3), "p").is_ok());
        assert!(share.message().is_ok() && share.message().is_ok());
        assert!(share.message().is_err());
        let home = Visitor(IpAddr::from([127, 0, 0, 1]));
        for origin in 0..10 {
            assert!(limits.join(home, &origin.to_string()).is_ok());
        }
    }

    #[test]
    fn buckets_of_those_who_left_long_ago_are_forgotten() {
        let mut buckets = Buckets::new();
        let bucket = || Bucket::new(Rate::new(1, 1), Rate::new(1, 1));
        for key in 0..5000 {
            buckets.get(key, key, bucket);
        }
        assert!(buckets.map.len() <= 2 * FEW, "{}", buckets.map.len());
    }
}
