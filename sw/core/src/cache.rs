//! Whether a response may be stored, and whether a stored one may be used (RFC 9111, as a private
//! cache). What the manifest knows better is not asked here.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_cache_semantics::{CacheOptions, CachePolicy};

/// Header names and values, names in lower case.
pub type Headers = [(String, String)];

/// Whether a response to a GET with these headers may be stored for this visitor alone.
pub fn storable(request: &Headers, status: u16, response: &Headers) -> bool {
    // Partial content is stored by range, not as a response (RFC 9111 §3.3).
    status == 200 && policy(request, status, response, 0.0).is_some_and(|p| p.is_storable())
}

/// Whether a response that came at `stored_at` may answer a request at `now` without asking the
/// origin. Times are milliseconds since 1970.
pub fn fresh(
    request: &Headers,
    stored_request: &Headers,
    status: u16,
    response: &Headers,
    stored_at: f64,
    now: f64,
) -> bool {
    let (Some(policy), Some(request)) = (
        policy(stored_request, status, response, stored_at),
        self::request(request),
    ) else {
        return false;
    };
    policy
        .before_request(&request, time(now.max(stored_at)))
        .satisfies_without_revalidation()
}

fn policy(
    request: &Headers,
    status: u16,
    response: &Headers,
    stored_at: f64,
) -> Option<CachePolicy> {
    let request = self::request(request)?;
    let mut answer = Response::builder().status(status).body(()).ok()?;
    *answer.headers_mut() = header_map(response)?;
    let options = CacheOptions {
        shared: false,
        ..CacheOptions::default()
    };
    Some(CachePolicy::new_options(
        &request,
        &answer,
        time(stored_at),
        options,
    ))
}

fn request(headers: &Headers) -> Option<Request<()>> {
    // The URL is the key under which the response was found; the policy need not see it.
    let mut request = Request::new(());
    *request.headers_mut() = header_map(headers)?;
    Some(request)
}

fn header_map(headers: &Headers) -> Option<HeaderMap> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        map.append(name, HeaderValue::from_str(value).ok()?);
    }
    Some(map)
}

fn time(ms: f64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(ms.max(0.0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    const DAY: f64 = 86_400_000.0;

    fn fresh_after(seconds: f64, response: &[(&str, &str)]) -> bool {
        let now = DAY + seconds * 1000.0;
        fresh(&[], &[], 200, &headers(response), DAY, now)
    }

    #[test]
    fn max_age_decides() {
        assert!(fresh_after(59.0, &[("cache-control", "max-age=60")]));
        assert!(!fresh_after(61.0, &[("cache-control", "max-age=60")]));
        assert!(!fresh_after(0.0, &[("cache-control", "no-cache")]));
        assert!(!fresh_after(
            10.0,
            &[("cache-control", "s-maxage=99, max-age=5")]
        ));
    }

    #[test]
    fn private_is_ours_to_store_and_no_store_is_not() {
        let stores = |status, value| storable(&[], status, &headers(&[("cache-control", value)]));
        assert!(stores(200, "private, max-age=60"));
        assert!(!stores(200, "no-store"));
        assert!(!stores(206, "max-age=60"));
        assert!(!stores(500, "max-age=60"));
    }

    #[test]
    fn vary_must_match() {
        let response = headers(&[("cache-control", "max-age=60"), ("vary", "accept")]);
        let avif = headers(&[("accept", "image/avif")]);
        let webp = headers(&[("accept", "image/webp")]);
        let fresh_for = |request| fresh(request, &avif, 200, &response, DAY, DAY + 1000.0);
        assert!(fresh_for(&avif));
        assert!(!fresh_for(&webp));
    }

    #[test]
    fn clock_that_went_back_does_not_panic() {
        let response = headers(&[("cache-control", "max-age=60")]);
        assert!(fresh(&[], &[], 200, &response, DAY, 0.0));
    }
}
