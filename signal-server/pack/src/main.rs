//! Builds the client files: what `/fugitive.js`, `/fugitive-sw.js` and `/fugitive/*` serve.
//!
//! Both wasm crates are compiled, bound and shrunk; the JavaScript around them is bundled; what is
//! immutable gets its content hash into its name, and everything lies beside its own `.br` and
//! `.gz`. The server embeds the result. Serving, the manifest and MIME types are not done here.
//!
//! In the order in which a file is made: [`toolchain`] compiles, [`wasm`] binds and shrinks,
//! [`script`] bundles, [`output`] names, compresses and lists. Each step is skipped when nothing it
//! reads has changed.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

mod node;
mod output;
mod script;
mod toolchain;
mod wasm;

/// Builds the client files of Fugitive.
#[derive(Parser)]
struct Args {
    /// Where the files go.
    #[arg(long, default_value = "target/client")]
    out: PathBuf,
    /// Leave out wasm-opt: quicker, some 10 % larger.
    #[arg(long)]
    dev: bool,
    /// Say nothing when nothing has changed.
    #[arg(long)]
    quiet: bool,
    #[command(subcommand)]
    other: Option<Other>,
}

#[derive(Subcommand)]
enum Other {
    /// Instead: `cargo test` for wasm32, by the same toolchain.
    Test {
        /// For cargo.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> Result<()> {
    let args = Args::parse();
    let root = root()?;
    if let Some(Other::Test { arguments }) = &args.other {
        return toolchain::test(&root, arguments);
    }
    let out = if args.out.is_absolute() {
        args.out.clone()
    } else {
        root.join(&args.out)
    };

    let compiled = toolchain::compile(&root, args.quiet)?;
    let stamp = output::Stamp::of(
        &out,
        &[
            &root.join("sw/js"),
            &root.join("page-bridge/js"),
            &compiled.sw,
            &compiled.bridge,
            &std::env::current_exe()?,
        ],
        args.dev,
    )?;
    if stamp.holds()? {
        if !args.quiet {
            print!("{}", output::table(&out)?);
        }
        return Ok(());
    }

    let node = node::Node::ready(&root)?;
    let work = root.join("target/pack");
    let bridge = wasm::bind(&node, &compiled.bridge, wasm::Target::Web, &work, !args.dev)?;
    let sw = wasm::bind(
        &node,
        &compiled.sw,
        wasm::Target::NoModules,
        &work,
        !args.dev,
    )?;

    let mut files = output::Files::new(&out)?;
    let bridge_wasm = files.hashed("bridge", "wasm", &bridge.wasm)?;
    let js = root.join("page-bridge/js");
    let banner = files.hashed("banner", "js", &script::shown(&node, &work, &js, "banner")?)?;
    let panel = files.hashed("panel", "js", &script::shown(&node, &work, &js, "panel")?)?;
    let loads = [&bridge_wasm[..], &banner, &panel];
    let module = script::bridge(&node, &work, &js, &bridge.js, loads)?;
    let bridge_js = files.hashed("bridge", "js", &module)?;
    let loader = script::loader(&node, &work, &js, &bridge_js)?;
    files.fixed("fugitive.js", &loader)?;
    let sw_wasm = files.hashed("sw", "wasm", &sw.wasm)?;
    let listener = script::listener(&node, &work, &root.join("sw/js"), &sw.js, &sw_wasm)?;
    files.fixed("fugitive-sw.js", &listener)?;
    files.finish()?;
    stamp.set()?;
    print!("{}", output::table(&out)?);
    Ok(())
}

/// The workspace: two folders above this crate, or wherever the caller stands if it was moved.
fn root() -> Result<PathBuf> {
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    if built_in.join("sw/core").is_dir() {
        return Ok(built_in.canonicalize()?);
    }
    std::env::current_dir().context("no current folder")
}
