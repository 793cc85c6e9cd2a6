//! What the files of a site hash to, from one run to the next, so that a new start over a large
//! folder reads only what changed.
//!
//! A cache: whatever is wrong with it costs time and nothing else. A file whose length, time of
//! change or inode is another is hashed again.

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::Duration,
};

use fugitive_core::content::ContentId;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use crate::entity::Stamp;

/// By path from the site's root: length, time in nanoseconds, inode, content id, outboard or not.
type Row = (u64, u128, u64, [u8; 32], bool);
const FILES: TableDefinition<'_, &[u8], Row> = TableDefinition::new("files");

/// A file as it was when it was hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// What it was.
    pub stamp: Stamp,
    /// Its contents.
    pub id: ContentId,
    /// Whether there is an outboard.
    pub bao: bool,
}

/// The hashes of one site.
pub struct Hashes {
    database: Database,
}

impl Hashes {
    /// Opens the file, or begins anew if there is none that is any good.
    pub fn open(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let database = match Database::create(path) {
            Ok(database) => database,
            // Another process has it, which is no reason to take it away.
            Err(redb::DatabaseError::DatabaseAlreadyOpen) => {
                return Err(io::ErrorKind::ResourceBusy.into());
            }
            Err(error) => {
                tracing::warn!(
                    "hashes of earlier runs are lost: {}: {error}",
                    path.display()
                );
                fs::remove_file(path)?;
                Database::create(path).map_err(io::Error::other)?
            }
        };
        Ok(Self { database })
    }

    /// All of them, by path from the root.
    pub fn load(&self) -> io::Result<HashMap<PathBuf, Known>> {
        let read = self.database.begin_read().map_err(io::Error::other)?;
        let files = match read.open_table(FILES) {
            Ok(files) => files,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(HashMap::new()),
            Err(error) => return Err(io::Error::other(error)),
        };
        let mut known = HashMap::new();
        for row in files.iter().map_err(io::Error::other)? {
            let (path, row) = row.map_err(io::Error::other)?;
            let (len, nanos, inode, id, bao) = row.value();
            let modified = Duration::from_nanos_u128(nanos);
            let known_file = Known {
                stamp: Stamp {
                    len,
                    modified,
                    inode,
                },
                id: ContentId(id),
                bao,
            };
            known.insert(PathBuf::from(OsStr::from_bytes(path.value())), known_file);
        }
        Ok(known)
    }

    /// Notes what is new and forgets what is gone; all of it or nothing.
    pub fn save<'a>(
        &self,
        new: impl Iterator<Item = (&'a Path, &'a Known)>,
        gone: impl Iterator<Item = &'a Path>,
    ) -> io::Result<()> {
        let write = self.database.begin_write().map_err(io::Error::other)?;
        {
            let mut files = write.open_table(FILES).map_err(io::Error::other)?;
            for path in gone {
                files
                    .remove(path.as_os_str().as_bytes())
                    .map_err(io::Error::other)?;
            }
            for (path, Known { stamp, id, bao }) in new {
                let row = (
                    stamp.len,
                    stamp.modified.as_nanos(),
                    stamp.inode,
                    id.0,
                    *bao,
                );
                files
                    .insert(path.as_os_str().as_bytes(), row)
                    .map_err(io::Error::other)?;
            }
        }
        write.commit().map_err(io::Error::other)
    }
}

/// Where the hashes of a site are kept by default: in the user's cache, under a name of its own.
pub fn in_users_cache(root: &Path) -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    let name = ContentId::of(root.as_os_str().as_bytes()).to_hex();
    Some(cache.join("fugitive").join(format!("{}.redb", &name[..32])))
}
