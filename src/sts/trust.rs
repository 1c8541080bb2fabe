//! Which certificates are accepted: of Mozilla's authorities, which are part of the program since the image has no root
//! store, and of those that the user adds: a proxy that inspects TLS has its own authority.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// The largest bundle that is read, in bytes: that of Debian has 220 KiB.
const LARGEST: u64 = 4 * 1024 * 1024;

/// A file of certificates in PEM, and the variable that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaBundle {
    /// The variable, for errors.
    pub variable: &'static str,
    /// The file.
    pub path: PathBuf,
}

impl CaBundle {
    fn add_to(&self, roots: &mut RootCertStore) -> Result<(), String> {
        let Self { variable, path } = self;
        let wrong = |what: &str| format!("{variable}: {}: {what}", path.display());
        let mut pem = Vec::new();
        let read = File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut pem));
        read.map_err(|error| wrong(&error.to_string()))?;
        if pem.len() as u64 > LARGEST {
            return Err(wrong("is too large"));
        }
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        let certificates = certificates.map_err(|_| wrong("is not PEM"))?;
        // As the SDKs do: bundles of distributions hold some that are too old to be understood.
        let (added, _ignored) = roots.add_parsable_certificates(certificates);
        if added == 0 { Err(wrong("holds no certificate in PEM")) } else { Ok(()) }
    }
}

pub(super) fn tls(bundles: &[CaBundle]) -> Result<ClientConfig, String> {
    let mut roots: RootCertStore = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
    for bundle in bundles {
        bundle.add_to(&mut roots)?;
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    // Nothing of a call is kept for the next one.
    config.resumption = Resumption::disabled();
    Ok(config)
}
