//! Ranges in a real browser, of copies that are whole and of copies that are not.

use anyhow::{Context, Result};
use fugitive_tests::{browser::Driver, origin::Origin, site::Site};
use serde_json::json;

use crate::cache::controlled;

/// Status, `Content-Range` and body of a response, as a promise.
fn told(response: &str) -> String {
    format!(
        "({response}).then(async (response) => [response.status,
           response.headers.get('content-range') ?? '', response.headers.has('x-fugitive'),
           [...new Uint8Array(await crypto.subtle.digest('SHA-256', await response.arrayBuffer()))]
             .join(' ')])"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_of_a_whole_copy_are_those_of_rfc_9110_section_14() -> Result<()> {
    type Told = (u16, String, bool, String);
    let (site, driver) = (Site::new()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let len = std::fs::metadata(site.path("image0.jpg"))?.len();
    let last = len - 1;
    let visitor = controlled(&driver, &origin).await?;
    visitor.goto(&origin.url("/")).await?;
    visitor.until_images().await?;
    visitor.until_held(fugitive_tests::site::IMAGES).await?;
    let etag: String = visitor
        .eval(
            "fetch('/image0.jpg', { cache: 'no-store' }).then(async (response) => {
               self.__right = await response.arrayBuffer();
               return response.headers.get('etag');
             })",
        )
        .await?;
    let before = origin.requests("/image0.jpg")?.len();
    let part = |from: u64, to: u64| (206, format!("bytes {from}-{to}/{len}"));
    let whole = || (200, String::new());
    let none = || (416, format!("bytes */{len}"));
    let cases = [
        (
            "§14.1.2 first and last",
            "bytes=0-0".to_owned(),
            None,
            part(0, 0),
        ),
        (
            "§14.1.2 in the middle",
            "bytes=100-20000".to_owned(),
            None,
            part(100, 20_000),
        ),
        (
            "§14.1.2 open",
            "bytes=16384-".to_owned(),
            None,
            part(16_384, last),
        ),
        (
            "§14.1.2 clamped",
            format!("bytes=9-{}", len * 9),
            None,
            part(9, last),
        ),
        (
            "§14.1.2 suffix",
            "bytes=-500".to_owned(),
            None,
            part(len - 500, last),
        ),
        (
            "§14.1.2 longer suffix",
            format!("bytes=-{}", len + 1),
            None,
            part(0, last),
        ),
        (
            "§15.5.17 beyond the end",
            format!("bytes={len}-"),
            None,
            none(),
        ),
        ("§14.2 backwards", "bytes=5-4".to_owned(), None, whole()),
        ("§14.2 unknown unit", "lines=0-1".to_owned(), None, whole()),
        (
            "§13.1.5 If-Range holds",
            "bytes=5-9".to_owned(),
            Some(etag.as_str()),
            part(5, 9),
        ),
        (
            "§13.1.5 If-Range does not",
            "bytes=5-9".to_owned(),
            Some("\"other\""),
            whole(),
        ),
    ];
    for (section, range, condition, expected) in &cases {
        let mut headers = json!({ "range": range });
        if let Some(condition) = condition {
            headers["if-range"] = json!(condition);
        }
        let init = json!({ "headers": headers });
        let ours = told(&format!("fugitive.fetch('/image0.jpg', {init})"));
        let (status, content_range, is_ours, body): Told = visitor.eval(&ours).await?;
        assert_eq!((status, content_range), *expected, "{section}");
        assert!(is_ours, "{section}");
        let start = |text: &str| text.split(['-', ' ']).nth(1)?.parse::<usize>().ok();
        let (from, to) = match status {
            206 => {
                let to = expected.1.split(['-', '/']).nth(1).context("no end")?;
                (
                    start(&expected.1).context("no start")?,
                    to.parse::<usize>()? + 1,
                )
            }
            200 => (0, len as usize),
            _ => (0, 0),
        };
        let right: String = visitor
            .eval(&format!(
                "crypto.subtle.digest('SHA-256', __right.slice({from}, {to}))
                   .then((hash) => [...new Uint8Array(hash)].join(' '))"
            ))
            .await?;
        assert_eq!(body, right, "{section}");
    }
    assert_eq!(origin.requests("/image0.jpg")?.len(), before);
    // §14.2: several ranges are the origin's to answer.
    let several = "fugitive.fetch('/image0.jpg', { headers: { range: 'bytes=0-1,5-6' } })";
    let (_, _, is_ours, _): Told = visitor.eval(&told(several)).await?;
    assert!(!is_ours);
    assert_eq!(origin.requests("/image0.jpg")?.len(), before + 1);
    visitor.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn partial_copy_is_completed_by_asking_for_what_lacks() -> Result<()> {
    const HELD: u64 = 1 << 20;
    let (site, driver) = (Site::new()?, Driver::start()?);
    let origin = Origin::start(&site).await?;
    let len = std::fs::metadata(site.path("film.mp4"))?.len();
    let visitor = controlled(&driver, &origin).await?;
    let right = visitor
        .body_hash("fetch('/film.mp4', { cache: 'no-store' })")
        .await?;
    let middle = format!("bytes={HELD}-{}", 2 * HELD - 1);
    let part = format!("fugitive.fetch('/film.mp4', {{ headers: {{ range: '{middle}' }} }})");
    visitor.until_listed("/film.mp4").await?;
    let groups = (HELD / 16_384, 2 * HELD / 16_384);
    // What its writer can't keep up with is not kept.
    while !visitor.runs(len).await?.contains(&groups) {
        visitor.body_hash(&part).await?;
    }
    let runs = visitor.runs(len).await?;
    let held: u64 = runs.iter().map(|(from, to)| (to - from) * 16_384).sum();
    let before = origin.sent("/film.mp4")?;
    assert_eq!(
        visitor.body_hash("fugitive.fetch('/film.mp4')").await?,
        right
    );
    assert_eq!(origin.sent("/film.mp4")? - before, len - held);
    visitor.quit().await
}
