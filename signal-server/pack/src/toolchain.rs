//! Which cargo compiles for wasm32, and how.
//!
//! With rustup's wasm32 target it is plain cargo. Without, Debian's cargo, rustc and library source
//! build the standard library too, which also lets a panic abort at once (12 % smaller).
//! What is missing is installed by `signal-server/pack/toolchain`, not from here.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

const TRIPLE: &str = "wasm32-unknown-unknown";

/// What cargo made.
pub struct Compiled {
    /// Of the Service Worker.
    pub sw: PathBuf,
    /// Of the bridge.
    pub bridge: PathBuf,
}

enum Toolchain {
    Rustup,
    Debian,
}

fn find() -> Result<Toolchain> {
    let listed = Command::new("rustup")
        .args(["target", "list", "--installed"])
        .output();
    if let Ok(listed) = listed
        && String::from_utf8_lossy(&listed.stdout)
            .lines()
            .any(|line| line == TRIPLE)
    {
        return Ok(Toolchain::Rustup);
    }
    let whole = [
        "/usr/bin/cargo",
        "/usr/bin/rustc",
        "/usr/bin/wasm-ld-22",
        "/usr/lib/rustlib/src/rust/library/std",
    ];
    if whole.iter().all(|path| Path::new(path).exists()) {
        return Ok(Toolchain::Debian);
    }
    bail!("nothing here compiles for {TRIPLE}: run signal-server/pack/toolchain")
}

/// Compiles both wasm crates; cargo knows what is still fresh.
pub fn compile(root: &Path, quiet: bool) -> Result<Compiled> {
    let target = root.join("target/wasm");
    let mut cargo = match find()? {
        Toolchain::Rustup => {
            let mut cargo = Command::new("cargo");
            cargo.env("RUSTFLAGS", "-Ctarget-feature=+simd128");
            cargo
        }
        Toolchain::Debian => {
            let mut cargo = Command::new("/usr/bin/cargo");
            cargo
                .env("RUSTC", "/usr/bin/rustc")
                .env("RUSTC_BOOTSTRAP", "1")
                .env(
                    "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER",
                    "/usr/bin/wasm-ld-22",
                )
                .env(
                    "RUSTFLAGS",
                    "-Ctarget-feature=+simd128 -Zunstable-options -Cpanic=immediate-abort",
                );
            cargo
        }
    };
    cargo
        .arg("build")
        .args(["--profile", "client", "--target", TRIPLE])
        .args(["-p", "fugitive-sw", "-p", "fugitive-bridge"])
        .env("CARGO_TARGET_DIR", &target)
        // `cargo run` points this at its own compiler's libraries.
        .env_remove("LD_LIBRARY_PATH")
        .current_dir(root);
    if cargo.get_program() == "/usr/bin/cargo" {
        cargo.arg("-Zbuild-std=std,panic_abort");
    }
    if quiet {
        cargo.arg("--quiet");
    } else {
        eprintln!("pack: compiling for {TRIPLE}");
    }
    let done = cargo.status().context("cargo does not start")?;
    ensure!(done.success(), "the wasm crates do not compile");
    let made = target.join(TRIPLE).join("client");
    Ok(Compiled {
        sw: made.join("fugitive_sw.wasm"),
        bridge: made.join("fugitive_bridge.wasm"),
    })
}
