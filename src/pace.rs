//! When to poll next.
//!
//! Owns the pace. Pure: jitter is passed in. Must not know timers or randomness.

use std::time::Duration;

/// The shortest interval that may be configured.
pub const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// Between polls while they fail, so that the end of an outage is known closely.
pub const WHILE_FAILING: Duration = Duration::from_secs(5);

/// The largest share of the interval by which a poll comes early or late, so that a fleet does not poll in step.
pub const JITTER: f64 = 0.1;

/// Intervals of silence after which the poll loop counts as dead.
pub const SILENT_INTERVALS: u32 = 5;

/// From the start of one poll to the start of the next. `dice` is between 0 and 1.
#[must_use]
pub fn delay(interval: Duration, failing: bool, dice: f64) -> Duration {
    let base = if failing { interval.min(WHILE_FAILING) } else { interval };
    base.mul_f64(1.0 - JITTER + 2.0 * JITTER * dice.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_come_at_the_interval_and_faster_while_failing() {
        let seconds = |interval, failing, dice| delay(Duration::from_secs(interval), failing, dice).as_secs_f64();
        for (interval, failing, dice, expected) in [
            (15, false, 0.5, 15.0),
            (15, false, 0.0, 13.5),
            (15, false, 1.0, 16.5),
            (15, true, 0.5, 5.0),
            (2, true, 0.5, 2.0),
        ] {
            assert!((seconds(interval, failing, dice) - expected).abs() < 1e-6);
        }
    }
}
