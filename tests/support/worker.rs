//! Processes that are watched.

use std::ffi::OsStr;
use std::process::{Child, Command, Stdio};

/// A process that is watched and ends with the test.
pub(crate) struct Worker(Child);

impl Worker {
    /// A shell; its command line contains `mark` and what looks like a secret.
    pub(crate) fn start(mark: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", "read line"]).arg(mark).arg("--password=CANARY");
        Self::spawn(command)
    }

    /// A program with another name.
    pub(crate) fn start_cat(mark: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new("cat");
        command.arg("-").arg(mark);
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Self {
        Self(command.stdin(Stdio::piped()).spawn().expect("there is such a program"))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}
