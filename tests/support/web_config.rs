//! Web configurations in a folder of their own.

use std::fs;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use tempfile::TempDir;

/// A web configuration whose user `a` has the password `right`.
pub(crate) fn users(cost: u32) -> String {
    let hash =
        bcrypt::hash_with_salt("right", cost, [7; 16]).expect("a hash").format_for_version(bcrypt::Version::TwoY);
    format!("basic_auth_users: {{a: '{hash}'}}\n")
}

/// The header line of that user with a password.
pub(crate) fn authorization(password: &str) -> String {
    format!("Authorization: Basic {}\r\n", STANDARD.encode(format!("a:{password}")))
}

/// A folder with a web configuration and a self-signed certificate.
pub(crate) struct WebConfigFile(TempDir);

impl WebConfigFile {
    /// An empty one.
    pub(crate) fn new() -> Self {
        let folder = Self(tempfile::tempdir().expect("a folder"));
        folder.write("");
        folder
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("web.yml")
    }

    /// Replaces the configuration by a rename, as Kubernetes does it.
    pub(crate) fn write(&self, text: &str) {
        fs::write(self.0.path().join("new"), text).expect("the folder can be written");
        fs::rename(self.0.path().join("new"), self.path()).expect("the folder can be written");
    }

    /// A web configuration with TLS, whose certificate is good until this year.
    pub(crate) fn tls(&self, until_year: i32) -> String {
        let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a legal name");
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(until_year, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        fs::write(self.0.path().join("cert.pem"), certificate.pem()).expect("the folder can be written");
        fs::write(self.0.path().join("key.pem"), key.serialize_pem()).expect("the folder can be written");
        "tls_server_config: {cert_file: cert.pem, key_file: key.pem}\n".to_owned()
    }
}
