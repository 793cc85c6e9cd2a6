//! `wasm-bindgen-test-runner` itself, built here: its version is that of our lock file, and most of
//! what it is made of is built for the packer anyway.

fn main() -> anyhow::Result<()> {
    wasm_bindgen_cli::wasm_bindgen_test_runner::run_cli_with_args(std::env::args_os())
}
