//! Prometheus exporter for EC2 role credentials: when they run out, why they cannot be fetched, which clients are stuck.
//!
//! One loop moves a value; nothing calls back:
//!
//! ```text
//!  due ──▶ resolve ─────▶ record ──────▶ Report ──┬─▶ journal ─▶ log
//! poller   source::Source  state::State           ├─▶ metrics ─▶ GET /metrics
//! (pace)   imds (reqwest)  (outage, client)       └─▶ state  ──▶ status ─▶ GET /, /api/v1/status
//! ```
//!
//! # Layout
//!
//! Imports point down only; `tests/suite/architecture.rs` checks it.
//!
//! | floor | modules | own |
//! | --- | --- | --- |
//! | ground | [`model`], [`clock`] | the vocabulary; the only place that asks for the time |
//! | pure | [`outage`], [`client`], [`pace`], [`recent`], [`pulse`], [`source`], [`state`] | what is known after a poll, and what follows from it |
//! | adapters | [`imds`], [`poller`], [`process`], [`statefile`], [`log`](mod@log), [`simulator`] | IMDS, `/proc`, the disk, the log |
//! | views | [`journal`], [`metrics`], [`check`], [`status`], [`http`] | how it is told |
//! | whole | [`config`], [`app`], [`demo`], [`cli`] | composition |

pub mod app;
pub mod check;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
#[cfg(feature = "simulator")]
pub mod demo;
pub mod http;
pub mod imds;
pub mod journal;
pub mod log;
pub mod metrics;
pub mod model;
pub mod outage;
pub mod pace;
pub mod poller;
pub mod process;
pub mod pulse;
pub mod recent;
pub mod runbook;
#[cfg(feature = "simulator")]
pub mod simulator;
pub mod source;
pub mod state;
pub mod statefile;
pub mod status;
pub mod systemd;
pub mod web;

/// Here, and not beside `main`, so that whatever measures the library has it too.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;
