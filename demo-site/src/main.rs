//! `./demo-site/run`, once everything is built: makes the media, starts the origin, says `ready`.

use std::path::Path;

use anyhow::Result;

fn main() -> Result<()> {
    let site = Path::new(env!("CARGO_MANIFEST_DIR")).join("site");
    fugitive_demo::media::make(&site.join("media"))
}
