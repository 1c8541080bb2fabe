//! The heartbeat of the poll loop: when it last ran.
//!
//! By the monotonic clock, so that a jump of the wall clock has no effect.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Shared between the loop, which records, and those who ask whether it is alive.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    last: Arc<Mutex<Instant>>,
    silence_allowed: Duration,
}

impl Heartbeat {
    /// A heartbeat recorded at `at`, that may be silent for `silence_allowed`.
    #[must_use]
    pub fn new(at: Instant, silence_allowed: Duration) -> Self {
        Self { last: Arc::new(Mutex::new(at)), silence_allowed }
    }

    /// The loop ran at `at`.
    pub fn record(&self, at: Instant) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    /// How long it has been silent.
    pub(crate) fn silent_for(&self, at: Instant) -> Duration {
        at.saturating_duration_since(*self.last.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the loop is alive.
    #[must_use]
    pub fn is_alive(&self, at: Instant) -> bool {
        self.silent_for(at) <= self.silence_allowed
    }
}
