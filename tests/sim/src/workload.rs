//! What a workload file says: the site, its visitors, their devices, links and manners.
//!
//! Files are TOML and explain themselves. One may be like another: then it states only what differs.

use fugitive_core::manifest::Policy;
use rand::{Rng, RngExt};
use rand_distr::{Distribution, Exp, LogNormal, Weibull};
use serde::Deserialize;
use toml::{Table, Value};

/// The files that come with the simulator, by name.
const FILES: [(&str, &str); 5] = [
    ("internet", include_str!("../workloads/internet.toml")),
    ("shop", include_str!("../workloads/shop.toml")),
    ("flash", include_str!("../workloads/flash.toml")),
    ("longtail", include_str!("../workloads/longtail.toml")),
    ("hostile", include_str!("../workloads/hostile.toml")),
];

/// The workloads that come with the simulator; `internet` is only there to be like.
pub const NAMES: [&str; 4] = ["shop", "flash", "longtail", "hostile"];

/// A number drawn from a distribution.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Dist {
    /// Always the same.
    Constant(f64),
    /// Between two numbers.
    Uniform(f64, f64),
    /// With this mean.
    Exponential(f64),
    /// Log-normal, by its median and the standard deviation of its logarithm.
    LogNormal {
        /// Half are below.
        median: f64,
        /// Of the natural logarithm.
        sigma: f64,
    },
    /// Weibull.
    Weibull {
        /// Below 1: the longer it lasted the longer it will last.
        shape: f64,
        /// 63 % are below.
        scale: f64,
    },
}

impl Dist {
    /// One draw; never negative.
    pub fn draw(&self, rng: &mut impl Rng) -> f64 {
        let drawn = match *self {
            Self::Constant(value) => value,
            Self::Uniform(low, high) => low + (high - low) * rng.random::<f64>(),
            Self::Exponential(mean) => Exp::new(1.0 / mean).map_or(mean, |d| d.sample(rng)),
            Self::LogNormal { median, sigma } => {
                LogNormal::new(median.ln(), sigma).map_or(median, |d| d.sample(rng))
            }
            Self::Weibull { shape, scale } => {
                Weibull::new(scale, shape).map_or(scale, |d| d.sample(rng))
            }
        };
        drawn.max(0.0)
    }
}

/// A whole workload.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Workload {
    /// One line for the report.
    pub about: String,
    /// Who comes when and does what.
    pub visits: Visits,
    /// What is on the site.
    pub site: Site,
    /// Kinds of devices and what they are connected with.
    pub devices: Vec<Device>,
    /// Kinds of NAT.
    pub nats: Vec<Nat>,
    /// Between the regions of the world.
    pub world: World,
    /// The site's server.
    pub origin: Origin,
    /// What takes how long in a visitor's browser.
    pub browser: Browser,
    /// What visitors do who mean harm or give nothing.
    #[serde(default)]
    pub hostile: Hostile,
    /// What the result must reach with 10,000 peers.
    #[serde(default)]
    pub goals: Goals,
}

/// Who comes when and does what.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Visits {
    /// When after the start a visitor comes, in seconds; for a given number at a time, see there.
    pub arrives_s: Dist,
    /// If not 0, arrivals are spread evenly over so long that on average so many are there.
    #[serde(default)]
    pub at_a_time: f64,
    /// Pages of a visit: 1 and then more with a constant chance, this many on average.
    pub pages: f64,
    /// How long a page is looked at, in seconds.
    pub dwell_s: Dist,
    /// The share of visitors who were here before, so that their first page has a worker already.
    pub returning: f64,
    /// How many pages these looked at then; what they saw is in their store.
    #[serde(default)]
    pub earlier_pages: usize,
    /// As far as it fits in, in MB.
    #[serde(default)]
    pub store_mb: f64,
    /// The share of visitors who open pages in tabs of their own while an earlier one, which holds
    /// the swarm, stays open: on strong devices, on weak ones.
    pub tabs: (f64, f64),
    /// A visitor gives no more than this, in MB.
    pub upload_cap_mb: f64,
    /// Of a page's images below the fold the share that is scrolled to.
    pub scrolled: f64,
    /// From one image to the next at least, in seconds.
    pub scroll_s: f64,
}

