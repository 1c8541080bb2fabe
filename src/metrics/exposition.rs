//! The exposition: everything that a scrape returns.
//!
//! What changes only with a poll is rendered and compressed once per poll; a scrape renders the few values that change with
//! time.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use prometheus::TextEncoder;

use super::at_scrape;
use super::build_info::Build;
use super::counters::Counters;
use super::gauges;
use super::gzip::{Beginning, Compressor};
use crate::domain::RoleName;
use crate::domain::signed_call::SignedCall;
use crate::domain::state::{PollReport, State};
use crate::workload::Watched;

/// The Content-Type of an exposition.
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

/// How an exposition is encoded for the way to the client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Encoding {
    /// As text.
    Identity,
    /// Compressed.
    Gzip,
}

/// All metrics of one exporter.
pub struct Metrics {
    options: Options,
    counters: Counters,
    /// The part that changes only with a poll; `None` until it is rendered again.
    rendered_at_poll: Mutex<Option<AtPoll>>,
    compressor: Mutex<Compressor>,
}

impl Metrics {
    /// All counters at 0.
    #[must_use]
    pub fn new(options: Options, build: Build) -> Self {
        let counters = Counters::new(options.poll_interval, options.process_metrics, build);
        Self { options, counters, rendered_at_poll: Mutex::new(None), compressor: Mutex::new(Compressor::new()) }
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
        *self.rendered_at_poll() = None;
    }

    /// Counts a finished signed call.
    pub fn record_signed_call(&self, call: &SignedCall) {
        self.counters.record_signed_call(call);
        *self.rendered_at_poll() = None;
    }

    /// Renders and compresses what changes only with a poll, so that no scrape has to.
    pub fn prepare(&self, state: &State, watched: Option<&Watched>, at: Timestamp) {
        let mut at_poll = AtPoll::new(self.render_at_poll(state, watched));
        at_poll.compress(AtScrape::new(state, at).rarely_changes(), &self.compressor);
        *self.rendered_at_poll() = Some(at_poll);
    }

    /// The exposition at `at`. `watched` is `None` if processes are not watched.
    #[must_use]
    pub fn render(&self, state: &State, watched: Option<&Watched>, at: Timestamp) -> String {
        self.with_parts(state, watched, at, |at_poll, at_scrape| [at_poll.text.as_str(), &at_scrape.text].concat())
    }

    /// As [`Self::render`], in this encoding.
    #[must_use]
    pub fn encode(&self, state: &State, watched: Option<&Watched>, at: Timestamp, encoding: Encoding) -> Vec<u8> {
        match encoding {
            Encoding::Identity => self.render(state, watched, at).into_bytes(),
            Encoding::Gzip => self.with_parts(state, watched, at, |at_poll, at_scrape| {
                at_poll.compress(at_scrape.rarely_changes(), &self.compressor).followed_by(at_scrape.always_changes())
            }),
        }
    }

    fn with_parts<T>(
        &self,
        state: &State,
        watched: Option<&Watched>,
        at: Timestamp,
        encode: impl FnOnce(&mut AtPoll, &AtScrape) -> T,
    ) -> T {
        let at_scrape = AtScrape::new(state, at);
        let mut rendered = self.rendered_at_poll();
        encode(rendered.get_or_insert_with(|| AtPoll::new(self.render_at_poll(state, watched))), &at_scrape)
    }

    fn rendered_at_poll(&self) -> MutexGuard<'_, Option<AtPoll>> {
        self.rendered_at_poll.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn render_at_poll(&self, state: &State, watched: Option<&Watched>) -> String {
        let mut families = self.counters.gather();
        families.extend(gauges::families(state, self.options.expected_role.as_ref(), watched));
        families.sort_by(|a, b| a.name().cmp(b.name()));
        TextEncoder::new().encode_to_string(&families).expect("no family is empty, and a String takes all")
    }
}

/// What changes only with a poll.
struct AtPoll {
    text: String,
    compressed: Option<Compressed>,
}

/// The text of a poll, compressed together with what followed it then.
struct Compressed {
    followed_by: String,
    beginning: Beginning,
}

impl AtPoll {
    fn new(text: String) -> Self {
        Self { text, compressed: None }
    }

    /// The text and what follows it, compressed now unless that was done before.
    fn compress(&mut self, followed_by: &str, compressor: &Mutex<Compressor>) -> &Beginning {
        let current = self.compressed.take().filter(|compressed| compressed.followed_by == followed_by);
        let compress = || {
            let mut compressor = compressor.lock().unwrap_or_else(PoisonError::into_inner);
            let beginning = compressor.compress([&self.text, followed_by]);
            Compressed { followed_by: followed_by.to_owned(), beginning }
        };
        let compressed = current.unwrap_or_else(compress);
        &self.compressed.insert(compressed).beginning
    }
}

/// What changes with time.
struct AtScrape {
    text: String,
    /// Where the last value begins.
    last_value: usize,
}

impl AtScrape {
    fn new(state: &State, at: Timestamp) -> Self {
        let text = at_scrape::families(state, at);
        let last_value = text.rfind(' ').map_or(0, |space| space + 1);
        Self { text, last_value }
    }

    /// Most of it is the same at the next scrape.
    fn rarely_changes(&self) -> &str {
        &self.text[..self.last_value]
    }

    /// The last value is the time that is left.
    fn always_changes(&self) -> &str {
        &self.text[self.last_value..]
    }
}
