//! What the exporter needs from the operating system: clock, liveness, private memory, state file, systemd and logging; and
//! what is demanded of the URL of any service.
//!
//! Must not know IMDS, metrics or HTTP.

pub mod clock;
pub mod heartbeat;
pub mod listener;
mod log_writer;
pub mod logging;
pub(crate) mod process_memory;
pub(crate) mod service_url;
pub(crate) mod state_file;
pub(crate) mod systemd;
