//! Who may ask: TLS and basic authentication by the `web-config.yml` that Prometheus exporters share.
//!
//! Owns the door. Where the feature `web-config` is off, or no file is configured, it stands open. Must not know
//! pages or what is served.

#[cfg(feature = "web-config")]
mod guard;
#[cfg(feature = "web-config")]
mod settings;

#[cfg(feature = "web-config")]
use std::{path::Path, sync::Arc};

#[cfg(feature = "web-config")]
pub use tokio_rustls::TlsAcceptor;

/// The door of a listener.
#[derive(Clone, Default)]
pub struct Door {
    #[cfg(feature = "web-config")]
    guard: Option<Arc<guard::Guard>>,
}

#[cfg(feature = "web-config")]
impl Door {
    /// A door as the file has it; a file that changes later is read again.
    ///
    /// # Errors
    /// What is wrong with the file or those that it names; no password and no key is ever quoted.
    pub fn guarded(file: &Path) -> Result<Self, String> {
        Ok(Self { guard: Some(Arc::new(guard::Guard::new(file)?)) })
    }

    /// The TLS that a connection begins with, if there is one. Reads the files again if they changed.
    #[must_use]
    pub fn tls(&self) -> Option<TlsAcceptor> {
        self.guard.as_ref()?.settings().tls.clone()
    }

    /// Whether a request with this `Authorization` header is admitted.
    pub async fn admits(&self, authorization: Option<&[u8]>) -> bool {
        match &self.guard {
            Some(guard) => guard.admits(authorization).await,
            None => true,
        }
    }
}
