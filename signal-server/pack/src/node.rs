//! The two tools that come from npm, at pinned versions, in `target/npm`: binaryen and esbuild.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};

const PACKAGES: [(&str, &str); 2] = [("binaryen", "132.0.0"), ("esbuild", "0.28.2")];

/// Installed tools.
pub struct Node {
    modules: PathBuf,
}

impl Node {
    /// Installs what is missing.
    pub fn ready(root: &Path) -> Result<Self> {
        let home = root.join("target/npm");
        let modules = home.join("node_modules");
        let missing: Vec<String> = PACKAGES
            .iter()
            .filter(|(name, version)| {
                let manifest = modules.join(name).join("package.json");
                !fs::read_to_string(manifest)
                    .is_ok_and(|text| text.contains(&format!("\"version\": \"{version}\"")))
            })
            .map(|(name, version)| format!("{name}@{version}"))
            .collect();
        if !missing.is_empty() {
            eprintln!("pack: npm install {}", missing.join(" "));
            fs::create_dir_all(&home)?;
            // Without a package.json of its own npm would walk up and install elsewhere.
            fs::write(home.join("package.json"), "{\"private\":true}\n")?;
            let done = Command::new("npm")
                .args(["install", "--no-audit", "--no-fund", "--save-exact"])
                .args(PACKAGES.map(|(name, version)| format!("{name}@{version}")))
                .current_dir(&home)
                .stdout(Stdio::null())
                .status()
                .context("npm is not installed: run signal-server/pack/toolchain")?;
            ensure!(done.success(), "npm install failed: {done}");
        }
        Ok(Self { modules })
    }

    /// Shrinks a wasm file. The features are named one by one: with `--all-features` wasm-opt
    /// writes modules that no browser takes.
    pub fn wasm_opt(&self, from: &Path, to: &Path) -> Result<()> {
        let done = Command::new("node")
            .arg(self.modules.join("binaryen/bin/wasm-opt"))
            .arg("-Oz")
            .args([
                "--enable-bulk-memory",
                "--enable-bulk-memory-opt",
                "--enable-reference-types",
                "--enable-sign-ext",
                "--enable-nontrapping-float-to-int",
                "--enable-multivalue",
                "--enable-mutable-globals",
                "--enable-simd",
            ])
            .arg(from)
            .arg("-o")
            .arg(to)
            .status()
            .context("node is not installed: run signal-server/pack/toolchain")?;
        ensure!(done.success(), "wasm-opt failed on {}", from.display());
        Ok(())
    }

    /// Asks an engine that visitors use whether it would take this module.
    pub fn validate(&self, wasm: &Path) -> Result<()> {
        let done = Command::new("node")
            .arg("-e")
            .arg("new WebAssembly.Module(require('fs').readFileSync(process.argv[1]))")
            .arg(wasm)
            .status()?;
        ensure!(done.success(), "{} is not valid wasm", wasm.display());
        Ok(())
    }

    /// Bundles and minifies `source`, whose imports are looked for in `folder`.
    pub fn esbuild(&self, folder: &Path, source: &str, format: &str) -> Result<Vec<u8>> {
        let mut child = Command::new(self.modules.join("esbuild/bin/esbuild"))
            .args([
                "--bundle",
                "--minify",
                "--target=es2022",
                "--charset=utf8",
                "--legal-comments=none",
                "--log-level=warning",
            ])
            .arg(format!("--format={format}"))
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("esbuild does not start")?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(source.as_bytes())?;
        }
        let done = child.wait_with_output()?;
        if !done.status.success() {
            bail!("esbuild refused the JavaScript in {}", folder.display());
        }
        Ok(done.stdout)
    }
}
