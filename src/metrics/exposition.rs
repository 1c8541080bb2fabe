//! The exposition: everything that a scrape returns.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use prometheus::TextEncoder;
use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;

use super::build_info::Build;
use super::counters::Counters;
use super::gauges;
use crate::domain::RoleName;
use crate::domain::signed_call::SignedCall;
use crate::domain::state::{PollReport, State};
use crate::workload::Watched;

/// The Content-Type of an exposition.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the metrics need to know of the configuration.
#[derive(Clone, Debug)]
pub struct MetricsOptions {
    /// Configured time between polls.
    pub poll_interval: Duration,
    /// The role that is to be in force.
    pub expected_role: Option<RoleName>,
    /// Whether to export `process_*`.
    pub process_metrics: bool,
}

/// All metrics of one exporter.
pub struct Metrics {
    options: MetricsOptions,
    counters: Counters,
    process: Option<ProcessCollector>,
    changes: AtomicU64,
}

impl Metrics {
    /// All counters at 0.
    #[must_use]
    pub fn new(options: MetricsOptions, build: Build) -> Self {
        let counters = Counters::new(options.poll_interval, build);
        let process = options.process_metrics.then(ProcessCollector::for_self);
        Self { options, counters, process, changes: AtomicU64::new(0) }
    }

    /// The same, with the metrics of signed calls.
    #[must_use]
    pub fn with_signed_calls(mut self) -> Self {
        self.counters.add_signed_calls();
        self
    }

    /// Counts a finished poll.
    pub fn record(&self, report: &PollReport) {
        self.counters.record(report);
        self.changed();
    }

    /// Counts a finished signed call.
    pub fn record_signed_call(&self, call: &SignedCall) {
        self.counters.record_signed_call(call);
        self.changed();
    }

    /// Something that is rendered changed.
    pub fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// How often something changed: what was rendered at the same number differs in what passes with time alone.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// The exposition at `at`. `watched` is `None` if processes are not watched.
    #[must_use]
    pub fn render(&self, state: &State, watched: Option<&Watched>, at: Timestamp) -> String {
        let mut families = self.counters.gather();
        families.extend(gauges::families(state, self.options.expected_role.as_ref(), watched));
        families.sort_by(|a, b| a.name().cmp(b.name()));
        families.extend(gauges::families_at(state, at));
        families.extend(self.process.iter().flat_map(Collector::collect));
        TextEncoder::new().encode_to_string(&families).expect("no family is empty")
    }
}
