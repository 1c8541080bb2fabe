//! The metrics: the only module that knows Prometheus.
//!
//! Three parts, by when their values change: what is recorded as polls happen, what is read off the state after a
//! poll, and what is computed at the scrape. The first two are rendered once a poll; a scrape renders the third.

pub mod catalog;
mod recorded;
mod snapshot;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use prometheus::TextEncoder;
use prometheus::proto::MetricFamily;

use crate::model::RoleName;
use crate::process::Suspect;
use crate::state::{Report, State};
use recorded::Recorded;

/// The Content-Type of a rendered exposition.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the metrics need to know of the configuration.
#[derive(Clone, Debug)]
pub struct Options {
    /// Configured time between polls.
    pub poll_interval: Duration,
    /// The role that is to be in force.
    pub expected_role: Option<RoleName>,
    /// Whether to export `process_*`, as they were at the last poll.
    pub process_metrics: bool,
}

/// What the exporter was built from.
#[derive(Clone, Copy, Debug)]
pub struct Build {
    /// The crate's version.
    pub version: &'static str,
    /// The commit.
    pub revision: &'static str,
    /// The compiler.
    pub rustversion: &'static str,
}

impl Build {
    /// This build.
    pub const THIS: Self = Self {
        version: env!("CARGO_PKG_VERSION"),
        revision: env!("BUILD_REVISION"),
        rustversion: env!("BUILD_RUSTVERSION"),
    };
}

/// All metrics of one exporter.
pub struct Metrics {
    options: Options,
    recorded: Recorded,
    /// The exposition of all that changes only with a poll; `None` after a poll.
    rendered: Mutex<Option<String>>,
}

impl Metrics {
    /// All counters at 0.
    #[must_use]
    pub fn new(options: Options, build: Build) -> Self {
        let recorded = Recorded::new(&options, build);
        Self { options, recorded, rendered: Mutex::new(None) }
    }

    /// Takes in a finished poll.
    pub fn record(&self, report: &Report) {
        self.recorded.record(report);
        *self.rendered.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The exposition at `at`. `suspects` is `None` where watching is off.
    #[must_use]
    pub fn render(&self, state: &State, suspects: Option<&[Suspect]>, at: Timestamp) -> String {
        let now = snapshot::of_now(state, at);
        let mut rendered = self.rendered.lock().unwrap_or_else(PoisonError::into_inner);
        let of_polls = rendered.get_or_insert_with(|| {
            let mut families = self.recorded.gather();
            families.extend(snapshot::of_polls(state, self.options.expected_role.as_ref(), suspects));
            families.sort_by(|a, b| a.name().cmp(b.name()));
            encoded(String::new(), &families)
        });
        encoded(of_polls.clone(), &now)
    }
}

fn encoded(mut text: String, families: &[MetricFamily]) -> String {
    TextEncoder::new().encode_utf8(families, &mut text).expect("no family is empty, and a String takes all");
    text
}
