//! Tickets: with one, a client that comes back after a navigation stays who it was.
//!
//! A ticket is `id.expiry.mac`, the MAC over the id, the expiry and the origin. Peers know each
//! other's ids; without the server's key none can come back as another.

use std::{fmt, str::FromStr};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// How long a ticket is good for, in milliseconds.
const LIFE: u64 = 60 * 60 * 1000;
/// How far the clocks of two servers may be apart, in milliseconds.
const SKEW: u64 = 5 * 60 * 1000;

/// A peer, in fewer bytes than the 32 hex digits it is called by on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub [u8; 16]);

/// Two digits for each byte, and back: every signal that is relayed has a name read and one written.
const DIGITS: &[u8; 16] = b"0123456789abcdef";

impl Id {
    /// The digits that it is called by, in ASCII.
    fn digits(self) -> [u8; 32] {
        let mut name = [0; 32];
        for (digits, byte) in name.chunks_exact_mut(2).zip(self.0) {
            digits[0] = DIGITS[usize::from(byte >> 4)];
            digits[1] = DIGITS[usize::from(byte & 15)];
        }
        name
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.digits()).unwrap_or_default())
    }
}

/// Not 32 lower-case hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a peer id")]
pub struct BadId;

impl FromStr for Id {
    type Err = BadId;
    fn from_str(text: &str) -> Result<Self, BadId> {
        let digits: &[u8; 32] = text.as_bytes().try_into().map_err(|_| BadId)?;
        let digit = |digit: u8| match digit {
            b'0'..=b'9' => Ok(digit - b'0'),
            b'a'..=b'f' => Ok(digit - b'a' + 10),
            _ => Err(BadId),
        };
        let mut id = [0; 16];
        for (byte, digits) in id.iter_mut().zip(digits.as_chunks::<2>().0) {
            *byte = digit(digits[0])? << 4 | digit(digits[1])?;
        }
        Ok(Self(id))
    }
}

/// Issues and checks tickets.
#[derive(Clone)]
pub struct Tickets {
    mac: Hmac<Sha256>,
}

impl Tickets {
    /// Whoever knows the key can be anybody.
    pub fn new(key: &[u8; 64]) -> Self {
        Self {
            mac: Hmac::new(key.into()),
        }
    }

    /// A ticket for this peer of this origin. Time is in milliseconds.
    pub fn issue(&self, id: Id, origin: &str, now: u64) -> String {
        let expiry = now + LIFE;
        let mac = self.sign(id, origin, expiry).finalize().into_bytes();
        format!("{id}.{expiry:x}.{}", hex(&mac))
    }

    /// Who shows this ticket; `None` if it is forged, of another origin, or none that can have been
    /// issued lately by any of these clocks.
    pub fn check(&self, ticket: &str, origin: &str, clocks: &[u64]) -> Option<Id> {
        let mut parts = ticket.splitn(3, '.');
        let id: Id = parts.next()?.parse().ok()?;
        let expiry = u64::from_str_radix(parts.next()?, 16).ok()?;
        let mac = unhex(parts.next()?)?;
        self.sign(id, origin, expiry).verify_slice(&mac).ok()?;
        let mut left = clocks.iter().filter_map(|now| expiry.checked_sub(*now));
        left.any(|left| (1..=LIFE + SKEW).contains(&left))
            .then_some(id)
    }

    fn sign(&self, id: Id, origin: &str, expiry: u64) -> Hmac<Sha256> {
        let mut mac = self.mac.clone();
        mac.update(&id.0);
        mac.update(&expiry.to_be_bytes());
        mac.update(origin.as_bytes());
        mac
    }
}

/// Whether a ticket that is good is so for long enough that another one need not be issued at this date.
pub fn is_fresh(ticket: &str, date: u64) -> bool {
    let expiry = ticket.split('.').nth(1);
    let expiry = expiry.and_then(|expiry| u64::from_str_radix(expiry, 16).ok());
    let left = expiry.and_then(|expiry| expiry.checked_sub(date));
    left.is_some_and(|left| (LIFE / 2..=LIFE).contains(&left))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    (0..32)
        .map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_is_read_as_it_is_written_and_nothing_else_is_one() {
        let id = Id(std::array::from_fn(|i| (i * 37) as u8));
        let name = id.to_string();
        assert_eq!(name, format!("{:032x}", u128::from_be_bytes(id.0)));
        assert_eq!(name.parse(), Ok(id));
        for bad in [
            &name[1..],
            &name.to_uppercase(),
            &name.replace('0', "g"),
            "",
        ] {
            assert_eq!(bad.parse::<Id>(), Err(BadId), "{bad}");
        }
    }

    #[test]
    fn ticket_is_good_for_its_peer_and_origin_and_for_an_hour() {
        let tickets = Tickets::new(&[1; 64]);
        let id = Id([7; 16]);
        let ticket = tickets.issue(id, "https://a", 1000);
        assert_eq!(tickets.check(&ticket, "https://a", &[2000]), Some(id));
        assert_eq!(tickets.check(&ticket, "https://b", &[2000]), None);
        assert_eq!(tickets.check(&ticket, "https://a", &[1000 + LIFE]), None);
    }

    #[test]
    fn ticket_is_fresh_for_half_of_its_life() {
        let ticket = Tickets::new(&[1; 64]).issue(Id([7; 16]), "o", 1000);
        assert!(is_fresh(&ticket, 1000) && is_fresh(&ticket, 1000 + LIFE / 2));
        assert!(!is_fresh(&ticket, 1001 + LIFE / 2) && !is_fresh(&ticket, 1000 + LIFE));
        assert!(!is_fresh(&ticket, 999), "of the future");
        assert!(!is_fresh("", 0) && !is_fresh("a.x.c", 0));
    }

    #[test]
    fn ticket_of_the_future_is_refused_and_either_of_two_clocks_will_do() {
        let tickets = Tickets::new(&[1; 64]);
        let day = 24 * LIFE;
        let ticket = tickets.issue(Id([7; 16]), "o", day);
        assert_eq!(tickets.check(&ticket, "o", &[1000]), None);
        assert!(tickets.check(&ticket, "o", &[day - SKEW]).is_some());
        assert!(tickets.check(&ticket, "o", &[1000, day]).is_some());
        assert!(tickets.check(&ticket, "o", &[day, 2 * day]).is_some());
    }

    #[test]
    fn changed_ticket_and_one_of_another_key_are_refused() {
        let tickets = Tickets::new(&[1; 64]);
        let ticket = tickets.issue(Id([7; 16]), "o", 0);
        for position in [0, 34, ticket.len() - 1] {
            let mut forged = ticket.clone().into_bytes();
            forged[position] = if forged[position] == b'0' { b'1' } else { b'0' };
            let forged = String::from_utf8(forged).unwrap();
            assert_eq!(tickets.check(&forged, "o", &[1]), None, "{forged}");
        }
        assert_eq!(Tickets::new(&[2; 64]).check(&ticket, "o", &[1]), None);
        for garbage in ["", ".", "..", "a.b.c", "\u{fc}.1.\u{fc}"] {
            assert_eq!(tickets.check(garbage, "o", &[1]), None);
        }
    }
}
