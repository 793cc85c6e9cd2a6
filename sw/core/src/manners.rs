//! Manners: what battery, data plan, device, visibility and consent allow.
//!
//! One table, [`decide`]. What the browser tells ([`Signals`]), what the site wants ([`Limits`]) and
//! what was given today become what is done ([`Manners`]), and why nothing is served where nothing
//! is. Collecting the signals and counting bytes are not done here.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::engine::Config;

/// A day's bytes are counted anew after this, in milliseconds.
pub const DAY: f64 = 86_400_000.0;
/// A device with less memory is weak, in GiB.
const MEMORY: f32 = 4.0;
/// A device with fewer cores is weak.
const CORES: u32 = 2;
/// Peers that a hidden tab serves at once.
const HIDDEN_SLOTS: u64 = 2;

/// What the visitor said to meeting others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consent {
    /// Nothing yet, or no.
    #[default]
    None,
    /// The site takes it as given.
    Implied,
    /// Yes.
    Said,
}

/// Whether it is a tab's turn to have the swarm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Turn {
    /// It is.
    #[default]
    Now,
    /// It will be, once this tab has the connections that another one still serves by.
    Next,
    /// It was: what was begun is finished.
    Over,
}

/// What the browser tells of the visitor, the device and its line. What it does not tell is `None`,
/// or `false` where that is what a browser without the word means.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Signals {
    /// See there.
    pub consent: Consent,
    /// `navigator.globalPrivacyControl`.
    pub gpc: bool,
    /// The page has not had its `load` event.
    pub loading: bool,
    /// For how long the tab has been hidden, in seconds; `None` for one that is seen.
    pub hidden: Option<u32>,
    /// Another tab of the site is open.
    pub others: bool,
    /// Of several tabs one at a time takes on work.
    pub turn: Turn,
    /// Charge of the battery, 0 to 1.
    pub battery: Option<f32>,
    /// Whether it is plugged in.
    pub charging: Option<bool>,
    /// `navigator.connection.type`.
    pub line: Option<String>,
    /// `navigator.connection.effectiveType`: how fast, never which line.
    pub speed: Option<String>,
    /// `navigator.connection.saveData`.
    pub save_data: Option<bool>,
    /// `prefers-reduced-data`.
    pub reduced_data: bool,
    /// `navigator.deviceMemory`, in GiB.
    pub memory: Option<f32>,
    /// `navigator.hardwareConcurrency`.
    pub cores: Option<u32>,
    /// A coarse pointer, or a browser that says that it is mobile.
    pub phone: bool,
}

/// What a site asks of its visitors at most. In the manifest under `policy.manners`, and as
/// attributes of the script tag (`data-hidden-upload`), which come first. Hard limits bound both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Nothing is served with less charge than this and no plug, in per cent.
    pub battery: u64,
    /// With fewer peers more are looked for at once.
    pub min_peers: u64,
    /// More are looked for until there are this many.
    pub target_peers: u64,
    /// There are never more.
    pub max_peers: u64,
    /// Peers that are served at once.
    pub slots: u64,
    /// Bytes that are served in a second.
    pub upload: u64,
    /// Bytes that are served in a day.
    pub daily: u64,
    /// Bytes that a hidden tab serves in a second.
    pub hidden_upload: u64,
    /// A tab that has been hidden for so many seconds serves no more.
    pub hidden: u64,
    /// Bytes that are stored.
    pub storage: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            battery: 30,
            min_peers: 2,
            target_peers: 8,
            max_peers: 16,
            slots: 8,
            upload: 2_500_000,
            daily: 1_000_000_000,
            hidden_upload: 250_000,
            hidden: 600,
            storage: 256 << 20,
        }
    }
}

impl Limits {
    const NAMES: [&'static str; 10] = [
        "battery",
        "min_peers",
        "target_peers",
        "max_peers",
        "slots",
        "upload",
        "daily",
        "hidden_upload",
        "hidden",
        "storage",
    ];

    /// Whether a site asks for nothing else than all do.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// A limit by its name, and between what it stays whatever a site says.
    fn named(&mut self, name: &str) -> Option<(&mut u64, RangeInclusive<u64>)> {
        Some(match name {
            "battery" => (&mut self.battery, 10..=100),
            "min_peers" => (&mut self.min_peers, 0..=8),
            "target_peers" => (&mut self.target_peers, 1..=24),
            "max_peers" => (&mut self.max_peers, 1..=32),
            "slots" => (&mut self.slots, 0..=16),
            "upload" => (&mut self.upload, 0..=125_000_000),
            "daily" => (&mut self.daily, 0..=50_000_000_000),
            "hidden_upload" => (&mut self.hidden_upload, 0..=1_000_000),
            "hidden" => (&mut self.hidden, 0..=3_600),
            "storage" => (&mut self.storage, 16 << 20..=2 << 30),
            _ => return None,
        })
    }

