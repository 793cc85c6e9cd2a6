//! The output folder: names with hashes, compressed twins, the size table, and the stamp that says
//! what it was all made from.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    io::{Read, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use flate2::{Compression, write::GzEncoder};

/// The files of one run.
pub struct Files {
    out: PathBuf,
    written: BTreeSet<PathBuf>,
}

impl Files {
    /// Writes into this folder.
    pub fn new(out: &Path) -> Result<Self> {
        fs::create_dir_all(out.join("fugitive"))
            .with_context(|| format!("cannot write to {}", out.display()))?;
        Ok(Self {
            out: out.to_owned(),
            written: BTreeSet::new(),
        })
    }

    /// Writes an immutable file into `fugitive` and returns its name there.
    pub fn hashed(&mut self, name: &str, extension: &str, bytes: &[u8]) -> Result<String> {
        let hash = blake3::hash(bytes).to_hex();
        let file = format!("{name}-{}.{extension}", &hash[..16]);
        self.fixed(&format!("fugitive/{file}"), bytes)?;
        Ok(file)
    }

    /// Writes a file whose name never changes.
    pub fn fixed(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        for (suffix, bytes) in [
            ("", bytes.to_vec()),
            (".br", brotli(bytes)?),
            (".gz", gzip(bytes)?),
        ] {
            let path = self.out.join(format!("{name}{suffix}"));
            if fs::read(&path).ok().as_deref() != Some(&bytes) {
                fs::write(&path, bytes)?;
            }
            self.written.insert(path);
        }
        Ok(())
    }

    /// Removes what an earlier run wrote under hashes that are no longer.
    pub fn finish(self) -> Result<()> {
        for entry in fs::read_dir(self.out.join("fugitive"))? {
            let path = entry?.path();
            if !self.written.contains(&path) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

fn brotli(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut packed = Vec::new();
    let params = brotli::enc::BrotliEncoderParams {
        quality: 11,
        lgwin: 22,
        size_hint: bytes.len(),
        ..Default::default()
    };
    brotli::BrotliCompress(&mut &bytes[..], &mut packed, &params)?;
    Ok(packed)
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(bytes)?;
    Ok(packed.finish()?)
}

/// What the output was made from.
pub struct Stamp {
    out: PathBuf,
    /// Beside the folder, not in it: all that is in it is served.
    file: PathBuf,
    text: String,
}

impl Stamp {
    /// Of these files and folders.
    pub fn of(out: &Path, sources: &[&Path], dev: bool) -> Result<Self> {
        let mut hash = blake3::Hasher::new();
        hash.update(&[u8::from(dev)]);
        for source in sources {
            add(&mut hash, source)?;
        }
        Ok(Self {
            out: out.to_owned(),
            file: out.with_extension("stamp"),
            text: hash.finalize().to_hex().to_string(),
        })
    }

    /// Whether the folder was made from the same, and is still there.
    pub fn holds(&self) -> Result<bool> {
        let same = fs::read_to_string(&self.file).is_ok_and(|text| text == self.text);
        Ok(same && rows(&self.out)?.len() == 7)
    }

    /// The folder is made from this now.
    pub fn set(&self) -> Result<()> {
        Ok(fs::write(&self.file, &self.text)?)
    }
}

fn add(hash: &mut blake3::Hasher, path: &Path) -> Result<()> {
    if path.is_dir() {
        let mut inside: Vec<_> = fs::read_dir(path)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()?;
        inside.sort();
        return inside.iter().try_for_each(|path| add(hash, path));
    }
    let mut bytes = Vec::new();
    fs::File::open(path)
        .with_context(|| format!("no {}", path.display()))?
        .read_to_end(&mut bytes)?;
    hash.update(path.as_os_str().as_encoded_bytes());
    hash.update(&(bytes.len() as u64).to_le_bytes());
    hash.update(&bytes);
    Ok(())
}

/// Name and sizes of each file: raw, gzip, brotli.
fn rows(out: &Path) -> Result<Vec<(String, [u64; 3])>> {
    let mut names = BTreeSet::new();
    for folder in ["", "fugitive/"] {
        let Ok(listed) = fs::read_dir(out.join(folder)) else {
            continue;
        };
        for entry in listed {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.ends_with(".js") || name.ends_with(".wasm") {
                names.insert(format!("{folder}{name}"));
            }
        }
    }
    let size = |name: String| fs::metadata(out.join(name)).map_or(0, |meta| meta.len());
    Ok(names
        .into_iter()
        .map(|name| {
            let sizes = ["", ".gz", ".br"].map(|suffix| size(format!("{name}{suffix}")));
            (name, sizes)
        })
        .collect())
}

/// What each file weighs, for a terminal.
pub fn table(out: &Path) -> Result<String> {
    let rows = rows(out)?;
    let mut text = format!(
        "{:<36} {:>9} {:>9} {:>9}\n",
        "bytes", "raw", "gzip", "brotli"
    );
    let mut sum = [0; 3];
    for (name, sizes) in &rows {
        for (sum, size) in sum.iter_mut().zip(sizes) {
            *sum += size;
        }
        let [raw, gzip, brotli] = sizes;
        writeln!(text, "{name:<36} {raw:>9} {gzip:>9} {brotli:>9}")?;
    }
    let [raw, gzip, brotli] = sum;
    writeln!(text, "{:<36} {raw:>9} {gzip:>9} {brotli:>9}", "all")?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_that_changed_leaves_nothing_of_its_old_name() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["one", "two"] {
            let mut files = Files::new(folder.path()).unwrap();
            files.hashed("sw", "wasm", text.as_bytes()).unwrap();
            files.finish().unwrap();
        }
        let listed = fs::read_dir(folder.path().join("fugitive")).unwrap();
        assert_eq!(listed.count(), 3);
    }

    #[test]
    fn stamp_holds_until_a_source_changes() {
        let folder = tempfile::tempdir().unwrap();
        let (source, out) = (folder.path().join("a.js"), folder.path().join("out"));
        fs::write(&source, "1").unwrap();
        let mut files = Files::new(&out).unwrap();
        for name in ["b", "c", "d", "e", "f", "g", "h"] {
            files.fixed(&format!("{name}.js"), b"x").unwrap();
        }
        let stamp = || Stamp::of(&out, &[&source], false).unwrap();
        assert!(!stamp().holds().unwrap());
        stamp().set().unwrap();
        assert!(stamp().holds().unwrap());
        fs::write(&source, "2").unwrap();
        assert!(!stamp().holds().unwrap());
    }
}
