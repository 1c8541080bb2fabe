//! The tests that need nothing but Rust. Real sockets with short deadlines, or paused time with fakes, never both.

#![allow(clippy::float_cmp, reason = "counts are read back as they were written")]

mod architecture;
mod attack;
mod canaries;
mod commands;
mod faults;
mod http;
mod outages;
mod poison;
mod readme;
mod resolution;
mod rules;
mod scrape;
mod soak;
mod support;
mod systemd;
mod time;
