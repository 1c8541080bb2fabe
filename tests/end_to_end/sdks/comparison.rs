//! A row of the table of SDKs beside real clients of that SDK.
//!
//! The simulator, the exporter's own code and the clients share a clock that tests move. At each step of a timeline the
//! exporter polls once, each client makes one call, and what the exporter says of it is compared with whether AWS would
//! accept the call: signed, with the key of a whole document, which has not ended or is the newest that IMDS has.
//!
//! What was seen is kept, so that it can be compared with other rows too.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use imds_exporter::domain::client::{Created, Holds};
use imds_exporter::domain::sdk::{Attempt, FailedRefresh, SDKS, Sdk};
use imds_exporter::domain::state::{Declared, State};
use imds_exporter::domain::workload::Workload;
use imds_exporter::domain::{Kind, Resolution, Source};
use imds_exporter::imds::{Imds, Options};
use imds_exporter::platform::clock::Clock;
use imds_exporter::simulator::{self, Change, Counts, Health, KEY_ID_PREFIX, Simulator};
use jiff::Timestamp;

use super::clients::{SdkClients, Signed};
use crate::support::clock::TestClock;
use crate::support::simulator::{apply, imds_options};

/// Where every SDK asks by default.
const IMDS: &str = "169.254.169.254:80";

/// So much of an SDK's error is told, in characters.
const MOST_TOLD: usize = 90;

/// What is set in the environment, the exporter's as the clients'.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Environment {
    /// `AWS_EC2_METADATA_V1_DISABLED=true`.
    pub(crate) v1_disabled: bool,
    /// `AWS_EC2_METADATA_DISABLED=true`.
    pub(crate) disabled: bool,
}

impl Environment {
    fn variables(self) -> Vec<(&'static str, &'static str)> {
        let v1 = self.v1_disabled.then_some(("AWS_EC2_METADATA_V1_DISABLED", "true"));
        let all = self.disabled.then_some(("AWS_EC2_METADATA_DISABLED", "true"));
        v1.into_iter().chain(all).collect()
    }
}

/// A step of a timeline.
#[derive(Clone, Debug)]
enum Event {
    /// The exporter polled.
    Poll {
        /// What it found.
        resolution: Resolution,
        /// When.
        at: Timestamp,
    },
    /// A client made a call.
    Call {
        /// Which client.
        created: Created,
        /// What the exporter said of it.
        exported: Option<bool>,
        /// Whether AWS would accept it.
        accepted: bool,
        /// Whether the row claims nothing more precise than this: the SDK draws at random.
        within_jitter: bool,
    },
}

/// What was seen in one timeline.
#[derive(Clone, Debug)]
pub(crate) struct Timeline {
    v1_disabled: bool,
    events: Vec<Event>,
}

/// How often an exported value was compared.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Compared {
    /// Values that a client confirmed.
    pub(crate) confirmed: usize,
    /// Values that are cautious, at a time at which the SDK draws at random whether it recovers.
    pub(crate) within_jitter: usize,
    /// Values that were absent, because the exporter cannot know.
    pub(crate) absent: usize,
    /// Calls of clients that hold nothing permanently, or pause: none of them sent a request.
    pub(crate) silent: usize,
}

/// The clients of one SDK, with one environment, in timelines one after the other.
pub(crate) struct Comparison {
    sdk: usize,
    environment: Environment,
    clock: Arc<TestClock>,
    pub(crate) simulator: Simulator,
    pub(crate) clients: SdkClients,
    /// Clients created so far.
    created: u32,
    /// When the documents end, in the order of their serial numbers, which begin with 1.
    ends: Vec<Timestamp>,
    /// The serial numbers of documents that AWS would accept no call with.
    incomplete: BTreeSet<usize>,
    imds: Imds,
    state: State,
    /// The client that the exporter means by `before_outage`, and that of the workload.
    before_outage: Option<String>,
    at_start: Option<String>,
    events: Vec<Event>,
    told: String,
    pub(crate) timelines: Vec<Timeline>,
    pub(crate) compared: Compared,
    pub(crate) differences: Vec<String>,
}

