//! Folders of the test's own.

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
