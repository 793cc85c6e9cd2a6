//! Finding out what a folder has to share: which files, and what their contents are called.
//!
//! A second scan hashes only what changed. Not here: the form in which that is published
//! (`edition`), and when to scan (`catalog`).

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
use globset::{Glob, GlobSet, GlobSetBuilder};
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};
use rayon::prelude::*;
use walkdir::WalkDir;

use crate::{
    entity::Stamp,
    hashes::{Hashes, Known},
    outboard,
    site::{self, is_hidden},
};

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
    also: Vec<(String, PathBuf)>,
    base: String,
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

    fn allow(&self, relative: &Path) -> bool {
        let included = self
            .include
            .as_ref()
            .is_none_or(|set| set.is_match(relative));
        included && !self.exclude.is_match(relative)
    }
}

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

/// The path as a browser asks for it.
fn key(relative: &Path) -> String {
    let mut key = String::new();
    for name in relative {
        key.push('/');
        key.extend(percent_encode(name.as_encoded_bytes(), PATH));
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        folder
    }

    fn scanner(folder: &tempfile::TempDir, include: &[&str], exclude: &[&str]) -> Scanner {
        let owned = |globs: &[&str]| globs.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let root = fs::canonicalize(folder.path()).unwrap();
        Scanner::live(
            root.clone(),
            Rules::new(&owned(include), &owned(exclude)).unwrap(),
            root.join(".outboards"),
            Duration::ZERO,
        )
    }

    fn keys(scanner: &mut Scanner) -> Vec<String> {
        let found = scanner.scan(SystemTime::now(), &()).unwrap();
        found.entries.into_keys().collect()
    }

    #[test]
    fn folder_of_another_host_is_listed_by_whole_urls() {
        let (here, there) = (
            site(&[("a.jpg", b"a")]),
            site(&[("x y.jpg", b"b"), ("no.html", b"c")]),
        );
        let also = |text: String| Rules::new(&[], &[]).unwrap().also(&[text]);
        let rules = also(format!("https://img.b/p/={}", there.path().display())).unwrap();
        let root = fs::canonicalize(here.path()).unwrap();
        let outboards = root.join(".outboards");
        let mut scanner = Scanner::live(root, rules, outboards, Duration::ZERO);
        let found = scanner.scan(SystemTime::now(), &()).unwrap();
        let keys: Vec<_> = found.entries.keys().map(String::as_str).collect();
        assert_eq!(keys, ["/a.jpg", "https://img.b/p/x%20y.jpg"]);
        // What headers another host sends is not for us to say.
        assert_eq!(found.entries["https://img.b/p/x%20y.jpg"][0].etag, None);
        for wrong in [
            "/p=/tmp",
            "https://img.b",
            "https://img.b/?q=/tmp",
            "https://b=/nowhere",
        ] {
            assert!(also(wrong.to_owned()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn media_are_listed_and_pages_hidden_files_and_our_own_are_not() {
        let folder = site(&[
            ("index.html", b"x"),
            ("a/b c%.jpg", b"x"),
            ("\u{fc}.png", b"x"),
            (".hidden.png", b"x"),
            (".git/x.png", b"x"),
            ("fugitive/x.png", b"x"),
            ("v.mp4", b"x"),
        ]);
        let mut scanner = scanner(&folder, &[], &[]);
        assert_eq!(
            keys(&mut scanner),
            ["/%C3%BC.png", "/a/b%20c%25.jpg", "/v.mp4"]
        );
    }

    #[test]
    fn include_and_exclude_take_folders_and_globs() {
        let folder = site(&[
            ("a/1.png", b"x"),
            ("a/deep/2.png", b"x"),
            ("b/3.png", b"x"),
            ("b/4.gif", b"x"),
        ]);
        assert_eq!(keys(&mut scanner(&folder, &["a"], &[])).len(), 2);
        assert_eq!(keys(&mut scanner(&folder, &[], &["/a/"])).len(), 2);
        assert_eq!(keys(&mut scanner(&folder, &[], &["*.png"])), ["/b/4.gif"]);
        assert_eq!(
            keys(&mut scanner(&folder, &["*.png"], &["a/deep"])),
            ["/a/1.png", "/b/3.png"]
        );
    }

    #[test]
    fn link_out_of_the_site_or_to_a_hidden_file_is_not_listed() {
        let outside = site(&[("secret.png", b"x")]);
        let folder = site(&[("a.png", b"x"), (".b.png", b"x")]);
        let link = |to: &Path, name: &str| {
            std::os::unix::fs::symlink(to, folder.path().join(name)).unwrap();
        };
        link(&outside.path().join("secret.png"), "out.png");
        link(outside.path(), "out");
        link(&folder.path().join(".b.png"), "b.png");
        link(&folder.path().join("a.png"), "c.png");
        link(folder.path(), "round");
        assert_eq!(keys(&mut scanner(&folder, &[], &[])), ["/a.png", "/c.png"]);
    }

    #[test]
    fn hashes_outlive_the_scanner_and_damage_costs_time_only() {
        let folder = site(&[("a.png", b"1"), ("b.png", b"2"), ("v.mp4", &[7; 2 << 20])]);
        let cache = tempfile::tempdir().unwrap();
        let file = cache.path().join("deep/hashes.redb");
        let run = || {
            let count = Count::default();
            let mut scanner = scanner(&folder, &[], &[]).remember(&file);
            let found = scanner.scan(SystemTime::now(), &count).unwrap();
            (count.files(), found)
        };
        let (files, first) = run();
        assert_eq!(files, 3);
        let (files, again) = run();
        assert_eq!((files, again), (0, first));

        fs::write(folder.path().join("a.png"), "changed").unwrap();
        fs::remove_file(folder.path().join("b.png")).unwrap();
        let (files, changed) = run();
        assert_eq!((files, changed.entries.len()), (1, 2));
        assert_eq!(changed.entries["/a.png"][0].id, ContentId::of(b"changed"));

        fs::remove_dir_all(folder.path().join(".outboards")).unwrap();
        assert_eq!(run().0, 1, "the outboard is made again");
        fs::write(&file, "garbage").unwrap();
        assert_eq!(run(), (2, changed));
        assert_eq!(run().0, 0);
    }

    #[test]
    fn hashes_that_another_process_has_are_done_without() {
        let folder = site(&[("a.png", b"1")]);
        let cache = tempfile::tempdir().unwrap();
        let file = cache.path().join("hashes.redb");
        let mut first = scanner(&folder, &[], &[]).remember(&file);
        let mut second = scanner(&folder, &[], &[]).remember(&file);
        assert_eq!(keys(&mut first), keys(&mut second));
        assert!(file.exists());
    }

    /// Files that were to be hashed.
    #[derive(Default)]
    struct Count(std::sync::atomic::AtomicU64);

    impl Count {
        fn files(&self) -> u64 {
            self.0.load(std::sync::atomic::Ordering::Relaxed)
        }
    }

    impl Progress for Count {
        fn start(&self, files: u64, _: u64) {
            self.0.store(files, std::sync::atomic::Ordering::Relaxed);
        }
        fn hashed(&self, _: u64) {}
    }

    #[test]
    fn only_what_changed_is_hashed_again() {
        struct Count(std::sync::atomic::AtomicU64);
        impl Progress for Count {
            fn start(&self, _: u64, _: u64) {}
            fn hashed(&self, _: u64) {
                self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        }
        let folder = site(&[("a.png", b"1"), ("b.png", b"2")]);
        let mut scanner = scanner(&folder, &[], &[]);
        let count = Count(0.into());
        let first = scanner.scan(SystemTime::now(), &count).unwrap();
        scanner.scan(SystemTime::now(), &count).unwrap();
        assert_eq!(count.0.load(std::sync::atomic::Ordering::Relaxed), 2);
        fs::write(folder.path().join("b.png"), b"changed").unwrap();
        let second = scanner.scan(SystemTime::now(), &count).unwrap();
        assert_eq!(count.0.load(std::sync::atomic::Ordering::Relaxed), 3);
        assert_eq!(first.entries["/a.png"], second.entries["/a.png"]);
        assert_eq!(second.entries["/b.png"][0].id, ContentId::of(b"changed"));
    }

    #[test]
    fn file_that_was_just_written_waits() {
        let folder = site(&[("a.png", b"x")]);
        let mut scanner = scanner(&folder, &[], &[]);
        scanner.settle = Duration::from_secs(60);
        let now = SystemTime::now();
        let found = scanner.scan(now, &()).unwrap();
        assert!(found.unsettled && found.entries.is_empty());
        let later = scanner.scan(now + Duration::from_secs(61), &()).unwrap();
        assert!(!later.unsettled && later.entries.len() == 1);
    }

    #[test]
    fn outboards_nobody_needs_are_removed_and_other_files_are_left() {
        let folder = site(&[("v.mp4", &vec![7; 2 << 20])]);
        let mut scanner = scanner(&folder, &[], &[]);
        let found = scanner.scan(SystemTime::now(), &()).unwrap();
        let outboard = scanner
            .outboards
            .join(found.entries["/v.mp4"][0].id.to_hex());
        let other = scanner.outboards.join("notes.txt");
        fs::write(&other, b"x").unwrap();
        scanner.forget(&found.outboards()).unwrap();
        assert!(outboard.exists());
        scanner.forget(&HashSet::new()).unwrap();
        assert!(!outboard.exists() && other.exists());
    }
}
