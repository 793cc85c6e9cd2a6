//! Whether a response may be stored, whether a stored one may be used, and how it is asked for again:
//! RFC 9111 as a private cache, with RFC 5861 (stale-while-revalidate, stale-if-error) and RFC 8246
//! (immutable). Section numbers without a name are those of RFC 9111. What the manifest knows better
//! is not asked here.
//!
//! A table of our own, and small: the crate that has most of it takes a sixth of the worker. It is
//! what `oracle` holds this one to, header by random header.

mod date;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod table;

/// Header names and values, names in lower case.
pub type Headers = [(String, String)];

/// How a request wants its answer to be come by (Fetch, "cache mode").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// A stored response as long as it is fresh.
    #[default]
    Default,
    /// Never without asking the origin whether it still holds.
    NoCache,
    /// Never a stored one.
    Reload,
    /// A stored one, however old.
    ForceCache,
    /// A stored one, however old, or none.
    OnlyIfCached,
    /// As if there were no store.
    NoStore,
}

impl Mode {
    /// By its name in a `Request`.
    pub fn named(name: &str) -> Self {
        match name {
            "no-cache" => Self::NoCache,
            "reload" => Self::Reload,
            "force-cache" => Self::ForceCache,
            "only-if-cached" => Self::OnlyIfCached,
            "no-store" => Self::NoStore,
            _ => Self::Default,
        }
    }
}

/// A stored response, but for its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Copy<'a> {
    /// Its headers.
    pub headers: &'a Headers,
    /// The headers of its request that `Vary` names.
    pub request: &'a Headers,
    /// When it was received or last validated, in milliseconds since 1970.
    pub stored_at: f64,
}

/// What may be done with a stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the answer.
    Fresh,
    /// It is the answer, and the origin is asked behind its back whether it still holds.
    WhileRevalidating,
    /// The origin is asked first.
    Stale {
        /// It is the answer all the same if the origin can't say.
        if_error: bool,
    },
    /// It answers another request than this one.
    Other,
}

/// What a request header may be that a worker cannot see, so that nobody can tell whether it is the
/// same as last time. Not among them: what is the same for every request of one browser for one URL.
const UNSEEN: &[&str] = &[
    "*",
    "accept-language",
    "cookie",
    "device-memory",
    "dnt",
    "downlink",
    "dpr",
    "ect",
    "referer",
    "rtt",
    "save-data",
    "user-agent",
    "viewport-width",
    "width",
];
/// The bytes are stored decoded, and the origin of the pages is always ours.
const SAME_ALWAYS: &[&str] = &["accept-encoding", "origin"];
/// What a stored response depends on, or what speaks of a transfer: no 304 changes it (§3.2).
const DEPENDED_ON: &[&str] = &[
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "transfer-encoding",
];

/// Whether a response to a GET may be stored for this visitor alone (§3).
pub fn storable(request: &Headers, status: u16, response: &Headers) -> bool {
    // Other status codes are left to the browser's own cache, and parts to their ranges (§3.3).
    status == 200
        && !has(request, "no-store")
        && may_keep(response)
        // Another user of this page may have another answer.
        && find(request, "authorization").is_none()
        // The browser's cache, which lies under us, may have had it for long: without a date nobody
        // can say. An origin with a clock sends one (RFC 9110 §6.6.1).
        && find(response, "date").is_some()
        && names(response, "vary").all(|name| !is_unseen(&name))
}

/// Whether the response itself allows that it is kept (§5.2.2.5; §5.2.2.3, where its status is one that
/// is understood).
pub fn may_keep(response: &Headers) -> bool {
    has(response, "must-understand") || !has(response, "no-store")
}

/// Whether a cache that others use may have a response, as far as it says so (§5.2.2.5, §5.2.2.7).
pub fn may_share(response: &Headers) -> bool {
    !has(response, "no-store") && !has(response, "private")
}

