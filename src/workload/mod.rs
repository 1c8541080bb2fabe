//! The workload beside the exporter: its processes, as `/proc` shows them, and who owns them.
//!
//! Must not know metrics, pages or IMDS.

mod owner;
mod processes;

pub use owner::Owner;
pub use processes::{Candidate, STARTED_BEFORE, SuspectProcess, Watched, scan, still_running, suspects};
