//! Who may read the pages: TLS and basic authentication by the `web-config.yml` that Prometheus exporters share.
//!
//! The file is read again when it, or a file that it names, changes; that never opens what was closed: that takes a restart.
//! Must not know what is served.

mod passwords;
mod web_config;

use std::collections::HashSet;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use super::client_address::ClientAddress;
use crate::platform::clock::{Clock, SystemClock, monotonic};
use passwords::Passwords;
use web_config::WebConfig;

/// How long files that cannot be used are not tried again, unless they change.
const RETRY_AFTER: Duration = Duration::from_secs(1);

const EXPIRY_CHECKED_EVERY: Duration = Duration::from_mins(1);

const MAX_VERIFIED: usize = 64;

/// The access control of a listener.
pub struct Auth {
    file: PathBuf,
    current: Mutex<Current>,
    passwords: Passwords,
    /// Keyed: the number that is remembered of a password reveals nothing without the key.
    hasher: RandomState,
}

struct Current {
    config: Arc<WebConfig>,
    stamps: Vec<Stamp>,
    verified: HashSet<u64>,
    /// When the files could not be used the last time and why, if they still cannot.
    mistake: Option<(Instant, String)>,
    /// When the certificate is to be looked at again; `None` once it has expired, which is said once.
    expiry_due: Option<Instant>,
}

impl Current {
    fn new(config: WebConfig) -> Self {
        let stamps = config.files.iter().map(stamp).collect();
        let expiry_due = Some(monotonic());
        Self { config: Arc::new(config), stamps, verified: HashSet::new(), mistake: None, expiry_due }
    }

    fn check_expiry(&mut self) {
        let now = monotonic();
        if self.expiry_due.is_none_or(|due| now < due) {
            return;
        }
        self.expiry_due = Some(now + EXPIRY_CHECKED_EVERY);
        if self.config.tls.as_ref().is_some_and(|tls| tls.has_expired(SystemClock.now())) {
            warn!("the certificate of the web configuration has expired: clients will not accept it");
            self.expiry_due = None;
        }
    }
}

/// Identifies a version of a file; a replaced symbolic link, as in Kubernetes, shows as another inode.
type Stamp = Option<(u64, u64, i64, i64, u64)>;

fn stamp(path: &PathBuf) -> Stamp {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.len()))
}

