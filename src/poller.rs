//! The poll loop's turn: wait, resolve, measure, take in.
//!
//! Must not know metrics, logs, pages or which source there is.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::clock::{Clock, monotonic};
use crate::pace;
use crate::pulse::Pulse;
use crate::source::Source;
use crate::state::{Report, Shared};

/// Polls a source on its own clock.
pub struct Poller<S> {
    source: S,
    clock: Arc<dyn Clock>,
    state: Shared,
    pulse: Pulse,
    interval: Duration,
    due: Instant,
}

impl<S: Source> Poller<S> {
    /// The first poll is due at once.
    pub fn new(source: S, clock: Arc<dyn Clock>, state: Shared, interval: Duration) -> Self {
        let now = monotonic();
        let pulse = Pulse::new(now, interval * pace::SILENT_INTERVALS);
        Self { source, clock, state, pulse, interval, due: now }
    }

    /// The loop's pulse.
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// Waits until a poll is due and makes it. May be dropped at any time.
    pub async fn turn(&mut self) -> Report {
        sleep_until(self.due).await;
        let began = monotonic();
        self.pulse.beat(began);
        let resolution = self.source.resolve().await;
        let ended = monotonic();
        self.pulse.beat(ended);

        let (at, duration) = (self.clock.now(), ended - began);
        let change = self.state.lock().record(&resolution, duration, at);
        self.due = began + pace::delay(self.interval, resolution.outcome.is_err(), fastrand::f64());
        Report { at, duration, resolution, change }
    }
}
