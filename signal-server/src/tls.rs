//! TLS for those without a proxy: rustls, HTTP/2 by ALPN, and certificates that are read again when
//! their files change.

use std::{fmt, io, path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
        server::{ClientHello, ResolvesServerCert},
        sign::CertifiedKey,
    },
};
use tokio_util::sync::CancellationToken;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(60);

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum BadTls {
    /// A file.
    #[error("cannot read {0}: {1}")]
    File(PathBuf, io::Error),
    /// What is in it.
    #[error("not PEM: {0}")]
    Pem(#[from] pem::Error),
    /// Key and certificate do not fit, or are of a kind that is not known.
    #[error("certificate: {0}")]
    Rustls(#[from] rustls::Error),
}

/// A certificate chain and its key, from two PEM files.
pub struct Certificate {
    files: [PathBuf; 2],
    current: ArcSwap<Current>,
}

struct Current {
    bytes: [Vec<u8>; 2],
    key: Arc<CertifiedKey>,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load().key.clone())
    }
}

impl Certificate {
    /// Reads both files.
    pub fn open(chain: PathBuf, key: PathBuf) -> Result<Arc<Self>, BadTls> {
        let files = [chain, key];
        let current = ArcSwap::from_pointee(load(read(&files)?)?);
        Ok(Arc::new(Self { files, current }))
    }

    /// Reads them again; what is not good is not used. Tells whether there is another one now.
    pub fn reload(&self) -> Result<bool, BadTls> {
        let bytes = read(&self.files)?;
        if self.current.load().bytes == bytes {
            return Ok(false);
        }
        self.current.store(Arc::new(load(bytes)?));
        Ok(true)
    }

    /// Reads them again from time to time, until `end`.
    pub async fn follow(self: Arc<Self>, end: CancellationToken) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = end.cancelled() => return,
            }
            match self.reload() {
                Ok(true) => tracing::info!("tls: new certificate"),
                Ok(false) => {}
                Err(error) => tracing::warn!("tls: the certificate stays as it was: {error}"),
            }
        }
    }

    /// Takes connections with it.
    pub fn acceptor(self: Arc<Self>) -> Result<TlsAcceptor, BadTls> {
        let mut config = ServerConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(self);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn read(files: &[PathBuf; 2]) -> Result<[Vec<u8>; 2], BadTls> {
    let [chain, key] = files;
    let read =
        |file: &PathBuf| std::fs::read(file).map_err(|error| BadTls::File(file.clone(), error));
    Ok([read(chain)?, read(key)?])
}

fn load(bytes: [Vec<u8>; 2]) -> Result<Current, BadTls> {
    let chain = CertificateDer::pem_slice_iter(&bytes[0]).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(&bytes[1])?;
    let key = Arc::new(CertifiedKey::from_der(
        chain,
        key,
        &ring::default_provider(),
    )?);
    Ok(Current { bytes, key })
}
