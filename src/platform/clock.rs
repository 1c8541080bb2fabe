//! The only place that asks for the time.
//!
//! Wall time (`Clock::now`) is for facts that are shown; it may jump. `monotonic` is for durations and deadlines; it
//! never jumps. Decisions elsewhere take the time as a parameter.

use jiff::Timestamp;
use tokio::time::Instant;

/// A source of wall time.
pub trait Clock: Send + Sync {
    /// Now, by the wall clock.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// Now, by the monotonic clock.
#[must_use]
pub fn monotonic() -> Instant {
    Instant::now()
}

/// Seconds since the Unix epoch.
#[must_use]
pub fn unix_seconds(at: Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
}
