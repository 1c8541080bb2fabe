//! Outages: failed polls in a row, and the time windows that they cover.
//!
//! Owns the arithmetic of windows. Must not know why polls failed.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// The number of windows that are kept.
pub const KEPT: usize = 16;

/// The window of an outage that is over: from the last success before it to the first success after it, so that it
/// contains every moment at which credentials may have been unavailable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// The last success before the outage, or the exporter's start where there was none.
    pub start: Timestamp,
    /// The first success after it.
    pub end: Timestamp,
}

/// The outages that the history of polls shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outages {
    /// The last success, or the exporter's start: where an outage that begins now starts.
    last_success: Timestamp,
    open: Option<Timestamp>,
    ended: VecDeque<Window>,
    begun: u64,
}

impl Outages {
    /// No outage yet; one that begins at once starts at `started_at`.
    #[must_use]
    pub fn new(started_at: Timestamp) -> Self {
        Self { last_success: started_at, open: None, ended: VecDeque::new(), begun: 0 }
    }

    /// What an earlier run of the exporter saved: `last_success` is its last successful poll, `open` the start of the
    /// outage that it was in. Windows that overlap or are out of order are not taken: `None`.
    #[must_use]
    pub fn restored(last_success: Timestamp, open: Option<Timestamp>, windows: &[Window]) -> Option<Self> {
        let ordered = windows.iter().all(|window| window.start <= window.end)
            && windows.windows(2).all(|pair| pair[0].end <= pair[1].start);
        let last_end = windows.last().map_or(Timestamp::MIN, |window| window.end);
        let after_last = last_success >= last_end && open.is_none_or(|start| start >= last_end);
        let ended = windows.iter().rev().take(KEPT).rev().copied().collect();
        (ordered && after_last).then_some(Self { last_success, open, ended, begun: 0 })
    }

    /// Ends the present outage at `at`, and forgets the last success: the machine has booted since.
    #[must_use]
    pub fn ended_with_boot(mut self, at: Timestamp, started_at: Timestamp) -> Self {
        if let Some(start) = self.open.take() {
            self.push(Window { start, end: at.max(start) });
        }
        let last_end = self.last().map_or(Timestamp::MIN, |window| window.end);
        self.last_success = started_at.max(last_end);
        self
    }

    fn push(&mut self, window: Window) {
        if self.ended.len() == KEPT {
            self.ended.pop_front();
        }
        self.ended.push_back(window);
    }

    /// Records a poll that ended at `at`. Returns the window of the outage that it ended.
    ///
    /// A wall clock that was set back moves everything that was recorded by the same time, so that no window lies in the
    /// future and none overlap.
    pub fn record(&mut self, success: bool, at: Timestamp) -> Option<Window> {
        let latest = self.open.unwrap_or(self.last_success).max(self.last_success);
        if at < latest {
            self.shift(at.duration_until(latest));
        }
        if !success {
            if self.open.is_none() {
                self.open = Some(self.last_success);
                self.begun += 1;
            }
            return None;
        }
        let ended = self.open.take().map(|start| Window { start, end: at });
        if let Some(window) = ended {
            self.push(window);
        }
        self.last_success = at;
        ended
    }

    /// Moves everything into the past by `by`.
    fn shift(&mut self, by: SignedDuration) {
        let earlier = |at: Timestamp| at.checked_sub(by).unwrap_or(Timestamp::MIN);
        self.last_success = earlier(self.last_success);
        self.open = self.open.map(earlier);
        for window in &mut self.ended {
            *window = Window { start: earlier(window.start), end: earlier(window.end) };
        }
    }

    /// The start of the present outage.
    #[must_use]
    pub fn open(&self) -> Option<Timestamp> {
        self.open
    }

    /// The last success, or the exporter's start before any.
    #[must_use]
    pub fn last_success(&self) -> Timestamp {
        self.last_success
    }

    /// The outages that are over, oldest first, at most [`KEPT`].
    #[must_use]
    pub fn ended(&self) -> impl DoubleEndedIterator<Item = &Window> + ExactSizeIterator {
        self.ended.iter()
    }

    /// The last outage that is over.
    #[must_use]
    pub fn last(&self) -> Option<&Window> {
        self.ended.back()
    }

    /// Outages begun since this exporter started.
    #[must_use]
    pub fn begun(&self) -> u64 {
        self.begun
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a small number of seconds")
    }