/// What is on the site: items and lists of them, or a video.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Site {
    /// Item pages, by popularity with this Zipf exponent.
    #[serde(default)]
    pub items: usize,
    /// Of items.
    #[serde(default)]
    pub item_zipf: f64,
    /// List pages.
    #[serde(default)]
    pub lists: usize,
    /// Of lists.
    #[serde(default)]
    pub list_zipf: f64,
    /// The share of page views that are of items.
    #[serde(default)]
    pub item_views: f64,
    /// Thumbnails on a list, and how many of them are above the fold.
    #[serde(default)]
    pub thumbs: (usize, usize),
    /// Photos of an item, and how many of them are above the fold.
    #[serde(default)]
    pub photos: (usize, usize),
    /// Thumbnails of related items below an item.
    #[serde(default)]
    pub related: usize,
    /// Images that every page has.
    #[serde(default)]
    pub shell: usize,
    /// Of a thumbnail, in KB.
    pub thumb_kb: Option<Dist>,
    /// Of a photo, in KB.
    pub photo_kb: Option<Dist>,
    /// A video that is the site's only content.
    pub video: Option<Video>,
}

/// A video and how it is played.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Video {
    /// Its length in MB (of 10^6 bytes).
    pub mb: f64,
    /// Its length in seconds.
    pub seconds: f64,
    /// When after the page it is started, in seconds.
    pub start_s: Dist,
    /// How far the player reads ahead, in seconds, but no less than the next.
    pub ahead_s: f64,
    /// In MB.
    pub ahead_mb: f64,
    /// The page names it to `fugitive.prefetch`.
    #[serde(default)]
    pub ahead: bool,
}

/// A kind of device with its connection.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Device {
    /// For the report.
    pub name: String,
    /// Of all visitors.
    pub share: f64,
    /// To the visitor, in Mbit/s.
    pub down_mbps: Dist,
    /// From the visitor, in Mbit/s.
    pub up_mbps: Dist,
    /// The most that may be sent of what was received: 0.3 is a third of the download.
    pub up_to_down: f64,
    /// One way from the device to its region's backbone, in milliseconds.
    pub access_ms: Dist,
    /// Packets lost, as a share.
    pub loss: Dist,
    /// Why it does not serve, each with the share of these devices that it keeps from serving.
    pub does_not_serve: Vec<(String, f64)>,
    /// Half of the connections and slots.
    #[serde(default)]
    pub weak: bool,
}

/// A kind of NAT.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Nat {
    /// For the report.
    pub name: String,
    /// Of all visitors.
    pub share: f64,
    /// The chance to connect with each kind, in the order of the file.
    pub connects: Vec<f64>,
}

/// Regions and what lies between them.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct World {
    /// The share of visitors in each region.
    pub regions: Vec<f64>,
    /// One way between regions, in milliseconds.
    pub between_ms: Vec<Vec<f64>>,
    /// On top of that for each flight, one way, in milliseconds.
    pub jitter_ms: Dist,
    /// What a link's queue holds before it counts as lost, in milliseconds.
    pub buffer_ms: f64,
    /// The share of pages that end without a word to their peers.
    pub leaves_silently: f64,
    /// Where the signal server is.
    pub signal_region: usize,
}

/// The site's server.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Origin {
    /// Where it is.
    pub region: usize,
    /// From the request's arrival to the response's first byte, in milliseconds.
    pub think_ms: Dist,
    /// For the page itself, in milliseconds.
    pub page_ms: Dist,
}

/// What takes how long in a visitor's browser.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Browser {
    /// From the page's first byte to the bridge's first step, in milliseconds.
    pub bridge_ms: Dist,
    /// From the first page of a new visitor to the worker's control, in milliseconds.
    pub install_ms: Dist,
    /// Between two images that the page asks for at once, in milliseconds.
    pub stagger_ms: f64,
    /// Between the worker and the bridge, one way, in milliseconds.
    pub port_ms: f64,
    /// To read a block from the store, in milliseconds.
    pub read_ms: Dist,
    /// ICE candidates that each side trickles.
    pub candidates: usize,
    /// The longest that a request waits for peers by the site's policy, in milliseconds.
    pub max_wait_ms: u32,
    /// Whether the site would have requests wait so long though the origin is faster.
    pub spare_origin: bool,
    /// From the press on a link to the navigation, in milliseconds.
    pub press_ms: f64,
}

impl Browser {
    /// The site's word on waiting.
    pub(crate) fn policy(&self) -> Policy {
        Policy {
            max_wait_ms: self.max_wait_ms,
            spare_origin: self.spare_origin,
            ..Policy::default()
        }
    }
}

/// What visitors do who mean harm or give nothing.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Hostile {
    /// Say that they hold everything and send wrong bytes of the right length.
    pub pollute: f64,
    /// Take and never give: hold nothing, by their own account.
    pub free_ride: f64,
    /// Say that they hold what they hold, and never send it. Counted among those who free-ride.
    pub stall: f64,
}

