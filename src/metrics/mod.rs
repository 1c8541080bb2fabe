//! The metrics: the only module that knows Prometheus.
//!
//! Must not know HTTP, IMDS or why a poll failed beyond its kind.

mod build_info;
pub mod catalog;
mod counters;
mod exposition;
mod gauges;

pub use build_info::Build;
pub use exposition::{CONTENT_TYPE, Metrics, MetricsOptions};
