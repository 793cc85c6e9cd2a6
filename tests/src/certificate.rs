//! A certificate of nobody's, and browsers that take it for a good one. To a browser that only ignores
//! what is wrong with it, nothing that comes with it is fit to be kept.

use std::{fs, path::Path};

use anyhow::Result;
use base64::{Engine, prelude::BASE64_STANDARD};
use fugitive_server::config::Tls;
use rcgen::{KeyPair, PublicKeyData};
use sha2::{Digest, Sha256};

/// One for 127.0.0.1, and its key.
pub struct Certificate {
    chain: String,
    key: KeyPair,
}

impl Certificate {
    /// Makes one.
    pub fn new() -> Result<Self> {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        Ok(Self {
            chain: made.cert.pem(),
            key: made.signing_key,
        })
    }

    /// Writes both to files for a server.
    pub fn write(&self, folder: &Path) -> Result<Tls> {
        let (chain, key) = (folder.join("chain.pem"), folder.join("key.pem"));
        fs::write(&chain, &self.chain)?;
        fs::write(&key, self.key.serialize_pem())?;
        Ok(Tls {
            chain: Some(chain),
            key: Some(key),
        })
    }

    /// The argument with which Chromium trusts it.
    pub fn trust(&self) -> String {
        let hash = Sha256::digest(self.key.subject_public_key_info());
        let hash = BASE64_STANDARD.encode(hash);
        format!("--ignore-certificate-errors-spki-list={hash}")
    }
}
