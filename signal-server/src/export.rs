//! `fugitive manifest`: the manifest as files, for a site that another server serves.

use std::{
    collections::HashSet,
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use fugitive_core::manifest::Policy;

use crate::{
    edition::Edition,
    hashes,
    scan::{Progress, Rules, Scanner, readable, remove_stale},
};

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Resources that are listed.
    pub resources: usize,
    /// Shards, none for a small site.
    pub shards: usize,
    /// Outboards.
    pub outboards: usize,
}

/// Writes `fugitive/manifest.json`, `fugitive/shard/` and `fugitive/bao/` into the site, and removes
/// what an earlier run left there and nobody needs any more. Files that the run before hashed, whose
/// hashes are in the user's cache, are not read again.
pub fn write(
    site: &Path,
    rules: Rules,
    policy: Policy,
    progress: &dyn Progress,
) -> io::Result<Written> {
    let root = fs::canonicalize(site)?;
    let out = root.join("fugitive");
    let (shards, outboards) = (out.join("shard"), out.join("bao"));
    fs::create_dir_all(&shards)?;
    let hashes = hashes::in_users_cache(&root);
    let mut scanner = Scanner::elsewhere(root, rules, outboards);
    if let Some(hashes) = hashes {
        scanner = scanner.remember(&hashes);
    }
    let found = scanner.scan(SystemTime::now(), progress)?;
    let edition = Edition::of(&found.entries, policy)?;
    // The index last: it must never name what is not there yet.
    for (id, bytes) in &edition.shards {
        replace(&shards.join(format!("{id}.json")), bytes)?;
    }
    replace(&out.join("manifest.json"), &edition.index)?;
    let kept: HashSet<_> = edition.shards.iter().map(|(id, _)| *id).collect();
    remove_stale(&shards, ".json", &kept)?;
    let outboards = found.outboards();
    scanner.forget(&outboards)?;
    Ok(Written {
        resources: found.entries.len(),
        shards: kept.len(),
        outboards: outboards.len(),
    })
}

fn replace(path: &PathBuf, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    readable(file.as_file())?;
    file.persist(path)?;
    Ok(())
}
