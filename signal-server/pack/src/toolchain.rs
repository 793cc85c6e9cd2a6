//! Which cargo compiles for wasm32, and how.
//!
//! Debian's cargo, rustc and library source build the standard library too, for size and with a panic
//! that aborts at once: a seventh less for a visitor to download. Where they are not installed it is
//! plain cargo with rustup's wasm32 target.
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
    let whole = [
        "/usr/bin/cargo",
        "/usr/bin/rustc",
        "/usr/bin/wasm-ld-22",
        "/usr/lib/rustlib/src/rust/library/std",
    ];
    if whole.iter().all(|path| Path::new(path).exists()) {
        return Ok(Toolchain::Debian);
    }
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
    bail!("nothing here compiles for {TRIPLE}: run signal-server/pack/toolchain")
}

/// What cargo is to make.
#[derive(Clone, Copy, PartialEq)]
enum Purpose {
    /// For visitors: a panic ends the module without a word.
    Client,
    /// For a developer: a panic says where.
    Test,
}

/// A cargo that compiles for wasm32: the command and then its arguments are still to come.
fn cargo(root: &Path, subcommand: &str, purpose: Purpose) -> Result<Command> {
    // Both wasm crates hash with SIMD.
    let simd = "-Ctarget-feature=+simd128";
    let folder = match purpose {
        Purpose::Client => "target/wasm",
        Purpose::Test => "target/wasm-test",
    };
    let mut cargo = match find()? {
        Toolchain::Rustup => {
            let mut cargo = Command::new("cargo");
            cargo.arg(subcommand).env("RUSTFLAGS", simd);
            cargo
        }
        Toolchain::Debian => {
            let mut cargo = Command::new("/usr/bin/cargo");
            let (flags, std) = match purpose {
                Purpose::Client => (
                    // Where a panic was and what `{:?}` would print: nobody would see either.
                    format!(
                        "{simd} -Zunstable-options -Cpanic=immediate-abort \
                         -Zlocation-detail=none -Zfmt-debug=none"
                    ),
                    &[
                        "-Zbuild-std=std,panic_abort",
                        "-Zbuild-std-features=optimize_for_size",
                    ][..],
                ),
                Purpose::Test => (simd.to_owned(), &["-Zbuild-std=std,panic_abort,test"][..]),
            };
            cargo
                .arg(subcommand)
                .args(std)
                .env("RUSTC", "/usr/bin/rustc")
                .env("RUSTC_BOOTSTRAP", "1")
                .env(
                    "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER",
                    "/usr/bin/wasm-ld-22",
                )
                .env("RUSTFLAGS", flags);
            cargo
        }
    };
    cargo
        .args(["--target", TRIPLE])
        .env("CARGO_TARGET_DIR", root.join(folder))
        // `cargo run` points this at its own compiler's libraries.
        .env_remove("LD_LIBRARY_PATH")
        .current_dir(root);
    Ok(cargo)
}

/// Compiles both wasm crates; cargo knows what is still fresh.
pub fn compile(root: &Path, quiet: bool) -> Result<Compiled> {
    let mut cargo = cargo(root, "build", Purpose::Client)?;
    cargo
        .args(["--profile", "client"])
        .args(["-p", "fugitive-sw", "-p", "fugitive-bridge"]);
    if quiet {
        cargo.arg("--quiet");
    } else {
        eprintln!("pack: compiling for {TRIPLE}");
    }
    let done = cargo.status().context("cargo does not start")?;
    ensure!(done.success(), "the wasm crates do not compile");
    let made = root.join("target/wasm").join(TRIPLE).join("client");
    Ok(Compiled {
        sw: made.join("fugitive_sw.wasm"),
        bridge: made.join("fugitive_bridge.wasm"),
    })
}

/// Runs tests for wasm32; the runner is the environment's to name.
pub fn test(root: &Path, arguments: &[String]) -> Result<()> {
    let done = cargo(root, "test", Purpose::Test)?
        .args(arguments)
        .status()
        .context("cargo does not start")?;
    ensure!(done.success(), "wasm tests failed");
    Ok(())
}
