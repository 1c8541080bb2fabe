//! Each failure kind in the program: reported over real sockets at the start, in steady state, and while it is
//! stopped, by one process per kind, all at once; and counted over thousands of polls of fake sources in paused time.

use std::sync::Arc;
use std::time::Duration;

use imds_exporter::domain::state::{Shared, State, WorkloadEnvironment};
use imds_exporter::domain::{Kind, Outcome, Step};
use imds_exporter::exporter::poll_loop::Poller;
use imds_exporter::metrics::{Build, Metrics, MetricsOptions};
use imds_exporter::platform::clock::Clock;
use imds_exporter::simulator::Change;
use strum::VariantArray;

use crate::support::clock::TestClock;
use crate::support::program::{ExporterProcess, exit_status, program_with_imds, send_signal};
use crate::support::resources::Resources;
use crate::support::scrape::{Scrape, scrape_until};
use crate::support::simulator::{apply, fault, server_side_kinds, start_simulator};
use crate::support::source::{FakeSource, START, credential, failed, resolved};
use crate::support::wait::all_at_once;

/// Room for what the allocator keeps. The soak test finds smaller leaks.
const RSS_MARGIN_KIB: u64 = 1024;

async fn is_reported_and_leaks_nothing(kind: Kind) {
    let simulator = start_simulator().await;
    let fault = Change::from(fault(kind));
    apply(&simulator, &fault).await;
    // Twice the default, so that a busy machine is no slow IMDS.
    let mut command = program_with_imds(simulator.address(), &[]);
    command.env("IMDS_EXPORTER_TIMEOUT", "2s").env("IMDS_EXPORTER_POLL_INTERVAL", "2s");
    let ExporterProcess { mut child, address, .. } = ExporterProcess::start_with_default_interval(command).await;
    let fails = async |when: &str| {
        let what = format!("{kind}, {when}");
        scrape_until(address, &what, |scrape| scrape.active_kind() == Some(kind.label())).await
    };
    // The poll in progress may still fail; the next one must succeed.
    let recover = async |when: &str| {
        let what = format!("{kind}, recovery {when}");
        apply(&simulator, &Change::to_healthy()).await;
        let before = Scrape::of(address).await;
        let polls = before.polls();
        let succeeded = |scrape: &Scrape| scrape.value("imds_up") == 1 && scrape.polls() > polls;
        let after = scrape_until(address, &what, succeeded).await;
        let failed = after.all_failures() - before.all_failures();
        assert!(failed <= 1, "{what}: {failed} polls failed after it");
    };

    let first = fails("at the start").await;
    assert_eq!((first.failures(kind), first.value("imds_up")), (first.polls(), 0), "{kind}, and nothing else");
    recover("after the start").await;
    let level = Resources::of(&child);
    apply(&simulator, &fault).await;
    fails("in steady state").await;
    recover("in steady state").await;
    level.assert_restored(&child, RSS_MARGIN_KIB, kind.label()).await;

    apply(&simulator, &fault).await;
    fails("at the stop").await;
    send_signal(&child, "-TERM").await;
    let status = exit_status(&mut child).await;
    assert!(status.success(), "{kind}, during shutdown: {status}");
}

#[tokio::test]
async fn every_kind_is_reported_and_leaks_nothing() {
    all_at_once(server_side_kinds().map(is_reported_and_leaks_nothing)).await;
}

/// Whether the poll with this number fails.
type Fails = fn(u32) -> bool;

const POLLS: u32 = 400;
const SITUATIONS: [(&str, Fails); 4] = [
    ("at the start", |poll| poll < 100),
    ("in steady state", |poll| (100..200).contains(&poll)),
    ("flapping", |poll| poll % 2 == 0),
    ("permanently", |poll| poll >= 100),
];

#[tokio::test(start_paused = true)]
async fn each_of_thousands_of_polls_is_counted_once_and_recovery_is_visible_at_once() {
    let good = || resolved(credential("web", START, "2026-02-28T18:30:00Z"));
    for kind in Kind::VARIANTS {
        for (situation, fails) in SITUATIONS {
            let what = format!("{kind}, {situation}");
            let clock = TestClock::new(START);
            let state = Shared::new(State::new(WorkloadEnvironment::default(), clock.now()));
            let interval = Duration::from_secs(15);
            let options = MetricsOptions { poll_interval: interval, expected_role: None, process_metrics: false };
            let metrics = Metrics::new(options, Build::THIS);
            let script = (0..POLLS).map(|poll| if fails(poll) { failed(*kind, Step::Token) } else { good() });
            let source = FakeSource::new(script);
            let mut poller =
                Poller::new(source, Arc::clone(&clock) as Arc<dyn Clock>, state.clone(), interval, interval);
            let (mut failures, mut outages) = (0, 0);
            for poll in 0..POLLS {
                poller.next_poll(|report| metrics.record(report)).await;
                failures += u32::from(fails(poll));
                outages += u64::from(fails(poll) && (poll == 0 || !fails(poll - 1)));
                let up = state.lock().last_outcome() == Some(Outcome::Success);
                assert_eq!(up, !fails(poll), "{what}: poll {poll}");
                assert!(state.lock().past_outages().len() <= 16, "{what}");
                assert_eq!(state.lock().outages().started_total(), outages, "{what}");
            }
            let scrape = Scrape(metrics.render(&state.lock(), None, clock.now()));
            assert_eq!(scrape.polls(), u64::from(POLLS), "{what}");
            assert_eq!(scrape.failures(*kind), u64::from(failures), "{what}");
            assert_eq!(scrape.all_failures(), u64::from(failures), "{what}");
            assert_eq!(scrape.active_kind(), fails(POLLS - 1).then_some(kind.label()), "{what}");
        }
    }
}
