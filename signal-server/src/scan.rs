//! Finding out what a folder has to share: which files, and what their contents are called.
//!
//! A second scan hashes only what changed. Not here: the form in which that is published
//! (`edition`), and when to scan (`catalog`).

mod rules;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use fugitive_core::{
    content::{ContentId, MAX_LEN},
    manifest::{Entry, Variant},
};
use rayon::prelude::*;
use walkdir::WalkDir;

pub use self::rules::Rules;
use self::rules::key;
use crate::{
    entity::Stamp,
    hashes::{Hashes, Known},
    outboard,
    site::{self, is_hidden},
};

/// Hears how far the hashing is.
pub trait Progress: Sync {
    /// There is so much to hash.
    fn start(&self, files: u64, bytes: u64);
    /// So many more bytes have been hashed.
    fn hashed(&self, bytes: u64);
}

/// Nobody looks.
impl Progress for () {
    fn start(&self, _: u64, _: u64) {}
    fn hashed(&self, _: u64) {}
}

/// What a scan found.
#[derive(Debug, Default, PartialEq)]
pub struct Found {
    /// All that may be shared.
    pub entries: BTreeMap<String, Entry>,
    /// Files that were left out because somebody seems to be writing them: scan again.
    pub unsettled: bool,
}

impl Found {
    /// The outboards that the entries speak of.
    pub fn outboards(&self) -> HashSet<ContentId> {
        let variants = self.entries.values().flatten();
        variants.filter(|v| v.bao).map(|v| v.id).collect()
    }
}

struct Candidate {
    path: PathBuf,
    key: String,
    mime: String,
    stamp: Stamp,
}

/// A folder and what was found in it last time.
pub struct Scanner {
    root: PathBuf,
    rules: Rules,
    outboards: PathBuf,
    /// A file changed less than this ago is being written.
    settle: Duration,
    /// Whether entries say what this server would send with the file.
    headers: bool,
    known: HashMap<PathBuf, Known>,
    hashes: Option<Hashes>,
    /// What begins the keys: nothing, the path that the site lies below, or another host.
    prefix: String,
    also: Vec<Scanner>,
}

impl Scanner {
    /// For a site that this server serves: files must be at rest for a while, and entries carry
    /// the headers that it sends. The root must be canonical. Outboards are written to `outboards`.
    pub fn live(root: PathBuf, mut rules: Rules, outboards: PathBuf, settle: Duration) -> Self {
        let prefix = std::mem::take(&mut rules.base);
        let also = std::mem::take(&mut rules.also).into_iter();
        let also = also.map(|(prefix, folder)| Self {
            prefix,
            settle,
            ..Self::elsewhere(folder, rules.clone(), outboards.clone())
        });
        Self {
            also: also.collect(),
            root,
            rules,
            outboards,
            settle,
            headers: true,
            known: HashMap::new(),
            hashes: None,
            prefix,
        }
    }

    /// Keeps hashes in this file from one run to the next. What is wrong with it costs time only.
    pub fn remember(mut self, file: &Path) -> Self {
        let opened = Hashes::open(file).and_then(|hashes| Ok((hashes.load()?, hashes)));
        match opened {
            Ok((known, hashes)) => {
                // An outboard that was lost is made again.
                let whole = known.into_iter().filter(|(_, known)| {
                    !known.bao || self.outboards.join(known.id.to_hex()).exists()
                });
                self.known = whole
                    .map(|(path, known)| (self.root.join(path), known))
                    .collect();
                self.hashes = Some(hashes);
            }
            Err(error) => tracing::warn!("hashes are not kept: {}: {error}", file.display()),
        }
        self
    }

    /// For a site that another server serves, whose headers we do not know.
    pub fn elsewhere(root: PathBuf, rules: Rules, outboards: PathBuf) -> Self {
        Self {
            headers: false,
            ..Self::live(root, rules, outboards, Duration::ZERO)
        }
    }

    /// Looks at the whole folder. Fails only if the folder itself or the place for the outboards
    /// cannot be used; a file that cannot be read is left out with a line in the log.
    pub fn scan(&mut self, now: SystemTime, progress: &dyn Progress) -> io::Result<Found> {
        fs::create_dir_all(&self.outboards)?;
        let (candidates, mut unsettled) = self.candidates(now)?;
        let changed: Vec<&Candidate> = candidates
            .iter()
            .filter(|c| self.known.get(&c.path).is_none_or(|k| k.stamp != c.stamp))
            .collect();
        let bytes = changed.iter().map(|c| c.stamp.len).sum();
        progress.start(changed.len() as u64, bytes);
        let hashed: Vec<(PathBuf, io::Result<Known>)> = changed
            .par_iter()
            .map(|candidate| {
                let known = self.hash(candidate, progress);
                (candidate.path.clone(), known)
            })
            .collect();
        let mut new = Vec::new();
        for (path, known) in hashed {
            match known {
                Ok(known) => {
                    new.push(path.clone());
                    self.known.insert(path, known);
                }
                Err(error) => {
                    // Cut short or changed while it was read: its writer is not done.
                    unsettled |= error.kind() == io::ErrorKind::UnexpectedEof;
                    tracing::warn!("manifest: {} is left out: {error}", path.display());
                    self.known.remove(&path);
                }
            }
        }
        let present: HashSet<&Path> = candidates.iter().map(|c| c.path.as_path()).collect();
        let gone: Vec<PathBuf> = self
            .known
            .keys()
            .filter(|path| !present.contains(path.as_path()))
            .cloned()
            .collect();
        for path in &gone {
            self.known.remove(path);
        }
        self.save(&new, &gone);
        let mut entries: BTreeMap<String, Entry> = candidates
            .iter()
            .filter_map(|c| {
                Some((
                    [self.prefix.as_str(), &c.key].concat(),
                    vec![self.variant(c, self.known.get(&c.path)?)],
                ))
            })
            .collect();
        for other in &mut self.also {
            let found = other.scan(now, progress)?;
            entries.extend(found.entries);
            unsettled |= found.unsettled;
        }
        Ok(Found { entries, unsettled })
    }