impl Comparison {
    /// Starts the simulator and the program with the clients, in a network namespace with [`IMDS`].
    pub(crate) async fn start(label: &str, environment: Environment) -> Self {
        let sdk = SDKS.iter().position(|sdk| sdk.label == label).expect("it has a row");
        let clock = TestClock::from_now();
        let listen = IMDS.parse().expect("an address");
        let options = simulator::Options { listen, allow_any_address: true, ..simulator::Options::default() };
        let simulator =
            Simulator::start(options, Arc::clone(&clock) as Arc<dyn Clock>).await.expect("the port is free");
        let mut clients = SdkClients::start(label, &environment.variables());
        let version = clients.version().await;
        assert!(SDKS[sdk].version.contains(&version), "the row is of {}, the SDK is {version}", SDKS[sdk].version);
        let ends = vec![simulator.credential().expiration];
        let mut comparison = Self {
            sdk,
            environment,
            imds: imds(environment, &clock),
            state: state(environment, &clock),
            clock,
            simulator,
            clients,
            created: 0,
            ends,
            incomplete: BTreeSet::new(),
            before_outage: None,
            at_start: None,
            events: Vec::new(),
            told: String::new(),
            timelines: Vec::new(),
            compared: Compared::default(),
            differences: Vec::new(),
        };
        comparison.simulate("rotation = \"off\"").await;
        comparison
    }

    /// Ends the program and the simulator.
    pub(crate) async fn end(self) -> (Vec<Timeline>, Compared, Vec<String>) {
        self.simulator.shutdown().await;
        (self.timelines, self.compared, self.differences)
    }