    /// All of them, in an order of our own, for one part of the client to tell another.
    pub fn values(&self) -> Vec<u64> {
        let mut limits = self.clone();
        let value = |name: &&str| limits.named(name).map_or(0, |(limit, _)| *limit);
        Self::NAMES.iter().map(value).collect()
    }

    /// From [`Limits::values`]; what is missing there is as ever.
    pub fn of(values: &[u64]) -> Self {
        let mut limits = Self::default();
        for (name, value) in Self::NAMES.iter().zip(values) {
            if let Some((limit, _)) = limits.named(name) {
                *limit = *value;
            }
        }
        limits
    }

    /// Another value for one of them. A name that is not known is none of ours, and `false`.
    pub fn set(&mut self, name: &str, value: f64) -> bool {
        let named = self.named(name);
        let is_known = named.is_some();
        if let Some((limit, _)) = named {
            *limit = value as u64;
        }
        is_known
    }

    /// Each within what no site may leave.
    pub fn bounded(mut self) -> Self {
        for name in Self::NAMES {
            if let Some((limit, hard)) = self.named(name) {
                *limit = (*limit).clamp(*hard.start(), *hard.end());
            }
        }
        self.max_peers = self.max_peers.max(self.target_peers);
        self.min_peers = self.min_peers.min(self.target_peers);
        self
    }

    /// For a weak device, or one of which too little is known.
    fn halved(mut self) -> Self {
        for limit in [
            &mut self.min_peers,
            &mut self.target_peers,
            &mut self.max_peers,
            &mut self.slots,
            &mut self.upload,
            &mut self.daily,
            &mut self.hidden_upload,
            &mut self.storage,
        ] {
            *limit = limit.div_ceil(2);
        }
        self
    }
}

/// Why nothing is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Quiet {
    /// The visitor has not agreed to meet others.
    #[error("no consent")]
    NoConsent,
    /// Global Privacy Control, and nobody asked the visitor.
    #[error("Global Privacy Control")]
    PrivacyControl,
    /// The site's limits leave nothing.
    #[error("the site wants none")]
    Site,
    /// The visitor saves data.
    #[error("data saver")]
    SaveData,
    /// A line that is paid for by the byte.
    #[error("cellular")]
    Cellular,
    /// A phone may be on such a line and not say so.
    #[error("a phone on an unknown line")]
    Phone,
    /// Not plugged in, and not enough charge.
    #[error("battery {0} %")]
    Battery(u8),
    /// The page's own requests come first.
    #[error("the page loads")]
    Loading,
    /// Another tab has the swarm, still or already.
    #[error("another tab serves")]
    Turn,
    /// Another tab is seen, and this one is not.
    #[error("another tab is open")]
    Others,
    /// Hidden for long.
    #[error("hidden")]
    Hidden,
    /// The day's bytes are given.
    #[error("enough for today")]
    Daily,
}

/// What is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manners {
    /// Whether peers are met at all.
    pub asks: bool,
    /// Why nothing is served; `None` where something is.
    pub quiet: Option<Quiet>,
    /// Whether what is being served is served to its end all the same.
    pub finishes: bool,
    /// With fewer peers more are looked for at once.
    pub min_peers: usize,
    /// More are looked for until there are this many.
    pub target_peers: usize,
    /// There are never more.
    pub max_peers: usize,
    /// Peers that are served at once.
    pub slots: usize,
    /// Bytes that are served in a second.
    pub upload: u64,
    /// Bytes that are served in a day.
    pub daily: u64,
    /// Bytes that are stored.
    pub storage: u64,
    /// Groups that may be on their way from one peer.
    pub window: u32,
}

impl Manners {
    /// As the engine is told.
    pub fn config(&self, seed: u64) -> Config {
        Config {
            min_peers: self.min_peers,
            target_peers: self.target_peers,
            max_peers: self.max_peers,
            slots: if self.quiet.is_some() { 0 } else { self.slots },
            finishes: self.finishes,
            upload: self.upload,
            window: self.window,
            seed,
            ..Config::default()
        }
    }
}

