//! What is compared: how a visitor comes to a page, and how far away everybody is.

use std::time::Duration;

use fugitive_distance::Distance;
use serde::{Deserialize, Serialize};

/// How a visitor comes to the page.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Case {
    /// For the first time, to a page without Fugitive.
    PlainFirst,
    /// Again, to a page without it.
    PlainRepeat,
    /// For the first time, to a page with it.
    First,
    /// Again: what the page shows is in the store.
    Repeat,
    /// To this page for the first time and from others of the site: the worker is in control, nothing
    /// of the page is in the store, and somebody else is on it.
    Peers,
}

impl Case {
    /// All, in the order in which they are told of.
    pub const ALL: [Self; 5] = [
        Self::PlainFirst,
        Self::PlainRepeat,
        Self::First,
        Self::Repeat,
        Self::Peers,
    ];

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::PlainFirst => "without, first visit",
            Self::PlainRepeat => "without, again",
            Self::First => "with, first visit",
            Self::Repeat => "with, again",
            Self::Peers => "with, filled by peers",
        }
    }

    /// Whether the page has our line.
    pub fn has_fugitive(self) -> bool {
        !matches!(self, Self::PlainFirst | Self::PlainRepeat)
    }
}

/// How far away the origin is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shaping {
    /// 20 ms, 100 Mbit/s.
    Near,
    /// 80 ms, 20 Mbit/s.
    Middle,
    /// 300 ms, 1.6 Mbit/s.
    Far,
}

impl Shaping {
    /// All, the nearest first.
    pub const ALL: [Self; 3] = [Self::Near, Self::Middle, Self::Far];

    /// As an option, and in the JSON.
    pub fn key(self) -> &'static str {
        match self {
            Self::Near => "near",
            Self::Middle => "middle",
            Self::Far => "far",
        }
    }

    /// Of a round trip, in milliseconds, and of the line, in Mbit/s.
    pub fn measures(self) -> (u16, f64) {
        match self {
            Self::Near => (20, 100.0),
            Self::Middle => (80, 20.0),
            Self::Far => (300, 1.6),
        }
    }

    /// For people.
    pub fn name(self) -> String {
        let (ms, mbit) = self.measures();
        format!("{ms} ms, {mbit} Mbit/s")
    }

    /// To the origin.
    pub fn origin(self) -> Distance {
        let (ms, mbit) = self.measures();
        Distance {
            latency: Duration::from_millis(ms.into()),
            bandwidth: Some(mbit * 1e6),
        }
    }
}

/// Of a round trip between two visitors, in milliseconds, and of what one can give, in Mbit/s: people of
/// one country, wherever the origin is.
pub const PEERS: (u16, f64) = (20, 20.0);

/// To the relay between two visitors, which each of them is half as far from.
pub fn relay() -> Distance {
    let (ms, mbit) = PEERS;
    Distance {
        latency: Duration::from_millis(ms.into()) / 2,
        bandwidth: Some(mbit * 1e6),
    }
}
