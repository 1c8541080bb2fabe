//! The exposition: everything that a scrape returns.
//!
//! What changes only with a poll is rendered once per poll, so that a scrape stays cheap; what changes with time is rendered
//! at each scrape.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use prometheus::TextEncoder;
use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::MetricFamily;

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
    /// Asked at each scrape.
    process: Option<ProcessCollector>,
    /// The part that changes only with a poll; `None` until it is rendered again.
    rendered_at_poll: Mutex<Option<String>>,
}

impl Metrics {
    /// All counters at 0.
    #[must_use]
    pub fn new(options: MetricsOptions, build: Build) -> Self {
        let counters = Counters::new(options.poll_interval, build);
        let process = options.process_metrics.then(ProcessCollector::for_self);
        Self { options, counters, process, rendered_at_poll: Mutex::new(None) }
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

    /// The next scrape renders everything again.
    pub fn changed(&self) {
        *self.rendered_at_poll() = None;
    }

    /// The exposition at `at`. `watched` is `None` if processes are not watched.
    #[must_use]
    pub fn render(&self, state: &State, watched: Option<&Watched>, at: Timestamp) -> String {
        let mut text = self.rendered_at_poll().get_or_insert_with(|| self.render_at_poll(state, watched)).clone();
        let mut families = gauges::families_at(state, at);
        families.extend(self.process.iter().flat_map(Collector::collect));
        encode(&families, &mut text);
        text
    }

    fn rendered_at_poll(&self) -> MutexGuard<'_, Option<String>> {
        self.rendered_at_poll.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn render_at_poll(&self, state: &State, watched: Option<&Watched>) -> String {
        let mut families = self.counters.gather();
        families.extend(gauges::families(state, self.options.expected_role.as_ref(), watched));
        families.sort_by(|a, b| a.name().cmp(b.name()));
        let mut text = String::new();
        encode(&families, &mut text);
        text
    }
}

fn encode(families: &[MetricFamily], text: &mut String) {
    TextEncoder::new().encode_utf8(families, text).expect("no family is empty, and a String takes all");
}
