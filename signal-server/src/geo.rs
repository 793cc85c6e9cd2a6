//! Where an address is, by databases in MaxMind's format that the operator brings along.
//!
//! Any of them may know the city, the autonomous system or the point on the map; what none knows is
//! left open.

use std::{net::IpAddr, path::PathBuf};

use fugitive_signal::Position;
use maxminddb::{MaxMindDbError, Reader};
use serde::Deserialize;

use crate::{address::Visitor, matchmaker::Place};

/// A database that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {0}: {1}")]
pub struct BadDatabase(PathBuf, MaxMindDbError);

/// All databases, in memory.
#[derive(Default)]
pub struct Geo {
    databases: Vec<Reader<Vec<u8>>>,
}

#[derive(Deserialize)]
struct Record {
    autonomous_system_number: Option<u32>,
    city: Option<City>,
    location: Option<Location>,
}

#[derive(Deserialize)]
struct City {
    geoname_id: Option<u32>,
}

#[derive(Deserialize)]
struct Location {
    latitude: Option<f64>,
    longitude: Option<f64>,
}

impl Geo {
    /// Reads them.
    pub fn open(paths: &[PathBuf]) -> Result<Self, BadDatabase> {
        let read = |path: &PathBuf| {
            Reader::open_readfile(path).map_err(|error| BadDatabase(path.clone(), error))
        };
        let databases = paths.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Self { databases })
    }

    /// What is known of where a visitor is.
    pub fn place(&self, visitor: Visitor) -> Place {
        let mut place = Place {
            prefix: Some(prefix(visitor.0)).filter(|_| !visitor.0.is_loopback()),
            ..Place::default()
        };
        for database in &self.databases {
            let found = database
                .lookup(visitor.0)
                .and_then(|found| found.decode::<Record>());
            let record = match found {
                Ok(Some(record)) => record,
                Ok(None) => continue,
                Err(error) => {
                    tracing::debug!("geo: {visitor}: {error}");
                    continue;
                }
            };
            place.network = place.network.or(record.autonomous_system_number);
            place.city = place.city.or(record.city.and_then(|city| city.geoname_id));
            place.position = place.position.or(record.location.and_then(position));
        }
        place
    }
}

fn position(location: Location) -> Option<Position> {
    // What is out of range is cut off by the cast, which nobody would miss.
    Some(Position {
        lat: ((location.latitude? + 90.0) * 10.0) as u16,
        lon: ((location.longitude? + 180.0) * 10.0) as u16,
    })
}

/// A /24 or a /48, as one number.
fn prefix(ip: IpAddr) -> u64 {
    match ip {
        IpAddr::V4(ip) => u64::from(ip.to_bits() >> 8),
        IpAddr::V6(ip) => (ip.to_bits() >> 80) as u64 | 1 << 63,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A database with one record, for 192.0.2.0/24 and nothing else.
    fn database(record: &[u8]) -> Vec<u8> {
        const NODES: u32 = 24;
        let network: u32 = 0xc0_00_02;
        let mut bytes = Vec::new();
        for bit in 0..NODES {
            let goes = network >> (NODES - 1 - bit) & 1;
            let next = if bit + 1 == NODES {
                NODES + 16
            } else {
                bit + 1
            };
            // The number of nodes stands for nothing found.
            let pair = if goes == 0 {
                [next, NODES]
            } else {
                [NODES, next]
            };
            for record in pair {
                bytes.extend(&record.to_be_bytes()[1..]);
            }
        }
        bytes.extend([0; 16]);
        bytes.extend(record);
        bytes.extend(b"\xab\xcd\xefMaxMind.com");
        let metadata = [
            map(9),
            pair("description", map(0)),
            // A list, which is an extended type, of nothing.
            pair("languages", vec![0x00, 0x04]),
            pair("node_count", uint(NODES)),
            pair("record_size", short(24)),
            pair("ip_version", short(4)),
            pair("database_type", text("Test")),
            pair("binary_format_major_version", short(2)),
            pair("binary_format_minor_version", short(0)),
            // An extended type: uint64, of no bytes.
            pair("build_epoch", vec![0x00, 0x02]),
        ];
        bytes.extend(metadata.concat());
        bytes
    }

    fn map(pairs: u8) -> Vec<u8> {
        vec![0xe0 | pairs]
    }

    fn text(text: &str) -> Vec<u8> {
        [&[0x40 | text.len() as u8][..], text.as_bytes()].concat()
    }

    fn uint(number: u32) -> Vec<u8> {
        [&[0xc4][..], &number.to_be_bytes()].concat()
    }

    fn short(number: u16) -> Vec<u8> {
        [&[0xa2][..], &number.to_be_bytes()].concat()
    }

    fn double(number: f64) -> Vec<u8> {
        [&[0x68][..], &number.to_be_bytes()].concat()
    }

    fn pair(key: &str, value: Vec<u8>) -> Vec<u8> {
        [text(key), value].concat()
    }

    #[test]
    fn city_network_and_point_come_from_whichever_database_has_them() {
        let folder = tempfile::tempdir().unwrap();
        let city = [
            map(2),
            pair(
                "city",
                [map(1), pair("geoname_id", uint(2_950_159))].concat(),
            ),
            pair(
                "location",
                [
                    map(2),
                    pair("latitude", double(52.52)),
                    pair("longitude", double(13.41)),
                ]
                .concat(),
            ),
        ];
        let network = [map(1), pair("autonomous_system_number", uint(64_500))];
        let paths =
            [("city", city.concat()), ("network", network.concat())].map(|(name, record)| {
                let path = folder.path().join(name);
                std::fs::write(&path, database(&record)).unwrap();
                path
            });
        let geo = Geo::open(&paths).unwrap();
        let place = |ip: &str| geo.place(Visitor(ip.parse().unwrap()));
        let berlin = place("192.0.2.77");
        assert_eq!(berlin.city, Some(2_950_159));
        assert_eq!(berlin.network, Some(64_500));
        assert_eq!(
            berlin.position,
            Some(Position {
                lat: 1425,
                lon: 1934
            })
        );
        assert_eq!(berlin.prefix, place("192.0.2.1").prefix);
        let elsewhere = place("192.0.3.1");
        assert_eq!((elsewhere.city, elsewhere.network), (None, None));
        assert!(
            elsewhere
                .prefix
                .is_some_and(|prefix| Some(prefix) != berlin.prefix)
        );
        assert_eq!(place("2001:db8::1").city, None);
        std::fs::write(&paths[0], b"garbage").unwrap();
        assert!(Geo::open(&paths).is_err());
    }
}
