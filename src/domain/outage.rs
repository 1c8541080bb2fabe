//! Outages: failed polls in a row, and the time windows that they cover.
//!
//! Owns the arithmetic of windows. Those of this boot are kept in the time since the boot, so that no clock that is set
//! changes them. Must not know why polls failed.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::moment::SinceBoot;

/// The number of past outages that are kept.
pub const KEPT: usize = 16;

/// The window of an outage that is over: from the last success before it to the first success after it, so that it
/// contains every moment at which credentials may have been unavailable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outage<T = Timestamp> {
    /// The last success before the outage, or the exporter's start where there was none.
    pub start: T,
    /// The first success after it, or the end of the boot.
    pub end: T,
}

impl Outage<SinceBoot> {
    /// The same window by the wall clock, where the machine booted at `booted_at`.
    #[must_use]
    pub fn wall(self, booted_at: Timestamp) -> Outage {
        Outage { start: self.start.wall(booted_at), end: self.end.wall(booted_at) }
    }
}

/// The outages that the history of polls shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outages {
    /// Of earlier boots, oldest first.
    earlier_boots: Vec<Outage>,
    /// Of this boot, oldest first.
    past: VecDeque<Outage<SinceBoot>>,
    /// The last success, or the exporter's start: where an outage that begins now starts.
    last_success: SinceBoot,
    ongoing_since: Option<SinceBoot>,
    started_total: u64,
}

impl Outages {
    /// No outage yet; one that begins at once starts at `started_at`.
    #[must_use]
    pub fn new(started_at: SinceBoot) -> Self {
        let (earlier_boots, past) = (Vec::new(), VecDeque::new());
        Self { earlier_boots, past, last_success: started_at, ongoing_since: None, started_total: 0 }
    }

    /// After those of earlier boots, oldest first.
    pub(crate) fn after_earlier_boots(mut self, mut outages: Vec<Outage>) -> Self {
        outages.drain(..outages.len().saturating_sub(KEPT));
        self.earlier_boots = outages;
        self
    }

    /// What an earlier run of the exporter saw in this boot: `last_success` is its last successful poll, `ongoing_since` the
    /// start of the outage that it was in. Windows that overlap, are out of order or end later than `now` are not taken:
    /// `None`.
    #[must_use]
    pub fn restored(
        last_success: SinceBoot,
        ongoing_since: Option<SinceBoot>,
        outages: &[Outage<SinceBoot>],
        now: SinceBoot,
    ) -> Option<Self> {
        let ordered = outages.iter().all(|outage| outage.start <= outage.end)
            && outages.windows(2).all(|pair| pair[0].end <= pair[1].start);
        let last_end = outages.last().map_or(SinceBoot::default(), |outage| outage.end);
        let after_last = last_success >= last_end && ongoing_since.is_none_or(|start| start >= last_end);
        let in_the_past = last_success <= now && ongoing_since.is_none_or(|start| start <= now);
        let past = outages.iter().rev().take(KEPT).rev().copied().collect();
        (ordered && after_last && in_the_past).then_some(Self { past, ongoing_since, ..Self::new(last_success) })
    }

    /// Records a poll that ended at `at`. Returns the window of the outage that it ended.
    pub fn record(&mut self, success: bool, at: SinceBoot) -> Option<Outage<SinceBoot>> {
        if !success {
            if self.ongoing_since.is_none() {
                self.ongoing_since = Some(self.last_success);
                self.started_total += 1;
            }
            return None;
        }
        let ended = self.ongoing_since.take().map(|start| Outage { start, end: at });
        if let Some(outage) = ended {
            if self.past.len() == KEPT {
                self.past.pop_front();
            }
            self.past.push_back(outage);
        }
        self.last_success = at;
        ended
    }

    /// The start of the present outage.
    #[must_use]
    pub fn ongoing_since(&self) -> Option<SinceBoot> {
        self.ongoing_since
    }

    /// The last success, or the exporter's start before any.
    #[must_use]
    pub fn last_success(&self) -> SinceBoot {
        self.last_success
    }

    /// The outages of this boot that are over, oldest first, at most [`KEPT`].
    #[must_use]
    pub fn past(&self) -> impl DoubleEndedIterator<Item = &Outage<SinceBoot>> + ExactSizeIterator {
        self.past.iter()
    }

    /// The outages of earlier boots, oldest first, at most [`KEPT`].
    pub(crate) fn earlier_boots(&self) -> &[Outage] {
        &self.earlier_boots
    }

    /// All outages that are over, oldest first, at most [`KEPT`], where the machine booted at `booted_at`.
    #[must_use]
    pub fn all_past(&self, booted_at: Timestamp) -> Vec<Outage> {
        let of_this_boot = self.past.iter().map(|outage| outage.wall(booted_at));
        let mut all: Vec<_> = self.earlier_boots.iter().copied().chain(of_this_boot).collect();
        all.drain(..all.len().saturating_sub(KEPT));
        all
    }

