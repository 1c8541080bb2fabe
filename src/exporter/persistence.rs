//! Persistence of the state: what an earlier run saved, and when this one saves.

use std::fs;
use std::io;
use std::sync::Arc;

use tokio::sync::watch;
use tracing::{info, warn};

use crate::domain::SinceBoot;
use crate::domain::saved_state::SavedState;
use crate::domain::state::State;
use crate::platform::state_file::StateFile;

#[derive(Clone)]
pub(super) struct Persistence {
    file: Arc<StateFile>,
    boot_id: Option<String>,
}

impl Persistence {
    pub(super) fn new(file: StateFile) -> Self {
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
        Self { file: Arc::new(file), boot_id: boot_id.map(|id| id.trim().to_owned()) }
    }

    /// The state after what an earlier run saved. A file that cannot be used is reported and renamed, and what it held is
    /// unknown.
    pub(super) fn restore(&self, state: State, now: SinceBoot) -> State {
        let path = self.file.path().display();
        match self.file.read() {
            Ok(None) => {
                info!(%path, "no state file yet");
                state
            }
            Ok(Some(content)) => {
                if let Ok(restored) = SavedState::restore(&content, self.boot_id.as_deref(), now) {
                    info!(%path, "state file read");
                    return state.with_restored(restored);
                }
                let aside = self.file.set_aside().map(|aside| aside.display().to_string());
                warn!(%path, why = "it is damaged or of another version", aside, "the state file cannot be used");
                state.with_unknown_past()
            }
            Err(error) => {
                warn!(%path, why = %error, "the state file cannot be read");
                state.with_unknown_past()
            }
        }
    }

    pub(super) fn saved(&self, state: &State, orderly_stop: bool) -> SavedState {
        SavedState::of(state, self.boot_id.as_deref(), orderly_stop)
    }

    /// # Errors
    /// If the file cannot be written.
    pub(super) fn write(&self, saved: &SavedState) -> io::Result<()> {
        self.file.write(&content(saved)?)
    }

    /// Like [`Self::write`], when the exporter stops: what is being written meanwhile no longer counts.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) fn write_last(&self, saved: &SavedState) -> io::Result<()> {
        self.file.write_last(&content(saved)?)
    }

    /// Writes the latest state whenever it is worth it, until the sender is dropped. A failure is reported once until writing
    /// works again. A slow or full disk delays nothing else.
    pub(super) async fn keep(self, mut latest: watch::Receiver<Option<SavedState>>) {
        let path = self.file.path().display().to_string();
        let mut failing = false;
        let mut written: Option<SavedState> = None;
        while latest.changed().await.is_ok() {
            let Some(saved) = latest.borrow_and_update().clone() else { continue };
            if written.as_ref().is_some_and(|written| !saved.is_worth_writing_after(written)) {
                continue;
            }
            let (writer, latest) = (self.clone(), saved.clone());
            let result = tokio::task::spawn_blocking(move || writer.write(&latest)).await;
            let result = result.unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
            match &result {
                Err(error) if !failing => warn!(path, %error, "the state file cannot be written"),
                Ok(()) if failing => info!(path, "the state file is written again"),
                _ => {}
            }
            failing = result.is_err();
            written = result.is_ok().then_some(saved);
        }
    }
}

fn content(saved: &SavedState) -> io::Result<Vec<u8>> {
    let mut content = serde_json::to_vec_pretty(saved)?;
    content.push(b'\n');
    Ok(content)
}
