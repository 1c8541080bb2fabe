//! The state file: what survives a restart of the exporter.
//!
//! Owns its format. It is written to a temporary file that is renamed over it, by a separate task: a slow or full disk
//! never delays a poll. A file that cannot be used is reported and renamed, never fatal.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::domain::outage::{KEPT, Outages, Window};
use crate::domain::sdk::{BoundCredentials, SDKS};
use crate::domain::state::{RestoredState, State};

/// The largest file that is read, in bytes.
const LARGEST: u64 = 64 * 1024;

/// A clock that was set back by less than this is no reason to ignore the file.
const FUTURE_ALLOWED: SignedDuration = SignedDuration::from_secs(60);

const VERSION: u32 = 1;

/// The content of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    version: u32,
    /// Identifies the boot of the machine.
    boot_id: Option<String>,
    /// The last success, or the exporter's start before any.
    last_success_at: Timestamp,
    /// Start of the present outage.
    outage_since: Option<Timestamp>,
    /// Outages that are over, oldest first.
    outages: Vec<Window>,
    /// Per SDK, the expiration of what a client holds that was created when the exporter first started: null for no
    /// credentials.
    clients_at_start: BTreeMap<String, Option<Timestamp>>,
}

/// Why a state file cannot be used.
#[derive(Debug)]
pub enum Unusable {
    /// It cannot be read.
    Unreadable(io::ErrorKind),
    /// It is larger than the exporter would write.
    TooLarge,
    /// It is not what the exporter writes.
    Malformed,
    /// It contains times in the future.
    FromTheFuture,
}

impl std::fmt::Display for Unusable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreadable(kind) => write!(f, "it cannot be read: {kind}"),
            Self::TooLarge => f.write_str("it is too large"),
            Self::Malformed => f.write_str("it is damaged or of another version"),
            Self::FromTheFuture => f.write_str("it contains times in the future"),
        }
    }
}

impl Saved {
    /// The part of a state that is saved.
    #[must_use]
    pub fn of(state: &State, boot_id: Option<&str>) -> Self {
        let bound = SDKS.iter().zip(state.bound_since_start()).filter_map(|(sdk, bound)| {
            let end = match bound? {
                BoundCredentials::Nothing => None,
                BoundCredentials::Until(end) => Some(end),
            };
            Some((sdk.label.to_owned(), end))
        });
        Self {
            version: VERSION,
            boot_id: boot_id.map(str::to_owned),
            last_success_at: state.outages().last_success(),
            outage_since: state.outages().open(),
            outages: state.outages().ended().copied().collect(),
            clients_at_start: bound.collect(),
        }
    }

    /// Parses the content of a file.
    ///
    /// # Errors
    /// Why it cannot be used at `now`.
    pub fn parse(content: &[u8], boot_id: Option<&str>, now: Timestamp) -> Result<RestoredState, Unusable> {
        let saved: Self = serde_json::from_slice(content).map_err(|_| Unusable::Malformed)?;
        if saved.version != VERSION || saved.outages.len() > KEPT {
            return Err(Unusable::Malformed);
        }
        let last = saved.outages.iter().map(|window| window.end).chain(saved.outage_since);
        if last.chain([saved.last_success_at]).any(|at| now.duration_until(at) > FUTURE_ALLOWED) {
            return Err(Unusable::FromTheFuture);
        }
        let outages = Outages::restored(saved.last_success_at, saved.outage_since, &saved.outages);
        let same_boot = saved.boot_id.is_some() && saved.boot_id.as_deref() == boot_id;
        let bound = SDKS.iter().map(|sdk| {
            let bound = saved.clients_at_start.get(sdk.label)?;
            Some(bound.map_or(BoundCredentials::Nothing, BoundCredentials::Until))
        });
        let mut bound_since_start = [None; SDKS.len()];
        bound_since_start.iter_mut().zip(bound).for_each(|(place, bound)| *place = bound);
        Ok(RestoredState {
            outages: outages.ok_or(Unusable::Malformed)?,
            bound_since_start: same_boot.then_some(bound_since_start),
        })
    }
}

/// A state file.
#[derive(Clone, Debug)]
pub struct StateFile {
    path: PathBuf,
    boot_id: Option<String>,
}

impl StateFile {
    /// The state file at `path`.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
        Self { path, boot_id: boot_id.map(|id| id.trim().to_owned()) }
    }

    /// What an earlier run saved. A file that cannot be used is reported and renamed.
    #[must_use]
    pub fn load(&self, now: Timestamp) -> Option<RestoredState> {
        let path = self.path.display();
        match self.read(now) {
            Ok(None) => {
                info!(%path, "no state file yet");
                None
            }
            Ok(Some(restored)) => {
                info!(%path, outages = restored.outages.ended().len(), "state file read");
                Some(restored)
            }
            Err(why) => {
                let aside = beside(&self.path, "broken");
                // A directory, or a file that may not be read, belongs to something else: it is left alone.
                let moved = !matches!(why, Unusable::Unreadable(_)) && fs::rename(&self.path, &aside).is_ok();
                let aside = moved.then(|| aside.display().to_string());
                warn!(%path, %why, aside, "the state file is not used");
                None
            }
        }
    }

    fn read(&self, now: Timestamp) -> Result<Option<RestoredState>, Unusable> {
        let unreadable = |error: io::Error| Unusable::Unreadable(error.kind());
        // Opening a pipe would block.
        match fs::metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error)),
            Ok(metadata) if metadata.is_dir() => return Err(Unusable::Unreadable(io::ErrorKind::IsADirectory)),
            Ok(metadata) if !metadata.is_file() => return Err(Unusable::Unreadable(io::ErrorKind::InvalidInput)),
            Ok(_) => {}
        }
        let mut content = Vec::new();
        File::open(&self.path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut content)).map_err(unreadable)?;
        if content.len() as u64 > LARGEST {
            return Err(Unusable::TooLarge);
        }
        Saved::parse(&content, self.boot_id.as_deref(), now).map(Some)
    }

    /// The part of `state` that is saved.
    #[must_use]
    pub fn saved(&self, state: &State) -> Saved {
        Saved::of(state, self.boot_id.as_deref())
    }

    fn write(&self, saved: &Saved) -> io::Result<()> {
        let beside = beside(&self.path, "new");
        let mut file = File::create(&beside)?;
        serde_json::to_writer_pretty(&mut file, saved)?;
        file.write_all(b"\n")?;
        drop(file);
        fs::rename(&beside, &self.path)
    }

    /// Writes the latest value, until the sender is dropped. A failure is reported once until writing works again.
    pub async fn keep(self, mut latest: watch::Receiver<Option<Saved>>) {
        let file = std::sync::Arc::new(self);
        let mut failing = false;
        while latest.changed().await.is_ok() {
            let Some(saved) = latest.borrow_and_update().clone() else { continue };
            let writer = std::sync::Arc::clone(&file);
            let written = tokio::task::spawn_blocking(move || writer.write(&saved)).await;
            let written = written.unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
            let path = file.path.display();
            match &written {
                Err(error) if !failing => warn!(%path, %error, "the state file cannot be written"),
                Ok(()) if failing => info!(%path, "the state file is written again"),
                _ => {}
            }
            failing = written.is_err();
        }
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(ending);
    path.with_file_name(name)
}
