//! A time limit as a socket's time-out in Python: it begins anew with each read, and a starved exporter does not report a
//! failure of IMDS. Time in which this process did not get the CPU does not count, and once the time is up, the runtime gets a
//! few turns to deliver what has arrived.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::timeout;

use crate::platform::clock::monotonic;

/// A limit is waited for in parts.
const PART: Duration = Duration::from_millis(10);

/// A part that takes longer than this was not waiting for IMDS, but for the CPU.
const LONGEST_PART: Duration = Duration::from_millis(20);

/// In limits: how long an answer may take whose parts all come in time.
pub(super) const LONGEST_ANSWER: u32 = 10;

/// Turns of the runtime in which what has arrived is delivered.
const LAST_TURNS: u32 = 8;

/// Why there is no output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OutOfTime {
    /// Nothing came for as long as the limit.
    Silent,
    /// Something came all the time, but the whole took too long.
    TooSlow,
}

/// The output of the future, if it comes before `limit` passes without a read; `reads` counts these.
pub(super) async fn within<F: Future + ?Sized>(
    limit: Duration,
    reads: &AtomicUsize,
    mut future: Pin<&mut F>,
) -> Result<F::Output, OutOfTime> {
    let (mut left, mut left_in_all) = (limit, limit * LONGEST_ANSWER);
    let mut seen = reads.load(Ordering::Relaxed);
    while !left.is_zero() && !left_in_all.is_zero() {
        let began = monotonic();
        if let Ok(output) = timeout(left.min(PART), future.as_mut()).await {
            return Ok(output);
        }
        let spent = (monotonic() - began).min(LONGEST_PART);
        let seen_before = std::mem::replace(&mut seen, reads.load(Ordering::Relaxed));
        left = if seen == seen_before { left.saturating_sub(spent) } else { limit };
        left_in_all = left_in_all.saturating_sub(spent);
    }
    for _ in 0..LAST_TURNS {
        tokio::select! {
            biased;
            output = future.as_mut() => return Ok(output),
            () = yield_now() => {}
        }
    }
    Err(if left.is_zero() { OutOfTime::Silent } else { OutOfTime::TooSlow })
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use tokio::time::{advance, sleep};

    use super::*;

    const LIMIT: Duration = Duration::from_millis(100);

    fn milliseconds(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_counts_until_the_limit() {
        let none = AtomicUsize::new(0);
        let after = async |delay| within(LIMIT, &none, pin!(sleep(milliseconds(delay))).as_mut()).await;
        for delay in [0, 15, 90] {
            assert_eq!(after(delay).await, Ok(()));
        }
        for delay in [110, 10_000] {
            let began = monotonic();
            assert_eq!(after(delay).await, Err(OutOfTime::Silent));
            assert!((LIMIT..LIMIT + PART * 2).contains(&(monotonic() - began)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_limit_begins_anew_with_each_read_but_not_for_ever() {
        let reads = AtomicUsize::new(0);
        let drip = async |count, pause| {
            for _ in 0..count {
                sleep(milliseconds(pause)).await;
                reads.fetch_add(1, Ordering::Relaxed);
            }
        };
        assert_eq!(within(LIMIT, &reads, pin!(drip(4, 60)).as_mut()).await, Ok(()));
        assert_eq!(within(LIMIT, &reads, pin!(drip(4, 130)).as_mut()).await, Err(OutOfTime::Silent));
        assert_eq!(within(LIMIT, &reads, pin!(drip(40, 60)).as_mut()).await, Err(OutOfTime::TooSlow));
    }

    #[tokio::test(start_paused = true)]
    async fn time_without_the_cpu_does_not_count() {
        let mut answer = pin!(async {
            for _ in 0..4 {
                advance(Duration::from_secs(1)).await;
                sleep(milliseconds(1)).await;
            }
        });
        assert_eq!(within(LIMIT, &AtomicUsize::new(0), answer.as_mut()).await, Ok(()));
    }
}
