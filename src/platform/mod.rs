//! What the exporter needs from the operating system: clock, liveness, private memory, state file, systemd and logging; and
//! what is demanded of the URL of any service.
//!
//! Must not know IMDS, metrics or HTTP.

pub mod clock;
pub mod heartbeat;
pub mod listener;
mod log_writer;
pub mod logging;
pub mod process_memory;
pub mod service_url;
pub mod state_file;
pub mod systemd;
