//! The table of cases, natively, and what needs no table.

use serde::Deserialize;

use super::*;

/// What Chromium's images accept.
const IMAGE: &str = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8";
const NOW: f64 = 1_790_000_000_000.0;

#[derive(Deserialize)]
struct Table {
    case: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    section: String,
    response: Vec<String>,
    #[serde(default)]
    date: Option<toml::Value>,
    age: u32,
    #[serde(default)]
    request: Vec<String>,
    #[serde(default)]
    mode: String,
    verdict: String,
}

fn http_date(ms: f64) -> String {
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_millis(ms as u64);
    httpdate::fmt_http_date(at)
}

fn header(line: &str, date: f64) -> (String, String) {
    let (name, value) = line.split_once(": ").unwrap();
    let relative = value
        .strip_prefix('{')
        .and_then(|value| value.strip_suffix('}'));
    let value = match relative {
        Some(seconds) => http_date(date + seconds.parse::<f64>().unwrap() * 1000.0),
        None => value.to_owned(),
    };
    (name.to_owned(), value)
}

#[test]
fn every_case_of_the_table_is_what_its_section_says() {
    let table: Table = toml::from_str(include_str!("table.toml")).unwrap();
    assert!(table.case.len() > 50);
    for case in table.case {
        let before = match &case.date {
            None => Some(0.0),
            Some(toml::Value::Integer(seconds)) => Some(*seconds as f64),
            Some(_) => None,
        };
        let date = NOW - before.unwrap_or(0.0) * 1000.0;
        let mut response: Vec<_> = case
            .response
            .iter()
            .map(|line| header(line, date))
            .collect();
        if before.is_some() {
            response.push(("date".to_owned(), http_date(date)));
        }
        let image = vec![("accept".to_owned(), IMAGE.to_owned())];
        let request: Vec<_> = case.request.iter().map(|line| header(line, NOW)).collect();
        let request = if request.is_empty() {
            image.clone()
        } else {
            request
        };
        let copy = Copy {
            headers: &response,
            request: &selecting(&image, &response),
            stored_at: NOW,
        };
        let then = NOW + f64::from(case.age) * 1000.0;
        let verdict = if storable(&image, 200, &response) {
            match judge(&request, Mode::named(&case.mode), &copy, then) {
                Verdict::Fresh => "fresh",
                Verdict::WhileRevalidating => "while-revalidating",
                Verdict::Stale { if_error: true } => "if-error",
                Verdict::Stale { if_error: false } => "stale",
                Verdict::Other => "other",
            }
        } else {
            "not-stored"
        };
        assert_eq!(verdict, case.verdict, "{}", case.section);
    }
}

fn headers(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

#[test]
fn only_whole_answers_without_credentials_are_stored() {
    let date = http_date(NOW);
    let response = headers(&[("cache-control", "max-age=60"), ("date", &date)]);
    assert!(storable(&[], 200, &response));
    for status in [206, 301, 304, 404, 500] {
        assert!(!storable(&[], status, &response), "{status}");
    }
    let credentials = headers(&[("authorization", "Basic abc")]);
    assert!(!storable(&credentials, 200, &response));
    let unkept = headers(&[("cache-control", "no-store")]);
    assert!(!storable(&unkept, 200, &response));
}

#[test]
fn clock_that_went_back_proves_nothing() {
    let copy = Copy {
        headers: &headers(&[("cache-control", "max-age=60")]),
        request: &[],
        stored_at: NOW,
    };
    let verdict = judge(&[], Mode::Default, &copy, 0.0);
    assert_eq!(verdict, Verdict::Stale { if_error: false });
    assert_eq!(age(&copy, 0.0), 0.0);
}

#[test]
fn copy_says_how_old_it_is() {
    let date = http_date(NOW - 5_000.0);
    let copy = Copy {
        headers: &headers(&[("date", &date), ("age", "100")]),
        request: &[],
        stored_at: NOW,
    };
    assert_eq!(age(&copy, NOW + 7_900.0), 107.0);
}

#[test]
fn etag_is_asked_about_and_else_the_date() {
    let both = headers(&[
        ("last-modified", "Mon, 05 Jan 2026 00:00:00 GMT"),
        ("etag", "W/\"a\""),
    ]);
    assert_eq!(condition(&both), Some(("if-none-match", "W/\"a\"")));
    let date = ("if-modified-since", "Mon, 05 Jan 2026 00:00:00 GMT");
    assert_eq!(condition(&both[..1]), Some(date));
    assert_eq!(condition(&[]), None);
}

#[test]
fn not_modified_makes_the_copy_young_again_and_changes_what_it_names() {
    let mut stored = headers(&[
        ("content-type", "image/png"),
        ("etag", "\"a\""),
        ("date", "Mon, 05 Jan 2026 00:00:00 GMT"),
        ("age", "50"),
        ("cache-control", "max-age=1"),
        ("x-kept", "1"),
    ]);
    let new = headers(&[
        ("etag", "W/\"a\""),
        ("cache-control", "max-age=600"),
        ("content-length", "0"),
        ("content-type", "text/html"),
        ("x-new", "2"),
    ]);
    assert!(validated(&mut stored, &new));
    stored.sort();
    let right = headers(&[
        ("cache-control", "max-age=600"),
        ("content-type", "image/png"),
        ("etag", "W/\"a\""),
        ("x-kept", "1"),
        ("x-new", "2"),
    ]);
    assert_eq!(stored, right);
}

#[test]
fn not_modified_of_another_response_changes_nothing() {
    let mut stored = headers(&[("etag", "\"a\""), ("cache-control", "max-age=1")]);
    let before = stored.clone();
    let other = headers(&[("etag", "\"b\""), ("cache-control", "max-age=600")]);
    assert!(!validated(&mut stored, &other));
    assert_eq!(stored, before);
}
