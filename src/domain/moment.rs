//! A moment, by two clocks.
//!
//! The wall clock can be set, forward and back: it is for display, for what outlives a boot, and for what boto3 compares with
//! it. The time since the boot cannot be set: windows of outages and starts of processes are kept in it.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// The time since the machine booted, suspension included.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct SinceBoot(pub SignedDuration);

impl SinceBoot {
    /// The same moment by the wall clock, where the machine booted at `booted_at`.
    #[must_use]
    pub fn wall(self, booted_at: Timestamp) -> Timestamp {
        booted_at.saturating_add(self.0).expect("a duration never fails")
    }
}

/// A moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// By the wall clock.
    pub wall: Timestamp,
    /// Since the machine booted.
    pub since_boot: SinceBoot,
}

impl Moment {
    /// When the machine booted, by the present wall clock.
    #[must_use]
    pub fn booted_at(&self) -> Timestamp {
        SinceBoot(-self.since_boot.0).wall(self.wall)
    }
}

impl From<Timestamp> for Moment {
    /// On a machine that booted at the Unix epoch, and whose wall clock was never set.
    fn from(wall: Timestamp) -> Self {
        Self { wall, since_boot: SinceBoot(wall.as_duration()) }
    }
}

/// For tests: moments of a machine that booted at the Unix epoch.
#[cfg(test)]
pub(crate) mod test {
    use super::*;

    pub(crate) fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a small number of seconds")
    }

    pub(crate) fn since_boot(second: i64) -> SinceBoot {
        Moment::from(at(second)).since_boot
    }
}
