//! The fault matrix: each kind at birth, in steady state, with an expired token, flapping, dripping, and during
//! shutdown. The kind is right, `/metrics` answers, recovery is seen by the second poll, and memory, sockets and
//! threads return to their level. Over real sockets with the program itself, one process a kind, all at once; and
//! over thousands of polls in paused time, where sockets are not the point.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use imds_exporter::clock::Clock;
use imds_exporter::metrics::{Build, Metrics, Options};
use imds_exporter::model::{Kind, Outcome, Step};
use imds_exporter::poller::Poller;
use imds_exporter::simulator::{Change, Fault, Simulator, is_client_side};
use imds_exporter::state::{Shared, State};
use tokio::process::Child;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::commands::{Served, against, send};
use crate::http::{PATIENCE, request};
use crate::support::{FakeSource, TestClock, credential, failed, resolved, simulator};

/// Room for what an allocator keeps; a leak a poll would still be seen in the soak.
const RSS_MARGIN_KIB: u64 = 1024;

/// A scrape, which must always succeed.
pub(crate) struct Scrape(String);

impl Scrape {
    pub(crate) async fn of(address: SocketAddr) -> Self {
        let (status, answer) = request(address, "GET", "/metrics").await;
        assert_eq!(status, 200);
        Self(answer)
    }

    /// The value of a series, 0 if there is none.
    pub(crate) fn value(&self, series: &str) -> f64 {
        let line = self.0.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().expect("a number"))
    }

    pub(crate) fn failures(&self, kind: Kind) -> f64 {
        self.value(&format!("imds_fetch_failures_total{{kind=\"{kind}\"}}"))
    }

    fn all_failures(&self) -> f64 {
        Kind::ALL.iter().map(|kind| self.failures(*kind)).sum()
    }

    /// The kind in force.
    fn active(&self) -> Option<&str> {
        let line = self.0.lines().find(|line| line.starts_with("imds_failure_active{"))?;
        line.split('"').nth(1)
    }
}