    /// The row.
    pub(crate) fn row(&self) -> &'static Sdk {
        &SDKS[self.sdk]
    }

    /// Begins a timeline: the exporter and its workload start in this state of the simulator, with a new document.
    pub(crate) async fn begin(&mut self, change: &str) {
        self.finish();
        self.simulate("fault = \"none\"\ntokens = \"required\"\nexpires_in = \"6h34m\"").await;
        self.simulate(change).await;
        self.imds = imds(self.environment, &self.clock);
        self.state = state(self.environment, &self.clock);
        self.before_outage = None;
        self.at_start = None;
        self.told = format!("{:?}, {}\n", self.environment, change.replace('\n', ", "));
        self.compare("the start").await;
    }

    /// Keeps what was seen of a timeline.
    pub(crate) fn finish(&mut self) {
        let events = mem::take(&mut self.events);
        if !events.is_empty() {
            self.timelines.push(Timeline { v1_disabled: self.environment.v1_disabled, events });
        }
    }

    /// Changes the simulator, and compares.
    pub(crate) async fn then(&mut self, change: &str) {
        self.simulate(change).await;
        self.compare(&change.replace('\n', ", ")).await;
    }

    /// Advances the clock of all, and compares.
    pub(crate) async fn later(&mut self, seconds: i64) {
        self.advance(seconds).await;
        self.compare(&format!("{seconds} s later")).await;
    }

    /// Advances to this many seconds before the end of the newest document, and compares; nothing if that is past.
    pub(crate) async fn later_with_left(&mut self, seconds: i64) {
        let left = self.clock.now().duration_until(*self.ends.last().expect("there is one")).as_secs();
        if left > seconds {
            self.later(left - seconds).await;
        }
    }

    /// Changes the simulator.
    ///
    /// A document that is incomplete has a serial number of its own, by which its key is known.
    pub(crate) async fn simulate(&mut self, change: &str) {
        let change = Change::parse(change).unwrap_or_else(|error| panic!("{change}: {error}"));
        let was_incomplete = self.incomplete.contains(&self.ends.len());
        let is_incomplete = matches!(
            change.fault,
            Some(Health::Faulty(fault)) if fault.kind() == Kind::IncompleteDocument
        );
        self.apply(&change).await;
        if is_incomplete || (was_incomplete && change.fault.is_some()) {
            self.apply(&Change { rotate: Some(true), ..Change::default() }).await;
        }
        if is_incomplete {
            self.incomplete.insert(self.ends.len());
        }
    }

    async fn apply(&mut self, change: &Change) {
        apply(&self.simulator, change).await;
        // As the simulator does it: each of the two makes a document.
        let renewed = change.role.is_some() || change.lifetime.is_some() || change.rotate == Some(true);
        let documents = self.ends.len() + usize::from(renewed) + usize::from(change.expires_in.is_some());
        self.ends.resize(documents, self.simulator.credential().expiration);
    }

    pub(crate) async fn advance(&mut self, seconds: i64) {
        self.clock.jump(seconds);
        self.clients.advance(seconds).await;
    }

    /// The time as all see it.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A new client, or the error that its creation raised.
    pub(crate) async fn create(&mut self) -> Result<String, String> {
        self.created += 1;
        let name = format!("client-{}", self.created);
        self.clients.create(&name).await.map(|()| name)
    }

    /// The serial number of the document that a call of the client is signed with, or why it is not signed.
    pub(crate) async fn sign(&mut self, client: &str) -> Result<usize, String> {
        match self.clients.sign(client).await {
            Signed::With(key) => {
                let serial = key.strip_prefix(KEY_ID_PREFIX).and_then(|serial| serial.parse().ok());
                serial.ok_or_else(|| format!("signed with {key:?}"))
            }
            Signed::Not(error) => Err(error),
        }
    }

    /// Whether AWS would accept a call.
    fn is_accepted(&self, signed: &Result<usize, String>, resolved: bool) -> bool {
        signed.as_ref().is_ok_and(|serial| {
            let newest = resolved && *serial == self.ends.len();
            !self.incomplete.contains(serial) && (newest || self.ends[serial - 1] > self.clock.now())
        })
    }

    /// Polls, and compares what the exporter says with what each client does.
    async fn compare(&mut self, after: &str) {
        let resolution = self.imds.resolve().await;
        let at = self.clock.now();
        self.state.record(&resolution, Duration::ZERO, at);
        let resolved = resolution.outcome.is_ok();
        let outcome = match &resolution.outcome {
            Ok(credential) => format!("until {}, v1: {:?}", credential.expiration, resolution.v1_fallback),
            Err(failure) => format!("{} {}", failure.kind, failure.step),
        };
        writeln!(self.told, "{after}\n    {at}: {outcome}").expect("a string");
        self.events.push(Event::Poll { resolution, at });

        let newest = self.create().await;
        let signed = match &newest {
            Ok(client) => self.sign(client).await,
            Err(raised) => Err(format!("raised {raised}")),
        };
        self.saw(Created::Now, &signed, resolved, at);

        let is_new = matches!(
            self.state.before_outage()[self.sdk],
            Some(Holds::Document(held)) if held.fetched_at == at
        );
        if let (true, Ok(client)) = (is_new, &newest) {
            self.before_outage = Some(client.clone());
        }
        if let Some(client) = self.before_outage.clone() {
            self.call(Created::BeforeOutage, &client, resolved, at).await;
        }

        if self.at_start.is_none() {
            match self.create().await {
                Ok(client) => self.at_start = Some(client),
                Err(raised) => self.saw(Created::AtStart, &Err(format!("raised {raised}")), resolved, at),
            }
        }
        if let Some(client) = self.at_start.clone() {
            self.call(Created::AtStart, &client, resolved, at).await;
        }
    }

    async fn call(&mut self, created: Created, client: &str, resolved: bool, at: Timestamp) {
        let before = self.simulator.counts();
        let signed = self.sign(client).await;
        if self.is_silent(created, at) && self.sent_nothing(before, created) {
            self.compared.silent += 1;
        }
        self.saw(created, &signed, resolved, at);
    }

    /// Whether such a client sends nothing: it holds nothing permanently, or surely pauses.
    fn is_silent(&self, created: Created, at: Timestamp) -> bool {
        match self.state.holds(self.sdk, created) {
            Some(Holds::Nothing) => true,
            Some(Holds::Document(held)) => {
                // This poll's call may be the one that failed.
                let failed_before = |pause: Timestamp| match self.row().failed_refresh {
                    FailedRefresh::KeepsTheOld { shortest_pause, .. } => pause - shortest_pause < at,
                    FailedRefresh::FailsTheCall { .. } => false,
                };
                held.pause.is_some_and(|pause| at < pause.not_before && failed_before(pause.not_before))
            }
            _ => false,
        }
    }

    fn sent_nothing(&mut self, before: Counts, created: Created) -> bool {
        let after = self.simulator.counts();
        if after != before {
            self.differences.push(format!("{created:?} asked: {before:?} {after:?}; {}", self.told));
        }
        after == before
    }

    /// Keeps and compares what a client did.
    fn saw(&mut self, created: Created, signed: &Result<usize, String>, resolved: bool, at: Timestamp) {
        let accepted = self.is_accepted(signed, resolved);
        let exported = self.state.client_usable(self.sdk, created, at);
        let holds = self.state.holds(self.sdk, created);
        let within_jitter = exported == Some(false) && accepted && self.may_recover(holds, at);
        let signed = match signed {
            Ok(serial) => format!("document {serial}"),
            Err(error) => error.chars().take(MOST_TOLD).collect(),
        };
        writeln!(self.told, "    {}: exported {exported:?}, accepted {accepted}: {signed}", created.label())
            .expect("a string");
        self.events.push(Event::Call { created, exported, accepted, within_jitter });
        match exported {
            None => self.compared.absent += 1,
            Some(_) if within_jitter => self.compared.within_jitter += 1,
            Some(exported) if exported == accepted => self.compared.confirmed += 1,
            Some(_) => self.differences.push(format!("{created:?}, {holds:?}; {}", self.told)),
        }
    }

    /// Whether the SDK draws at random if a client that holds this has recovered.
    fn may_recover(&self, holds: Option<Holds>, at: Timestamp) -> bool {
        let Some(Holds::Document(held)) = holds else { return false };
        let [may_refresh, refreshes] = self.row().refreshes_from(held.fetched_at, held.ends_at);
        held.pause.is_some_and(|pause| (pause.not_before..pause.until).contains(&at))
            || (may_refresh..refreshes).contains(&at)
    }
}

