//! The client files: what a page loads to take part. They come from `signal-server/pack`, embedded
//! in the binary or from a folder that is read anew for each request.

use std::{
    borrow::Cow,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use rust_embed::RustEmbed;
use warp::{
    Filter, Rejection,
    http::{
        HeaderName,
        header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_SECURITY_POLICY},
    },
    reject,
    reply::Response,
};

use crate::entity::{self, Asked, Encoded};

#[derive(RustEmbed)]
#[folder = "$EMBEDDED_CLIENT"]
#[allow_missing = true]
struct Embedded;

/// What the worker may do, whatever the page's policy is: its fetches go wherever the page's images
/// are.
const WORKER_POLICY: &str =
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; connect-src *";

/// Where client files are taken from.
#[derive(Clone, Debug)]
pub enum ClientFiles {
    /// The binary.
    Embedded,
    /// A folder as `fugitive client --out` or the pack writes it.
    Folder(PathBuf),
}

impl ClientFiles {
    fn read(&self, name: &str) -> Option<Cow<'static, [u8]>> {
        match self {
            Self::Embedded => Embedded::get(name).map(|file| file.data),
            Self::Folder(folder) => fs::read(folder.join(name)).ok().map(Cow::Owned),
        }
    }

    fn get(&self, name: &str) -> Option<Encoded> {
        let bytes = |name: &str| {
            self.read(name).map(|data| match data {
                Cow::Borrowed(data) => Bytes::from_static(data),
                Cow::Owned(data) => Bytes::from(data),
            })
        };
        let mime = if name.ends_with(".wasm") {
            "application/wasm"
        } else {
            "text/javascript; charset=utf-8"
        };
        let identity = bytes(name)?;
        Some(Encoded {
            tag: blake3::hash(&identity).to_hex()[..32].to_owned(),
            br: bytes(&format!("{name}.br")),
            gzip: bytes(&format!("{name}.gz")),
            mime,
            identity,
        })
    }

    /// Writes all of them, with their compressed forms, and says how many there were.
    pub fn write(&self, out: &Path) -> io::Result<usize> {
        let names: Vec<String> = match self {
            Self::Embedded => Embedded::iter().map(Cow::into_owned).collect(),
            Self::Folder(folder) => walkdir::WalkDir::new(folder)
                .into_iter()
                .filter_map(Result::ok)
                .filter(|entry| entry.file_type().is_file())
                .filter_map(|entry| Some(entry.path().strip_prefix(folder).ok()?.to_str()?.into()))
                .collect(),
        };
        for name in &names {
            let path = out.join(name);
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            let bytes = self.read(name).ok_or(io::ErrorKind::NotFound)?;
            fs::write(path, bytes)?;
        }
        Ok(names.len())
    }

    /// Writes them as a package of npm, of this program's version; says how many client files there
    /// were.
    pub fn write_package(&self, out: &Path) -> io::Result<usize> {
        let count = self.write(&out.join("client"))?;
        let version = concat!("\"version\": \"", env!("CARGO_PKG_VERSION"), "\"");
        for (name, text) in PACKAGE {
            fs::write(
                out.join(name),
                text.replace("\"version\": \"0.0.0\"", version),
            )?;
        }
        Ok(count)
    }
}

/// What a package of npm has beside the client files.
const PACKAGE: [(&str, &str); 4] = [
    (
        "package.json",
        include_str!("../../page-bridge/npm/package.json"),
    ),
    ("index.js", include_str!("../../page-bridge/npm/index.js")),
    (
        "index.d.ts",
        include_str!("../../page-bridge/npm/index.d.ts"),
    ),
    ("copy.js", include_str!("../../page-bridge/npm/copy.js")),
];

/// The path of a client file: at the top the two whose URL is part of the product, below
/// `fugitive/` those whose name carries their hash.
fn name(path: &str) -> Option<&str> {
    let name = path.strip_prefix('/')?;
    if matches!(name, "fugitive.js" | "fugitive-sw.js") {
        return Some(name);
    }
    let file = name.strip_prefix("fugitive/")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let known = file.ends_with(".js") || file.ends_with(".wasm");
    (known && !file.starts_with('.') && file.chars().all(plain)).then_some(name)
}

fn headers(name: &str) -> Vec<(HeaderName, &'static str)> {
    match name {
        "fugitive.js" => vec![(CACHE_CONTROL, "public, max-age=300")],
        "fugitive-sw.js" => vec![
            (CACHE_CONTROL, "no-cache"),
            (HeaderName::from_static("service-worker-allowed"), "/"),
            (CONTENT_SECURITY_POLICY, WORKER_POLICY),
        ],
        _ => vec![
            (CACHE_CONTROL, "public, max-age=31536000, immutable"),
            (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        ],
    }
}

/// `/fugitive.js`, `/fugitive-sw.js` and the files whose name carries their hash.
pub fn route(files: ClientFiles) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone {
    let files = Arc::new(files);
    entity::asked().and_then(move |asked: Asked| {
        let files = files.clone();
        async move {
            let name = name(&asked.path).ok_or_else(reject::not_found)?;
            let file = files.get(name).ok_or_else(reject::not_found)?;
            Ok::<_, Rejection>(file.reply(&asked, &headers(name)))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_of_scripts_and_wasm_are_client_files() {
        assert_eq!(name("/fugitive.js"), Some("fugitive.js"));
        assert_eq!(
            name("/fugitive/sw-ab12.wasm"),
            Some("fugitive/sw-ab12.wasm")
        );
        for path in [
            "/fugitive/../x.js",
            "/fugitive/a/b.js",
            "/fugitive/%2e.js",
            "/fugitive/.js",
            "/fugitive/manifest.json",
            "/other.js",
        ] {
            assert_eq!(name(path), None, "{path}");
        }
    }
}
