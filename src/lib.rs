//! Prometheus exporter for EC2 role credentials: when they expire, why they cannot be fetched, and which clients are
//! stuck.
//!
//! One loop moves a value:
//!
//! ```text
//!    due ──▶ resolve ───────▶ record ────────▶ PollReport ──┬─▶ event_log ─▶ log
//! poll_loop  domain::Source  domain::state                  ├─▶ metrics ───▶ GET /metrics
//! (schedule) imds (reqwest)  (outage, boto3)                └─▶ state ─────▶ http: status page, JSON, probes
//! ```
//!
//! # Where is it decided ...
//!
//! - that a boto3 client is **stuck**: [`domain::boto3`], `BoundCredentials::created`;
//! - what boto3 makes of IMDS's answers when a client is created: `imds::document::creation`, `imds::client`;
//! - whether it can sign now: `BoundCredentials::can_sign` there, for the three clients that are exported in
//!   [`State::client_usable`](domain::state::State::client_usable);
//! - what is wrong, first of all (`imds_state`): [`domain::ImdsState::of`];
//! - when an outage began and ended: [`domain::outage`];
//! - which kind a failure has: `imds::status`, `imds::document`, `imds::transport`;
//! - which processes are suspects: [`workload::suspects`];
//! - what survives a restart: [`domain::saved_state`];
//! - what a person is told: [`runbook`].
//!
//! # Layout
//!
//! A module imports from the floors below its own, never from its own floor or from above; no two modules import each
//! other. `tests/integration/architecture.rs` reads this table and checks it.
//!
//! | floor | modules | owns |
//! | --- | --- | --- |
//! | commands | [`cli`] | one module for each command: `serve`, `check`, `wait`, `healthcheck`, `demo`, `simulate` |
//! | composition | [`exporter`] | the poll loop, what a poll becomes in the log, persistence |
//! | surface | [`config`], [`http`] | the variables; the pages, the server, access control |
//! | adapters | [`imds`], [`sts`], [`metrics`], [`simulator`] | the IMDS client; the signed call; the exposition; IMDS simulated |
//! | support | [`platform`], [`workload`], [`runbook`] | clock, state file, systemd, logging; processes; texts for people |
//! | vocabulary | [`domain`] | credentials, failure kinds, outages, boto3 clients, the verdict, state: pure |

pub mod cli;
pub mod config;
pub mod domain;
pub mod exporter;
pub mod http;
pub mod imds;
pub mod metrics;
pub mod platform;
pub mod runbook;
#[cfg(feature = "simulator")]
pub mod simulator;
pub mod sts;
pub mod workload;

/// Overwrites memory when it is freed: no secret outlives the value that held it, in whichever library that was.
#[global_allocator]
static ALLOCATOR: zeroizing_alloc::ZeroAlloc<std::alloc::System> = zeroizing_alloc::ZeroAlloc(std::alloc::System);
