//! The table of usable clients (`imds_client_usable`) beside real boto3 clients.
//!
//! A simulator, an exporter that polls on demand and can be restarted, and boto3 share a clock that tests move. After
//! every step, each value that the exporter exports is compared with what the client can do. A difference fails, and so
//! does a value where nobody can know what the client does.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use imds_exporter::domain::boto3::Created;
use imds_exporter::domain::state::{PollReport, State, WorkloadEnvironment};
use imds_exporter::domain::workload::Workload;
use imds_exporter::domain::{Kind, Resolution, Source};
use imds_exporter::imds::{Imds, Options};
use imds_exporter::metrics::{self, Build, Metrics};
use imds_exporter::platform::clock::Clock;
use imds_exporter::platform::state_file::Saved;
use imds_exporter::simulator::{self, Change, Simulator};
use jiff::{SignedDuration, Timestamp};

use crate::clients::{Clients, Creation};
use crate::support::clock::TestClock;
use crate::support::simulator::{apply, apply_toml, imds_options_for};

const AT_START: &str = "at-start";

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
}

impl Default for Setup {
    /// A workload that starts with the exporter.
    fn default() -> Self {
        Self {
            workload: Workload::StartsWithExporter,
            v1_disabled: false,
            state_file: true,
            timeout: Duration::from_secs(1),
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

/// What the exporter can know.
#[derive(Clone, Debug, Default)]
struct Known {
    /// The client that was created right after the last successful poll.
    before_outage: Option<String>,
    /// It has seen what the workload's client got.
    workload_client: bool,
    /// It has seen that the creation of the workload's client raised an error, and not yet that it can succeed.
    workload_tries_again: bool,
}

/// Which values were compared, and how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Compared {
    /// Values that a client confirmed.
    pub(crate) values: usize,
    /// Rows that were rightly absent.
    pub(crate) absent: usize,
}

/// The simulator, the exporter and boto3.
pub(crate) struct Comparison {
    setup: Setup,
    clock: Arc<TestClock>,
    pub(crate) simulator: Simulator,
    imds: Imds,
    state: State,
    metrics: Metrics,
    pub(crate) boto3: Clients,
    workload_client: WorkloadClient,
    known: Known,
    /// The content of the state file, and what the exporter knew when it was written.
    file: Option<(Saved, Known)>,
    /// A poll that is not saved yet.
    unsaved: Option<(Saved, Known)>,
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
    /// The exporter and its workload start with `change` in effect.
    pub(crate) async fn start(setup: Setup, change: &str) -> Self {
        let mut comparison = Self::before_start(setup, change).await;
        comparison.compare("the start").await;
        comparison
    }

    /// As [`Self::start`], before the first poll.
    pub(crate) async fn before_start(setup: Setup, change: &str) -> Self {
        let clock = TestClock::from_now();
        let shared: Arc<dyn Clock> = Arc::clone(&clock) as Arc<dyn Clock>;
        let simulator =
            Simulator::start(simulator::Options::default(), Arc::clone(&shared)).await.expect("a free port");
        apply_toml(&simulator, change).await;
        let environment: &[_] = if setup.v1_disabled { &[("AWS_EC2_METADATA_V1_DISABLED", "true")] } else { &[] };
        let boto3 = Clients::start(simulator.address(), environment);
        let mut comparison = Self {
            imds: imds(setup, &simulator, shared),
            state: State::new(declared(setup), clock.now()),
            metrics: metrics(),
            setup,
            clock,
            simulator,
            boto3,
            workload_client: WorkloadClient::Waits,
            known: Known::default(),
            file: None,
            unsaved: None,
            boot: 1,
            workload_starts: 0,
            expirations: BTreeSet::new(),
            compared: Compared::default(),
            timeline: vec![format!("{setup:?}, {change}")],
        };
        comparison.save_at_start();
        comparison
    }

    fn boot_id(&self) -> String {
        format!("boot-{}", self.boot)
    }

    fn saved(&self, orderly_stop: bool) -> Saved {
        Saved::of(&self.state, Some(&self.boot_id()), orderly_stop)
    }

    /// As `exporter::run` does it.
    fn save_at_start(&mut self) {
        if self.setup.workload != Workload::Independent {
            self.file = Some((self.saved(false), self.known.clone()));
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
        self.timeline.push(format!("restart: {stop:?}, after {seconds} s"));
        if stop != Stop::KilledBeforeSaving {
            self.save();
        }
        self.unsaved = None;
        match stop {
            Stop::Orderly => {
                let known = Known { workload_client: false, workload_tries_again: false, ..self.known.clone() };
                self.file = Some((self.saved(true), known));
                self.workload_client = WorkloadClient::Waits;
            }
            Stop::Killed | Stop::KilledBeforeSaving => {}
            Stop::Reboot => {
                self.boot += 1;
                self.workload_client = WorkloadClient::Waits;
                self.file = self.file.take().map(|(saved, _)| (saved, Known::default()));
            }
        }
        self.advance(seconds).await;
        let now = self.clock.now();
        self.imds = imds(self.setup, &self.simulator, Arc::clone(&self.clock) as Arc<dyn Clock>);
        self.metrics = metrics();
        self.state = State::new(declared(self.setup), now);
        self.known = Known::default();
        if !self.setup.state_file {
            self.file = None;
        }
        if let Some((saved, known)) = &self.file {
            let content = serde_json::to_vec(saved).expect("it can be written");
            let restored = Saved::parse(&content, Some(&self.boot_id()), now).expect("it can be read again");
            self.state = self.state.clone().with_restored(restored);
            self.known = known.clone();
        }
        self.save_at_start();
    }

    /// One poll.
    pub(crate) async fn poll(&mut self) -> Resolution {
        self.save();
        let resolution = self.imds.resolve().await;
        let at = self.clock.now();
        let change = self.state.record(&resolution, Duration::ZERO, at);
        self.metrics.record(&PollReport { at, duration: Duration::ZERO, resolution: resolution.clone(), change });
        if let Ok(credential) = &resolution.outcome {
            self.expirations.insert(credential.expiration);
        }
        resolution
    }

    /// The workload starts, if it is due, or tries again to create its client.
    async fn start_workload(&mut self, poll_succeeded: bool) {
        let created = match self.setup.workload {
            Workload::Independent => false,
            Workload::StartsWithExporter => true,
            Workload::StartsWhenReady => poll_succeeded || self.workload_client != WorkloadClient::Waits,
        };
        if !created || self.workload_client == WorkloadClient::Created {
            return;
        }
        if self.workload_client == WorkloadClient::Waits {
            self.workload_starts += 1;
            self.known.workload_client = true;
        }
        let session = self.workload_session();
        self.workload_client = match self.boto3.create(AT_START, &session).await {
            Creation::Raised(_) => {
                self.known.workload_tries_again = true;
                WorkloadClient::TriesAgain
            }
            Creation::Bound | Creation::BoundToNothing => WorkloadClient::Created,
        };
    }

    /// The session of the workload, which is a new one with each start.
    pub(crate) fn workload_session(&self) -> String {
        format!("workload-{}", self.workload_starts)
    }

    /// The workload creates its client although the exporter has not polled yet.
    pub(crate) async fn start_workload_unseen(&mut self) {
        self.timeline.push("the workload starts unseen".to_owned());
        self.start_workload(false).await;
        self.known.workload_client = false;
    }

    pub(crate) async fn advance(&mut self, seconds: i64) {
        self.clock.jump(seconds);
        self.boto3.advance(seconds).await;
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

    pub(crate) fn exported(&self, created: &str) -> Option<bool> {
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

        let (newest, creation) = self.boto3.create_new().await;
        let now = creation == Creation::Bound && self.boto3.signs(&newest).await;
        if self.known.workload_tries_again && !matches!(creation, Creation::Raised(_)) {
            self.known.workload_tries_again = false;
            // Nobody can know whether the workload tried just now, and is bound to nothing.
            self.known.workload_client &= creation == Creation::Bound;
        }
        if succeeded {
            self.known.before_outage = Some(newest);
        }
        self.start_workload(succeeded).await;
        if succeeded && self.setup.workload == Workload::StartsWhenReady {
            // With this success at the latest, what was held back has credentials.
            self.known.workload_client = true;
        }
        let at_start = match self.workload_client {
            WorkloadClient::Waits => None,
            WorkloadClient::TriesAgain => Some(false),
            WorkloadClient::Created => Some(self.boto3.signs(AT_START).await),
        };
        let before_outage = match self.known.before_outage.clone() {
            Some(client) => Some(self.boto3.signs(&client).await),
            None => None,
        };
        self.row(Created::Now, Some(now));
        self.row(Created::BeforeOutage, before_outage);
        self.row(Created::AtStart, at_start.filter(|_| self.known.workload_client));
        let stuck = now && at_start == Some(false) && self.known.workload_client;
        assert_eq!(self.state.clients_stuck(self.clock.now()), stuck, "stuck; {}", self.told());
        self.unsaved = self.setup.state_file.then(|| (self.saved(false), self.known.clone()));
        resolution
    }

    /// Compares what is exported with what can be known of a client.
    fn row(&mut self, created: Created, actual: Option<bool>) {
        let created = created.label();
        let exported = self.exported(created);
        assert_eq!(exported, actual, "exported, and what a real client does: {created}; {}", self.told());
        match actual {
            Some(_) => self.compared.values += 1,
            None => self.compared.absent += 1,
        }
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

    pub(crate) fn assert_usable(&self, expected: [(&'static str, Option<bool>); 3]) {
        for (created, usable) in expected {
            assert_eq!(self.exported(created), usable, "{created}; {}", self.told());
        }
    }

    /// The series of [`Self::assert_usable`], in its order.
    pub(crate) fn assert_all_usable(&self, now: bool, before_outage: bool, at_start: bool) {
        let rows = [("now", now), ("before_outage", before_outage), ("at_start", at_start)];
        self.assert_usable(rows.map(|(created, usable)| (created, Some(usable))));
    }

    /// Why IMDSv1 is in use, as exported.
    pub(crate) fn v1_fallback(&self) -> Option<Kind> {
        self.state.v1_fallback()
    }
}

fn declared(Setup { workload, .. }: Setup) -> WorkloadEnvironment {
    WorkloadEnvironment { workload, ..WorkloadEnvironment::default() }
}

fn imds(setup: Setup, simulator: &Simulator, clock: Arc<dyn Clock>) -> Imds {
    let Setup { v1_disabled, timeout, .. } = setup;
    Imds::new(Options { timeout, v1_disabled, ..imds_options_for(simulator) }, clock).expect("an IMDS client")
}

fn metrics() -> Metrics {
    let options =
        metrics::Options { poll_interval: Duration::from_secs(15), expected_role: None, process_metrics: false };
    Metrics::new(options, Build::THIS)
}
