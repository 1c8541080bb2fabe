//! A clock that tests set.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use imds_exporter::domain::SinceBoot;
use imds_exporter::platform::clock::{Clock, SystemClock, monotonic};
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// Time from an instant on, which passes with tokio's time (paused or not) and on demand. Its wall clock can be set.
pub(crate) struct TestClock {
    epoch: Timestamp,
    created_at: Instant,
    advanced_seconds: AtomicI64,
    set_seconds: AtomicI64,
}

impl TestClock {
    pub(crate) fn new(epoch: &str) -> Arc<Self> {
        Self::from(epoch.parse().expect("an instant"))
    }

    /// A clock that shows the real time until it jumps.
    pub(crate) fn from_now() -> Arc<Self> {
        Self::from(SystemClock.now())
    }

    fn from(epoch: Timestamp) -> Arc<Self> {
        Arc::new(Self {
            epoch,
            created_at: monotonic(),
            advanced_seconds: AtomicI64::new(0),
            set_seconds: AtomicI64::new(0),
        })
    }

    /// Time passes.
    pub(crate) fn advance(&self, seconds: i64) {
        self.advanced_seconds.fetch_add(seconds, Ordering::Relaxed);
    }

    /// The wall clock is set by so much, forward or back.
    pub(crate) fn set_by(&self, seconds: i64) {
        self.set_seconds.fetch_add(seconds, Ordering::Relaxed);
    }

    fn passed(&self) -> SignedDuration {
        let advanced = SignedDuration::from_secs(self.advanced_seconds.load(Ordering::Relaxed));
        SignedDuration::try_from(monotonic() - self.created_at).expect("a short test") + advanced
    }
}

/// How long the machine had run when the test began.
const UPTIME: SignedDuration = SignedDuration::from_hours(24);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        self.epoch + self.passed() + SignedDuration::from_secs(self.set_seconds.load(Ordering::Relaxed))
    }

    fn since_boot(&self) -> SinceBoot {
        SinceBoot(UPTIME + self.passed())
    }
}
