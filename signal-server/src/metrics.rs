//! What the server counts, in the text format that Prometheus reads.
//!
//! Counters are kept by those who do what is counted; how many there are of what is asked of the
//! matchmaker when somebody looks.

use std::sync::Arc;

use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

use crate::matchmaker::Counts;

/// Origins that are named; the others count in the sums only.
pub const MOST_ORIGINS: usize = 50;

type By = Family<[(&'static str, &'static str); 1], Counter>;

/// All of it.
#[derive(Default)]
pub struct Metrics {
    /// Peers that were welcomed.
    pub joins: Counter,
    /// Handshakes that were refused.
    pub refused: By,
    /// Messages from clients.
    pub messages: Counter,
    /// Signals that were passed on.
    pub relayed: Counter,
    /// Sockets that the server closed.
    pub closed: By,
    /// Requests that were answered.
    pub requests: By,
    /// Bytes of bodies that went out.
    pub sent: Counter,
    gauges: [Gauge; 6],
    origins: Family<[(&'static str, String); 1], Gauge>,
    registry: Registry,
}

impl Metrics {
    /// Nothing counted yet.
    pub fn new() -> Arc<Self> {
        let mut metrics = Self::default();
        let mut registry = Registry::with_prefix("fugitive");
        for (name, help, counter) in [
            ("joins", "Peers that were welcomed", &metrics.joins),
            ("messages", "Messages from clients", &metrics.messages),
            (
                "signals_relayed",
                "Signals that were passed on",
                &metrics.relayed,
            ),
        ] {
            registry.register(name, help, counter.clone());
        }
        let sent = metrics.sent.clone();
        registry.register_with_unit("sent", "Bodies that went out", Unit::Bytes, sent);
        for (name, help, family) in [
            (
                "joins_refused",
                "Handshakes that were refused",
                &metrics.refused,
            ),
            (
                "sockets_closed",
                "Sockets that the server closed",
                &metrics.closed,
            ),
            ("requests", "Requests that were answered", &metrics.requests),
        ] {
            registry.register(name, help, family.clone());
        }
        let gauges = [
            ("connections", "Sockets that are open"),
            ("peers", "Peers that have joined"),
            ("origins", "Origins with peers"),
            ("pages", "Pages with peers"),
            ("channels", "Pairs that say that their channel is open"),
            ("holds", "Announcements in the directory"),
        ];
        for ((name, help), gauge) in gauges.into_iter().zip(&metrics.gauges) {
            registry.register(name, help, gauge.clone());
        }
        registry.register(
            "origin_peers",
            "Peers of the largest origins",
            metrics.origins.clone(),
        );
        metrics.registry = registry;
        Arc::new(metrics)
    }

    /// As text, with what there is now.
    pub fn text(&self, counts: Counts, largest: &[(Arc<str>, usize)]) -> String {
        let Counts {
            connections,
            peers,
            origins,
            pages,
            channels,
            holds,
        } = counts;
        let now = [connections, peers, origins, pages, channels, holds];
        for (gauge, count) in self.gauges.iter().zip(now) {
            gauge.set(count as i64);
        }
        self.origins.clear();
        for (origin, peers) in largest {
            let origin = self
                .origins
                .get_or_create(&[("origin", origin.to_string())]);
            origin.set(*peers as i64);
        }
        let mut text = String::new();
        // Fails only if the string does.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// Counts one more of a family.
pub fn count(family: &By, label: &'static str, value: &'static str) {
    family.get_or_create(&[(label, value)]).inc();
}