    fn save(&self, new: &[PathBuf], gone: &[PathBuf]) {
        let Some(hashes) = self
            .hashes
            .as_ref()
            .filter(|_| !new.is_empty() || !gone.is_empty())
        else {
            return;
        };
        let inside = |path: &'_ Path| path.strip_prefix(&self.root).ok().map(Path::to_owned);
        let new: Vec<_> = new
            .iter()
            .filter_map(|path| Some((inside(path)?, self.known.get(path)?)))
            .collect();
        let gone: Vec<_> = gone.iter().filter_map(|path| inside(path)).collect();
        let new = new.iter().map(|(path, known)| (path.as_path(), *known));
        if let Err(error) = hashes.save(new, gone.iter().map(PathBuf::as_path)) {
            tracing::warn!("hashes are not kept: {error}");
        }
    }

    fn candidates(&self, now: SystemTime) -> io::Result<(Vec<Candidate>, bool)> {
        let mut unsettled = false;
        let mut candidates = Vec::new();
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let walk = WalkDir::new(&self.root)
            .follow_links(true)
            .into_iter()
            .filter_entry(|entry| {
                // `/fugitive/` is taken: a file there could never be asked for.
                let reserved = entry.depth() == 1 && entry.file_name() == "fugitive";
                entry.depth() == 0 || !(is_hidden(entry.file_name()) || reserved)
            });
        for entry in walk {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) if error.depth() == 0 => return Err(error.into()),
                Err(error) => {
                    tracing::debug!("manifest: {error}");
                    continue;
                }
            };
            let Ok(relative) = entry.path().strip_prefix(&self.root) else {
                continue;
            };
            let mime = site::mime(entry.path());
            if !entry.file_type().is_file() || !site::is_media(&mime) || !self.rules.allow(relative)
            {
                continue;
            }
            // The server follows no link out of the site, so the manifest lists none.
            if !matches!(site::inside(&self.root, entry.path()), Ok(Some(_))) {
                continue;
            }
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            let stamp = Stamp::of(&metadata);
            if stamp.len > MAX_LEN {
                continue;
            }
            // A time in the future says nothing about now.
            let age = now.checked_sub(stamp.modified);
            if age.is_some_and(|age| age < self.settle) {
                unsettled = true;
                continue;
            }
            candidates.push(Candidate {
                key: key(relative),
                path: entry.into_path(),
                mime,
                stamp,
            });
        }
        Ok((candidates, unsettled))
    }

    fn hash(&self, candidate: &Candidate, progress: &dyn Progress) -> io::Result<Known> {
        let file = File::open(&candidate.path)?;
        let (id, outboard) =
            outboard::hash(&file, candidate.stamp.len, &|bytes| progress.hashed(bytes))?;
        // By path: a file that was replaced meanwhile is not what we hashed.
        if Stamp::of(&fs::metadata(&candidate.path)?) != candidate.stamp {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "it changed while it was read",
            ));
        }
        if let Some(outboard) = &outboard {
            outboard::keep(&self.outboards, id, outboard)?;
        }
        Ok(Known {
            stamp: candidate.stamp,
            id,
            bao: outboard.is_some(),
        })
    }

    fn variant(&self, candidate: &Candidate, known: &Known) -> Variant {
        let modified = httpdate::fmt_http_date(candidate.stamp.last_modified());
        let cache = || site::cache_control(&candidate.mime).to_owned();
        Variant {
            id: known.id,
            len: candidate.stamp.len,
            cache: self.headers.then(cache),
            etag: self.headers.then(|| candidate.stamp.etag()),
            modified: Some(modified),
            mime: candidate.mime.clone(),
            accept: None,
            bao: known.bao,
        }
    }

    /// Removes outboards that nobody refers to.
    pub fn forget(&self, keep: &HashSet<ContentId>) -> io::Result<()> {
        remove_stale(&self.outboards, "", keep)
    }
}

/// Temporary files are for their owner alone; these will be read by a web server.
#[cfg(unix)]
pub fn readable(file: &File) -> io::Result<()> {
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
}

#[cfg(not(unix))]
pub fn readable(_: &File) -> io::Result<()> {
    Ok(())
}

/// Removes the files of a folder that are named by a content id, with this ending, except those to
/// keep. All other files are somebody else's.
pub fn remove_stale(folder: &Path, ending: &str, keep: &HashSet<ContentId>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let id = name
            .to_str()
            .and_then(|name| name.strip_suffix(ending))
            .and_then(|name| name.parse::<ContentId>().ok());
        if id.is_some_and(|id| !keep.contains(&id)) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