    fn history(polls: &[(bool, i64)]) -> Outages {
        let mut outages = Outages::new(at(100));
        for &(success, second) in polls {
            outages.record(success, at(second));
        }
        outages
    }

    fn windows(outages: &Outages) -> Vec<(i64, i64)> {
        outages.ended().map(|window| (window.start.as_second(), window.end.as_second())).collect()
    }

    #[test]
    fn a_window_reaches_from_the_success_before_to_the_success_after() {
        let outages = history(&[(true, 101), (true, 115), (false, 130), (false, 135), (true, 140), (true, 155)]);
        assert_eq!(windows(&outages), [(115, 140)]);
        assert_eq!((outages.open(), outages.begun()), (None, 1));
    }

    #[test]
    fn an_outage_at_birth_starts_with_the_exporter() {
        let mut outages = history(&[(false, 101), (false, 106)]);
        assert_eq!((outages.open(), outages.begun()), (Some(at(100)), 1));
        assert_eq!(outages.record(true, at(111)), Some(Window { start: at(100), end: at(111) }));
    }

    #[test]
    fn a_clock_that_was_set_back_moves_the_windows_with_it() {
        let outages =
            history(&[(true, 200), (false, 215), (true, 220), (false, 50), (true, 55), (false, 60), (true, 65)]);
        assert_eq!(windows(&outages), [(30, 50), (50, 55), (55, 65)]);
    }

    #[test]
    fn an_outage_ends_with_the_boot_that_it_was_in() {
        let outages = history(&[(true, 101), (false, 115), (false, 120)]).ended_with_boot(at(120), at(9_000));
        assert_eq!(windows(&outages), [(101, 120)]);
        assert_eq!((outages.open(), outages.last_success()), (None, at(9_000)));
        let outages = history(&[(true, 101)]).ended_with_boot(at(120), at(9_000));
        assert_eq!((windows(&outages).len(), outages.last_success()), (0, at(9_000)));
    }

    #[test]
    fn the_last_sixteen_are_kept() {
        let polls: Vec<_> = (0..40).map(|n| (n % 2 == 1, 200 + i64::from(n))).collect();
        let outages = history(&polls);
        assert_eq!((outages.ended().len(), outages.begun()), (KEPT, 20));
        assert_eq!(outages.last().map(|window| window.end), Some(at(239)));
    }

    #[test]
    fn only_windows_in_order_are_restored() {
        let window = |start, end| Window { start: at(start), end: at(end) };
        assert!(Outages::restored(at(50), None, &[window(1, 2), window(2, 4)]).is_some());
        assert!(Outages::restored(at(50), None, &[window(1, 3), window(2, 4)]).is_none());
        assert!(Outages::restored(at(50), None, &[window(3, 1)]).is_none());
        assert!(Outages::restored(at(3), None, &[window(1, 4)]).is_none());
        assert!(Outages::restored(at(5), Some(at(3)), &[window(1, 4)]).is_none());
    }

    proptest! {
        #[test]
        fn windows_are_ordered_apart_and_counted(polls in prop::collection::vec((any::<bool>(), -1_000_i64..100_000), 0..400)) {
            let length = |window: Window| window.start.duration_until(window.end);
            let mut outages = Outages::new(at(0));
            let mut lengths = Vec::new();
            for (success, second) in polls {
                lengths.extend(outages.record(success, at(second)).map(length));
                prop_assert_eq!(outages.begun(), (lengths.len() + usize::from(outages.open().is_some())) as u64);
                let kept: Vec<_> = outages.ended().copied().collect();
                prop_assert!(kept.len() <= KEPT);
                // In order, apart, and not in the future, also by a clock that was set back.
                prop_assert!(kept.iter().all(|window| window.start <= window.end));
                prop_assert!(kept.windows(2).all(|pair| pair[0].end <= pair[1].start));
                let last_end = kept.last().map_or(Timestamp::MIN, |window| window.end);
                prop_assert!(outages.open().is_none_or(|start| last_end <= start && start <= at(second)));
                prop_assert!(last_end <= outages.last_success() && outages.last_success() <= at(second));
                let of_kept: Vec<_> = kept.into_iter().map(length).collect();
                prop_assert_eq!(&of_kept[..], &lengths[lengths.len() - of_kept.len()..]);
            }
            let kept: Vec<_> = outages.ended().copied().collect();
            let restored = Outages::restored(outages.last_success(), outages.open(), &kept);
            prop_assert_eq!(restored.map(|r| windows(&r)), Some(windows(&outages)));
        }
    }
}
