//! The next poll: wait, resolve, measure, record.
//!
//! Must not know metrics, logs, pages or which source is polled.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::domain::schedule;
use crate::domain::state::{PollReport, Shared};
use crate::domain::{Signing, Source};
use crate::platform::clock::{Clock, monotonic};
use crate::platform::heartbeat::Heartbeat;

/// Polls a source on its own schedule.
pub struct Poller<S> {
    source: S,
    clock: Arc<dyn Clock>,
    state: Shared,
    heartbeat: Heartbeat,
    interval: Duration,
    due: Instant,
}

impl<S: Source> Poller<S> {
    /// The first poll is due at once. None takes longer than `longest_poll`.
    pub fn new(source: S, clock: Arc<dyn Clock>, state: Shared, interval: Duration, longest_poll: Duration) -> Self {
        let now = monotonic();
        let heartbeat = Heartbeat::new(now, schedule::silence_allowed(interval, longest_poll));
        Self { source, clock, state, heartbeat, interval, due: now }
    }

    /// The heartbeat of the loop.
    #[must_use]
    pub fn heartbeat(&self) -> Heartbeat {
        self.heartbeat.clone()
    }

    /// Waits until a poll is due, and polls. May be cancelled at any time. `record_metrics` gets the report while the state is locked, so
    /// that nobody sees the one without the other. If a signed call is due, what it needs is returned, too.
    pub async fn next_poll(&mut self, record_metrics: impl FnOnce(&PollReport)) -> (PollReport, Option<Signing>) {
        sleep_until(self.due).await;
        let began = monotonic();
        self.heartbeat.record(began);
        let now = self.clock.moment().since_boot;
        let sign = {
            let state = self.state.lock();
            state.signed_calls().is_some_and(|calls| calls.is_due(state.credential(), now))
        };
        let (resolution, signing) =
            if sign { self.source.resolve_to_sign().await } else { (self.source.resolve().await, None) };
        let ended = monotonic();
        self.heartbeat.record(ended);

        let (at, duration) = (self.clock.moment(), ended - began);
        self.due = began + schedule::delay(self.interval, resolution.outcome.is_err(), fastrand::f64());
        let mut state = self.state.lock();
        let change = state.record(&resolution, duration, at);
        let report = PollReport { at: at.wall, duration, resolution, change };
        record_metrics(&report);
        (report, signing)
    }
}
