//! The metrics: the only module that knows Prometheus.
//!
//! Must not know HTTP, IMDS or why a poll failed beyond its kind.

mod at_scrape;
mod build_info;
pub mod catalog;
mod counters;
mod exposition;
mod gauges;
mod gzip;

pub use build_info::Build;
pub use exposition::{CONTENT_TYPE, Encoding, Metrics, Options};
