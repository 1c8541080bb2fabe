//! Time: paused, with fake sources.

use std::sync::Arc;
use std::time::Duration;

use imds_exporter::clock::{Clock, monotonic};
use imds_exporter::model::{Kind, Step};
use imds_exporter::poller::Poller;
use imds_exporter::state::{Shared, State};
use tokio::time::{advance, timeout};

use crate::support::{FakeSource, Hanging, TestClock, credential, failed, resolved};

const INTERVAL: Duration = Duration::from_secs(15);

fn good() -> imds_exporter::model::Resolution {
    resolved(credential("web", "2026-01-31T12:00:00Z", "2026-01-31T18:30:00Z"))
}

fn poller<S: imds_exporter::source::Source>(source: S, clock: &Arc<TestClock>) -> (Poller<S>, Shared) {
    let clock: Arc<dyn Clock> = Arc::clone(clock) as Arc<dyn Clock>;
    let state = Shared::new(State::new(clock.now()));
    (Poller::new(source, clock, state.clone(), INTERVAL), state)
}

#[tokio::test(start_paused = true)]
async fn the_first_poll_is_at_once_and_the_next_at_the_interval() {
    let clock = TestClock::new("2026-01-31T12:00:00Z");
    let (mut poller, _) = poller(FakeSource::new([good()]), &clock);
    let began = monotonic();
    poller.turn().await;
    assert_eq!(monotonic() - began, Duration::ZERO);
    for turn in 1..=100_u32 {
        poller.turn().await;
        let passed = monotonic() - began;
        assert!(
            passed >= INTERVAL * turn * 9 / 10
                && passed <= INTERVAL * turn * 11 / 10 + Duration::from_millis(u64::from(turn))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn while_failing_polls_come_every_five_seconds() {
    let clock = TestClock::new("2026-01-31T12:00:00Z");
    let (mut poller, _) = poller(FakeSource::new([failed(Kind::ConnectRefused, Step::Token)]), &clock);
    poller.turn().await;
    let began = monotonic();
    poller.turn().await;
    let passed = (monotonic() - began).as_secs_f64();
    assert!((4.5..=5.6).contains(&passed), "{passed}");
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_jumps_disturbs_neither_polling_nor_health() {
    let clock = TestClock::new("2026-01-31T12:00:00Z");
    let source = FakeSource::new([good()]);
    let (mut poller, state) = poller(source.clone(), &clock);
    let pulse = poller.pulse();
    let began = monotonic();
    for jump in [-86_400, 86_400, 10 * 86_400, -20 * 86_400, 3_600] {
        let report = poller.turn().await;
        clock.jump(jump);
        assert!(pulse.is_alive(monotonic()));
        assert!(report.resolution.outcome.is_ok());
    }
    assert_eq!(source.asked(), 5);
    assert!(monotonic() - began <= INTERVAL * 5);
    assert_eq!(state.lock().outages().begun(), 0);
}

#[tokio::test(start_paused = true)]
async fn health_ends_when_the_loop_is_silent_for_five_intervals() {
    let clock = TestClock::new("2026-01-31T12:00:00Z");
    let (mut poller, _) = poller(Hanging, &clock);
    let pulse = poller.pulse();
    let hung = timeout(INTERVAL * 5, poller.turn()).await;
    assert!(hung.is_err());
    assert!(pulse.is_alive(monotonic()));
    advance(Duration::from_secs(1)).await;
    assert!(!pulse.is_alive(monotonic()));
}

#[tokio::test(start_paused = true)]
async fn health_does_not_depend_on_imds() {
    let clock = TestClock::new("2026-01-31T12:00:00Z");
    let (mut poller, _) = poller(FakeSource::new([failed(Kind::NoRole, Step::Role)]), &clock);
    let pulse = poller.pulse();
    for _ in 0..1_000 {
        poller.turn().await;
        assert!(pulse.is_alive(monotonic()));
    }
}
