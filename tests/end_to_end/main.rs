//! The tests with real programs, which `tests/run` fetches: boto3, moto, Prometheus.

mod client_table;
mod clients;
mod comparison;
mod creation;
mod credential_chain;
mod hop_limit;
mod odd_answers;
mod prometheus;
mod proxies;
mod random_timelines;
mod s3fs;
mod signed_call;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "the other test binary uses the rest")]
mod support;
mod web_config;
