//! Packages of npm that sites have, and that figures are taken with, each in a folder of its own below the target folder.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

/// Installs a package, given with its version, unless it is there; says where.
pub fn install(package: &str) -> Result<PathBuf> {
    let (name, _) = package.rsplit_once('@').context("no version")?;
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    let home = target.join(["npm-", &name.replace('/', "-")].concat());
    if home.join("node_modules").join(name).is_dir() {
        return Ok(home);
    }
    fs::create_dir_all(&home)?;
    fs::write(home.join("package.json"), "{\"private\":true}\n")?;
    let done = Command::new("npm")
        .args(["install", "--no-audit", "--no-fund", "--ignore-scripts"])
        .arg(package)
        .current_dir(&home)
        .status()
        .context("npm does not start")?;
    ensure!(done.success(), "npm install failed");
    Ok(home)
}
