//! When to poll next.
//!
//! Owns the intervals. Must not know timers or randomness: the jitter is passed in.

use std::time::Duration;

/// The shortest interval that may be configured.
pub const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// Time between polls while they fail, so that the end of an outage is known within seconds.
pub const WHILE_FAILING: Duration = Duration::from_secs(5);

/// The largest part of the interval by which a poll comes early or late, so that a fleet does not poll in step.
pub const MAX_JITTER: f64 = 0.1;

/// Intervals of silence after which the poll loop counts as dead.
const SILENT_INTERVALS: u32 = 5;

/// The time without a sign of the poll loop after which it counts as dead: a poll with many attempts may last longer than the
/// intervals.
pub(crate) fn silence_allowed(interval: Duration, longest_poll: Duration) -> Duration {
    (interval * SILENT_INTERVALS).max(longest_poll)
}

/// The time from the start of one poll to the start of the next. `jitter` is a random number between 0 and 1.
#[must_use]
pub fn delay(interval: Duration, failing: bool, jitter: f64) -> Duration {
    let base = if failing { interval.min(WHILE_FAILING) } else { interval };
    base.mul_f64(1.0 - MAX_JITTER + 2.0 * MAX_JITTER * jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_intervals_or_one_long_poll_may_be_silent() {
        let allowed = |interval, longest_poll| {
            silence_allowed(Duration::from_secs(interval), Duration::from_secs(longest_poll)).as_secs()
        };
        assert_eq!((allowed(15, 8), allowed(15, 76)), (75, 76));
    }

    #[test]
    fn polls_are_scheduled_at_the_interval_and_faster_while_they_fail() {
        let seconds = |interval, failing, jitter| delay(Duration::from_secs(interval), failing, jitter).as_secs_f64();
        for (interval, failing, jitter, expected) in [
            (15, false, 0.5, 15.0),
            (15, false, 0.0, 13.5),
            (15, false, 1.0, 16.5),
            (15, true, 0.5, 5.0),
            (2, true, 0.5, 2.0),
        ] {
            assert!((seconds(interval, failing, jitter) - expected).abs() < 1e-6);
        }
    }
}