/// The table. `limits` are those of [`Limits::bounded`], `given` is what was served today, in bytes.
pub fn decide(signals: &Signals, limits: &Limits, given: u64) -> Manners {
    let is_half = is_weak(signals) || is_slow(signals) || is_silent(signals);
    let full = Config::default().window;
    let (mut limits, window) = if is_half {
        (limits.clone().halved(), full / 2)
    } else {
        (limits.clone(), full)
    };
    if signals.hidden.is_some() {
        limits.upload = limits.upload.min(limits.hidden_upload);
        limits.slots = limits.slots.min(HIDDEN_SLOTS);
    }
    let quiet = quiet(signals, &limits, given);
    if signals.turn == Turn::Over {
        (limits.min_peers, limits.target_peers) = (0, 0);
    }
    Manners {
        asks: signals.consent != Consent::None,
        quiet,
        finishes: signals.turn == Turn::Over && quiet == Some(Quiet::Turn),
        min_peers: limits.min_peers as usize,
        target_peers: limits.target_peers as usize,
        max_peers: limits.max_peers as usize,
        slots: limits.slots as usize,
        upload: limits.upload,
        daily: limits.daily,
        storage: limits.storage,
        window,
    }
}

/// Bytes that are stored on a device with so much memory and so many cores.
pub fn storage(memory: Option<f32>, cores: Option<u32>, limits: &Limits) -> u64 {
    let signals = Signals {
        memory,
        cores,
        ..Signals::default()
    };
    if is_weak(&signals) {
        limits.storage.div_ceil(2)
    } else {
        limits.storage
    }
}

/// The first reason, of those that a visitor can do the least about.
fn quiet(signals: &Signals, limits: &Limits, given: u64) -> Option<Quiet> {
    let line = line(signals);
    let is_paid_for = matches!(line, Some("cellular" | "wimax" | "bluetooth"));
    let is_plugged = signals.charging.unwrap_or(false);
    let percent = signals.battery.map(|charge| (charge * 100.0 + 0.5) as u8);
    let is_low = |percent: &u8| u64::from(*percent) < limits.battery && !is_plugged;
    let rows = [
        (signals.consent == Consent::None, Quiet::NoConsent),
        (
            signals.gpc && signals.consent != Consent::Said,
            Quiet::PrivacyControl,
        ),
        (
            limits.slots == 0 || limits.upload == 0 || limits.daily == 0,
            Quiet::Site,
        ),
        (
            signals.save_data == Some(true) || signals.reduced_data,
            Quiet::SaveData,
        ),
        (is_paid_for, Quiet::Cellular),
        (signals.phone && line.is_none(), Quiet::Phone),
        (
            percent.is_some_and(|percent| is_low(&percent)),
            Quiet::Battery(percent.unwrap_or_default()),
        ),
        (given >= limits.daily, Quiet::Daily),
        // A tab that was hidden hands over, and may finish what it served while it was seen.
        (signals.turn != Turn::Now, Quiet::Turn),
        (signals.hidden.is_some() && signals.others, Quiet::Others),
        (
            signals
                .hidden
                .is_some_and(|for_| u64::from(for_) >= limits.hidden),
            Quiet::Hidden,
        ),
        (signals.loading, Quiet::Loading),
    ];
    rows.into_iter()
        .find_map(|(holds, why)| holds.then_some(why))
}

/// Which line, if that is told.
fn line(signals: &Signals) -> Option<&str> {
    signals.line.as_deref().filter(|line| *line != "unknown")
}

fn is_weak(signals: &Signals) -> bool {
    signals.memory.is_some_and(|memory| memory < MEMORY)
        || signals.cores.is_some_and(|cores| cores < CORES)
}

fn is_slow(signals: &Signals) -> bool {
    matches!(signals.speed.as_deref(), Some("slow-2g" | "2g"))
}

/// Nothing is told of the line, not even whether data is to be saved.
fn is_silent(signals: &Signals) -> bool {
    line(signals).is_none() && signals.save_data.is_none()
}

/// What was served in a day; it outlives the page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    day: f64,
    bytes: f64,
}

impl Ledger {
    /// What was served on the day of `now`, milliseconds of the date.
    pub fn given(&self, now: f64) -> u64 {
        if (now / DAY).floor() == self.day {
            self.bytes as u64
        } else {
            0
        }
    }

    /// So much more was served.
    pub fn give(&mut self, bytes: u64, now: f64) {
        let given = self.given(now);
        self.day = (now / DAY).floor();
        self.bytes = (given + bytes) as f64;
    }
}

#[cfg(test)]
mod tests;