impl Timeline {
    /// How many calls contradict what the exporter would export with this row, or are unknown to that alone.
    pub(crate) fn contradictions(&self, row: &Sdk) -> usize {
        let mut attempt = None;
        let (mut before_outage, mut at_start) = (None, None);
        let mut polled_at = Timestamp::MIN;
        let mut contradictions = 0;
        for event in &self.events {
            match event {
                Event::Poll { resolution, at } => {
                    polled_at = *at;
                    attempt = Some(row.attempt(resolution, self.v1_disabled));
                    before_outage = row.before_outage(before_outage, resolution, self.v1_disabled, *at);
                    at_start = Some(match at_start {
                        None => row.created(resolution, self.v1_disabled, *at),
                        Some(holds) => row.after(holds, resolution, self.v1_disabled, *at),
                    });
                }
                Event::Call { created, exported, accepted, within_jitter: false } => {
                    let holds = match created {
                        Created::Now => Some(Holds::NotYet),
                        Created::BeforeOutage => before_outage,
                        Created::AtStart => at_start,
                    };
                    let attempt: Attempt = attempt.expect("a poll comes first");
                    let said = holds.and_then(|holds| row.can_sign(holds, attempt, polled_at));
                    let known = said.is_some() || exported.is_some();
                    contradictions += usize::from(known && said != Some(*accepted));
                }
                Event::Call { within_jitter: true, .. } => {}
            }
        }
        contradictions
    }
}

fn state(Environment { v1_disabled, .. }: Environment, clock: &TestClock) -> State {
    let declared = Declared { workload: Workload::StartsWithExporter, v1_disabled, ..Declared::default() };
    State::new(declared, clock.now())
}

fn imds(Environment { v1_disabled, disabled }: Environment, clock: &Arc<TestClock>) -> Imds {
    // Longer than the shortest of the SDKs' own, on a machine that may be busy.
    let timeout = Duration::from_millis(700);
    let options = Options { disabled, v1_disabled, timeout, ..imds_options(&format!("http://{IMDS}")) };
    Imds::new(options, Arc::clone(clock) as Arc<dyn Clock>).expect("an IMDS client")
}
