//! Says where the client files lie that the binary embeds, and rebuilds it when they change.

use std::{env, fs, path::PathBuf};

fn main() {
    println!("cargo:rerun-if-env-changed=EMBEDDED_CLIENT");
    let client = match env::var_os("EMBEDDED_CLIENT") {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default())
            .join("../target/client"),
    };
    // A server without client files is built before the pack has run for the first time. A watched
    // folder that does not exist would make cargo run this again at every build.
    if let Err(error) = fs::create_dir_all(&client) {
        println!(
            "cargo:warning=no client files: {}: {error}",
            client.display()
        );
    }
    println!("cargo:rerun-if-changed={}", client.display());
    println!("cargo:rustc-env=EMBEDDED_CLIENT={}", client.display());
}
