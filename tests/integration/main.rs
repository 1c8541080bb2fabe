//! The tests that need nothing but Rust. They use real sockets with short deadlines, or paused time with fakes, never
//! both.

#![allow(clippy::float_cmp, reason = "counts are read back as they were written")]

mod alert_rules;
mod architecture;
mod check_agrees;
mod cli;
mod declared_workload;
mod fault_matrix;
mod fuzz_seeds;
mod gets_change_nothing;
mod gzip;
mod hostile_clients;
mod http;
mod imds_proxies;
mod imds_v1;
mod log_lines;
mod log_output;
mod loopback;
mod memory;
mod network;
mod no_threads;
mod panics;
mod passwords;
mod reference;
mod resolution;
mod schedule_and_health;
mod scrape;
mod secrets;
mod signed_call;
mod simulator;
mod slow_imds;
mod soak;
mod starvation;
mod state_file;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "the other test binary uses the rest")]
mod support;
mod suspects;
mod systemd;
mod wait_and_suspects;
