//! The table of usable clients (`imds_client_usable`) beside real boto3 clients.
//!
//! A simulator, an exporter that polls on demand and can be restarted, and boto3 in one or more versions share a clock that
//! tests move. After every step, each value that the exporter exports is compared with what the client of each version can do.
//! A difference fails. Where nothing is exported, nothing is compared: that is counted.

use std::collections::BTreeSet;
use std::mem;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use imds_exporter::domain::boto3::Created;
use imds_exporter::domain::saved_state::SavedState;
use imds_exporter::domain::state::{PollReport, State, WorkloadEnvironment};
use imds_exporter::domain::workload::Workload;
use imds_exporter::domain::{Resolution, Source};
use imds_exporter::imds::{DEFAULT_ATTEMPTS, Imds, ImdsOptions};
use imds_exporter::metrics::{self, Build, Metrics};
use imds_exporter::platform::clock::Clock;
use imds_exporter::simulator::{self, Change, Simulator};
use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinSet;

use crate::clients::{Clients, Creation, VERSIONS};
use crate::support::clock::TestClock;
use crate::support::simulator::{apply, apply_toml, imds_options_for};

const AT_START: &str = "at-start";

const PROXY_VARIABLE: &str = "HTTP_PROXY";

/// boto3 refreshes when less than this remains, and ignores errors of its own until less than the other does.
const LIMITS: [SignedDuration; 2] = [SignedDuration::from_mins(15), SignedDuration::from_mins(10)];

/// What is declared to the exporter and to the workload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) workload: Workload,
    pub(crate) v1_disabled: bool,
    pub(crate) state_file: bool,
    /// Time-out of the exporter's requests.
    pub(crate) timeout: Duration,
    /// boto3's time-out in seconds, and its attempts; the exporter makes as many.
    pub(crate) timeout_of_boto3: u32,
    pub(crate) attempts: NonZeroU32,
    /// A proxy variable that does not exempt IMDS, for both.
    pub(crate) proxied: bool,
    /// The versions of boto3.
    pub(crate) versions: &'static [&'static str],
}

impl Default for Setup {
    /// A workload that starts with the exporter, with the newest boto3.
    fn default() -> Self {
        Self {
            workload: Workload::StartsWithExporter,
            v1_disabled: false,
            state_file: true,
            timeout: Duration::from_secs(1),
            timeout_of_boto3: 1,
            attempts: DEFAULT_ATTEMPTS,
            proxied: false,
            versions: &VERSIONS[..1],
        }
    }
}

/// How the exporter stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// SIGTERM; the workload is restarted too.
    Orderly,
    /// SIGKILL.
    Killed,
    /// SIGKILL before the last poll was saved.
    KilledBeforeSaving,
    /// The machine boots: everything starts again.
    Reboot,
}

/// The client of the declared workload.
#[derive(Clone, Debug, PartialEq, Eq)]
enum WorkloadClient {
    /// The workload has not started.
    Waits,
    /// `client()` raised an error: the workload tries again.
    TriesAgain,
    /// It is there.
    Created,
}

/// One version of boto3 and its clients.
struct Version {
    name: &'static str,
    boto3: Clients,
    /// The client that was created right after the last successful poll in this boot.
    before_outage: Option<String>,
    workload_client: WorkloadClient,
    /// The session of the workload, which is a new one with each start.
    workload_session: String,
}

/// What the clients of one version can do; `None` where there is no such client.
type Signs = [(Created, Option<bool>); 3];

/// Which values were compared, and how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Compared {
    /// Values that a client confirmed.
    pub(crate) values: usize,
    /// Clients of which nothing was exported.
    pub(crate) absent: usize,
}

/// The simulator, the exporter and boto3.
pub(crate) struct Comparison {
    setup: Setup,
    /// The machine's.
    clock: Arc<TestClock>,
    /// Likewise, but nobody sets it.
    clock_of_imds: Arc<TestClock>,
    pub(crate) simulator: Simulator,
    imds: Imds,
    state: State,
    metrics: Metrics,
    versions: Vec<Version>,
    workload_started: bool,
    /// The content of the state file, and the clients that `before_outage` meant when it was written.
    file: Option<(SavedState, Vec<Option<String>>)>,
    /// Likewise, after a poll that is not saved yet.
    unsaved: Option<(SavedState, Vec<Option<String>>)>,
    boot: u32,
    /// How often the workload was started.
    workload_starts: u32,
    /// The expirations of all documents that clients may hold.
    expirations: BTreeSet<Timestamp>,
    pub(crate) compared: Compared,
    /// What happened so far, for a failing test.
    pub(crate) timeline: Vec<String>,
}

