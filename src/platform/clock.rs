//! The only place that asks for the time.
//!
//! Wall time (`Clock::now`) is for facts that are shown; it may jump. The time since the boot (`CLOCK_BOOTTIME`, to
//! which starts of processes belong) and `monotonic`, which is for durations and deadlines, never jump. Decisions elsewhere take the time as a parameter.

use jiff::{SignedDuration, Timestamp};
use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

use crate::domain::{Moment, SinceBoot};

/// A source of wall time and of the time since the boot.
pub trait Clock: Send + Sync {
    /// Now, by the wall clock.
    fn now(&self) -> Timestamp;

    /// Now, since the machine booted.
    fn since_boot(&self) -> SinceBoot;

    /// Now, by both.
    fn moment(&self) -> Moment {
        Moment { wall: self.now(), since_boot: self.since_boot() }
    }
}

/// The machine's clock.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn since_boot(&self) -> SinceBoot {
        let now = clock_gettime(ClockId::Boottime);
        let nanoseconds = i32::try_from(now.tv_nsec).unwrap_or_default();
        SinceBoot(SignedDuration::new(now.tv_sec, nanoseconds))
    }
}

/// Now, by the monotonic clock.
#[must_use]
pub fn monotonic() -> Instant {
    Instant::now()
}

/// Seconds since the Unix epoch.
pub(crate) fn unix_seconds(at: Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
}
