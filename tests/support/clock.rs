//! A clock that tests set.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use imds_exporter::platform::clock::{Clock, SystemClock, monotonic};
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// Wall time from an instant on, which advances with tokio's time (paused or not) and jumps on demand.
pub(crate) struct TestClock {
    epoch: Timestamp,
    created_at: Instant,
    jumped_seconds: AtomicI64,
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
        Arc::new(Self { epoch, created_at: monotonic(), jumped_seconds: AtomicI64::new(0) })
    }

    pub(crate) fn jump(&self, seconds: i64) {
        self.jumped_seconds.fetch_add(seconds, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let jumped = SignedDuration::from_secs(self.jumped_seconds.load(Ordering::Relaxed));
        let passed = SignedDuration::try_from(monotonic() - self.created_at).expect("a short test");
        self.epoch + passed + jumped
    }
}
