//! The supported part of exporter-toolkit's `web-config.yml`.
//!
//! An unsupported key is an error: ignoring it could leave open what the user meant to protect.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bcrypt::HashParts;
use jiff::Timestamp;
use serde::Deserialize;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::ServerCertVerifier;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{CertificateError, Error, RootCertStore, ServerConfig, SupportedProtocolVersion, version};

const LARGEST: u64 = 1024 * 1024;

/// The highest bcrypt cost: a higher one would take seconds for each password.
const HIGHEST_COST: u32 = 14;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    tls_server_config: Option<Tls>,
    basic_auth_users: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tls {
    cert_file: PathBuf,
    key_file: PathBuf,
    client_ca_file: Option<PathBuf>,
    client_auth_type: Option<ClientAuth>,
    #[serde(default)]
    min_version: MinVersion,
}

/// The later, the more is demanded of a client.
#[derive(Clone, Copy, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
enum ClientAuth {
    NoClientCert,
    VerifyClientCertIfGiven,
    RequireAndVerifyClientCert,
}

#[derive(Clone, Copy, Default, Deserialize)]
enum MinVersion {
    #[default]
    #[serde(rename = "TLS12")]
    Tls12,
    #[serde(rename = "TLS13")]
    Tls13,
}

pub(super) struct WebConfig {
    pub(super) tls: Option<ServerTls>,
    /// bcrypt hashes by user.
    pub(super) users: BTreeMap<String, String>,
    cost: u32,
    /// All files that it was read from.
    pub(super) files: Vec<PathBuf>,
}

impl WebConfig {
    /// What this configuration protects and the other one would not.
    pub(super) fn opened_by(&self, other: &Self) -> Option<&'static str> {
        let client_auth = |config: &Self| config.tls.as_ref().map(|tls| tls.client_auth);
        if self.tls.is_some() && other.tls.is_none() {
            Some("would switch TLS off")
        } else if client_auth(self) > client_auth(other) {
            Some("would accept clients without a certificate")
        } else if !self.users.is_empty() && other.users.is_empty() {
            Some("would switch passwords off")
        } else {
            None
        }
    }

    /// A hash that no password has, whose verification takes as long as that of the users.
    pub(super) fn dummy_hash(&self) -> String {
        format!("$2y${:02}$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi", self.cost)
    }

    pub(super) fn read(file: &Path) -> Result<Self, String> {
        let text = String::from_utf8(bytes(file)?).map_err(|_| format!("{}: is not UTF-8", file.display()))?;
        let wrong = |what: String| format!("{}: {what}", file.display());
        let parsed = if text.trim().is_empty() { Ok(File::default()) } else { serde_yaml_ng::from_str(&text) };
        let parsed: File = parsed.map_err(|error| match error.location() {
            // The parser's own text may quote a value, and so a hash.
            Some(place) => wrong(format!("line {}: {}", place.line(), reason(&error))),
            None => wrong(reason(&error)),
        })?;
        let mut cost = 0;
        for (user, hash) in &parsed.basic_auth_users {
            let parts: HashParts =
                hash.parse().map_err(|_| wrong(format!("basic_auth_users: {user}: is not a bcrypt hash")))?;
            if parts.get_cost() > HIGHEST_COST {
                return Err(wrong(format!("basic_auth_users: {user}: costs more than {HIGHEST_COST}")));
            }
            cost = cost.max(parts.get_cost());
        }
        let mut files = vec![file.to_owned()];
        let tls = parsed.tls_server_config.as_ref().map(|tls| tls.read(file, &mut files)).transpose()?;
        Ok(Self { tls, users: parsed.basic_auth_users, cost, files })
    }
}

pub(super) struct ServerTls {
    pub(super) acceptor: TlsAcceptor,
    certificate: CertificateDer<'static>,
    client_auth: ClientAuth,
}

impl ServerTls {
    pub(super) fn has_expired(&self, at: Timestamp) -> bool {
        use CertificateError::{Expired, ExpiredContext};
        matches!(self.verify(at), Err(Error::InvalidCertificate(Expired | ExpiredContext { .. })))
    }

    /// Verifies the certificate as if it were its own authority. What is wrong with its dates comes first, whoever signed it.
    fn verify(&self, at: Timestamp) -> Result<(), Error> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone())?;
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        let verifier = verifier.map_err(|error| Error::General(error.to_string()))?;
        let name = ServerName::try_from("localhost").expect("a legal name");
        let at = UnixTime::since_unix_epoch(at.as_duration().unsigned_abs());
        verifier.verify_server_cert(&self.certificate, &[], &name, &[], at).map(|_| ())
    }
}

