//! The schedule of polls and the health that follows from it, in paused time with fake sources.

use std::sync::Arc;
use std::time::Duration;

use imds_exporter::domain::state::{Shared, State, WorkloadEnvironment};
use imds_exporter::domain::{Kind, Source, Step};
use imds_exporter::exporter::poll_loop::Poller;
use imds_exporter::platform::clock::{Clock, monotonic};
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::{advance, timeout};

use crate::support::clock::TestClock;
use crate::support::source::{FakeSource, START, SentSource, failed, success};

const INTERVAL: Duration = Duration::from_secs(15);

fn poller<S: Source>(source: S, clock: &Arc<TestClock>) -> (Poller<S>, Shared) {
    poller_of(source, clock, Duration::ZERO)
}

fn poller_of<S: Source>(source: S, clock: &Arc<TestClock>, longest_poll: Duration) -> (Poller<S>, Shared) {
    let clock: Arc<dyn Clock> = Arc::clone(clock) as Arc<dyn Clock>;
    let state = Shared::new(State::new(WorkloadEnvironment::default(), clock.now()));
    (Poller::new(source, clock, state.clone(), INTERVAL, longest_poll), state)
}

#[tokio::test(start_paused = true)]
async fn the_first_poll_is_immediate_and_the_others_keep_the_interval() {
    let clock = TestClock::new(START);
    let (mut poller, _) = poller(FakeSource::new([success()]), &clock);
    let began = monotonic();
    poller.next_poll(|_| ()).await;
    assert_eq!(monotonic() - began, Duration::ZERO);
    for turn in 1..=100_u32 {
        poller.next_poll(|_| ()).await;
        let passed = monotonic() - began;
        let latest = INTERVAL * turn * 11 / 10 + Duration::from_millis(u64::from(turn));
        assert!(passed >= INTERVAL * turn * 9 / 10 && passed <= latest, "{passed:?} after {turn} intervals");
    }
}

#[tokio::test(start_paused = true)]
async fn polls_repeat_every_five_seconds_while_they_fail() {
    let clock = TestClock::new(START);
    let (mut poller, _) = poller(FakeSource::new([failed(Kind::ConnectRefused, Step::Token)]), &clock);
    poller.next_poll(|_| ()).await;
    let began = monotonic();
    poller.next_poll(|_| ()).await;
    let passed = (monotonic() - began).as_secs_f64();
    assert!((4.5..=5.6).contains(&passed), "{passed}");
}

#[tokio::test(start_paused = true)]
async fn jumps_of_the_wall_clock_affect_neither_polling_nor_health() {
    let clock = TestClock::new(START);
    let source = FakeSource::new([success()]);
    let (mut poller, state) = poller(source.clone(), &clock);
    let heartbeat = poller.heartbeat();
    let began = monotonic();
    for jump in [-86_400, 86_400, 10 * 86_400, -20 * 86_400, 3_600] {
        let (report, _) = poller.next_poll(|_| ()).await;
        clock.set_by(jump);
        assert!(heartbeat.is_alive(monotonic()));
        assert!(report.resolution.outcome.is_ok());
    }
    assert_eq!(source.calls(), 5);
    assert!(monotonic() - began <= INTERVAL * 5);
    assert_eq!(state.lock().outages().started_total(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_exporter_is_unhealthy_when_the_poll_loop_stalls_for_five_intervals() {
    // Or for as long as a poll with many attempts may last.
    for (longest_poll, allowed) in [(INTERVAL, INTERVAL * 5), (INTERVAL * 40, INTERVAL * 40)] {
        let clock = TestClock::new(START);
        let (_never, hanging) = unbounded_channel();
        let (mut poller, _) = poller_of(SentSource(hanging), &clock, longest_poll);
        let heartbeat = poller.heartbeat();
        let hung = timeout(allowed, poller.next_poll(|_| ())).await;
        assert!(hung.is_err());
        assert!(heartbeat.is_alive(monotonic()));
        advance(Duration::from_secs(1)).await;
        assert!(!heartbeat.is_alive(monotonic()));
    }
}
