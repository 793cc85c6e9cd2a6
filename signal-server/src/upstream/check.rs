//! Whether everybody gets the same for a URL, and what that is.

use std::time::Duration;

use fugitive_core::{
    content::ContentId,
    manifest::{Entry, Variant},
};
use globset::GlobSet;
use warp::http::{
    HeaderName, HeaderValue, StatusCode, Uri,
    header::{
        ACCEPT_LANGUAGE, CACHE_CONTROL, COOKIE, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH,
        LAST_MODIFIED, USER_AGENT,
    },
};

use super::{
    fetch::{Failed, Fetch, Fetched},
    judge::{Verdict, freshness, judge},
    pace::Pace,
};

/// The types that a resource may come in by `Accept`, beside its usual one.
const TYPES: [&str; 2] = ["image/avif", "image/webp"];

/// What may be listed for a URL.
pub struct Good {
    /// As the manifest has it.
    pub entry: Entry,
    /// How long the origin stands by it.
    pub fresh: Duration,
    /// Of what is long; none if it was not fetched again.
    pub outboards: Vec<(ContentId, Vec<u8>)>,
}

/// Looks at URLs.
pub struct Checker {
    /// Makes the requests,
    pub fetch: Fetch,
    /// not faster than this.
    pub pace: Pace,
    /// The operator vouches for these.
    pub paths: GlobSet,
}

impl Checker {
    /// What may be listed for a URL of which this was listed before.
    pub async fn check(&self, uri: &Uri, before: Option<&Entry>) -> Result<Good, String> {
        let is_named = self.paths.is_match(uri.path());
        // Validators hold for one variant; with several all are looked at anew.
        if let Some(entry) = before
            && let [variant] = entry.as_slice()
            && let Some(condition) = condition(variant)
        {
            let got = self.get(uri, "*/*", &[condition]).await;
            let got = got.map_err(|error| error.to_string())?;
            if got.status == StatusCode::NOT_MODIFIED {
                let says_more = got.headers.contains_key(CACHE_CONTROL);
                let fresh = freshness(&got.headers, is_named || !says_more)?;
                return Ok(Good {
                    entry: entry.clone(),
                    fresh,
                    outboards: Vec::new(),
                });
            }
        }
        let (usual, verdict) = self.twice(uri, "*/*", is_named).await?;
        let mut fresh = verdict.fresh;
        let (mut entry, mut outboards) = (Vec::new(), Vec::new());
        if verdict.varies {
            for kind in TYPES {
                let accept = format!("{kind},*/*;q=0.8");
                let (other, verdict) = self.twice(uri, &accept, is_named).await?;
                if verdict.mime == kind && other.id != usual.id {
                    fresh = fresh.min(verdict.fresh);
                    entry.push(variant(&other, verdict, Some(kind.to_owned())));
                    outboards.extend(other.outboard.map(|outboard| (other.id, outboard)));
                }
            }
        }
        entry.push(variant(&usual, verdict, None));
        outboards.extend(usual.outboard.map(|outboard| (usual.id, outboard)));
        Ok(Good {
            entry,
            fresh,
            outboards,
        })
    }

    /// As a stranger, and as somebody: both must get the same.
    async fn twice(
        &self,
        uri: &Uri,
        accept: &str,
        is_named: bool,
    ) -> Result<(Fetched, Verdict), String> {
        let ask = |more: Vec<(HeaderName, HeaderValue)>| async move {
            let got = self.get(uri, accept, &more).await;
            let got = got.map_err(|error| error.to_string())?;
            let verdict = judge(got.status, &got.headers, is_named)?;
            Ok::<_, String>((got, verdict))
        };
        let stranger = ask(Vec::new()).await?;
        let somebody = ask(somebody()).await?;
        match stranger.0.id == somebody.0.id && stranger.1.mime == somebody.1.mime {
            true => Ok(stranger),
            false => Err("not everybody gets the same".to_owned()),
        }
    }

    async fn get(
        &self,
        uri: &Uri,
        accept: &str,
        more: &[(HeaderName, HeaderValue)],
    ) -> Result<Fetched, Failed> {
        self.pace.turn().await;
        self.fetch.get(uri, accept, more).await
    }
}

fn variant(got: &Fetched, verdict: Verdict, accept: Option<String>) -> Variant {
    let header = |name: HeaderName| {
        let value = got.headers.get(name)?.to_str().ok()?;
        Some(value.to_owned())
    };
    Variant {
        id: got.id,
        len: got.len,
        mime: verdict.mime,
        cache: header(CACHE_CONTROL),
        etag: header(ETAG),
        modified: header(LAST_MODIFIED),
        accept,
        bao: got.outboard.is_some(),
    }
}

fn condition(variant: &Variant) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = match (&variant.etag, &variant.modified) {
        (Some(etag), _) => (IF_NONE_MATCH, etag),
        (None, Some(modified)) => (IF_MODIFIED_SINCE, modified),
        (None, None) => return None,
    };
    Some((name, HeaderValue::from_str(value).ok()?))
}

/// What makes a request somebody's: nothing of it may make a difference.
fn somebody() -> Vec<(HeaderName, HeaderValue)> {
    let named = |name, value| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    };
    vec![
        (COOKIE, HeaderValue::from_static("session=fugitive; user=1")),
        (
            USER_AGENT,
            HeaderValue::from_static(
                "Mozilla/5.0 (Linux; Android 15; Mobile) AppleWebKit/537.36 Chrome/150.0.0.0",
            ),
        ),
        (ACCEPT_LANGUAGE, HeaderValue::from_static("fi,de;q=0.5")),
        named("save-data", "on"),
        named("sec-ch-ua-mobile", "?1"),
        named("sec-ch-ua-platform", "\"Android\""),
        named("sec-ch-dpr", "3"),
        named("dpr", "3"),
        named("sec-ch-width", "320"),
        named("width", "320"),
        named("sec-ch-viewport-width", "320"),
        named("viewport-width", "320"),
    ]
}