impl Comparison {
    /// The exporter and its workload before the first poll, with `change` in effect.
    pub(crate) async fn start(setup: Setup, change: &str) -> Self {
        let [clock, clock_of_imds] = [(); 2].map(|()| TestClock::from_now());
        let shared: Arc<dyn Clock> = Arc::clone(&clock) as Arc<dyn Clock>;
        let of_imds: Arc<dyn Clock> = Arc::clone(&clock_of_imds) as Arc<dyn Clock>;
        let simulator = Simulator::start(simulator::SimulatorOptions::default(), of_imds).await.expect("a free port");
        apply_toml(&simulator, change).await;
        let (attempts, timeout) = (setup.attempts.to_string(), setup.timeout_of_boto3.to_string());
        let mut environment = vec![
            ("AWS_EC2_METADATA_V1_DISABLED", if setup.v1_disabled { "true" } else { "false" }),
            ("AWS_METADATA_SERVICE_NUM_ATTEMPTS", &attempts),
            ("AWS_METADATA_SERVICE_TIMEOUT", &timeout),
        ];
        environment.extend(setup.proxied.then_some((PROXY_VARIABLE, "http://127.0.0.1:1")));
        let versions = setup.versions.iter().map(|name| Version {
            name,
            boto3: Clients::start_version(name, simulator.address(), &environment),
            before_outage: None,
            workload_client: WorkloadClient::Waits,
            workload_session: String::new(),
        });
        let versions = versions.collect();
        let mut comparison = Self {
            imds: imds(setup, &simulator, shared),
            state: State::new(declared(setup), clock.moment()),
            metrics: metrics(),
            setup,
            clock,
            clock_of_imds,
            simulator,
            versions,
            workload_started: false,
            file: None,
            unsaved: None,
            boot: 1,
            workload_starts: 0,
            expirations: BTreeSet::new(),
            compared: Compared::default(),
            timeline: vec![format!("{setup:?}, {change}")],
        };
        for version in &mut comparison.versions {
            let is = version.boto3.version().await;
            assert!(version.name == VERSIONS[0] || is.starts_with(version.name), "{} is {is}", version.name);
        }
        comparison.save_at_start();
        comparison
    }

    fn boot_id(&self) -> String {
        format!("boot-{}", self.boot)
    }

    fn saved(&self, orderly_stop: bool) -> (SavedState, Vec<Option<String>>) {
        let clients = self.versions.iter().map(|version| version.before_outage.clone()).collect();
        (SavedState::of(&self.state, Some(&self.boot_id()), orderly_stop), clients)
    }

    /// As `exporter::run` does it.
    fn save_at_start(&mut self) {
        if self.setup.workload != Workload::Independent {
            self.file = Some(self.saved(false));
        }
    }

    /// As `StateFile::keep` does it.
    fn save(&mut self) {
        let Some(unsaved) = self.unsaved.take() else { return };
        if self.file.as_ref().is_none_or(|(written, _)| unsaved.0.is_worth_writing_after(written)) {
            self.file = Some(unsaved);
        }
    }

    /// Stops the exporter, lets time pass, and starts it again.
    pub(crate) async fn restart(&mut self, stop: Stop, seconds: i64) {
        self.restart_with(stop, seconds, |content| content).await;
    }

    /// As [`Self::restart`], with what this makes of the content of the state file.
    pub(crate) async fn restart_with(&mut self, stop: Stop, seconds: i64, spoil: impl Fn(Vec<u8>) -> Vec<u8>) {
        self.timeline.push(format!("restart: {stop:?}, after {seconds} s"));
        if stop != Stop::KilledBeforeSaving {
            self.save();
        }
        self.unsaved = None;
        if stop == Stop::Orderly {
            self.file = Some(self.saved(true));
        }
        if stop == Stop::Reboot {
            self.boot += 1;
            self.file.iter_mut().flat_map(|(_, clients)| clients).for_each(|client| *client = None);
        }
        if matches!(stop, Stop::Orderly | Stop::Reboot) {
            self.workload_started = false;
            self.versions.iter_mut().for_each(|version| version.workload_client = WorkloadClient::Waits);
        }
        self.advance(seconds).await;
        let now = self.clock.moment();
        self.imds = imds(self.setup, &self.simulator, Arc::clone(&self.clock) as Arc<dyn Clock>);
        self.metrics = metrics();
        self.state = State::new(declared(self.setup), now);
        if !self.setup.state_file {
            self.file = None;
        }
        self.versions.iter_mut().for_each(|version| version.before_outage = None);
        if let Some((saved, clients)) = &self.file {
            let written = serde_json::to_vec(saved).expect("it can be written");
            let content = spoil(written.clone());
            if let Ok(restored) = SavedState::restore(&content, Some(&self.boot_id()), now.since_boot) {
                self.state = self.state.clone().with_restored(restored);
                for (version, client) in self.versions.iter_mut().zip(clients) {
                    version.before_outage.clone_from(client);
                }
            } else {
                assert_ne!(content, written, "it can be read again");
                self.timeline.push(format!("    the state file is {} bytes that cannot be used", content.len()));
                self.state = self.state.clone().with_unknown_past();
                self.file = None;
            }
        }
        self.save_at_start();
    }

