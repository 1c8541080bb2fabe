//! A machine on which the exporter is started again and again.

use std::path::PathBuf;

use imds_exporter::simulator::Simulator;
use tempfile::{TempDir, tempdir};
use tokio::process::Command;

use super::program::{ExporterProcess, program_with_imds};
use super::simulator::{apply_toml, start_simulator};
use super::state_file::edit;

/// An IMDS, and a folder with a state file.
pub(crate) struct Machine {
    pub(crate) simulator: Simulator,
    pub(crate) folder: TempDir,
}

impl Machine {
    pub(crate) async fn new() -> Self {
        Self { simulator: start_simulator().await, folder: tempdir().expect("a folder") }
    }

    pub(crate) fn state_file(&self) -> PathBuf {
        self.folder.path().join("state.json")
    }

    /// The exporter, with the state file.
    pub(crate) fn command(&self) -> Command {
        let mut command = program_with_imds(self.simulator.address(), &[]);
        command.env("IMDS_EXPORTER_STATE_FILE", self.state_file());
        command
    }

    pub(crate) async fn start(&self) -> ExporterProcess {
        ExporterProcess::start_with(self.command()).await
    }

    pub(crate) async fn apply(&self, change: &str) {
        apply_toml(&self.simulator, change).await;
    }

    /// Makes the state file look as if the machine has booted since.
    pub(crate) fn reboot(&self) {
        edit(&self.state_file(), |saved| saved["boot_id"] = "another".into());
    }
}
