//! From what rustc wrote to what a browser loads: wasm-bindgen, then wasm-opt, then a check.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use wasm_bindgen_cli_support::Bindgen;

use crate::node::Node;

/// How the JavaScript glue is loaded.
#[derive(Clone, Copy)]
pub enum Target {
    /// An ES module.
    Web,
    /// A classic script that defines `wasm_bindgen`.
    NoModules,
}

/// A module and its glue.
pub struct Bound {
    /// The glue. It has no default path to the module: whoever starts it passes one.
    pub js: String,
    /// The module, shrunk.
    pub wasm: Vec<u8>,
}

/// Binds one compiled crate, or takes what an earlier run made of the same bytes.
pub fn bind(
    node: &Node,
    compiled: &Path,
    target: Target,
    work: &Path,
    shrink: bool,
) -> Result<Bound> {
    let name = compiled
        .file_stem()
        .and_then(|stem| stem.to_str())
        .context("a wasm file has a name")?;
    let bytes = fs::read(compiled).with_context(|| format!("no {}", compiled.display()))?;
    let key = blake3::hash(&bytes).to_hex();
    let level = if shrink { "small" } else { "dev" };
    // The bytes name the version of wasm-bindgen that they want, so the key covers it.
    let folder = work.join(format!("{name}-{}-{level}", &key[..16]));
    let (js, wasm) = (
        folder.join(format!("{name}.js")),
        folder.join("module.wasm"),
    );
    if !wasm.exists() {
        eprintln!("pack: wasm-bindgen {name}");
        forget_older(work, name, level)?;
        let mut bindgen = Bindgen::new();
        bindgen
            .input_path(compiled)
            .out_name(name)
            .typescript(false)
            .omit_default_module_path(true)
            .remove_name_section(true)
            .remove_producers_section(true);
        match target {
            Target::Web => bindgen.web(true)?,
            Target::NoModules => bindgen.no_modules(true)?,
        };
        bindgen.generate(&folder)?;
        let bound = folder.join(format!("{name}_bg.wasm"));
        let shrunk = folder.join("shrunk.wasm");
        if shrink {
            eprintln!("pack: wasm-opt {name}");
            node.wasm_opt(&bound, &shrunk)?;
        } else {
            fs::copy(&bound, &shrunk)?;
        }
        node.validate(&shrunk)?;
        // Last, so that a run that was interrupted is not taken for done.
        fs::rename(&shrunk, &wasm)?;
    }
    Ok(Bound {
        js: fs::read_to_string(&js)?,
        wasm: fs::read(&wasm)?,
    })
}

fn forget_older(work: &Path, name: &str, level: &str) -> Result<()> {
    let Ok(listed) = fs::read_dir(work) else {
        return Ok(());
    };
    for entry in listed {
        let entry = entry?;
        let file = entry.file_name();
        let file = file.to_string_lossy();
        if file.starts_with(&format!("{name}-")) && file.ends_with(level) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}
