//! Which bytes a request asks for (RFC 9110 §14), and which of them one answer carries.

use std::ops::Range;

use http_range_header::parse_range_header;

/// The most that one answer to an open-ended range carries, in bytes. A media element asks for
/// `bytes=N-` and reads as it plays; a browser may end a worker that streams one answer for
/// minutes, so that such a request is answered in parts (RFC 9110 §15.3.7), each soon done.
pub const PART: u64 = 4 << 20;

/// What a GET asks for of a resource whose length is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// All of it: 200.
    Whole,
    /// These bytes: 206.
    Part(Range<u64>),
    /// Nothing that exists: 416.
    Unsatisfiable,
    /// More than one range: left to the origin.
    Several,
}

/// Reads `Range` and `If-Range` against a resource of `len` bytes with these validators.
///
/// A `Range` that does not parse is ignored (RFC 9110 §14.2), as is one whose `If-Range` does not
/// match strongly (§13.1.5).
pub fn asked(
    range: Option<&str>,
    if_range: Option<&str>,
    etag: Option<&str>,
    modified: Option<&str>,
    len: u64,
) -> Asked {
    let Some(range) = range else {
        return Asked::Whole;
    };
    if let Some(condition) = if_range {
        let strong = |tag: &&str| !tag.starts_with("W/");
        let same_tag = etag.filter(strong) == Some(condition);
        if !same_tag && modified != Some(condition) {
            return Asked::Whole;
        }
    }
    let Ok(parsed) = parse_range_header(range) else {
        return Asked::Whole;
    };
    let open = range.trim_end().ends_with('-');
    match parsed.validate(len) {
        Err(_) => Asked::Unsatisfiable,
        Ok(ranges) => match ranges[..] {
            [] => Asked::Unsatisfiable,
            [ref one] => {
                let (start, end) = (*one.start(), *one.end() + 1);
                Asked::Part(start..if open { end.min(start + PART) } else { end })
            }
            _ => Asked::Several,
        },
    }
}

/// The value of `Content-Range`.
pub fn content_range(bytes: &Range<u64>, len: u64) -> String {
    format!("bytes {}-{}/{len}", bytes.start, bytes.end - 1)
}

/// The first byte and the whole length that a `Content-Range` states.
pub fn parse_content_range(value: &str) -> Option<(u64, u64)> {
    let (range, len) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.trim().parse().ok()?, len.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_100(range: &str) -> Asked {
        asked(Some(range), None, None, None, 100)
    }

    #[test]
    fn ranges_are_those_of_rfc_9110_section_14() {
        assert_eq!(asked(None, None, None, None, 100), Asked::Whole);
        assert_eq!(of_100("bytes=0-0"), Asked::Part(0..1));
        assert_eq!(of_100("bytes=10-"), Asked::Part(10..100));
        assert_eq!(of_100("bytes=0-1000"), Asked::Part(0..100));
        assert_eq!(of_100("bytes=-10"), Asked::Part(90..100));
        assert_eq!(of_100("bytes=-1000"), Asked::Part(0..100));
        assert_eq!(of_100("bytes=100-"), Asked::Unsatisfiable);
        assert_eq!(of_100("bytes=-0"), Asked::Unsatisfiable);
        assert_eq!(of_100("bytes=5-4"), Asked::Whole);
        assert_eq!(of_100("lines=0-1"), Asked::Whole);
        assert_eq!(of_100("bytes=0-1,5-6"), Asked::Several);
        let empty = asked(Some("bytes=0-"), None, None, None, 0);
        assert_eq!(empty, Asked::Unsatisfiable);
    }

    #[test]
    fn open_range_is_answered_in_bounded_parts_and_a_closed_one_whole() {
        let of = |range| asked(Some(range), None, None, None, 100 << 20);
        assert_eq!(of("bytes=7-"), Asked::Part(7..7 + PART));
        assert_eq!(of("bytes=7-83886080"), Asked::Part(7..83_886_081));
    }

    #[test]
    fn if_range_must_match_strongly() {
        let with = |condition, etag| {
            asked(
                Some("bytes=0-0"),
                Some(condition),
                Some(etag),
                Some("Mon, 05 Jan 2026 00:00:00 GMT"),
                9,
            )
        };
        assert_eq!(with("\"a\"", "\"a\""), Asked::Part(0..1));
        assert_eq!(with("\"b\"", "\"a\""), Asked::Whole);
        assert_eq!(with("W/\"a\"", "W/\"a\""), Asked::Whole);
        let date = "Mon, 05 Jan 2026 00:00:00 GMT";
        assert_eq!(with(date, "\"a\""), Asked::Part(0..1));
    }

    #[test]
    fn content_range_is_read_as_it_is_written() {
        let written = content_range(&(5..10), 100);
        assert_eq!(written, "bytes 5-9/100");
        assert_eq!(parse_content_range(&written), Some((5, 100)));
        assert_eq!(parse_content_range("bytes */100"), None);
    }
}
