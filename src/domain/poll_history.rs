//! The polls of the last hour, for the status page.
//!
//! Owns a bounded queue of them. Must not know how they are shown.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::resolution::Failure;

/// How far back the history reaches.
pub const REACH: SignedDuration = SignedDuration::from_hours(1);

/// An hour of polls at the interval of an outage (5 s less jitter); shorter intervals reach back less far.
const KEPT: usize = 800;

/// One poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Poll {
    /// When it ended.
    pub at: Timestamp,
    /// How long it took.
    pub duration: Duration,
    /// Why it failed, if it did.
    pub failure: Option<Failure>,
}

/// The polls, oldest first.
#[derive(Clone, Debug, Default)]
pub struct PollHistory(VecDeque<Poll>);

impl PollHistory {
    pub(crate) fn push(&mut self, at: Timestamp, duration: Duration, failure: Option<Failure>) {
        // A wall clock that was set back leaves entries in the future; they are dropped like old ones.
        self.0.retain(|poll| poll.at <= at && poll.at.duration_until(at) <= REACH);
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(Poll { at, duration, failure });
    }

    /// The polls, oldest first.
    #[must_use]
    pub fn polls(&self) -> impl DoubleEndedIterator<Item = &Poll> + ExactSizeIterator {
        self.0.iter()
    }
}