fn is_unseen(name: &str) -> bool {
    UNSEEN.contains(&name) || name.starts_with("sec-")
}

/// The headers of a request that the response's `Vary` names (§4.1).
pub fn selecting(request: &Headers, response: &Headers) -> Vec<(String, String)> {
    let named: Vec<_> = names(response, "vary").collect();
    let is_named = |header: &&(String, String)| named.contains(&header.0);
    request.iter().filter(is_named).cloned().collect()
}

/// What may be done with a copy at `now`, in milliseconds since 1970 (§4).
pub fn judge(request: &Headers, mode: Mode, copy: &Copy<'_>, now: f64) -> Verdict {
    let same = |name: String| {
        SAME_ALWAYS.contains(&name.as_str()) || find(request, &name) == find(copy.request, &name)
    };
    if matches!(mode, Mode::Reload | Mode::NoStore) || !names(copy.headers, "vary").all(same) {
        return Verdict::Other;
    }
    if matches!(mode, Mode::ForceCache | Mode::OnlyIfCached) {
        return Verdict::Fresh;
    }
    let no_cache = |headers| {
        let pragma = || names(headers, "pragma").any(|name| name == "no-cache");
        // §5.4: where there is no Cache-Control.
        has(headers, "no-cache") || find(headers, "cache-control").is_none() && pragma()
    };
    let never = Verdict::Stale { if_error: false };
    let seconds = |headers, name| seconds(headers, name);
    // A clock that went back says nothing of how old the copy is.
    if no_cache(request) || no_cache(copy.headers) || now < copy.stored_at {
        return never;
    }
    let (age, lifetime) = (age(copy, now), lifetime(copy));
    let is_fresh = lifetime > age;
    if mode == Mode::NoCache && !(is_fresh && has(copy.headers, "immutable")) {
        return never;
    }
    // §5.2.1: the request may want more than that it is fresh, or less.
    let too_old = seconds(request, "max-age").is_some_and(|most| age > most);
    let too_late = seconds(request, "min-fresh").is_some_and(|least| lifetime - age < least);
    if is_fresh && !too_old && !too_late {
        return Verdict::Fresh;
    }
    if too_old || too_late || has(copy.headers, "must-revalidate") {
        return never;
    }
    let stale_for = age - lifetime;
    let bears = match directive(request, "max-stale") {
        Some(Some(_)) => seconds(request, "max-stale").is_some_and(|most| stale_for <= most),
        anything => anything.is_some(),
    };
    if bears {
        return Verdict::Fresh;
    }
    let within = |name| seconds(copy.headers, name).is_some_and(|most| stale_for < most);
    if within("stale-while-revalidate") {
        return Verdict::WhileRevalidating;
    }
    Verdict::Stale {
        if_error: within("stale-if-error"),
    }
}

/// Until when a copy is the answer to such a request, in milliseconds since 1970: as [`judge`] says, but
/// said in advance.
pub fn fresh_until(request: &Headers, copy: &Copy<'_>) -> Option<f64> {
    let verdict = judge(request, Mode::Default, copy, copy.stored_at);
    let left = lifetime(copy) - age_then(copy);
    (verdict == Verdict::Fresh).then_some(copy.stored_at + left * 1000.0)
}

/// How old a copy was when it was stored, in seconds.
pub fn age_then(copy: &Copy<'_>) -> f64 {
    let apparent = (copy.stored_at - dated(copy)).max(0.0) / 1000.0;
    let said = find(copy.headers, "age").and_then(delta);
    apparent.max(said.unwrap_or(0.0))
}

/// How old a copy is, in seconds: what `Age` says of it when it is used (§4.2.3).
pub fn age(copy: &Copy<'_>, now: f64) -> f64 {
    let resident = (now - copy.stored_at).max(0.0) / 1000.0;
    (age_then(copy) + resident).floor()
}

