//! Prometheus exporter for EC2 role credentials.

pub mod clock;
pub mod model;
#[cfg(feature = "simulator")]
pub mod simulator;
