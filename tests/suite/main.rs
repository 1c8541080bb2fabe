//! The tests that need nothing but Rust. Real sockets with short deadlines, or paused time with fakes, never both.

mod architecture;
mod canaries;
mod commands;
mod faults;
mod http;
mod outages;
mod readme;
mod resolution;
mod rules;
mod scrape;
mod support;
mod systemd;
mod time;