/// What is wrong, without the value: the parser puts names of keys between back-ticks, but not values.
fn reason(error: &serde_yaml_ng::Error) -> String {
    let text = error.to_string();
    for known in ["unknown field", "missing field", "unknown variant"] {
        if let Some(at) = text.find(known) {
            return text[at..].split(" at line").next().unwrap_or(known).to_owned();
        }
    }
    "is not the YAML of a web configuration".to_owned()
}

impl Tls {
    fn read(&self, file: &Path, files: &mut Vec<PathBuf>) -> Result<ServerTls, String> {
        // As in Prometheus, a path is relative to the file.
        let folder = file.parent().unwrap_or(Path::new(""));
        let mut pem = |path: &Path| {
            let path = folder.join(path);
            let content = bytes(&path)?;
            files.push(path.clone());
            Ok::<_, String>((path, content))
        };
        let provider = Arc::new(ring::default_provider());
        let (cert_path, content) = pem(&self.cert_file)?;
        let chain = certificates(&cert_path, &content)?;
        let certificate = chain[0].clone();
        let (key_path, content) = pem(&self.key_file)?;
        let key = PrivateKeyDer::from_pem_slice(&content)
            .map_err(|_| format!("{}: holds no private key in PEM", key_path.display()))?;

        let client_auth = self.client_auth_type.unwrap_or(match self.client_ca_file {
            Some(_) => ClientAuth::RequireAndVerifyClientCert,
            None => ClientAuth::NoClientCert,
        });
        let versions: &[&SupportedProtocolVersion] = match self.min_version {
            MinVersion::Tls12 => &[&version::TLS12, &version::TLS13],
            MinVersion::Tls13 => &[&version::TLS13],
        };
        let wrong = |what: &dyn std::fmt::Display| format!("{}: tls_server_config: {what}", file.display());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(|error| wrong(&error))?;
        let builder = match (client_auth, &self.client_ca_file) {
            (ClientAuth::NoClientCert, None) => builder.with_no_client_auth(),
            (ClientAuth::NoClientCert, Some(_)) => {
                return Err(wrong(&"client_ca_file is set, but client_auth_type is NoClientCert"));
            }
            (_, None) => return Err(wrong(&"client_auth_type needs a client_ca_file")),
            (auth, Some(path)) => {
                let (path, content) = pem(path)?;
                let mut roots = RootCertStore::empty();
                for certificate in certificates(&path, &content)? {
                    roots.add(certificate).map_err(|error| format!("{}: {error}", path.display()))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let optional = auth == ClientAuth::VerifyClientCertIfGiven;
                let verifier = if optional { verifier.allow_unauthenticated() } else { verifier };
                builder.with_client_cert_verifier(verifier.build().map_err(|error| wrong(&error))?)
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| wrong(&error))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(ServerTls { acceptor: TlsAcceptor::from(Arc::new(config)), certificate, client_auth })
    }
}

fn certificates(path: &Path, content: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(content).collect();
    let certificates = certificates.ok().filter(|certificates| !certificates.is_empty());
    certificates.ok_or_else(|| format!("{}: holds no certificate in PEM", path.display()))
}

fn bytes(path: &Path) -> Result<Vec<u8>, String> {
    let wrong = |what: &dyn std::fmt::Display| format!("{}: {what}", path.display());
    let metadata = fs::metadata(path).map_err(|error| wrong(&error))?;
    if !metadata.is_file() || metadata.len() > LARGEST {
        return Err(wrong(&"is not a file of at most 1 MiB"));
    }
    fs::read(path).map_err(|error| wrong(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<WebConfig, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("web.yml");
        fs::write(&file, text).expect("the folder can be written");
        WebConfig::read(&file)
    }

    #[test]
    fn errors_name_the_key_and_never_a_hash() {
        for (text, word) in [
            ("basic_auth_user:\n  a: CANARY", "basic_auth_user"),
            ("basic_auth_users:\n  prometheus: CANARY", "prometheus"),
            ("basic_auth_users: CANARY", "YAML"),
            ("basic_auth_users: [CANARY]", "YAML"),
            ("tls_server_config:\n  key_file: CANARY", "cert_file"),
            ("tls_server_config:\n  cert_file: a\n  key_file: b\n  min_version: TLS10", "TLS12"),
            ("tls_server_config:\n  cert_file: a\n  key_file: b\n  client_allowed_sans: [x]", "client_allowed_sans"),
            ("rate_limit:\n  burst: 1", "rate_limit"),
            ("tls_server_config:\n  cert_file: none.pem\n  key_file: none.pem", "none.pem"),
            ("\tCANARY: : :", "YAML"),
        ] {
            let mistake = read(text).err().expect("an invalid file");
            assert!(mistake.contains(word) && !mistake.contains("CANARY"), "{text}: {mistake}");
        }
    }

    #[test]
    fn an_empty_file_configures_neither_tls_nor_users() {
        let settings = read("").expect("an empty file is valid");
        assert!(settings.tls.is_none() && settings.users.is_empty());
    }
}