/// For how long after its origin made it a response is fresh, in seconds (§4.2.1).
pub fn lifetime(copy: &Copy<'_>) -> f64 {
    if directive(copy.headers, "max-age").is_some() {
        return seconds(copy.headers, "max-age").unwrap_or(0.0);
    }
    let date = |name| date::parse(find(copy.headers, name)?, copy.stored_at);
    if find(copy.headers, "expires").is_some() {
        // §5.3: what is no date is in the past.
        let expires = date("expires").unwrap_or(f64::NEG_INFINITY);
        return ((expires - dated(copy)) / 1000.0).max(0.0);
    }
    // §4.2.2: a tenth of the time for which it has not changed.
    let unchanged = date("last-modified").map_or(0.0, |since| dated(copy) - since);
    (unchanged / 10_000.0).max(0.0)
}

fn dated(copy: &Copy<'_>) -> f64 {
    find(copy.headers, "date")
        .and_then(|date| date::parse(date, copy.stored_at))
        .unwrap_or(copy.stored_at)
}

/// The header that asks the origin whether a copy still holds, if it can be asked (§4.3.1).
pub fn condition(response: &Headers) -> Option<(&'static str, &str)> {
    let etag = find(response, "etag").map(|tag| ("if-none-match", tag));
    etag.or_else(|| Some(("if-modified-since", find(response, "last-modified")?)))
}

/// Updates a copy's headers from a 304 (§3.2, §4.3.4); `false` if it speaks of another response.
pub fn validated(stored: &mut Vec<(String, String)>, not_modified: &Headers) -> bool {
    let opaque = |tag: &str| tag.trim_start_matches("W/").to_owned();
    if let (Some(ours), Some(theirs)) = (find(stored, "etag"), find(not_modified, "etag"))
        && opaque(ours) != opaque(theirs)
    {
        return false;
    }
    // What these two said was of the copy's first coming.
    stored.retain(|(name, _)| {
        let is_new = find(not_modified, name).is_some() && !DEPENDED_ON.contains(&name.as_str());
        !is_new && name != "age" && name != "date"
    });
    let new = not_modified.iter();
    let new = new.filter(|(name, _)| !DEPENDED_ON.contains(&name.as_str()));
    stored.extend(new.cloned());
    true
}

/// The first header of this name.
pub fn find<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    let mut all = headers.iter();
    all.find(|header| header.0 == name)
        .map(|header| header.1.as_str())
}

/// The members of a header that is a list of names, in lower case.
fn names(headers: &Headers, header: &str) -> impl Iterator<Item = String> {
    let lines = headers.iter().filter(move |line| line.0 == header);
    lines
        .flat_map(|line| line.1.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .filter(|name| !name.is_empty())
}

fn has(headers: &Headers, name: &str) -> bool {
    directive(headers, name).is_some()
}

fn seconds(headers: &Headers, name: &str) -> Option<f64> {
    // §4.2.1: what is no number makes the response stale.
    directive(headers, name)?.map(|value| delta(value).unwrap_or(0.0))
}

/// Delta-seconds, at most 2^31 (§1.2.2).
fn delta(value: &str) -> Option<f64> {
    let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| value.parse::<u32>().unwrap_or(u32::MAX).min(1 << 31).into())
}

/// The first directive of this name in `Cache-Control`, with its value if it has one (§5.2). A comma
/// between quotes ends none.
fn directive<'a>(headers: &'a Headers, wanted: &str) -> Option<Option<&'a str>> {
    for (_, line) in headers.iter().filter(|line| line.0 == "cache-control") {
        let mut quoted = false;
        let members = line.split(|c| {
            quoted ^= c == '"';
            c == ',' && !quoted
        });
        for member in members {
            let (name, value) = match member.split_once('=') {
                Some((name, value)) => (name, Some(value.trim().trim_matches('"'))),
                None => (member, None),
            };
            if name.trim().eq_ignore_ascii_case(wanted) {
                return Some(value);
            }
        }
    }
    None
}
