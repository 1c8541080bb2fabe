//! The fault matrix: each failure kind at the start, in steady state, flapping, with slow responses, and during
//! shutdown. The kind is right, `/metrics` is served, recovery is visible by the second poll,
//! and memory, sockets and threads return to their level. With the program over real sockets, one process per kind, all
//! at once; and over thousands of polls of fake sources in paused time.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use imds_exporter::domain::state::{Shared, State, WorkloadEnvironment};
use imds_exporter::domain::{Kind, Outcome, Step};
use imds_exporter::exporter::poll_loop::Poller;
use imds_exporter::metrics::{Build, Metrics, MetricsOptions};
use imds_exporter::platform::clock::Clock;
use imds_exporter::simulator::{Change, Simulator};
use strum::VariantArray;
use tokio::task::{JoinSet, LocalSet};

use crate::support::clock::TestClock;
use crate::support::program::{ExporterProcess, exit_status, program_with_imds, send_signal};
use crate::support::resources::Resources;
use crate::support::scrape::{Scrape, polls_after, scrape_until};
use crate::support::simulator::{apply, fault, server_side_kinds, start_simulator};
use crate::support::source::{FakeSource, START, credential, failed, resolved};

/// Room for what the allocator keeps. The soak test finds smaller leaks.
const RSS_MARGIN_KIB: u64 = 1024;

/// The kind that is reported when each response arrives one byte every three seconds.
fn kind_of_slow_responses(kind: Kind) -> Kind {
    match kind {
        // These are detected without a complete response.
        Kind::ConnectRefused | Kind::ConnectTimeout | Kind::ConnectionClosed | Kind::InvalidResponse => kind,
        _ => Kind::ReadTimeout,
    }
}

/// The kind that a single poll in steady state may report before `kind`: a token request that worked at the last poll and
/// gets no answer now is more likely slow.
fn kind_before(kind: Kind) -> Option<Kind> {
    (kind == Kind::HopLimit).then_some(Kind::ReadTimeout)
}

/// The matrix for one kind.
struct Case {
    kind: Kind,
    simulator: Simulator,
    address: SocketAddr,
}

impl Case {
    /// Applies the fault together with other settings.
    async fn fail_with(&self, change: Change) {
        apply(&self.simulator, &Change { fault: Change::from(fault(self.kind)).fault, ..change }).await;
    }

    /// The fault is reported as `kind`, and as nothing else; by one poll, as `first` at most. A poll that is in progress when
    /// the fault begins meets it at any of its requests, and may report another kind.
    async fn assert_reported_as(&self, kind: Kind, first: Option<Kind>, before: &Scrape, when: &str) {
        let what = format!("{}, {when}", self.kind);
        let seen = scrape_until(self.address, &what, |scrape| scrape.active_kind() == Some(kind.label())).await;
        assert!(seen.value("imds_up") == 0, "{what}");
        let more = |kind: Kind| seen.failures(kind) - before.failures(kind);
        let (of_kind, of_first, of_any) =
            (more(kind), first.map_or(0, more), seen.all_failures() - before.all_failures());
        let in_progress = u64::from(!before.0.is_empty());
        assert!(
            of_kind >= 1 && of_first <= 1 && of_any - of_kind - of_first <= in_progress,
            "{what}: {of_kind} of {of_any} failures are of its kind, {of_first} of {first:?}"
        );
    }

    /// Ends the fault. The poll in progress may still fail; the next one must succeed.
    async fn recover(&self, when: &str) -> Scrape {
        let what = format!("{}, recovery {when}", self.kind);
        apply(&self.simulator, &Change { pieces: NonZeroUsize::new(1), ..Change::to_healthy() }).await;
        let before = Scrape::of(self.address).await;
        let polls = before.polls();
        let after =
            scrape_until(self.address, &what, |scrape| scrape.value("imds_up") == 1 && scrape.polls() > polls).await;
        let failed = after.all_failures() - before.all_failures();
        assert!(failed <= 1, "{what}: {failed} polls failed after it");
        after
    }

    async fn run(kind: Kind) {
        let simulator = start_simulator().await;
        apply(&simulator, &Change::from(fault(kind))).await;
        // Twice the default, so that a busy machine is no slow IMDS.
        let mut command = program_with_imds(simulator.address(), &[]);
        command.env("IMDS_EXPORTER_TIMEOUT", "2s");
        let ExporterProcess { mut child, address, .. } = ExporterProcess::start_with(command).await;
        let case = Self { kind, simulator, address };

        case.assert_reported_as(kind, None, &Scrape(String::new()), "at the start").await;
        let before = case.recover("after the start").await;
        let level = Resources::of(&child);

        case.fail_with(Change::default()).await;
        case.assert_reported_as(kind, kind_before(kind), &before, "in steady state").await;
        let before = case.recover("in steady state").await;

        case.fail_with(Change { flap: Some(Duration::from_millis(1_500)), ..Change::default() }).await;
        let what = format!("{kind}, flapping");
        let failing = scrape_until(address, &what, |scrape| scrape.all_failures() > before.all_failures()).await;
        let successes = failing.outcomes("success");
        scrape_until(address, &what, |scrape| scrape.outcomes("success") > successes).await;
        let before = case.recover("while flapping").await;

        case.fail_with(Change {
            pieces: Some(NonZeroUsize::MAX),
            pause: Some(Duration::from_secs(3)),
            ..Change::default()
        })
        .await;
        case.assert_reported_as(kind_of_slow_responses(kind), None, &before, "with slow responses").await;
        case.recover("from slow responses").await;
        level.assert_restored(&child, RSS_MARGIN_KIB, kind.label()).await;

        case.fail_with(Change::default()).await;
        scrape_until(address, &what, |scrape| scrape.active_kind() == Some(kind.label())).await;
        send_signal(&child, "-TERM").await;
        let status = exit_status(&mut child).await;
        assert!(status.success(), "{kind}, during shutdown: {status}");
    }
}

#[tokio::test]
async fn every_kind_in_every_situation_is_reported_and_leaks_nothing() {
    let cases = async {
        let mut cases = JoinSet::new();
        for kind in server_side_kinds() {
            cases.spawn_local(Case::run(kind));
        }
        while let Some(ended) = cases.join_next().await {
            ended.expect("the case passes");
        }
    };
    LocalSet::new().run_until(cases).await;
}

#[tokio::test]
async fn the_kinds_of_the_client_itself_are_reported_and_leak_nothing() {
    let simulator = start_simulator().await;
    for (kind, variable, value) in [
        (Kind::DisabledByEnvironment, "AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        (
            Kind::NetworkUnreachable,
            "AWS_EC2_METADATA_SERVICE_ENDPOINT",
            format!("http://127.255.255.255:{}", simulator.address().port()),
        ),
    ] {
        let mut command = program_with_imds(simulator.address(), &[]);
        command.env(variable, value);
        let ExporterProcess { mut child, address, .. } = ExporterProcess::start_with(command).await;
        let first = scrape_until(address, kind.label(), |scrape| scrape.active_kind() == Some(kind.label())).await;
        let level = Resources::of(&child);
        let later = polls_after(&first, 3, address).await;
        assert_eq!(later.failures(kind), later.polls(), "{kind}");
        level.assert_restored(&child, RSS_MARGIN_KIB, kind.label()).await;
        send_signal(&child, "-TERM").await;
        assert!(exit_status(&mut child).await.success(), "{kind}");
    }
    assert_eq!(simulator.counts().connections, 0);
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