impl Auth {
    /// Access control as configured in the file.
    ///
    /// # Errors
    /// What is wrong with the file, or with the files that it names. Never quotes a password or a key.
    pub fn from_file(file: &Path) -> Result<Self, String> {
        let mut current = Current::new(WebConfig::read(file)?);
        current.check_expiry();
        let passwords = Passwords::start().map_err(|error| format!("no thread for verifying passwords: {error}"))?;
        Ok(Self { file: file.to_owned(), current: Mutex::new(current), passwords, hasher: RandomState::new() })
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The configuration, read again if a file changed. If a file cannot be used, the former configuration stays, and the
    /// files are tried again a second later.
    fn web_config(&self) -> Arc<WebConfig> {
        let mut current = self.current();
        let stamps: Vec<_> = current.config.files.iter().map(stamp).collect();
        let retry = current.mistake.as_ref().is_some_and(|(at, _)| monotonic() - *at >= RETRY_AFTER);
        if stamps != current.stamps || retry {
            self.read_again(&mut current);
        }
        current.check_expiry();
        Arc::clone(&current.config)
    }

    /// The TLS of a new connection, if there is any.
    #[must_use]
    pub fn tls(&self) -> Option<TlsAcceptor> {
        Some(self.web_config().tls.as_ref()?.acceptor.clone())
    }

    /// Whether clients have to send a password.
    pub(crate) fn demands_passwords(&self) -> bool {
        !self.web_config().users.is_empty()
    }

    /// Reads the files again, whether they changed or not, and logs what is wrong with them although it was logged before.
    pub fn reload(&self) {
        let mut current = self.current();
        current.mistake = None;
        self.read_again(&mut current);
        current.check_expiry();
    }

    fn read_again(&self, current: &mut Current) {
        // Before they are read: a file that is replaced meanwhile is read again.
        current.stamps = current.config.files.iter().map(stamp).collect();
        let config = WebConfig::read(&self.file).and_then(|config| match current.config.opened_by(&config) {
            Some(what) => Err(format!("{}: {what}: restart the exporter if that is intended", self.file.display())),
            None => Ok(config),
        });
        match config {
            Ok(config) => {
                info!(file = %self.file.display(), "web configuration reloaded");
                let stamps = std::mem::take(&mut current.stamps);
                let same_files = config.files == current.config.files;
                *current = Current::new(config);
                if same_files {
                    current.stamps = stamps;
                }
            }
            Err(error) => {
                if current.mistake.as_ref().is_none_or(|(_, logged)| *logged != error) {
                    warn!(error, "the changed web configuration cannot be used: the former one stays");
                }
                current.mistake = Some((monotonic(), error));
            }
        }
    }

    /// Whether a request of this client with this `Authorization` header is allowed.
    pub async fn allows(&self, authorization: Option<&[u8]>, client: ClientAddress) -> bool {
        let config = self.web_config();
        if config.users.is_empty() {
            return true;
        }
        let Some(authorization) = authorization else { return false };
        let remembered = self.hasher.hash_one(authorization);
        if self.current().verified.contains(&remembered) {
            return true;
        }
        let Some((user, password)) = credentials(authorization) else { return false };
        let hash = config.users.get(&user).cloned();
        let known = hash.is_some();
        // So that the time taken does not reveal which users exist.
        let hash = hash.unwrap_or_else(|| config.dummy_hash());
        let verified = self.passwords.verify(client, password, hash).await && known;
        let mut current = self.current();
        // The user may be gone from a configuration that was loaded meanwhile.
        if verified && Arc::ptr_eq(&config, &current.config) {
            if current.verified.len() >= MAX_VERIFIED {
                current.verified.clear();
            }
            current.verified.insert(remembered);
        }
        verified
    }
}

/// User and password of `Basic <base64 of user:password>`.
fn credentials(authorization: &[u8]) -> Option<(String, Vec<u8>)> {
    let (scheme, encoded) = authorization.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let decoded = STANDARD.decode(encoded.trim_ascii()).ok()?;
    let at = decoded.iter().position(|byte| *byte == b':')?;
    let user = std::str::from_utf8(&decoded[..at]).ok()?;
    Some((user.to_owned(), decoded[at + 1..].to_vec()))
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    #[test]
    fn basic_credentials_are_parsed() {
        let parsed = |text: &str| credentials(text.as_bytes());
        assert_eq!(parsed("Basic YTpiOmM="), Some(("a".to_owned(), b"b:c".to_vec())));
        assert_eq!(parsed("basic OmI="), Some((String::new(), b"b".to_vec())));
        for other in ["", "Basic", "Basic ", "Basic !", "Basic YQ==", "Bearer YTpi", "Basic\u{e4}YTpi"] {
            assert_eq!(parsed(other), None, "{other}");
        }
    }

    #[tokio::test]
    async fn passwords_change_with_the_file_and_an_invalid_file_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("web.yml");
        let write = |password: &str| {
            let hash = bcrypt::hash_with_salt(password, 4, [7; 16]).expect("a hash");
            let text = format!("basic_auth_users:\n  a: {}\n", hash.format_for_version(bcrypt::Version::TwoY));
            // Replaced by a rename, as Kubernetes does it.
            fs::write(file.with_extension("new"), text).expect("the folder can be written");
            fs::rename(file.with_extension("new"), &file).expect("the folder can be written");
        };
        write("one");
        let auth = Auth::from_file(&file).expect("a valid file");
        let client = IpAddr::from(Ipv4Addr::LOCALHOST).into();
        let allows = async |password: &str| {
            let header = format!("Basic {}", STANDARD.encode(format!("a:{password}")));
            let stranger = format!("Basic {}", STANDARD.encode(format!("b:{password}")));
            assert!(!auth.allows(None, client).await && !auth.allows(Some(stranger.as_bytes()), client).await);
            // The second result comes from the cache.
            let first = auth.allows(Some(header.as_bytes()), client).await;
            assert_eq!(auth.allows(Some(header.as_bytes()), client).await, first);
            first
        };
        assert!(allows("one").await && !allows("two").await);
        write("two");
        assert!(allows("two").await && !allows("one").await);
        for unusable in ["basic_auth_users: broken", "", "basic_auth_users: {}"] {
            fs::write(&file, unusable).expect("the folder can be written");
            assert!(allows("two").await && !allows("one").await, "{unusable}");
        }
        fs::remove_file(&file).expect("it is there");
        assert!(allows("two").await);
        write("three");
        assert!(allows("three").await && !allows("two").await);
    }
}
