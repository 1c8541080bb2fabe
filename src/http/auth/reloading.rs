//! A web configuration that is reloaded when its files change, and the verification of passwords.
//!
//! Verifying a password takes tens of milliseconds, on purpose: it is done on another thread, one at a time, and once
//! for each password that is correct.

use std::collections::HashSet;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracing::{info, warn};

use super::web_config::WebConfig;
use crate::platform::clock::monotonic;

/// Verified for an unknown user, so that the time taken does not reveal which users exist.
const DUMMY_HASH: &str = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi";

/// How long files that cannot be used are not tried again, unless they change.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The largest number of correct passwords that are remembered.
const MAX_VERIFIED: usize = 64;

pub(super) struct ReloadingAuth {
    file: PathBuf,
    current: Mutex<Current>,
    verifying: Semaphore,
    /// Keyed: the number that is remembered of a password reveals nothing without the key.
    hasher: RandomState,
}

struct Current {
    config: Arc<WebConfig>,
    stamps: Vec<Stamp>,
    verified: HashSet<u64>,
    /// When the files could not be used the last time, if they still cannot.
    failed_at: Option<Instant>,
}

/// Identifies a version of a file; a replaced symbolic link, as in Kubernetes, shows as another inode.
type Stamp = Option<(u64, u64, i64, i64, u64)>;

fn stamp(path: &PathBuf) -> Stamp {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.len()))
}

impl ReloadingAuth {
    pub(super) fn new(file: &Path) -> Result<Self, String> {
        let config = Arc::new(WebConfig::read(file)?);
        let stamps = config.files.iter().map(stamp).collect();
        let current = Mutex::new(Current { config, stamps, verified: HashSet::new(), failed_at: None });
        Ok(Self { file: file.to_owned(), current, verifying: Semaphore::new(1), hasher: RandomState::new() })
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The configuration, read again if a file changed. If a file cannot be used, the former configuration stays, and the
    /// files are tried again a second later.
    pub(super) fn web_config(&self) -> Arc<WebConfig> {
        let mut current = self.current();
        let stamps: Vec<_> = current.config.files.iter().map(stamp).collect();
        let retry = current.failed_at.is_some_and(|failed_at| monotonic() - failed_at >= RETRY_AFTER);
        if stamps != current.stamps || retry {
            self.read_again(&mut current);
        }
        Arc::clone(&current.config)
    }

    /// Reads the files again.
    pub(super) fn reload(&self) {
        self.read_again(&mut self.current());
    }

    fn read_again(&self, current: &mut Current) {
        // Before they are read: a file that is replaced meanwhile is read again.
        current.stamps = current.config.files.iter().map(stamp).collect();
        match WebConfig::read(&self.file) {
            Ok(config) => {
                info!(file = %self.file.display(), "web configuration reloaded");
                if config.files != current.config.files {
                    current.stamps = config.files.iter().map(stamp).collect();
                }
                current.config = Arc::new(config);
                current.verified.clear();
                current.failed_at = None;
            }
            Err(error) => {
                if current.failed_at.is_none() {
                    warn!(%error, "the changed web configuration cannot be used: the former one stays");
                }
                current.failed_at = Some(monotonic());
            }
        }
    }

    pub(super) async fn allows(&self, authorization: Option<&[u8]>) -> bool {
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
        let hash = hash.unwrap_or_else(|| DUMMY_HASH.to_owned());
        // A flood of wrong passwords queues here; correct ones that are remembered do not.
        let Ok(_permit) = self.verifying.acquire().await else { return false };
        let verified = tokio::task::spawn_blocking(move || bcrypt::verify(password, &hash).unwrap_or(false)).await;
        let verified = known && verified.unwrap_or(false);
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
        let auth = ReloadingAuth::new(&file).expect("a valid file");
        let allows = async |password: &str| {
            let header = format!("Basic {}", STANDARD.encode(format!("a:{password}")));
            let stranger = format!("Basic {}", STANDARD.encode(format!("b:{password}")));
            assert!(!auth.allows(None).await && !auth.allows(Some(stranger.as_bytes())).await);
            // The second result comes from the cache.
            let first = auth.allows(Some(header.as_bytes())).await;
            assert_eq!(auth.allows(Some(header.as_bytes())).await, first);
            first
        };
        assert!(allows("one").await && !allows("two").await);
        write("two");
        assert!(allows("two").await && !allows("one").await);
        fs::write(&file, "basic_auth_users: broken").expect("the folder can be written");
        assert!(allows("two").await && !allows("one").await);
        fs::remove_file(&file).expect("it is there");
        assert!(allows("two").await);
        write("three");
        assert!(allows("three").await && !allows("two").await);
    }

    #[test]
    fn the_dummy_hash_has_the_usual_cost() {
        let parts: bcrypt::HashParts = DUMMY_HASH.parse().expect("a hash");
        assert_eq!(parts.get_cost(), 10);
    }
}
