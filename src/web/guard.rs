//! The guard: settings that follow their files, and passwords.
//!
//! A password costs tens of milliseconds to verify, on purpose: that is done beside the event loop, one at a time,
//! and once for each that is right.

use std::collections::HashSet;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::Semaphore;
use tracing::{info, warn};

use super::settings::Settings;

/// Verified in place of the hash of a user that there is not: names cannot be told by the time that it takes.
const NOBODYS_HASH: &str = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi";

/// The most right passwords that are remembered.
const REMEMBERED: usize = 64;

pub(super) struct Guard {
    file: PathBuf,
    watched: Mutex<Watched>,
    verifying: Semaphore,
    /// Keyed: what is remembered of a password is a number that says nothing without the key.
    hasher: RandomState,
}

struct Watched {
    settings: Arc<Settings>,
    stamps: Vec<Stamp>,
    right: HashSet<u64>,
}

/// Tells a file from what it was; a replaced symbolic link, as Kubernetes does it, shows as another inode.
type Stamp = Option<(u64, u64, i64, i64, u64)>;

fn stamp(path: &PathBuf) -> Stamp {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.len()))
}

impl Guard {
    pub(super) fn new(file: &Path) -> Result<Self, String> {
        let settings = Arc::new(Settings::read(file)?);
        let stamps = settings.files.iter().map(stamp).collect();
        let watched = Mutex::new(Watched { settings, stamps, right: HashSet::new() });
        Ok(Self { file: file.to_owned(), watched, verifying: Semaphore::new(1), hasher: RandomState::new() })
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The settings, read again if a file changed. Files that cannot be used leave the former settings in force.
    pub(super) fn settings(&self) -> Arc<Settings> {
        let mut watched = self.watched();
        let stamps: Vec<_> = watched.settings.files.iter().map(stamp).collect();
        if stamps != watched.stamps {
            watched.stamps = stamps;
            match Settings::read(&self.file) {
                Ok(settings) => {
                    info!(file = %self.file.display(), "the web configuration was read again");
                    watched.stamps = settings.files.iter().map(stamp).collect();
                    watched.settings = Arc::new(settings);
                    watched.right.clear();
                }
                Err(error) => warn!(%error, "the web configuration changed and cannot be used: the former stays"),
            }
        }
        Arc::clone(&watched.settings)
    }

    pub(super) async fn admits(&self, authorization: Option<&[u8]>) -> bool {
        let settings = self.settings();
        if settings.users.is_empty() {
            return true;
        }
        let Some(authorization) = authorization else { return false };
        let remembered = self.hasher.hash_one(authorization);
        if self.watched().right.contains(&remembered) {
            return true;
        }
        let Some((user, password)) = credentials(authorization) else { return false };
        let hash = settings.users.get(&user).cloned();
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| NOBODYS_HASH.to_owned());
        // A flood of wrong passwords waits in line; the right ones that are remembered do not.
        let Ok(_turn) = self.verifying.acquire().await else { return false };
        let verified = tokio::task::spawn_blocking(move || bcrypt::verify(password, &hash).unwrap_or(false)).await;
        let right = known && verified.unwrap_or(false);
        let mut watched = self.watched();
        // Settings that were replaced meanwhile may no longer know the user.
        if right && Arc::ptr_eq(&settings, &watched.settings) {
            if watched.right.len() >= REMEMBERED {
                watched.right.clear();
            }
            watched.right.insert(remembered);
        }
        right
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
    fn basic_credentials_are_told_from_others() {
        let told = |text: &str| credentials(text.as_bytes());
        assert_eq!(told("Basic YTpiOmM="), Some(("a".to_owned(), b"b:c".to_vec())));
        assert_eq!(told("basic OmI="), Some((String::new(), b"b".to_vec())));
        for other in ["", "Basic", "Basic ", "Basic !", "Basic YQ==", "Bearer YTpi", "Basic\u{e4}YTpi"] {
            assert_eq!(told(other), None, "{other}");
        }
    }

    #[tokio::test]
    async fn passwords_follow_the_file_and_a_broken_file_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("web.yml");
        let write = |password: &str| {
            let hash = bcrypt::hash_with_salt(password, 4, [7; 16]).expect("a hash");
            let text = format!("basic_auth_users:\n  a: {}\n", hash.format_for_version(bcrypt::Version::TwoY));
            // Renamed over the former, as Kubernetes and careful people do it.
            fs::write(file.with_extension("new"), text).expect("the folder can be written");
            fs::rename(file.with_extension("new"), &file).expect("the folder can be written");
        };
        write("one");
        let guard = Guard::new(&file).expect("a good file");
        let admits = async |password: &str| {
            let header = format!("Basic {}", STANDARD.encode(format!("a:{password}")));
            let stranger = format!("Basic {}", STANDARD.encode(format!("b:{password}")));
            assert!(!guard.admits(None).await && !guard.admits(Some(stranger.as_bytes())).await);
            // The second time from memory.
            let first = guard.admits(Some(header.as_bytes())).await;
            assert_eq!(guard.admits(Some(header.as_bytes())).await, first);
            first
        };
        assert!(admits("one").await && !admits("two").await);
        write("two");
        assert!(admits("two").await && !admits("one").await);
        fs::write(&file, "basic_auth_users: broken").expect("the folder can be written");
        assert!(admits("two").await && !admits("one").await);
        fs::remove_file(&file).expect("it is there");
        assert!(admits("two").await);
        write("three");
        assert!(admits("three").await && !admits("two").await);
    }

    #[test]
    fn the_hash_of_nobody_costs_as_much_as_a_usual_one() {
        let parts: bcrypt::HashParts = NOBODYS_HASH.parse().expect("a hash");
        assert_eq!(parts.get_cost(), 10);
    }
}
