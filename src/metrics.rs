//! The metrics: the only module that knows Prometheus.
//!
//! Three parts, by when their values change: what is recorded as polls happen, what is read off the state after a
//! poll, and what is computed at the scrape. The first two are rendered once a poll; a scrape renders the third.

pub mod catalog;
mod live;
mod recorded;
mod snapshot;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use prometheus::TextEncoder;

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
    of_polls: Mutex<Option<Bytes>>,
}

impl Metrics {
    /// All counters at 0.
    #[must_use]
    pub fn new(options: Options, build: Build) -> Self {
        let recorded = Recorded::new(&options, build);
        Self { options, recorded, of_polls: Mutex::new(None) }
    }

    /// Takes in a finished poll.
    pub fn record(&self, report: &Report) {
        self.recorded.record(report);
        *self.of_polls() = None;
    }

    /// Renders what changes only with a poll, so that no scrape has to.
    pub fn prepare(&self, state: &State, suspects: Option<&[Suspect]>) {
        *self.of_polls() = Some(self.rendered(state, suspects));
    }

    /// The exposition at `at`, in parts, so that what was rendered at the poll is not copied. `suspects` is `None`
    /// where watching is off.
    #[must_use]
    pub fn parts(&self, state: &State, suspects: Option<&[Suspect]>, at: Timestamp) -> [Bytes; 2] {
        let of_polls = self.of_polls().get_or_insert_with(|| self.rendered(state, suspects)).clone();
        [of_polls, live::rendered(state, at).into()]
    }

    /// The exposition at `at` as one text.
    #[must_use]
    pub fn render(&self, state: &State, suspects: Option<&[Suspect]>, at: Timestamp) -> String {
        let parts = self.parts(state, suspects, at);
        parts.iter().map(|part| String::from_utf8_lossy(part)).collect()
    }

    fn of_polls(&self) -> MutexGuard<'_, Option<Bytes>> {
        self.of_polls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rendered(&self, state: &State, suspects: Option<&[Suspect]>) -> Bytes {
        let mut families = self.recorded.gather();
        families.extend(snapshot::families(state, self.options.expected_role.as_ref(), suspects));
        families.sort_by(|a, b| a.name().cmp(b.name()));
        let text = TextEncoder::new().encode_to_string(&families);
        text.expect("no family is empty, and a String takes all").into()
    }
}
