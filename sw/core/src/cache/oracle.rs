//! The same verdicts as http-cache-semantics on random headers. Where we differ, and why:
//!
//! - A response without `Date` is not stored (RFC 9110 §6.6.1): under a worker lies another cache.
//! - `Vary` by what a worker cannot see is not stored; by `Accept-Encoding` and `Origin` it is the
//!   same request (§4.1, see `UNSEEN` and `SAME_ALWAYS`).
//! - The time that lies between `Date` and the response's coming is age (§4.2.3); the crate counts what
//!   `Age` says alone, so it is told both here.
//! - `must-understand` lifts `no-store` (§5.2.2.3).
//! - A directive that comes twice: the first counts (§4.2.1 allows either; the crate takes none).
//! - What RFC 5861 adds is left to the crate's caller, and so is the request's cache mode.
//! - `immutable` without a lifetime lends none (RFC 8246 §2); the crate gives it a day.
//! - A request's `Pragma` says nothing beside its `Cache-Control` (§5.4); in the crate it does.
//! - No `max-stale` of a request's lifts the response's `no-cache` (§5.2.2.4); in the crate it does.
//! - "By no more than" (§5.2.1.2) includes the last second of `max-stale`; in the crate it does not.
//! - A tenth of the time since the last change (§4.2.2) is not cut to whole seconds.
//! - Statuses other than 200, and requests with `Authorization`, are not stored by choice.
//!
//! The headers here are drawn so that none of these matters.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_cache_semantics::{BeforeRequest, CacheOptions, CachePolicy};
use proptest::{collection::vec, option, prelude::*, sample::select};

use super::*;

const NOW: f64 = 1_790_000_000_000.0;

fn time(ms: f64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(ms as u64)
}

fn http_date(ms: f64) -> String {
    httpdate::fmt_http_date(time(ms))
}

fn map(headers: &Headers) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        map.append(name, HeaderValue::from_str(value).unwrap());
    }
    map
}

/// What the crate says: whether it may be stored, and whether it may be used as it is.
fn oracle(first: &Headers, response: &Headers, second: &Headers, now: f64) -> (bool, bool) {
    let request = |headers: &Headers| {
        let mut request = Request::new(());
        *request.headers_mut() = map(headers);
        request
    };
    let mut answer = Response::new(());
    *answer.headers_mut() = map(response);
    let options = CacheOptions {
        shared: false,
        ..CacheOptions::default()
    };
    let policy = CachePolicy::new_options(&request(first), &answer, time(NOW), options);
    let fresh = matches!(
        policy.before_request(&request(second), time(now)),
        BeforeRequest::Fresh(_)
    );
    (policy.is_storable(), fresh)
}

fn cache_control() -> impl Strategy<Value = Vec<String>> {
    let number = prop_oneof![Just(0_u32), 1_u32..200, Just(100_000)];
    let valued = (
        select(vec!["max-age", "s-maxage", "stale-while-revalidate"]),
        number,
    )
        .prop_map(|(name, value)| format!("{name}={value}"));
    let bare = select(vec![
        "no-cache",
        "no-store",
        "private",
        "public",
        "must-revalidate",
        "proxy-revalidate",
        "community=\"a\"",
    ])
    .prop_map(str::to_owned);
    vec(prop_oneof![3 => valued, 1 => bare], 0..4).prop_map(|mut all| {
        let mut seen = Vec::new();
        all.retain(|directive: &String| {
            let name = directive.split('=').next().unwrap().to_owned();
            let is_new = !seen.contains(&name);
            seen.push(name);
            is_new
        });
        all
    })
}

fn request() -> impl Strategy<Value = Vec<(String, String)>> {
    let asked = select(vec![
        "no-cache",
        "max-age=50",
        "max-age=0",
        "min-fresh=20",
        "max-stale=30",
        "max-stale",
    ]);
    let accept = select(vec!["image/avif", "image/png"]);
    (
        option::weighted(0.3, asked),
        accept,
        prop::bool::weighted(0.1),
    )
        .prop_map(|(asked, accept, pragma)| {
            let mut headers = vec![("accept".to_owned(), accept.to_owned())];
            headers.extend(asked.map(|asked: &str| ("cache-control".to_owned(), asked.to_owned())));
            if pragma && asked.is_none() {
                headers.push(("pragma".to_owned(), "no-cache".to_owned()));
            }
            headers
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn verdicts_are_those_of_http_cache_semantics(
        directives in cache_control(),
        date in 0_u32..150,
        said in option::of(0_u32..150),
        expires in option::weighted(0.3, -100_i32..300),
        unchanged in option::weighted(0.3, (0_u32..200).prop_map(|tenths| tenths * 10)),
        no_pragma in prop::bool::weighted(0.9),
        varies in any::<bool>(),
        first in request(),
        second in request(),
        later in 0_u32..300,
    ) {
        let dated = NOW - f64::from(date) * 1000.0;
        let mut response = vec![("date".to_owned(), http_date(dated))];
        let mut add = |name: &str, value: String| response.push((name.to_owned(), value));
        if !directives.is_empty() {
            add("cache-control", directives.join(", "));
        }
        if let Some(age) = said {
            add("age", age.to_string());
        }
        if let Some(expires) = expires {
            add("expires", http_date(dated + f64::from(expires) * 1000.0));
        }
        if let Some(unchanged) = unchanged {
            add("last-modified", http_date(dated - f64::from(unchanged) * 1000.0));
        }
        if !no_pragma {
            add("pragma", "no-cache".to_owned());
        }
        if varies {
            add("vary", "Accept".to_owned());
        }
        let now = NOW + f64::from(later) * 1000.0;
        let mut told = response.clone();
        told.retain(|(name, _)| name != "age");
        told.push(("age".to_owned(), date.max(said.unwrap_or(0)).to_string()));
        let (may_store, may_use) = oracle(&first, &told, &second, now);
        prop_assert_eq!(storable(&first, 200, &response), may_store);
        let asks_first = directive(&response, "no-cache").is_some() || !no_pragma;
        if !may_store || asks_first && directive(&second, "max-stale").is_some() {
            return Ok(());
        }
        let selected = selecting(&first, &response);
        let copy = Copy { headers: &response, request: &selected, stored_at: NOW };
        if age(&copy, now) - lifetime(&copy) == 30.0 {
            return Ok(());
        }
        let verdict = judge(&second, Mode::Default, &copy, now);
        prop_assert_eq!(verdict == Verdict::Fresh, may_use, "{:?}", verdict);
        let plain = &second[..1];
        let is_said = fresh_until(plain, &copy).is_some_and(|until| now < until);
        let is_fresh = judge(plain, Mode::Default, &copy, now) == Verdict::Fresh;
        prop_assert_eq!(is_said, is_fresh);
    }

    #[test]
    fn whatever_an_origin_sends_is_no_panic(
        lines in vec(("(cache-control|age|date|expires|vary|pragma|etag)", "\\PC{0,40}"), 0..6),
        stored_at in any::<f64>(),
        now in any::<f64>(),
    ) {
        let copy = Copy { headers: &lines, request: &[], stored_at };
        judge(&lines, Mode::Default, &copy, now);
        fresh_until(&lines, &copy);
        storable(&lines, 200, &lines);
        validated(&mut lines.clone(), &lines);
    }
}
