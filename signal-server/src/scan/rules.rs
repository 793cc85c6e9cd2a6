//! Which files may be listed, and by what name.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use globset::{Glob, GlobSet, GlobSetBuilder};
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};

/// What a browser encodes in a path (URL Standard, path percent-encode set), and what a link to a
/// file of this name must have encoded itself: `%` and the backslash.
const PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'}')
    .add(b'%')
    .add(b'\\');

/// Which files may be listed, by their path from the site's root.
#[derive(Clone, Debug)]
pub struct Rules {
    include: Option<GlobSet>,
    exclude: GlobSet,
    /// Folders that other hosts serve, each with the URL that it has there.
    pub(super) also: Vec<(String, PathBuf)>,
    pub(super) base: String,
}

impl Rules {
    /// Nothing to include means everything. A `*` matches slashes too, and a folder's name stands
    /// for all that is in it.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self, globset::Error> {
        let set = |globs: &[String]| {
            let mut set = GlobSetBuilder::new();
            for glob in globs {
                let glob = glob.trim_start_matches('/').trim_end_matches('/');
                set.add(Glob::new(glob)?);
                set.add(Glob::new(&format!("{glob}/**"))?);
            }
            set.build()
        };
        Ok(Self {
            include: (!include.is_empty()).then(|| set(include)).transpose()?,
            exclude: set(exclude)?,
            also: Vec::new(),
            base: String::new(),
        })
    }

    /// The site is not at the root of its host but below this path.
    pub fn below(mut self, base: &str) -> Self {
        let base = base.trim_matches('/');
        if !base.is_empty() {
            self.base = key(Path::new(base));
        }
        self
    }

    /// Folders that other hosts serve are listed too, by whole URLs: each is `URL=FOLDER`. That the
    /// host lets the site's pages read them (`Access-Control-Allow-Origin`) is for the operator to
    /// know.
    pub fn also(mut self, listed: &[String]) -> io::Result<Self> {
        let wrong = |text: &String| {
            let why = format!("{text}: not https://host/path=FOLDER");
            io::Error::new(io::ErrorKind::InvalidInput, why)
        };
        for text in listed {
            let (url, folder) = text.split_once('=').ok_or_else(|| wrong(text))?;
            let is_url = url.starts_with("https://") || url.starts_with("http://");
            if !is_url || url.contains(['?', '#', ' ']) {
                return Err(wrong(text));
            }
            let url = url.trim_end_matches('/').to_owned();
            self.also.push((url, fs::canonicalize(folder)?));
        }
        Ok(self)
    }

    pub(super) fn allow(&self, relative: &Path) -> bool {
        let included = self
            .include
            .as_ref()
            .is_none_or(|set| set.is_match(relative));
        included && !self.exclude.is_match(relative)
    }
}

/// The path as a browser asks for it.
pub(super) fn key(relative: &Path) -> String {
    let mut key = String::new();
    for name in relative {
        key.push('/');
        key.extend(percent_encode(name.as_encoded_bytes(), PATH));
    }
    key
}
