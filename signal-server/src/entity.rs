//! From bytes in memory or a file to a warp reply: ranges, conditional requests, encodings.
//!
//! RFC 9110's arithmetic is `http_serve`'s; here are the two kinds of entity that it is given and
//! the bridge to warp. Which entity a path stands for is decided elsewhere.

use std::{
    convert::Infallible,
    fs::{File, Metadata},
    io,
    ops::Range,
    pin::Pin,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use futures_util::{Stream, stream};
use http_body::Body as _;
use http_body_util::BodyDataStream;
use http_range_header::parse_range_header;
use http_serve::{BoxError, ChunkedReadFile, Entity};
use warp::{
    Filter, Reply as _,
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode,
        header::{
            ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE,
            IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE, RANGE, VARY,
        },
    },
    reply::Response,
};

type Chunks = Pin<Box<dyn Stream<Item = Result<Bytes, BoxError>> + Send + Sync>>;

/// What of a request decides the answer.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Method.
    pub method: Method,
    /// Path as it stands in the request line, still percent-encoded.
    pub path: String,
    /// What follows the `?`, empty if there is none.
    pub query: String,
    /// All headers.
    pub headers: HeaderMap,
}

/// Extracts [`Asked`].
pub fn asked() -> impl Filter<Extract = (Asked,), Error = Infallible> + Clone {
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::method()
        .and(warp::path::full())
        .and(query)
        .and(warp::header::headers_cloned())
        .map(|method, path: warp::path::FullPath, query, headers| Asked {
            method,
            path: path.as_str().to_owned(),
            query,
            headers,
        })
}

/// A reply without a body worth reading.
pub fn bare(status: StatusCode) -> Response {
    let text = status.canonical_reason().unwrap_or_default();
    warp::reply::with_status(text, status).into_response()
}

/// What a file was when it was looked at. Two different contents of one path differ in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// Bytes.
    pub len: u64,
    /// Since the epoch; zero for files that claim to be older.
    pub modified: Duration,
    /// A file that was replaced by another with the same time and length has another inode.
    pub inode: u64,
}

impl Stamp {
    /// Of an open file, or of a path.
    pub fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(metadata);
        #[cfg(not(unix))]
        let inode = 0;
        Self {
            len: metadata.len(),
            modified: metadata
                .modified()
                .ok()
                .and_then(|at| at.duration_since(UNIX_EPOCH).ok())
                .unwrap_or_default(),
            inode,
        }
    }

    /// A strong entity tag, with its quotes.
    pub fn etag(&self) -> String {
        let (nanos, len, inode) = (self.modified.as_nanos(), self.len, self.inode);
        format!("\"{nanos:x}-{len:x}-{inode:x}\"")
    }

    /// To the second, as HTTP dates are: a finer one would never equal what a client sends back.
    pub fn last_modified(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.modified.as_secs())
    }
}

/// A file on disk.
pub struct OnDisk {
    file: ChunkedReadFile<Bytes, BoxError>,
    /// As long as it was when it was opened.
    len: u64,
    etag: HeaderValue,
    modified: Option<SystemTime>,
    mime: HeaderValue,
}

impl OnDisk {
    /// Validators from what the file is now.
    pub fn new(file: File, mime: &str) -> io::Result<Self> {
        let stamp = Stamp::of(&file.metadata()?);
        let mut entity = Self::immutable(file, &stamp.etag(), mime)?;
        entity.modified = Some(stamp.last_modified());
        Ok(entity)
    }

    /// A file whose name tells its content.
    pub fn immutable(file: File, etag: &str, mime: &str) -> io::Result<Self> {
        let file = ChunkedReadFile::new(file, HeaderMap::new())?;
        Ok(Self {
            len: file.len(),
            file,
            etag: HeaderValue::from_str(etag).map_err(io::Error::other)?,
            modified: None,
            mime: HeaderValue::from_str(mime).map_err(io::Error::other)?,
        })
    }
}

impl Entity for OnDisk {
    type Error = BoxError;
    type Data = Bytes;

    fn len(&self) -> u64 {
        self.len
    }

