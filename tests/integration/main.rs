//! The tests that need nothing but Rust. They use real sockets with short deadlines, or paused time with fakes, never
//! both.

#![allow(clippy::float_cmp, reason = "counts are read back as they were written")]

mod alert_rules;
mod architecture;
mod cli;
mod fault_matrix;
mod hostile_clients;
mod http;
mod panics;
mod reference;
mod resolution;
mod schedule_and_health;
mod scrape;
mod secrets;
mod soak;
mod start_gate;
mod state_file;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "the other test binary uses the rest")]
mod support;
mod suspects;
mod systemd;
