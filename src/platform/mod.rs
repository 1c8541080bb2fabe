//! What the exporter needs from the operating system: clock, liveness, private memory, state file, systemd
//! and logging.
//!
//! Must not know IMDS, metrics or HTTP.

pub mod clock;
pub mod heartbeat;
pub mod listener;
pub mod logging;
pub mod process_memory;
pub mod state_file;
pub mod systemd;