/// Scrapes until it is as wanted.
pub(crate) async fn until(address: SocketAddr, what: &str, wanted: impl Fn(&Scrape) -> bool) -> Scrape {
    let scraping = async {
        loop {
            let scrape = Scrape::of(address).await;
            if wanted(&scrape) {
                return scrape;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let Ok(scrape) = timeout(PATIENCE * 2, scraping).await else {
        panic!("{what}: not seen; last: {}", Scrape::of(address).await.0)
    };
    scrape
}

/// What a process holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holdings {
    pub(crate) descriptors: usize,
    pub(crate) threads: u64,
    pub(crate) rss_kib: u64,
}

impl Holdings {
    pub(crate) fn of(child: &Child) -> Self {
        let pid = child.id().expect("it runs");
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("Linux tells it");
            line.trim_end_matches("kB").trim().parse().expect("a number")
        };
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").count();
        Self { descriptors, threads: field("Threads:"), rss_kib: field("VmRSS:") }
    }

    /// Descriptors go when the kernel and the runtime get to it; memory and threads must be there at once.
    pub(crate) async fn return_to(self, child: &Child, margin_kib: u64, what: &str) {
        let returning = async {
            loop {
                let now = Self::of(child);
                if now.descriptors <= self.descriptors && now.threads <= self.threads {
                    return now;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let Ok(now) = timeout(PATIENCE, returning).await else {
            panic!("{what}: {:?} does not return to {self:?}", Self::of(child))
        };
        assert!(now.rss_kib <= self.rss_kib + margin_kib, "{what}: {now:?}, from {self:?}");
    }
}

/// A fault that strikes nothing but the token request, which steady state does not make.
fn only_the_token(kind: Kind) -> bool {
    matches!(kind, Kind::HopLimit | Kind::TokenRejected | Kind::TokenUnsupported)
}

/// The kind that is seen when each answer comes one byte a second.
fn dripping(kind: Kind) -> Kind {
    match kind {
        // No answer of HTTP is needed to tell these.
        Kind::ConnectRefused | Kind::ConnectTimeout | Kind::ConnectionClosed | Kind::InvalidResponse => kind,
        _ => Kind::ReadTimeout,
    }
}

/// One kind's way through the matrix.
struct Ordeal {
    kind: Kind,
    simulator: Simulator,
    address: SocketAddr,
}

impl Ordeal {
    async fn strike(&self, change: Change) {
        let fault = Fault::new(self.kind).expect("a kind that a server makes");
        let change = Change { fault: Change::from(fault).fault, ..change };
        self.simulator.apply(&change).await.expect("the simulator can do that");
    }

    /// The fault is told as `kind`, and as nothing else.
    async fn is_told_as(&self, kind: Kind, before: &Scrape, when: &str) {
        let what = format!("{}, {when}", self.kind);
        let seen = until(self.address, &what, |scrape| scrape.active() == Some(kind.label())).await;
        assert!(seen.value("imds_up") == 0.0, "{what}");
        let (of_kind, of_any) =
            (seen.failures(kind) - before.failures(kind), seen.all_failures() - before.all_failures());
        assert!(of_kind >= 1.0 && of_kind == of_any, "{what}: {of_kind} of {of_any} failures are of its kind");
    }

    /// Of the polls that end after it is healed, one may have begun before: the second succeeds at the latest.
    async fn recovers(&self, when: &str) -> Scrape {
        let heal = Change { drip: Some(false), ..Change::to_health() };
        self.simulator.apply(&heal).await.expect("the simulator can be healthy");
        let before = Scrape::of(self.address).await;
        let what = format!("{}, recovery from it {when}", self.kind);
        let polls = before.value("imds_fetches_total");
        let up = until(self.address, &what, |scrape| {
            scrape.value("imds_up") == 1.0 && scrape.value("imds_fetches_total") > polls
        });
        let after = up.await;
        let failed = after.all_failures() - before.all_failures();
        assert!(failed <= 1.0, "{what}: {failed} polls failed after it");
        after
    }

    async fn run(kind: Kind) {
        let simulator = simulator().await;
        let fault = Fault::new(kind).expect("a kind that a server makes");
        simulator.apply(&Change::from(fault)).await.expect("the simulator can do that");
        let Served { mut child, address, .. } = Served::start(against(&simulator, &[])).await;
        let ordeal = Self { kind, simulator, address };
        let nothing = Scrape(String::new());
        let fault_and = |change: Change| ordeal.strike(change);
        let forgetting = || Change { forget_tokens: Some(true), ..Change::default() };

        ordeal.is_told_as(kind, &nothing, "at birth").await;
        let before = ordeal.recovers("at birth").await;
        let level = Holdings::of(&child);

        fault_and(Change::default()).await;
        if only_the_token(kind) {
            let polls = before.value("imds_fetches_total") + 3.0;
            let later = until(address, "polling goes on", |scrape| scrape.value("imds_fetches_total") >= polls).await;
            assert!(later.all_failures() == before.all_failures(), "{kind} strikes nobody who holds a token");
        } else {
            ordeal.is_told_as(kind, &before, "in steady state").await;
        }
        let before = ordeal.recovers("in steady state").await;

        fault_and(forgetting()).await;
        ordeal.is_told_as(kind, &before, "with an expired token").await;
        let before = ordeal.recovers("with an expired token").await;

        fault_and(Change { flap: Some(Duration::from_millis(1_500)), ..forgetting() }).await;
        let what = format!("{kind}, flapping");
        let struck = until(address, &what, |scrape| scrape.all_failures() > before.all_failures()).await;
        let successes = struck.value("imds_fetch_duration_seconds_count{outcome=\"success\"}");
        until(address, &what, |scrape| {
            scrape.value("imds_fetch_duration_seconds_count{outcome=\"success\"}") > successes
        })
        .await;
        let before = ordeal.recovers("flapping").await;

        fault_and(Change { drip: Some(true), ..forgetting() }).await;
        ordeal.is_told_as(dripping(kind), &before, "dripping").await;
        ordeal.recovers("dripping").await;
        level.return_to(&child, RSS_MARGIN_KIB, kind.label()).await;

        fault_and(forgetting()).await;
        until(address, &what, |scrape| scrape.active() == Some(kind.label())).await;
        send(&child, "-TERM").await;
        let status = timeout(PATIENCE, child.wait()).await.expect("it ends").expect("it ran");
        assert!(status.success(), "{kind}, during shutdown: {status}");
    }
}

#[tokio::test]
async fn every_kind_in_every_situation_is_told_and_leaves_nothing_behind() {
    let mut ordeals = JoinSet::new();
    for kind in Kind::ALL.iter().copied().filter(|kind| !is_client_side(*kind)) {
        ordeals.spawn(Ordeal::run(kind));
    }
    while let Some(ended) = ordeals.join_next().await {
        ended.expect("the ordeal is passed");
    }
}

#[tokio::test]
async fn the_kinds_that_no_server_makes_leave_metrics_answering_and_shutdown_clean() {
    let simulator = simulator().await;
    for (kind, variable, value) in [
        (Kind::DisabledByEnvironment, "AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        (
            Kind::NetworkUnreachable,
            "AWS_EC2_METADATA_SERVICE_ENDPOINT",
            format!("http://127.255.255.255:{}", simulator.address().port()),
        ),
    ] {
        let mut command = against(&simulator, &[]);
        command.env(variable, value);
        let Served { mut child, address, .. } = Served::start(command).await;
        let first = until(address, kind.label(), |scrape| scrape.active() == Some(kind.label())).await;
        let level = Holdings::of(&child);
        let polls = first.value("imds_fetches_total") + 3.0;
        let later = until(address, kind.label(), |scrape| scrape.value("imds_fetches_total") >= polls).await;
        assert!(later.failures(kind) == later.value("imds_fetches_total"), "{kind}");
        level.return_to(&child, RSS_MARGIN_KIB, kind.label()).await;
        send(&child, "-TERM").await;
        assert!(timeout(PATIENCE, child.wait()).await.expect("it ends").expect("it ran").success());
    }
    assert_eq!(simulator.counts().connections, 0);
}

/// When a fault of the paused-time matrix strikes, by the poll's number.
type Striking = fn(u32) -> bool;

const POLLS: u32 = 400;
const SITUATIONS: [(&str, Striking); 4] = [
    ("at birth", |poll| poll < 100),
    ("in steady state", |poll| (100..200).contains(&poll)),
    ("flapping", |poll| poll % 2 == 0),
    ("for good", |poll| poll >= 100),
];

#[tokio::test(start_paused = true)]
async fn over_thousands_of_polls_each_is_counted_once_and_recovery_is_seen_at_once() {
    let good = || resolved(credential("web", "2026-01-31T12:00:00Z", "2026-02-28T18:30:00Z"));
    for kind in Kind::ALL {
        for (situation, strikes) in SITUATIONS {
            let what = format!("{kind}, {situation}");
            let clock = TestClock::new("2026-01-31T12:00:00Z");
            let state = Shared::new(State::new(clock.now()));
            let interval = Duration::from_secs(15);
            let options = Options { poll_interval: interval, expected_role: None, process_metrics: false };
            let metrics = Metrics::new(options, Build::THIS);
            let script = (0..POLLS).map(|poll| if strikes(poll) { failed(*kind, Step::Token) } else { good() });
            let source = FakeSource::new(script);
            let mut poller = Poller::new(source, Arc::clone(&clock) as Arc<dyn Clock>, state.clone(), interval);
            let (mut failures, mut outages) = (0, 0);
            for poll in 0..POLLS {
                let report = poller.turn().await;
                metrics.record(&report);
                failures += u32::from(strikes(poll));
                outages += u64::from(strikes(poll) && (poll == 0 || !strikes(poll - 1)));
                let up = state.lock().last_outcome() == Some(Outcome::Success);
                assert_eq!(up, !strikes(poll), "{what}: the poll {poll} is told as it went");
                assert!(state.lock().outages().ended().len() <= 16, "{what}");
                assert_eq!(state.lock().outages().begun(), outages, "{what}");
            }
            let scrape = Scrape(metrics.render(&state.lock(), None, clock.now()));
            assert!(scrape.value("imds_fetches_total") == f64::from(POLLS), "{what}");
            assert!(scrape.failures(*kind) == f64::from(failures), "{what}");
            assert!(scrape.all_failures() == f64::from(failures), "{what}");
            assert_eq!(scrape.active(), strikes(POLLS - 1).then_some(kind.label()), "{what}");
        }
    }
}