    /// One poll.
    pub(crate) async fn poll(&mut self) -> Resolution {
        self.save();
        let resolution = self.imds.resolve().await;
        let at = self.clock.moment();
        let change = self.state.record(&resolution, Duration::ZERO, at);
        self.metrics.record(&PollReport {
            at: at.wall,
            duration: Duration::ZERO,
            resolution: resolution.clone(),
            change,
        });
        if let Ok(credential) = &resolution.outcome {
            self.expirations.insert(credential.expiration);
        }
        resolution
    }

    /// The workload starts, if it is due.
    fn start_workload(&mut self, poll_succeeded: bool) {
        let due = match self.setup.workload {
            Workload::Independent => false,
            Workload::StartsWithExporter => true,
            Workload::StartsWhenReady => poll_succeeded,
        };
        if due && !self.workload_started {
            self.workload_started = true;
            self.workload_starts += 1;
            let session = format!("workload-{}", self.workload_starts);
            self.versions.iter_mut().for_each(|version| version.workload_session.clone_from(&session));
        }
    }

    /// The workload creates its client although the exporter has not polled yet.
    pub(crate) async fn start_workload_unseen(&mut self) {
        self.timeline.push("the workload starts unseen".to_owned());
        self.start_workload(false);
        if self.workload_started {
            for version in &mut self.versions {
                version.create_workload_client().await;
            }
        }
    }

    /// The first version, which is the newest where a test does not say otherwise, and the session of its workload.
    pub(crate) fn boto3(&mut self) -> (&mut Clients, &str) {
        let version = self.versions.first_mut().expect("there is one");
        (&mut version.boto3, &version.workload_session)
    }

    pub(crate) async fn advance(&mut self, seconds: i64) {
        self.clock_of_imds.advance(seconds);
        self.clock.advance(seconds);
        self.move_clocks_of_boto3(seconds).await;
    }

    /// The machine's clock is set by so much, forward or back.
    pub(crate) async fn set_clock(&mut self, seconds: i64) {
        self.timeline.push(format!("the clock is set by {seconds} s"));
        self.clock.set_by(seconds);
        self.move_clocks_of_boto3(seconds).await;
    }

    async fn move_clocks_of_boto3(&mut self, seconds: i64) {
        for version in &mut self.versions {
            version.boto3.advance(seconds).await;
        }
    }

    /// Advances to this many seconds before the credentials expire.
    pub(crate) async fn advance_to_remaining(&mut self, seconds: i64) {
        self.advance(self.remaining() - seconds).await;
    }

    /// Seconds to the expiration of what IMDS would return.
    fn remaining(&self) -> i64 {
        self.simulator.credential().remaining(self.clock.now()).as_secs()
    }

    /// Seconds to the expirations of the documents that clients may hold, if they have not expired.
    pub(crate) fn held(&self) -> Vec<i64> {
        let now = self.clock.now();
        let left = self.expirations.iter().map(|end| now.duration_until(*end).as_secs());
        left.filter(|seconds| *seconds > 0).collect()
    }

    /// Whether the last poll failed.
    pub(crate) fn fails(&self) -> bool {
        self.state.failing().is_some()
    }

    /// Applies a change, then polls and compares.
    pub(crate) async fn then(&mut self, change: &str) -> Resolution {
        apply_toml(&self.simulator, change).await;
        self.compare(change).await
    }

    /// As [`Self::then`], with a change that is not written in TOML.
    pub(crate) async fn then_apply(&mut self, what: &str, change: &Change) -> Resolution {
        apply(&self.simulator, change).await;
        self.compare(what).await
    }

    fn exported(&self, created: &str) -> Option<bool> {
        let exposition = self.metrics.render(&self.state, None, self.clock.now());
        let series = format!("imds_client_usable{{sdk=\"boto3\",created=\"{created}\"}} ");
        exposition.lines().find_map(|line| line.strip_prefix(&series)).map(|value| value == "1")
    }