    /// Outages that started since this exporter started.
    #[must_use]
    pub fn started_total(&self) -> u64 {
        self.started_total
    }
}

#[cfg(test)]
mod tests {
    use super::super::moment::test::{at as wall, since_boot as at};
    use super::*;

    fn history(polls: &[(bool, i64)]) -> Outages {
        let mut outages = Outages::new(at(100));
        for &(success, second) in polls {
            outages.record(success, at(second));
        }
        outages
    }

    fn seconds(outages: &Outages) -> Vec<(i64, i64)> {
        outages.past().map(|outage| (outage.start.0.as_secs(), outage.end.0.as_secs())).collect()
    }

    #[test]
    fn a_window_reaches_from_the_success_before_to_the_success_after() {
        let outages = history(&[(true, 101), (true, 115), (false, 130), (false, 135), (true, 140), (true, 155)]);
        assert_eq!(seconds(&outages), [(115, 140)]);
        assert_eq!((outages.ongoing_since(), outages.started_total()), (None, 1));
    }

    #[test]
    fn an_outage_at_birth_starts_with_the_exporter() {
        let mut outages = history(&[(false, 101), (false, 106)]);
        assert_eq!((outages.ongoing_since(), outages.started_total()), (Some(at(100)), 1));
        assert_eq!(outages.record(true, at(111)), Some(Outage { start: at(100), end: at(111) }));
    }

    #[test]
    fn the_last_sixteen_are_kept_whichever_boot_they_were_in() {
        let polls: Vec<_> = (0..40).map(|n| (n % 2 == 1, 200 + i64::from(n))).collect();
        let earlier: Vec<_> = (0..20).map(|n| Outage { start: wall(n), end: wall(n) }).collect();
        let outages = history(&polls).after_earlier_boots(earlier);
        assert_eq!((outages.past().len(), outages.started_total()), (KEPT, 20));
        assert_eq!(outages.earlier_boots().len(), KEPT);
        let all = outages.all_past(wall(1_000));
        assert_eq!((all.len(), all.last().map(|outage| outage.end)), (KEPT, Some(wall(1_239))));
        let few = history(&polls[..4]).after_earlier_boots(vec![Outage { start: wall(1), end: wall(2) }]);
        let ends: Vec<_> = few.all_past(wall(1_000)).iter().map(|outage| outage.end).collect();
        assert_eq!(ends, [wall(2), wall(1_201), wall(1_203)]);
    }

    #[test]
    fn only_windows_in_order_and_in_the_past_are_restored() {
        let outage = |start, end| Outage { start: at(start), end: at(end) };
        let restored = |last_success, ongoing_since: Option<i64>, outages: &[_]| {
            Outages::restored(at(last_success), ongoing_since.map(at), outages, at(60))
        };
        let whole = restored(50, Some(40), &[outage(1, 2), outage(2, 4)]).expect("it is in order");
        assert_eq!((whole.last_success(), whole.ongoing_since()), (at(50), Some(at(40))));
        assert!(restored(60, Some(60), &[]).is_some());
        assert!(restored(50, None, &[outage(1, 3), outage(2, 4)]).is_none());
        assert!(restored(50, None, &[outage(3, 1)]).is_none());
        assert!(restored(3, None, &[outage(1, 4)]).is_none());
        assert!(restored(5, Some(3), &[outage(1, 4)]).is_none());
        assert!(restored(61, None, &[]).is_none());
        assert!(restored(50, Some(61), &[]).is_none());
    }

    #[test]
    fn windows_are_ordered_apart_and_counted() {
        for seed in 0..256 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut outages = Outages::new(at(0));
            let (mut ended, mut now) = (Vec::new(), 0);
            for _ in 0..random.usize(..400) {
                now += random.i64(0..1_000);
                ended.extend(outages.record(random.bool(), at(now)));
                let started = ended.len() + usize::from(outages.ongoing_since().is_some());
                assert_eq!(outages.started_total(), started as u64, "{seed}");
                let kept: Vec<_> = outages.past().copied().collect();
                assert_eq!(kept, ended[ended.len().saturating_sub(KEPT)..], "{seed}");
                assert!(kept.iter().all(|outage| outage.start <= outage.end), "{seed}");
                assert!(kept.windows(2).all(|pair| pair[0].end <= pair[1].start), "{seed}");
                assert!(outages.last_success() <= at(now), "{seed}");
                assert!(outages.ongoing_since().is_none_or(|start| start <= at(now)), "{seed}");
            }
            let kept: Vec<_> = outages.past().copied().collect();
            let restored = Outages::restored(outages.last_success(), outages.ongoing_since(), &kept, at(now));
            assert_eq!(restored.map(|restored| seconds(&restored)), Some(seconds(&outages)), "{seed}");
        }
    }
}
