//! The pulse of the poll loop: when it last turned.
//!
//! By the monotonic clock, so that a wall clock that jumps neither kills nor revives the loop.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Shared between the loop, which beats, and those who ask whether it lives.
#[derive(Clone, Debug)]
pub struct Pulse {
    last: Arc<Mutex<Instant>>,
    silence_allowed: Duration,
}

impl Pulse {
    /// A pulse that beats at `at`, and that may be silent for `silence_allowed`.
    #[must_use]
    pub fn new(at: Instant, silence_allowed: Duration) -> Self {
        Self { last: Arc::new(Mutex::new(at)), silence_allowed }
    }

    /// The loop turned.
    pub fn beat(&self, at: Instant) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    /// How long it has been silent.
    #[must_use]
    pub fn silent_for(&self, at: Instant) -> Duration {
        at.saturating_duration_since(*self.last.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the loop turns.
    #[must_use]
    pub fn is_alive(&self, at: Instant) -> bool {
        self.silent_for(at) <= self.silence_allowed
    }
}