    /// Polls, and compares the exported table with what each client can do.
    pub(crate) async fn compare(&mut self, after: &str) -> Resolution {
        self.stay_away_from_the_limits().await;
        self.timeline.push(after.to_owned());
        let resolution = self.poll().await;
        let succeeded = resolution.outcome.is_ok();
        let outcome = match &resolution.outcome {
            Ok(credential) => format!("credentials until {}", credential.expiration),
            Err(failure) => format!("{} {}", failure.kind, failure.step),
        };
        self.timeline.push(format!("    {}: {outcome}", self.clock.now()));

        self.start_workload(succeeded);
        // All versions at once: in many faults each waits for its time-out.
        let mut running = JoinSet::new();
        for mut version in mem::take(&mut self.versions) {
            let started = self.workload_started;
            running.spawn(async move {
                let signs = version.sign_all(succeeded, started).await;
                (version, signs)
            });
        }
        for (version, signs) in running.join_all().await {
            for (created, signs) in signs {
                self.row(version.name, created, signs);
            }
            let [(_, now), _, (_, at_start)] = signs;
            let stuck = self.state.clients_stuck(self.clock.now());
            assert!(
                !stuck || (now, at_start) == (Some(true), Some(false)),
                "{} is not stuck; {}",
                version.name,
                self.told()
            );
            self.versions.push(version);
        }
        self.versions.sort_by_key(|version| self.setup.versions.iter().position(|name| *name == version.name));
        self.unsaved = self.setup.state_file.then(|| self.saved(false));
        resolution
    }

    /// Compares what is exported with what a client can do.
    fn row(&mut self, version: &str, created: Created, actual: Option<bool>) {
        let exported = self.exported(created.label());
        if exported.is_none() {
            self.compared.absent += usize::from(actual.is_some() && !self.setup.proxied);
            return;
        }
        let created = created.label();
        assert_eq!(exported, actual, "exported, and what boto3 {version} does: {created}; {}", self.told());
        self.compared.values += 1;
    }

    fn told(&self) -> String {
        format!("the timeline:\n{}", self.timeline.join("\n"))
    }

    /// The exporter and boto3 do not look at the clock in the same moment.
    async fn stay_away_from_the_limits(&mut self) {
        let near = |now: Timestamp, end: Timestamp| {
            LIMITS.iter().any(|limit| (-5..15).contains(&(now.duration_until(end) - *limit).as_secs()))
        };
        while self.expirations.iter().any(|end| near(self.clock.now(), *end)) {
            self.advance(30).await;
        }
    }

    /// What is exported of clients that are created now, before an outage, and at the start: `y`, `n`, or `-` for nothing.
    pub(crate) fn assert_usable(&self, expected: &str) {
        let letter = |created| self.exported(created).map_or('-', |usable| if usable { 'y' } else { 'n' });
        let exported: String = ["now", "before_outage", "at_start"].map(letter).iter().collect();
        assert_eq!(exported, expected, "{}", self.told());
    }
}

impl Version {
    /// Creates the clients that are due, and lets each make a call.
    async fn sign_all(&mut self, poll_succeeded: bool, workload_started: bool) -> Signs {
        let (newest, creation) = self.boto3.create_new().await;
        let now = creation == Creation::Bound && self.boto3.signs(&newest).await;
        if poll_succeeded {
            self.before_outage = Some(newest);
        }
        let before_outage = match &self.before_outage {
            Some(client) => Some(self.boto3.signs(client).await),
            None => None,
        };
        if workload_started && self.workload_client != WorkloadClient::Created {
            self.create_workload_client().await;
        }
        let at_start = match self.workload_client {
            WorkloadClient::Waits => None,
            WorkloadClient::TriesAgain => Some(false),
            WorkloadClient::Created => Some(self.boto3.signs(AT_START).await),
        };
        [(Created::Now, Some(now)), (Created::BeforeOutage, before_outage), (Created::AtStart, at_start)]
    }

    async fn create_workload_client(&mut self) {
        self.workload_client = match self.boto3.create(AT_START, &self.workload_session).await {
            Creation::Raised(_) => WorkloadClient::TriesAgain,
            Creation::Bound | Creation::BoundToNothing => WorkloadClient::Created,
        };
    }
}

fn declared(Setup { workload, proxied, .. }: Setup) -> WorkloadEnvironment {
    WorkloadEnvironment { workload, proxied_by: proxied.then_some(PROXY_VARIABLE), ..WorkloadEnvironment::default() }
}

fn imds(setup: Setup, simulator: &Simulator, clock: Arc<dyn Clock>) -> Imds {
    let Setup { v1_disabled, timeout, attempts, .. } = setup;
    Imds::new(ImdsOptions { timeout, attempts, v1_disabled, ..imds_options_for(simulator) }, clock)
}

fn metrics() -> Metrics {
    let options =
        metrics::MetricsOptions { poll_interval: Duration::from_secs(15), expected_role: None, process_metrics: false };
    Metrics::new(options, Build::THIS)
}
