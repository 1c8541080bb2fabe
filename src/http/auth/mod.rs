//! Who may read the pages: TLS and basic authentication by the `web-config.yml` that Prometheus exporters share.
//!
//! Without a configured file, everybody may. Must not know what is served.

mod passwords;
mod reloading;
mod web_config;

use std::path::Path;
use std::sync::Arc;

pub use tokio_rustls::TlsAcceptor;

use super::client_address::ClientAddress;

/// The access control of a listener.
#[derive(Clone, Default)]
pub struct Auth {
    reloading: Option<Arc<reloading::ReloadingAuth>>,
}

impl Auth {
    /// Access control as configured in the file; a file that changes later is read again.
    ///
    /// # Errors
    /// What is wrong with the file, or with the files that it names. Never quotes a password or a key.
    pub fn from_file(file: &Path) -> Result<Self, String> {
        Ok(Self { reloading: Some(Arc::new(reloading::ReloadingAuth::new(file)?)) })
    }

    /// The TLS of a new connection, if there is any. Reads the files again if they changed.
    #[must_use]
    pub fn tls(&self) -> Option<TlsAcceptor> {
        Some(self.reloading.as_ref()?.web_config().tls.as_ref()?.acceptor.clone())
    }

    /// Whether clients have to send a password.
    #[must_use]
    pub fn demands_passwords(&self) -> bool {
        self.reloading.as_ref().is_some_and(|reloading| !reloading.web_config().users.is_empty())
    }

    /// Whether a request of this client with this `Authorization` header is allowed.
    pub async fn allows(&self, authorization: Option<&[u8]>, client: ClientAddress) -> bool {
        match &self.reloading {
            Some(reloading) => reloading.allows(authorization, client).await,
            None => true,
        }
    }

    /// Reads the configuration again, whether its files changed or not.
    pub fn reload(&self) {
        if let Some(reloading) = &self.reloading {
            reloading.reload();
        }
    }
}
