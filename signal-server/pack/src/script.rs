//! The five scripts: page loader, bridge module, the question of consent, the panel, worker listener.
//!
//! Each is one file with its imports bundled. The names of the files they load stand in the source
//! as `__NAMES__` and are filled in here; where these lie is relative to the script, so that all of it
//! can lie below any path.

use std::{fs, path::Path};

use anyhow::{Context, Result};

use crate::node::Node;

/// `/fugitive.js`: a classic script in every page's head.
pub fn loader(node: &Node, work: &Path, js: &Path, bridge: &str) -> Result<Vec<u8>> {
    let folder = copied(js, &work.join("loader"))?;
    let source = read(&folder.join("fugitive.js"))?.replace("__BRIDGE__", bridge);
    node.esbuild(&folder, &source, "iife")
}

/// `/fugitive/<name>-<hash>.js`: an ES module that is loaded only where it is shown, `banner` or `panel`.
pub fn shown(node: &Node, work: &Path, js: &Path, name: &str) -> Result<Vec<u8>> {
    let folder = copied(js, &work.join(name))?;
    let source = read(&folder.join(name).with_extension("js"))?;
    node.esbuild(&folder, &source, "esm")
}

/// `/fugitive/bridge-<hash>.js`: an ES module for the window and for its dedicated worker.
pub fn bridge(
    node: &Node,
    work: &Path,
    js: &Path,
    glue: &str,
    [wasm, banner, panel]: [&str; 3],
) -> Result<Vec<u8>> {
    let folder = copied(js, &work.join("bridge"))?;
    fs::write(folder.join("fugitive_bridge.js"), glue)?;
    for (file, name, value) in [
        ("consent.js", "__BANNER__", banner),
        ("show.js", "__PANEL__", panel),
    ] {
        let filled = read(&folder.join(file))?.replace(name, value);
        fs::write(folder.join(file), filled)?;
    }
    let source = read(&folder.join("bridge.js"))?.replace("__BRIDGE_WASM__", wasm);
    node.esbuild(&folder, &source, "esm")
}

/// `/fugitive-sw.js`: the glue, which defines `wasm_bindgen`, and the listener behind it.
///
/// The version is the hash of all that the worker runs, so a new worker is a byte change.
pub fn listener(node: &Node, work: &Path, js: &Path, glue: &str, wasm: &str) -> Result<Vec<u8>> {
    let folder = copied(js, &work.join("listener"))?;
    let source = read(&folder.join("sw.js"))?;
    let version = blake3::hash(format!("{wasm}\n{glue}\n{source}").as_bytes()).to_hex();
    let source = source.replace("__SW_WASM__", wasm);
    let source = source.replace("__VERSION__", &version[..16]);
    node.esbuild(&folder, &format!("{glue}\n{source}"), "iife")
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("no {}", file.display()))
}

/// A fresh copy of the sources, where generated files may lie beside them.
fn copied(from: &Path, to: &Path) -> Result<std::path::PathBuf> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("no {}", from.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(to.to_owned())
}
