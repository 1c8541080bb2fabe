//! The workload beside the exporter: its processes, as `/proc` shows them.
//!
//! Must not know metrics, pages or IMDS.

mod process_watcher;

pub use process_watcher::{Candidate, ProcessWatcher, STARTED_BEFORE, SuspectProcess, suspects};
