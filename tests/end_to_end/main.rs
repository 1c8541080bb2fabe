//! The tests with real programs, which `tests/run` fetches: boto3, moto, Prometheus.

mod boto3;
mod client_table;
mod hop_limit;
mod moto;
mod prometheus;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "the other test binary uses the rest")]
mod support;
#[cfg(feature = "web-config")]
mod web_config;
