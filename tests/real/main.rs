//! The tests against real parts, which `tests/run` fetches: boto3, moto, Prometheus.

mod boto3;
mod emulators;
mod hop_limit;
mod prometheus;
#[path = "../suite/support.rs"]
#[allow(dead_code, reason = "the other test binary uses the rest")]
mod support;
mod tools;
mod truth;
#[cfg(feature = "web-config")]
mod web_config;
