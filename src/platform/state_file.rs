//! The state file: what survives a restart of the exporter.
//!
//! Owns its format. It is written to a temporary file that is renamed over it, by a separate task: a slow or full disk
//! never delays a poll. A file that cannot be used is reported and renamed, never fatal.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::domain::boto3::BoundCredentials;
use crate::domain::outage::{KEPT, Outages, Window};
use crate::domain::state::{RestoredInBoot, RestoredState, State};
use crate::domain::workload::{Workload, WorkloadClient};
use crate::domain::{Credential, RoleName};

/// The largest file that is read, in bytes.
const LARGEST: u64 = 64 * 1024;

/// A clock that was set back by less than this is no reason to ignore the file.
const FUTURE_ALLOWED: SignedDuration = SignedDuration::from_secs(60);

const VERSION: u32 = 4;

/// While nothing else changes, the times of the last polls are saved this often.
const TIMES_SAVED_EVERY: SignedDuration = SignedDuration::from_mins(1);

/// The content of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    version: u32,
    /// Identifies the boot of the machine.
    boot_id: Option<String>,
    /// When the last poll ended, or the exporter started.
    last_attempt_at: Timestamp,
    /// The last success, or the exporter's start before any.
    last_success_at: Timestamp,
    /// Start of the present outage.
    outage_since: Option<Timestamp>,
    /// Outages that are over, oldest first.
    outages: Vec<Window>,
    /// The last document, without its secrets.
    document: Option<SavedDocument>,
    role_attached: bool,
    /// Credentials were resolved in this boot.
    resolved: bool,
    /// The declared workload; null where none is declared, and after an orderly stop.
    workload: Option<SavedWorkload>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SavedDocument {
    role: RoleName,
    last_updated: Option<Timestamp>,
    expiration: Timestamp,
    /// When it was fetched last.
    fetched_at: Timestamp,
}

