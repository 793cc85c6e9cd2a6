//! The first message within the WebSocket's handshake, so that the answer follows it at once and not
//! a round trip later. Not for what it says.
//!
//! The client offers two subprotocols (RFC 6455 §1.9): [`NAME`], which the server chooses, and the
//! message in base64url (RFC 4648 §5, without padding) behind [`JOIN`]. It does not stand in the URL,
//! because URLs are logged. A client that offers neither sends the message as its first frame.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

/// What the server chooses.
pub const NAME: &str = "fugitive";
/// What precedes a message.
const JOIN: &str = "fugitive.join.";
/// The longest message that is carried, in bytes: proxies bound a header, some at 4 KiB.
pub const MOST: usize = 2 * 1024;

/// Not what a client offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a handshake that carries no message")]
pub struct BadHandshake;

/// What to offer so that this message is carried; nothing where it is too long.
pub fn offer(message: &[u8]) -> Option<[String; 2]> {
    if message.len() > MOST {
        return None;
    }
    let mut join = String::from(JOIN);
    BASE64_URL_SAFE_NO_PAD.encode_string(message, &mut join);
    Some([NAME.into(), join])
}

/// The message that is carried, from the values of `Sec-WebSocket-Protocol`; the inner one is none
/// where only the name is offered, the outer one where not even that is.
pub fn read<'a>(
    offered: impl Iterator<Item = &'a str>,
) -> Result<Option<Option<Vec<u8>>>, BadHandshake> {
    let (mut is_named, mut message) = (false, None);
    for name in offered.flat_map(|value| value.split(',')).map(str::trim) {
        is_named |= name == NAME;
        if let Some(digits) = name.strip_prefix(JOIN) {
            if message.is_some() {
                return Err(BadHandshake);
            }
            message = Some(decode(digits).ok_or(BadHandshake)?);
        }
    }
    match (is_named, message) {
        (false, Some(_)) => Err(BadHandshake),
        (false, None) => Ok(None),
        (true, message) => Ok(Some(message)),
    }
}

fn decode(digits: &str) -> Option<Vec<u8>> {
    let most = (MOST * 4).div_ceil(3);
    if digits.len() > most {
        return None;
    }
    BASE64_URL_SAFE_NO_PAD.decode(digits).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_of_any_length_comes_out_as_it_went_in() {
        for len in (0..70).chain([MOST - 1, MOST]) {
            let message: Vec<u8> = (0..len).map(|at| (at * 89 + len) as u8).collect();
            let offered = offer(&message).unwrap();
            let is_token = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            assert!(offered.iter().all(|name| name.chars().all(is_token)));
            let one = offered.join(", ");
            assert_eq!(read([&*one].into_iter()), Ok(Some(Some(message.clone()))));
            let two = offered.iter().map(String::as_str);
            assert_eq!(read(two), Ok(Some(Some(message))));
        }
        assert_eq!(offer(&[0; MOST + 1]), None);
        assert_eq!(offer(b"\xfb\xff").unwrap()[1], "fugitive.join.-_8");
    }

    #[test]
    fn what_is_too_long_no_base64_twice_or_without_the_name_is_refused() {
        assert_eq!(read([].into_iter()), Ok(None));
        assert_eq!(read(["chat, other"].into_iter()), Ok(None));
        assert_eq!(read(["chat, fugitive"].into_iter()), Ok(Some(None)));
        let long = "A".repeat(MOST * 2);
        for join in ["A", "AA==", "A+/A", "ä", "AA AA", &long] {
            let value = [NAME, ", ", JOIN, join].concat();
            assert_eq!(read([&*value].into_iter()), Err(BadHandshake), "{join}");
        }
        assert_eq!(read(["fugitive.join.AAAA"].into_iter()), Err(BadHandshake));
        let twice = "fugitive, fugitive.join.AAAA, fugitive.join.AAAA";
        assert_eq!(read([twice].into_iter()), Err(BadHandshake));
    }
}
