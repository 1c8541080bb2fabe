//! The tests with real programs, which `tests/run` fetches: boto3, moto, Prometheus.

mod alerts;
mod boto3;
mod claims;
mod client_table;
mod clients;
mod comparison;
mod creation;
mod credential_chain;
mod hop_limit;
mod host_boot;
mod moto;
mod network_namespace;
mod odd_answers;
mod prometheus;
mod proxies;
mod random_timelines;
mod signed_call;
mod steady_state;
mod stuck_clients;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "the other test binary uses the rest")]
mod support;
mod web_config;
