//! The static folder: which file a path stands for, and with which headers it goes out.
//!
//! Not here: ranges and conditional requests (`entity`), what may be shared (`scan`).

use std::{
    convert::Infallible,
    ffi::OsStr,
    fs::{self, File},
    io,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use percent_encoding::percent_decode_str;
use warp::{
    Filter,
    http::{
        HeaderValue, StatusCode,
        header::{CACHE_CONTROL, LOCATION},
    },
    reply::Response,
};

use crate::entity::{self, Asked, OnDisk};

/// `Content-Type` by the ending of the name.
pub fn mime(path: &Path) -> String {
    let mime = mime_guess::from_path(path).first_or_octet_stream();
    let text = mime.essence_str();
    if mime.type_() == "text" {
        format!("{text}; charset=utf-8")
    } else {
        text.to_owned()
    }
}

/// Whether this type is what Fugitive delivers.
pub fn is_media(mime: &str) -> bool {
    ["image/", "video/", "audio/"]
        .iter()
        .any(|kind| mime.starts_with(kind))
}

/// `Cache-Control` by type. Pages are asked for anew each time, since they name everything else;
/// what they are made of may be a little old; media rarely change under one name.
pub fn cache_control(mime: &str) -> &'static str {
    if is_media(mime) || mime.starts_with("font/") {
        "public, max-age=3600"
    } else if mime.starts_with("text/css") || mime.starts_with("text/javascript") {
        "public, max-age=300"
    } else {
        "no-cache"
    }
}

/// A folder of files.
#[derive(Debug)]
pub struct Site {
    root: PathBuf,
}

enum Found {
    File {
        entity: OnDisk,
        mime: String,
    },
    /// A folder was asked for without the slash at the end, and relative links would go astray.
    Folder,
    Nothing,
}

impl Site {
    /// The folder must exist.
    pub fn new(root: &Path) -> io::Result<Self> {
        let root = fs::canonicalize(root)?;
        if !root.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Self { root })
    }

    /// Without links and dots.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn find(&self, path: &str) -> io::Result<Found> {
        let Some(relative) = decode(path) else {
            return Ok(Found::Nothing);
        };
        let Some(path) = inside(&self.root, &self.root.join(relative))? else {
            return Ok(Found::Nothing);
        };
        // Looked at before it is opened: opening a pipe would wait for its other end.
        let metadata = fs::metadata(&path)?;
        if metadata.is_dir() {
            return Ok(Found::Folder);
        }
        if !metadata.is_file() {
            return Ok(Found::Nothing);
        }
        let file = File::open(&path)?;
        let mime = mime(&path);
        Ok(Found::File {
            entity: OnDisk::new(file, &mime)?,
            mime,
        })
    }

    fn look_up(&self, path: &str) -> io::Result<Found> {
        match path.strip_suffix('/') {
            Some(folder) => match self.find(folder)? {
                Found::Folder => self.find(&format!("{path}index.html")),
                _ => Ok(Found::Nothing),
            },
            None => self.find(path),
        }
    }

    async fn reply(self: Arc<Self>, asked: Asked) -> Response {
        let path = asked.path.clone();
        let found = tokio::task::spawn_blocking(move || self.look_up(&path)).await;
        match found.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(Found::File { entity, mime }) => {
                entity::reply(entity, &asked, &[(CACHE_CONTROL, cache_control(&mime))])
            }
            Ok(Found::Folder) => {
                let query = if asked.query.is_empty() { "" } else { "?" };
                let location = format!("{}/{query}{}", asked.path, asked.query);
                let mut reply = entity::bare(StatusCode::MOVED_PERMANENTLY);
                if let Ok(location) = HeaderValue::from_str(&location) {
                    reply.headers_mut().insert(LOCATION, location);
                }
                reply
            }
            Ok(Found::Nothing) => entity::bare(StatusCode::NOT_FOUND),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound
                | io::ErrorKind::NotADirectory
                | io::ErrorKind::InvalidFilename => entity::bare(StatusCode::NOT_FOUND),
                io::ErrorKind::PermissionDenied => entity::bare(StatusCode::FORBIDDEN),
                _ => broken(&asked, &error),
            },
        }
    }
}

fn broken(asked: &Asked, error: &io::Error) -> Response {
    tracing::warn!("site: {}: {error}", asked.path);
    entity::bare(StatusCode::INTERNAL_SERVER_ERROR)
}

/// A request's path as a relative one on disk; `None` if it cannot be a file of the site. Dots are
/// looked at after decoding, so that no spelling of them gets through.
fn decode(path: &str) -> Option<PathBuf> {
    let mut relative = PathBuf::new();
    let path = path.strip_prefix('/').unwrap_or(path);
    if path.is_empty() {
        return Some(relative);
    }
    for segment in path.split('/') {
        let bytes: Vec<u8> = percent_decode_str(segment).collect();
        if bytes.is_empty()
            || bytes.starts_with(b".")
            || bytes.contains(&b'/')
            || bytes.contains(&0)
        {
            return None;
        }
        let name = os_string(bytes)?;
        // What is more than one plain name on this system (`C:`, `a\b`) is none here.
        let mut components = Path::new(&name).components();
        match (components.next(), components.next()) {
            (Some(Component::Normal(only)), None) if only == name => relative.push(name),
            _ => return None,
        }
    }
    Some(relative)
}

#[cfg(unix)]
fn os_string(bytes: Vec<u8>) -> Option<std::ffi::OsString> {
    Some(std::os::unix::ffi::OsStringExt::from_vec(bytes))
}

#[cfg(not(unix))]
fn os_string(bytes: Vec<u8>) -> Option<std::ffi::OsString> {
    String::from_utf8(bytes).ok().map(Into::into)
}

/// The path with all links followed, if that is still in the site and not hidden.
pub fn inside(root: &Path, path: &Path) -> io::Result<Option<PathBuf>> {
    let real = fs::canonicalize(path)?;
    let visible = real
        .strip_prefix(root)
        .is_ok_and(|relative| !relative.iter().any(is_hidden));
    Ok(visible.then_some(real))
}

/// Whether a name begins with a dot.
pub fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

/// All paths that no other route took.
pub fn route(site: Arc<Site>) -> impl Filter<Extract = (Response,), Error = Infallible> + Clone {
    entity::asked().then(move |asked| site.clone().reply(asked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_spelling_of_dots_or_slashes_becomes_a_path() {
        for path in [
            "/../x",
            "/a/../x",
            "/%2e%2e/x",
            "/..%2fx",
            "/%2e%2e%2fx",
            "/a%2fb",
            "/a%00b",
            "/.git/config",
            "/a/.env",
            "/./a",
            "//etc/passwd",
            "/a//b",
        ] {
            assert_eq!(decode(path), None, "{path}");
        }
        assert_eq!(decode("/"), Some(PathBuf::new()));
        assert_eq!(decode("/a%20b/c..jpg"), Some("a b/c..jpg".into()));
    }

    #[test]
    fn media_may_be_kept_and_pages_are_asked_for_anew() {
        assert_eq!(mime(Path::new("a.avif")), "image/avif");
        assert_eq!(mime(Path::new("a.webm")), "video/webm");
        assert_eq!(mime(Path::new("a.html")), "text/html; charset=utf-8");
        assert_eq!(cache_control("image/avif"), "public, max-age=3600");
        assert_eq!(cache_control("text/html; charset=utf-8"), "no-cache");
    }
}