    fn get_range(&self, range: Range<u64>) -> Chunks {
        self.file.get_range(range)
    }

    fn add_headers(&self, headers: &mut HeaderMap) {
        headers.insert(CONTENT_TYPE, self.mime.clone());
    }

    fn etag(&self) -> Option<HeaderValue> {
        Some(self.etag.clone())
    }

    fn last_modified(&self) -> Option<SystemTime> {
        self.modified
    }
}

/// One resource in memory, in the encodings that there are.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// As it is.
    pub identity: Bytes,
    /// Brotli.
    pub br: Option<Bytes>,
    /// Gzip.
    pub gzip: Option<Bytes>,
    /// Hex digits that change with the content; the entity tag is made of them.
    pub tag: String,
    /// `Content-Type`.
    pub mime: &'static str,
}

struct InMemory {
    bytes: Bytes,
    etag: HeaderValue,
    mime: HeaderValue,
    encoding: Option<&'static str>,
}

impl Entity for InMemory {
    type Error = BoxError;
    type Data = Bytes;

    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn get_range(&self, range: Range<u64>) -> Chunks {
        let bytes = self.bytes.slice(range.start as usize..range.end as usize);
        Box::pin(stream::iter([Ok(bytes)]))
    }

    fn add_headers(&self, headers: &mut HeaderMap) {
        headers.insert(CONTENT_TYPE, self.mime.clone());
        if let Some(encoding) = self.encoding {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
    }

    fn etag(&self) -> Option<HeaderValue> {
        Some(self.etag.clone())
    }

    fn last_modified(&self) -> Option<SystemTime> {
        None
    }
}

impl Encoded {
    /// The encoding that the client likes best, with `Vary`.
    pub fn reply(&self, asked: &Asked, headers: &[(HeaderName, &str)]) -> Response {
        let taken = |name, bytes: &Option<Bytes>| {
            bytes
                .clone()
                .map(|bytes| (quality(&asked.headers, name), name, bytes))
                .filter(|(quality, ..)| *quality > 0)
        };
        // Of equals `max_by_key` takes the last.
        let best = [taken("gzip", &self.gzip), taken("br", &self.br)]
            .into_iter()
            .flatten()
            .max_by_key(|(quality, ..)| *quality);
        let (bytes, encoding, etag) = match best {
            Some((_, name, bytes)) => (bytes, Some(name), format!("\"{}-{name}\"", self.tag)),
            None => (self.identity.clone(), None, format!("\"{}\"", self.tag)),
        };
        let entity = InMemory {
            bytes,
            etag: HeaderValue::from_str(&etag).unwrap_or(HeaderValue::from_static("\"\"")),
            mime: HeaderValue::from_static(self.mime),
            encoding,
        };
        let mut reply = reply(entity, asked, headers);
        reply
            .headers_mut()
            .insert(VARY, HeaderValue::from_static("accept-encoding"));
        reply
    }
}

/// What a client thinks of an encoding, in thousandths; 0 is a no (RFC 9110, section 12.5.3).
fn quality(headers: &HeaderMap, encoding: &str) -> u16 {
    let (mut named, mut any) = (None, None);
    let items = headers
        .get_all(ACCEPT_ENCODING)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    for item in items {
        let mut parts = item.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let weight = parts
            .find_map(|part| part.strip_prefix("q="))
            .map_or(Some(1.0), |q| q.parse::<f32>().ok())
            .map_or(0, |q| (q.clamp(0.0, 1.0) * 1000.0) as u16);
        if name.eq_ignore_ascii_case(encoding) {
            named = Some(weight);
        } else if name == "*" {
            any = Some(weight);
        }
    }
    named.or(any).unwrap_or(0)
}

/// The same ranges, each with its first and last byte. `http_serve` is wrong about suffixes longer
/// than the entity, about `-0`, and about numbers near 2^64. `None` if the header is to be ignored.
fn plain_range(range: &HeaderValue, len: u64) -> Option<HeaderValue> {
    let parsed = parse_range_header(range.to_str().ok()?).ok()?;
    let plain = match parsed.validate(len) {
        Ok(ranges) if ranges.is_empty() => return None,
        Ok(ranges) => {
            let ranges = ranges.iter().map(|r| format!("{}-{}", r.start(), r.end()));
            format!("bytes={}", ranges.collect::<Vec<_>>().join(","))
        }
        Err(_) => format!("bytes={len}-"),
    };
    HeaderValue::from_str(&plain).ok()
}

/// Answers with the entity, or a part of it, or that it did not change. The headers given go with
/// all of these, not with errors.
pub fn reply<E>(entity: E, asked: &Asked, headers: &[(HeaderName, &str)]) -> Response
where
    E: Entity<Data = Bytes, Error = BoxError>,
{
    if asked.method != Method::GET && asked.method != Method::HEAD {
        let mut reply = bare(StatusCode::METHOD_NOT_ALLOWED);
        reply
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return reply;
    }
    let mut described = HeaderMap::new();
    entity.add_headers(&mut described);

    let mut request = Request::new(());
    *request.method_mut() = asked.method.clone();
    *request.headers_mut() = asked.headers.clone();
    // A date that is none is to be ignored (RFC 9110, section 13.1.3); http_serve answers 400.
    for name in [IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE] {
        let is_date = |value: &HeaderValue| {
            let text = value.to_str().ok()?;
            httpdate::parse_http_date(text).ok()
        };
        if request
            .headers()
            .get(&name)
            .is_some_and(|v| is_date(v).is_none())
        {
            request.headers_mut().remove(name);
        }
    }

    let plain = request
        .headers()
        .get(RANGE)
        .map(|v| plain_range(v, entity.len()));
    match plain {
        Some(Some(range)) => {
            request.headers_mut().insert(RANGE, range);
        }
        Some(None) => {
            request.headers_mut().remove(RANGE);
        }
        None => {}
    }

    let (mut parts, body) = http_serve::serve(entity, &request).into_parts();
    let length = body.size_hint().exact();
    if let (Some(length), false) = (length, parts.headers.contains_key(CONTENT_LENGTH))
        && parts.status != StatusCode::NOT_MODIFIED
    {
        parts.headers.insert(CONTENT_LENGTH, length.into());
    }
    if matches!(
        parts.status,
        StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED
    ) {
        for (name, value) in headers {
            if let Ok(value) = HeaderValue::from_str(value) {
                parts.headers.insert(name, value);
            }
        }
    }
    // http_serve leaves these out where `If-Range` matched, as it may; a Service Worker that makes
    // its response of the part wants them.
    if parts.status == StatusCode::PARTIAL_CONTENT && !parts.headers.contains_key(CONTENT_TYPE) {
        parts.headers.extend(described);
    }

    let mut reply = if length == Some(0) {
        Response::default()
    } else {
        warp::reply::stream(BodyDataStream::new(body)).into_response()
    };
    *reply.status_mut() = parts.status;
    *reply.headers_mut() = parts.headers;
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoding_is_chosen_by_weight_and_star_stands_for_the_rest() {
        let weigh = |value: &'static str, encoding| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(value));
            quality(&headers, encoding)
        };
        assert_eq!(weigh("gzip, deflate, br", "br"), 1000);
        assert_eq!(weigh("gzip;q=0.5", "gzip"), 500);
        assert_eq!(weigh("gzip;q=0.5", "br"), 0);
        assert_eq!(weigh("*;q=0.1, br;q=0", "gzip"), 100);
        assert_eq!(weigh("*;q=0.1, br;q=0", "br"), 0);
        assert_eq!(weigh("br;q=mad", "br"), 0);
        assert_eq!(quality(&HeaderMap::new(), "br"), 0);
    }

    #[test]
    fn entity_tag_changes_within_the_same_second_and_with_the_inode() {
        let stamp = Stamp {
            len: 5,
            modified: Duration::new(100, 1),
            inode: 7,
        };
        let later = Stamp {
            modified: Duration::new(100, 2),
            ..stamp
        };
        let replaced = Stamp { inode: 8, ..stamp };
        assert_ne!(stamp.etag(), later.etag());
        assert_ne!(stamp.etag(), replaced.etag());
        assert_eq!(stamp.last_modified(), later.last_modified());
    }
}