/// What is known of the declared workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SavedWorkload {
    /// When it created its client; null if that was not seen.
    started_at: Option<Timestamp>,
    /// Whether it still waits for the first success.
    waits: bool,
    /// What its client holds.
    client: BoundCredentials,
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
    /// The part of a state that is saved. After an orderly stop, the workload is forgotten: whoever restarts it restarts the
    /// exporter too.
    #[must_use]
    pub fn of(state: &State, boot_id: Option<&str>, orderly_stop: bool) -> Self {
        let unseen = |waits| SavedWorkload { started_at: None, waits, client: BoundCredentials::Unknown };
        let workload = match state.workload_client() {
            _ if orderly_stop => None,
            WorkloadClient::NotDeclared => None,
            // Until the first poll ended, a workload that starts with the exporter may have created its client unseen.
            WorkloadClient::NotCreated => Some(unseen(state.environment().workload == Workload::StartsWhenReady)),
            WorkloadClient::Unseen => Some(unseen(false)),
            WorkloadClient::Created { started_at, credentials } => {
                Some(SavedWorkload { started_at: Some(*started_at), waits: false, client: credentials.clone() })
            }
        };
        let outages = state.outages();
        Self {
            version: VERSION,
            boot_id: boot_id.map(str::to_owned),
            last_attempt_at: state.last_attempt_at().unwrap_or(state.started_at()),
            last_success_at: outages.last_success(),
            outage_since: outages.open(),
            outages: outages.ended().copied().collect(),
            document: state.document().map(|Credential { role, last_updated, expiration }| SavedDocument {
                role: role.clone(),
                last_updated: *last_updated,
                expiration: *expiration,
                fetched_at: state.fetched_at(),
            }),
            role_attached: state.role_attached(),
            resolved: state.resolved_in_boot(),
            workload,
        }
    }

    /// Whether it is worth writing, after `before` was written: something other than the times that every poll moves has
    /// changed, or these are a minute old.
    #[must_use]
    pub fn is_worth_writing_after(&self, before: &Self) -> bool {
        let Self { last_attempt_at, last_success_at, .. } = *before;
        let mut ignoring_poll_times = Self { last_attempt_at, last_success_at, ..self.clone() };
        if let (Some(document), Some(before)) = (&mut ignoring_poll_times.document, &before.document) {
            document.fetched_at = before.fetched_at;
        }
        ignoring_poll_times != *before || last_attempt_at.duration_until(self.last_attempt_at) >= TIMES_SAVED_EVERY
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
        let last = last.chain(saved.document.iter().map(|document| document.fetched_at));
        if last.chain([saved.last_success_at, saved.last_attempt_at]).any(|at| now.duration_until(at) > FUTURE_ALLOWED)
        {
            return Err(Unusable::FromTheFuture);
        }
        let outages = Outages::restored(saved.last_success_at, saved.outage_since, &saved.outages);
        let outages = outages.ok_or(Unusable::Malformed)?;
        let same_boot = saved.boot_id.is_some() && saved.boot_id.as_deref() == boot_id;
        if !same_boot {
            return Ok(RestoredState {
                outages: outages.ended_with_boot(saved.last_attempt_at, now),
                of_this_boot: None,
            });
        }
        let workload_client = saved.workload.map(|workload| match workload.started_at {
            None if workload.waits => WorkloadClient::NotCreated,
            None => WorkloadClient::Unseen,
            Some(started_at) => WorkloadClient::Created { started_at, credentials: workload.client },
        });
        let fetched_at = saved.document.as_ref().map_or(saved.last_success_at, |document| document.fetched_at);
        let document = saved.document.map(|SavedDocument { role, last_updated, expiration, .. }| Credential {
            role,
            last_updated,
            expiration,
        });
        let of_this_boot = RestoredInBoot {
            document,
            role_attached: saved.role_attached,
            resolved: saved.resolved,
            fetched_at,
            workload_client,
        };
        Ok(RestoredState { outages, of_this_boot: Some(of_this_boot) })
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
        // Opening a pipe would block; a link could lead anywhere.
        let metadata = match fs::symlink_metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error)),
            Ok(metadata) if metadata.is_dir() => return Err(Unusable::Unreadable(io::ErrorKind::IsADirectory)),
            Ok(metadata) if !metadata.is_file() => return Err(Unusable::Unreadable(io::ErrorKind::InvalidInput)),
            Ok(metadata) => metadata,
        };
        let file = File::open(&self.path).map_err(unreadable)?;
        let opened = file.metadata().map_err(unreadable)?;
        if (opened.dev(), opened.ino()) != (metadata.dev(), metadata.ino()) {
            // A link took its place meanwhile.
            return Err(Unusable::Unreadable(io::ErrorKind::InvalidInput));
        }
        let mut content = Vec::new();
        file.take(LARGEST + 1).read_to_end(&mut content).map_err(unreadable)?;
        if content.len() as u64 > LARGEST {
            return Err(Unusable::TooLarge);
        }
        Saved::parse(&content, self.boot_id.as_deref(), now).map(Some)
    }

    /// The part of `state` that is saved.
    #[must_use]
    pub fn saved(&self, state: &State, orderly_stop: bool) -> Saved {
        Saved::of(state, self.boot_id.as_deref(), orderly_stop)
    }

    /// Writes the file: to a new file beside it, which is on the disk before it replaces the former one.
    ///
    /// # Errors
    /// When the file cannot be written; the former one stays.
    pub fn write(&self, saved: &Saved) -> io::Result<()> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut file = tempfile::Builder::new().prefix(".imds-exporter-").tempfile_in(folder)?;
        let mut content = serde_json::to_vec_pretty(saved)?;
        content.push(b'\n');
        file.write_all(&content)?;
        file.as_file().sync_all()?;
        file.persist(&self.path).map_err(|error| error.error)?;
        File::open(folder)?.sync_all()
    }

    /// Writes the latest value whenever it is worth it, until the sender is dropped. A failure is reported once until
    /// writing works again.
    pub async fn keep(self, mut latest: watch::Receiver<Option<Saved>>) {
        let file = std::sync::Arc::new(self);
        let mut failing = false;
        let mut written: Option<Saved> = None;
        while latest.changed().await.is_ok() {
            let Some(saved) = latest.borrow_and_update().clone() else { continue };
            if written.as_ref().is_some_and(|written| !saved.is_worth_writing_after(written)) {
                continue;
            }
            let (writer, content) = (std::sync::Arc::clone(&file), saved.clone());
            let result = tokio::task::spawn_blocking(move || writer.write(&content)).await;
            let result = result.unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
            let path = file.path.display();
            match &result {
                Err(error) if !failing => warn!(%path, %error, "the state file cannot be written"),
                Ok(()) if failing => info!(%path, "the state file is written again"),
                _ => {}
            }
            failing = result.is_err();
            written = result.is_ok().then_some(saved);
        }
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(ending);
    path.with_file_name(name)
}
