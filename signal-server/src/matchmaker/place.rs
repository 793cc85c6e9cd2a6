//! Where a peer is, by all that is known of it, and how far that is from another.

use fugitive_signal::Position;

use super::{
    coordinates::Coordinate,
    index::{Cell, Near, Page},
};

/// Side of a close neighbourhood, in milliseconds.
const CLOSE: f32 = 8.0;
/// Side of a region, in milliseconds.
const REGION: f32 = 32.0;
/// Side of a square of the map, in tenths of a degree.
const SPOT: u16 = 20;

/// What is guessed of two peers, in milliseconds there and back, who …
/// … share a prefix.
const SAME_PREFIX: f32 = 4.0;
/// … live in one city.
const SAME_CITY: f32 = 12.0;
/// … are in one autonomous system.
const SAME_NETWORK: f32 = 35.0;
/// … have nothing in common that is known.
const NOTHING: f32 = 80.0;
/// … are at one place, by the map.
const SAME_SPOT: f32 = 10.0;
/// Milliseconds there and back for a kilometre: light in glass, with detours.
const KILOMETRE: f32 = 0.02;

/// What the server knows of a connection's place without the client's help.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Place {
    /// The network prefix: an IPv4 /24, an IPv6 /48.
    pub prefix: Option<u64>,
    /// The autonomous system.
    pub network: Option<u32>,
    /// The city, by its number in a database.
    pub city: Option<u32>,
    /// A point on the map; the visitor's own if it agreed to say.
    pub position: Option<Position>,
}

/// The lists in which a peer looks for others, of its page and then of its site, the closest first.
pub fn cells(page: Page, place: &Place, coordinate: &Coordinate) -> Vec<Cell> {
    let known = coordinate.is_known();
    let nears = [
        known.then(|| Near::Close(coordinate.cell(CLOSE))),
        place.prefix.map(Near::Prefix),
        place.city.map(Near::City),
        known.then(|| Near::Region(coordinate.cell(REGION))),
        place.network.map(Near::Network),
        place
            .position
            .map(|at| Near::Spot([at.lat / SPOT, at.lon / SPOT])),
        Some(Near::Any),
    ];
    let nears = nears.into_iter().flatten();
    let on = |page| nears.clone().map(move |near| Cell { page, near });
    on(page).chain(on(0)).collect()
}

/// The time from one peer to another and back, in milliseconds, by the best that is known.
pub fn distance(a: (&Place, &Coordinate), b: (&Place, &Coordinate)) -> f32 {
    if a.1.is_known() && b.1.is_known() {
        return a.1.distance(b.1);
    }
    let (a, b) = (a.0, b.0);
    fn same<T: PartialEq>(a: &Option<T>, b: &Option<T>) -> bool {
        a.is_some() && a == b
    }
    let mut guess = match (a.position, b.position) {
        (Some(a), Some(b)) => SAME_SPOT + kilometres(a, b) * KILOMETRE,
        _ => NOTHING,
    };
    for (is_so, most) in [
        (same(&a.network, &b.network), SAME_NETWORK),
        (same(&a.city, &b.city), SAME_CITY),
        (same(&a.prefix, &b.prefix), SAME_PREFIX),
    ] {
        if is_so {
            guess = guess.min(most);
        }
    }
    guess
}

/// On a ball, by the haversine formula.
fn kilometres(a: Position, b: Position) -> f32 {
    let degrees = |tenths: u16, zero: f32| (f32::from(tenths) / 10.0 - zero).to_radians();
    let (lat_a, lat_b) = (degrees(a.lat, 90.0), degrees(b.lat, 90.0));
    let lat = (lat_b - lat_a) / 2.0;
    let lon = (degrees(b.lon, 180.0) - degrees(a.lon, 180.0)) / 2.0;
    let h = lat.sin().powi(2) + lat_a.cos() * lat_b.cos() * lon.sin().powi(2);
    2.0 * 6371.0 * h.clamp(0.0, 1.0).sqrt().asin()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closer_by_any_measure_is_closer() {
        let at = |lat, lon| Place {
            position: Some(Position { lat, lon }),
            ..Place::default()
        };
        let zero = Coordinate::default();
        let far = |a: &Place, b: &Place| distance((a, &zero), (b, &zero));
        // Amsterdam, Berlin, Sydney.
        let (amsterdam, berlin, sydney) = (at(1424, 1849), at(1425, 1934), at(561, 3312));
        assert!(far(&amsterdam, &berlin) < 30.0);
        assert!(far(&amsterdam, &sydney) > 250.0);
        let neighbour = Place {
            prefix: Some(7),
            ..sydney
        };
        let odd = Place {
            prefix: Some(7),
            ..amsterdam
        };
        assert!(far(&neighbour, &odd) <= SAME_PREFIX);
        let nowhere = Place::default();
        assert_eq!(far(&nowhere, &nowhere), NOTHING);
        let wild = at(u16::MAX, u16::MAX);
        assert!(far(&wild, &amsterdam).is_finite());
    }
}
