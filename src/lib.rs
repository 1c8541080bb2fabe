//! Prometheus exporter for EC2 role credentials.

pub mod app;
pub mod check;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
#[cfg(feature = "simulator")]
pub mod demo;
pub mod http;
pub mod imds;
pub mod journal;
pub mod log;
pub mod metrics;
pub mod model;
pub mod outage;
pub mod pace;
pub mod poller;
pub mod process;
pub mod pulse;
pub mod recent;
#[cfg(feature = "simulator")]
pub mod simulator;
pub mod source;
pub mod state;
pub mod statefile;
pub mod status;
