//! Outboards of what is long, by which visitors check parts of it.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    path::PathBuf,
    time::Duration,
};

use fugitive_core::content::ContentId;

use crate::outboard;

/// Whoever has an older manifest may ask for what that speaks of, for so long.
const OLD: Duration = Duration::from_secs(60 * 60);
/// Outboards that are put together at once from what other servers send.
const MOST_BEGUN: usize = 8;

/// See the module.
pub struct Trees {
    folder: PathBuf,
    here: HashSet<ContentId>,
    /// Those of which a part came.
    begun: HashMap<ContentId, Vec<u8>>,
}

impl Trees {
    /// In this folder, which is made.
    pub fn open(folder: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        let names = fs::read_dir(&folder)?.flatten();
        let here = names.filter_map(|file| file.file_name().to_str()?.parse().ok());
        Ok(Self {
            here: here.collect(),
            folder,
            begun: HashMap::new(),
        })
    }

    /// Whether it is there.
    pub fn has(&self, id: ContentId) -> bool {
        self.here.contains(&id)
    }

    /// Keeps one, and tells whether that could be done.
    pub fn keep(&mut self, id: ContentId, outboard: &[u8]) -> bool {
        match outboard::keep(&self.folder, id, outboard) {
            Ok(()) => {
                self.here.insert(id);
                true
            }
            Err(error) => {
                tracing::warn!("upstream: hash tree not stored: {error}");
                false
            }
        }
    }

    /// The bytes of one.
    pub fn read(&self, id: ContentId) -> Option<Vec<u8>> {
        fs::read(self.folder.join(id.to_hex())).ok()
    }

    /// How much of one came from other servers so far, in bytes.
    pub fn begun(&self, id: ContentId) -> usize {
        self.begun.get(&id).map_or(0, Vec::len)
    }

    /// Another server sent a part of the outboard of a content so long; tells whether all of it is there
    /// now.
    pub fn grow(&mut self, id: ContentId, len: u64, start: usize, part: &[u8]) -> bool {
        if !self.begun.contains_key(&id) && self.begun.len() >= MOST_BEGUN {
            // One of which nothing more comes must not be in the way for ever.
            self.begun.clear();
        }
        let whole = outboard::outboard_len(len);
        let begun = self.begun.entry(id).or_default();
        if start != begun.len() || start + part.len() > whole {
            return false;
        }
        begun.extend_from_slice(part);
        if begun.len() < whole {
            return false;
        }
        let outboard = self.begun.remove(&id).unwrap_or_default();
        outboard::is_of(id, len, &outboard) && self.keep(id, &outboard)
    }

    /// Removes what is not listed any more, if it is old.
    pub fn forget(&mut self, listed: &HashSet<ContentId>) {
        let Ok(files) = fs::read_dir(&self.folder) else {
            return;
        };
        for file in files.flatten() {
            let name = file.file_name();
            let id = name.to_str().and_then(|name| name.parse().ok());
            let age = file.metadata().and_then(|meta| meta.modified()).ok();
            let is_old = age.is_some_and(|at| at.elapsed().is_ok_and(|age| age > OLD));
            if is_old && id.is_none_or(|id| !listed.contains(&id)) {
                let _ = fs::remove_file(file.path());
                self.here.retain(|here| Some(*here) != id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outboard::Growing;

    #[test]
    fn tree_of_another_server_is_put_together_and_kept_only_if_it_is_the_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut trees = Trees::open(folder.path().to_owned()).unwrap();
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|i| (i ^ (i >> 8)) as u8).collect();
        let len = bytes.len() as u64;
        let mut growing = Growing::default();
        growing.update(&bytes);
        let (id, outboard) = growing.end();
        let outboard = outboard.unwrap();
        let (first, rest) = outboard.split_at(5000);

        // Not from the beginning, too long, and of something else.
        assert!(!trees.grow(id, len, 5000, rest));
        assert!(!trees.grow(id, len, 0, &[&outboard[..], b"x"].concat()));
        assert!(!trees.grow(id, len, 0, &vec![7; outboard.len()]));
        assert!(!trees.has(id));

        assert!(!trees.grow(id, len, 0, first));
        assert_eq!(trees.begun(id), 5000);
        assert!(!trees.grow(id, len, 0, first), "that is here");
        assert!(trees.grow(id, len, 5000, rest));
        assert!(trees.read(id).as_deref() == Some(&outboard[..]));
        // An older manifest speaks of it for a while, also to the next run.
        trees.forget(&HashSet::new());
        assert!(Trees::open(folder.path().to_owned()).unwrap().has(id));

        for number in 0..2 * MOST_BEGUN as u8 {
            trees.grow(ContentId([number; 32]), len, 0, first);
        }
        assert!(trees.begun.len() <= MOST_BEGUN);
    }
}
