//! Whether a response may be shared with strangers, and for how long. Pure.

use std::time::Duration;

use warp::http::{
    HeaderMap, HeaderName, StatusCode,
    header::{AGE, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, SET_COOKIE, VARY},
};

use crate::site;

/// Nothing is looked at again sooner than this, whatever the origin says.
const SHORTEST: Duration = Duration::from_secs(60);
/// Nothing goes unseen for longer than this.
pub const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// What was found good about a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// `Content-Type`.
    pub mime: String,
    /// How long the origin stands by it.
    pub fresh: Duration,
    /// Whether it is another one for another `Accept`.
    pub varies: bool,
}

/// Judges a response; `is_named` where the operator vouches for the path. Says why not.
pub fn judge(
    status: StatusCode,
    headers: &HeaderMap,
    is_named: bool,
) -> Result<Verdict, &'static str> {
    if status != StatusCode::OK {
        return Err("it is not a plain 200");
    }
    if headers.contains_key(SET_COOKIE) {
        return Err("it sets a cookie");
    }
    if all(headers, &CONTENT_ENCODING).any(|coding| coding != "identity") {
        return Err("it is encoded though nobody asked");
    }
    let mime = headers
        .get(CONTENT_TYPE)
        .and_then(|mime| mime.to_str().ok());
    let mime = mime
        .filter(|mime| site::is_media(mime))
        .ok_or("it is no medium")?;
    let mut varies = false;
    for name in all(headers, &VARY) {
        match name.as_str() {
            "accept" => varies = true,
            "accept-encoding" => {}
            _ => return Err("it varies by more than its type"),
        }
    }
    Ok(Verdict {
        mime: mime.to_owned(),
        fresh: freshness(headers, is_named)?,
        varies,
    })
}

/// How long it may be used, if it may be shared at all. Also of a 304, which need not repeat what
/// it does not change.
pub fn freshness(headers: &HeaderMap, is_named: bool) -> Result<Duration, &'static str> {
    let (mut public, mut own, mut shared) = (false, None, None);
    for directive in all(headers, &CACHE_CONTROL) {
        let (name, value) = directive.split_once('=').unwrap_or((&directive, ""));
        let seconds = || value.trim_matches('"').parse::<u64>().ok();
        match name {
            "private" | "no-store" => return Err("the origin forbids it"),
            "public" => public = true,
            "max-age" => own = seconds(),
            "s-maxage" => shared = seconds(),
            _ => {}
        }
    }
    if !public && !is_named {
        return Err("it is not said to be public");
    }
    let age = headers
        .get(AGE)
        .and_then(|age| age.to_str().ok()?.parse().ok());
    let rest = shared.or(own).unwrap_or(0).saturating_sub(age.unwrap_or(0));
    Ok(Duration::from_secs(rest).clamp(SHORTEST, LONGEST))
}

/// The members of a header that is a list, in lower case.
fn all<'a>(headers: &'a HeaderMap, name: &'a HeaderName) -> impl Iterator<Item = String> + 'a {
    let lines = headers.get_all(name).into_iter();
    lines.flat_map(|line| {
        // What is not text is no name that we know.
        let line = line.to_str().unwrap_or("?").to_ascii_lowercase();
        let members = line.split(',').map(|member| member.trim().to_owned());
        members
            .filter(|member| !member.is_empty())
            .collect::<Vec<_>>()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(lines: &[(&'static str, &str)], is_named: bool) -> Result<Verdict, &'static str> {
        let mut headers = HeaderMap::new();
        headers.append(CONTENT_TYPE, "image/png".parse().unwrap());
        for (name, value) in lines {
            if *name == "content-type" {
                headers.remove(CONTENT_TYPE);
            }
            headers.append(*name, value.parse().unwrap());
        }
        judge(StatusCode::OK, &headers, is_named)
    }

    #[test]
    fn public_medium_is_good_as_long_as_the_origin_says() {
        let lines = [
            ("cache-control", "Public, max-age=600"),
            ("age", "100"),
            ("vary", "Accept"),
        ];
        let verdict = judged(&lines, false).unwrap();
        assert_eq!(verdict.fresh, Duration::from_secs(500));
        assert!(verdict.varies);
        let shared = judged(
            &[("cache-control", "public, max-age=1, s-maxage=300")],
            false,
        );
        assert_eq!(shared.unwrap().fresh, Duration::from_secs(300));
        assert_eq!(judged(&[], true).unwrap().fresh, SHORTEST);
        let endless = judged(&[("cache-control", "public, max-age=99999999999")], false);
        assert_eq!(endless.unwrap().fresh, LONGEST);
    }

    #[test]
    fn whatever_may_be_somebodys_own_is_not_shared() {
        let public = ("cache-control", "public");
        for bad in [
            &[][..],
            &[("cache-control", "max-age=600")],
            &[public, ("cache-control", "no-store")],
            &[("cache-control", "public, private=\"x\"")],
            &[public, ("set-cookie", "a=b")],
            &[public, ("vary", "Accept, Cookie")],
            &[public, ("vary", "*")],
            &[public, ("content-encoding", "gzip")],
            &[public, ("content-type", "text/html")],
        ] {
            assert!(judged(bad, false).is_err(), "{bad:?}");
        }
        assert!(
            judged(&[("cache-control", "private")], true).is_err(),
            "named or not"
        );
        let part = judge(StatusCode::PARTIAL_CONTENT, &HeaderMap::new(), true);
        assert!(part.is_err());
    }
}