/// What the result must reach.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Goals {
    /// Share of bytes.
    pub offload: Option<f64>,
    /// At the 95th percentile, as a share of the origin-only time.
    pub regret_p95: Option<f64>,
    /// Share of bytes.
    pub wasted: Option<f64>,
}

/// Why a workload can't be read.
#[derive(Debug, thiserror::Error)]
pub enum BadWorkload {
    /// Neither a name nor a file.
    #[error("no workload {0}: neither one of {NAMES:?} nor a file")]
    Unknown(String),
    /// Not TOML, or not a workload.
    #[error("workload {0}: {1}")]
    Toml(String, toml::de::Error),
    /// Numbers that do not fit each other.
    #[error("workload {0}: {1}")]
    Senseless(String, &'static str),
}

impl Workload {
    /// One of [`NAMES`], or a file.
    pub fn load(name: &str) -> Result<Self, BadWorkload> {
        let table = read(name)?;
        let bad = |error| BadWorkload::Toml(name.to_owned(), error);
        let workload: Self = Value::Table(table).try_into().map_err(bad)?;
        match workload.senseless() {
            Some(why) => Err(BadWorkload::Senseless(name.to_owned(), why)),
            None => Ok(workload),
        }
    }

    fn senseless(&self) -> Option<&'static str> {
        let one = |sum: f64| (sum - 1.0).abs() < 1e-6;
        let regions = self.world.regions.len();
        if !one(self.devices.iter().map(|device| device.share).sum()) {
            Some("the shares of the devices do not add up to 1")
        } else if !one(self.nats.iter().map(|nat| nat.share).sum()) {
            Some("the shares of the NATs do not add up to 1")
        } else if !one(self.world.regions.iter().sum()) {
            Some("the shares of the regions do not add up to 1")
        } else if self
            .nats
            .iter()
            .any(|nat| nat.connects.len() != self.nats.len())
        {
            Some("each NAT needs a chance for each")
        } else if self.world.between_ms.len() != regions
            || self.world.between_ms.iter().any(|row| row.len() != regions)
            || self.origin.region.max(self.world.signal_region) >= regions
        {
            Some("regions and the way between them do not fit")
        } else {
            None
        }
    }
}

fn read(name: &str) -> Result<Table, BadWorkload> {
    let own = FILES.iter().find(|(known, _)| *known == name);
    let text = match own {
        Some((_, text)) => (*text).to_owned(),
        None => std::fs::read_to_string(name).map_err(|_| BadWorkload::Unknown(name.to_owned()))?,
    };
    let mut table: Table =
        toml::from_str(&text).map_err(|error| BadWorkload::Toml(name.to_owned(), error))?;
    let Some(Value::String(like)) = table.remove("like") else {
        return Ok(table);
    };
    let mut base = read(&like)?;
    overlay(&mut base, table);
    Ok(base)
}

/// Tables are merged, all else is replaced.
fn overlay(base: &mut Table, over: Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(base)), Value::Table(over)) if !is_dist(&over) => {
                overlay(base, over);
            }
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

/// A distribution is one value, though it is written as a table.
fn is_dist(table: &Table) -> bool {
    [
        "constant",
        "uniform",
        "exponential",
        "log-normal",
        "weibull",
    ]
    .iter()
    .any(|kind| table.contains_key(*kind))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn every_workload_that_comes_along_makes_sense() {
        for name in NAMES {
            let workload = Workload::load(name).unwrap();
            assert!(workload.goals.regret_p95.is_some(), "{name}");
        }
    }

    #[test]
    fn draws_have_the_median_that_the_file_states() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let dist = Dist::LogNormal {
            median: 40.0,
            sigma: 0.8,
        };
        let mut drawn: Vec<f64> = (0..20_001).map(|_| dist.draw(&mut rng)).collect();
        drawn.sort_by(f64::total_cmp);
        assert!((drawn[10_000] - 40.0).abs() < 2.0);
    }

    #[test]
    fn file_states_only_what_differs_from_the_one_it_is_like() {
        let (shop, hostile) = (Workload::load("shop"), Workload::load("hostile"));
        let (shop, hostile) = (shop.unwrap(), hostile.unwrap());
        assert_eq!(shop.site.items, hostile.site.items);
        assert_eq!(shop.hostile.pollute, 0.0);
        assert_eq!(hostile.hostile.pollute, 0.2);
    }
}
