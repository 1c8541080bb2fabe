//! The polls of the last hour, for the status page.
//!
//! Owns a bounded queue of them. Must not know how they are shown.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::moment::SinceBoot;
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

/// The polls, oldest first: when each ended, since the boot, so that a wall clock that is set loses none.
#[derive(Clone, Debug, Default)]
pub struct PollHistory(VecDeque<(SinceBoot, Duration, Option<Failure>)>);

impl PollHistory {
    pub(crate) fn push(&mut self, at: SinceBoot, duration: Duration, failure: Option<Failure>) {
        self.0.retain(|(ended, ..)| at.0 - ended.0 <= REACH);
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back((at, duration, failure));
    }

    /// The polls, oldest first, by the wall clock of a machine that booted at `booted_at`.
    #[must_use]
    pub fn polls(&self, booted_at: Timestamp) -> impl DoubleEndedIterator<Item = Poll> + ExactSizeIterator {
        self.0.iter().map(move |&(at, duration, failure)| Poll { at: at.wall(booted_at), duration, failure })
    }
}
