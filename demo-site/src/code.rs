//! The code that another device's camera reads: the demo's address, as an SVG beside the pages.
//!
//! It is there only where another device could do something with the address: Service Workers run
//! where the origin has a certificate, or on the machine itself.

use std::{fs, io::ErrorKind, path::Path};

use anyhow::{Context, Result};
use qrcode::{QrCode, render::svg::Color};

/// Below the site.
const FILE: &str = "code.svg";
/// In pixels; an SVG grows without harm.
const SIDE: u32 = 320;

/// Puts the code for an address there; without one, takes away what an earlier run has left.
pub fn place(site: &Path, address: Option<&String>) -> Result<()> {
    let file = site.join(FILE);
    let Some(address) = address else {
        return match fs::remove_file(&file) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        };
    };
    let code = QrCode::new(address).context("the address is too long for a code")?;
    let svg = code.render::<Color>().min_dimensions(SIDE, SIDE).build();
    Ok(fs::write(file, svg)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_there_only_for_an_address_that_another_device_can_use() {
        let site = tempfile::tempdir().unwrap();
        let file = site.path().join(FILE);
        place(site.path(), None).unwrap();
        assert!(!file.exists());
        place(site.path(), Some(&"https://demo.example:8443/".to_owned())).unwrap();
        assert!(fs::read_to_string(&file).unwrap().contains("<svg"));
        place(site.path(), None).unwrap();
        assert!(!file.exists());
    }
}
