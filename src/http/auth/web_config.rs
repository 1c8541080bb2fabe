//! The supported part of exporter-toolkit's `web-config.yml`.
//!
//! An unsupported key is an error: ignoring it could leave open what the user meant to protect.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bcrypt::HashParts;
use serde::Deserialize;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};

/// The largest file that is read, in bytes.
const LARGEST: u64 = 1024 * 1024;

/// The highest bcrypt cost: a higher one would take seconds for each password.
const HIGHEST_COST: u32 = 14;

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
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

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
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

/// The configuration, checked.
pub(super) struct WebConfig {
    pub(super) tls: Option<TlsAcceptor>,
    /// bcrypt hashes by user.
    pub(super) users: BTreeMap<String, String>,
    /// All files that it was read from.
    pub(super) files: Vec<PathBuf>,
}

impl WebConfig {
    pub(super) fn read(file: &Path) -> Result<Self, String> {
        let text = String::from_utf8(bytes(file)?).map_err(|_| format!("{}: is not UTF-8", file.display()))?;
        let wrong = |what: String| format!("{}: {what}", file.display());
        let parsed = if text.trim().is_empty() { Ok(File::default()) } else { serde_yaml_ng::from_str(&text) };
        let parsed: File = parsed.map_err(|error| match error.location() {
            // The parser's own text may quote a value, and so a hash.
            Some(place) => wrong(format!("line {}: {}", place.line(), reason(&error))),
            None => wrong(reason(&error)),
        })?;
        for (user, hash) in &parsed.basic_auth_users {
            let parts: HashParts =
                hash.parse().map_err(|_| wrong(format!("basic_auth_users: {user}: is not a bcrypt hash")))?;
            if parts.get_cost() > HIGHEST_COST {
                return Err(wrong(format!("basic_auth_users: {user}: costs more than {HIGHEST_COST}")));
            }
        }
        let mut files = vec![file.to_owned()];
        let tls = parsed.tls_server_config.as_ref().map(|tls| acceptor(tls, file, &mut files)).transpose()?;
        Ok(Self { tls, users: parsed.basic_auth_users, files })
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

fn acceptor(tls: &Tls, file: &Path, files: &mut Vec<PathBuf>) -> Result<TlsAcceptor, String> {
    // As in Prometheus, a path is relative to the file.
    let folder = file.parent().unwrap_or(Path::new(""));
    let mut pem = |path: &Path| {
        let path = folder.join(path);
        let content = bytes(&path)?;
        files.push(path.clone());
        Ok::<_, String>((path, content))
    };
    let provider = Arc::new(ring::default_provider());
    let (cert_path, content) = pem(&tls.cert_file)?;
    let certificates = certificates(&cert_path, &content)?;
    let (key_path, content) = pem(&tls.key_file)?;
    let key = PrivateKeyDer::from_pem_slice(&content)
        .map_err(|_| format!("{}: holds no private key in PEM", key_path.display()))?;

    let auth = tls.client_auth_type.unwrap_or(match tls.client_ca_file {
        Some(_) => ClientAuth::RequireAndVerifyClientCert,
        None => ClientAuth::NoClientCert,
    });
    let versions: &[&SupportedProtocolVersion] = match tls.min_version {
        MinVersion::Tls12 => &[&version::TLS12, &version::TLS13],
        MinVersion::Tls13 => &[&version::TLS13],
    };
    let wrong = |what: &dyn std::fmt::Display| format!("{}: tls_server_config: {what}", file.display());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(|error| wrong(&error))?;
    let builder = match (auth, &tls.client_ca_file) {
        (ClientAuth::NoClientCert, None) => builder.with_no_client_auth(),
        (ClientAuth::NoClientCert, Some(_)) => return Err(wrong(&"client_ca_file goes with a client_auth_type")),
        (_, None) => return Err(wrong(&"client_auth_type needs a client_ca_file")),
        (auth, Some(path)) => {
            let (path, content) = pem(path)?;
            let mut roots = RootCertStore::empty();
            for certificate in self::certificates(&path, &content)? {
                roots.add(certificate).map_err(|error| format!("{}: {error}", path.display()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let optional = auth == ClientAuth::VerifyClientCertIfGiven;
            let verifier = if optional { verifier.allow_unauthenticated() } else { verifier };
            builder.with_client_cert_verifier(verifier.build().map_err(|error| wrong(&error))?)
        }
    };
    let mut config = builder.with_single_cert(certificates, key).map_err(|error| wrong(&error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
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

    fn mistake(text: &str) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("web.yml");
        fs::write(&file, text).expect("the folder can be written");
        WebConfig::read(&file).err().expect("an invalid file")
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
            let mistake = mistake(text);
            assert!(mistake.contains(word) && !mistake.contains("CANARY"), "{text}: {mistake}");
        }
    }

    #[test]
    fn an_empty_file_configures_neither_tls_nor_users() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("web.yml");
        fs::write(&file, "").expect("the folder can be written");
        let settings = WebConfig::read(&file).expect("an empty file is valid");
        assert!(settings.tls.is_none() && settings.users.is_empty());
    }
}
