//! Plays scripted histories through the exporter's own code, and prints what scrapes would return: for the tests of rules
//! and dashboards, which must not model the exporter a second time.
//!
//! Reads one history, as a JSON object, from each line of the standard input, and prints a JSON array for each: one
//! [`Scrape`] for each time at which the exporter runs. Owns virtual time, and when the exporter runs; everything that is
//! exported comes from `State`, `SavedState` and `Metrics`. Times are seconds since the Unix epoch, which may be near zero.

#![allow(clippy::option_option, reason = "a field that is null is told from one that is missing")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufWriter, Write};
use std::time::Duration;

use imds_exporter::domain::saved_state::SavedState;
use imds_exporter::domain::signed_call::{AccountId, Caller, Reason, SignedCall, SignedCalls};
use imds_exporter::domain::state::{PollReport, State, WorkloadEnvironment};
use imds_exporter::domain::workload::Workload;
use imds_exporter::domain::{
    Creation, Credential, Failure, Kind, Moment, Request, RequestRecord, Resolution, RoleName, Shadow, SinceBoot, Step,
    schedule,
};
use imds_exporter::metrics::{Build, Metrics, MetricsOptions};
use imds_exporter::workload::{Candidate, Owner, Watched, suspects};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Deserializer, Serialize};
use strum::VariantArray;

/// The settings of an exporter, and what happens to it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct History {
    #[serde(default = "History::default_poll_interval_seconds")]
    poll_interval_seconds: f64,
    #[serde(default, deserialize_with = "workload")]
    workload: Workload,
    #[serde(default)]
    v1_disabled: bool,
    #[serde(default, deserialize_with = "shadow")]
    shadowed: Option<Shadow>,
    expected_role: Option<RoleName>,
    /// The interval of signed calls; none are made without one.
    signed_call_interval_seconds: Option<f64>,
    /// Whether the exporter has a state file.
    #[serde(default)]
    state_file: bool,
    /// Whether the exporter watches processes.
    #[serde(default)]
    watch: bool,
    /// Names of the metrics that are wanted; all if empty.
    #[serde(default)]
    metrics: Vec<String>,
    /// What happens, in the order of time.
    events: Vec<Event>,
    /// The times of the scrapes, in their order.
    scrapes: Vec<f64>,
}

impl History {
    fn default_poll_interval_seconds() -> f64 {
        15.0
    }
}

/// Something that happens at a time. What is not mentioned stays as it is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Event {
    at: f64,
    exporter: Option<Run>,
    /// The document that IMDS returns from now on.
    document: Option<Document>,
    /// How polls fail from now on; null if they succeed again.
    #[serde(default, deserialize_with = "mentioned")]
    fault: Option<Option<Fault>>,
    /// Why the token request fails while IMDSv1 answers; null if IMDSv2 works again.
    #[serde(default, deserialize_with = "mentioned")]
    v1_fallback: Option<Option<String>>,
    /// Why signed calls fail from now on; null if AWS accepts them again.
    #[serde(default, deserialize_with = "mentioned")]
    signed_call_failure: Option<Option<String>>,
    /// How long a poll takes.
    duration_seconds: Option<f64>,
    /// The clock of IMDS minus that of the machine.
    clock_skew_seconds: Option<f64>,
    /// A watched process starts.
    process: Option<WatchedProcess>,
    /// The watched process with this id ends.
    process_ends: Option<i32>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Run {
    /// It starts, or starts again after a crash or a stop.
    Start,
    /// It stops in an orderly way.
    Stop,
    /// It is killed.
    Crash,
    /// It is killed, as the machine reboots.
    Reboot,
    /// Its poll loop hangs.
    Hang,
    /// Its poll loop goes on.
    GoOn,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    role: RoleName,
    last_updated: Option<f64>,
    expiration: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fault {
    kind: String,
    step: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WatchedProcess {
    pid: i32,
    command: String,
    #[serde(default)]
    unit: String,
    #[serde(default)]
    container_id: String,
    #[serde(default)]
    pod_uid: String,
}

/// A scrape, told as what differs from the scrape before.
#[derive(Serialize)]
struct Scrape {
    at: f64,
    /// The series that are new or have another value.
    set: BTreeMap<String, String>,
    /// The series that are not there any more.
    gone: Vec<String>,
}

/// Tells a field that is null from one that is missing.
fn mentioned<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

fn workload<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Workload, D::Error> {
    let name = String::deserialize(deserializer)?;
    name.parse().map_err(|_| serde::de::Error::custom(format!("no workload: {name}")))
}

fn shadow<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Shadow>, D::Error> {
    let Some(name) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    let found = Shadow::VARIANTS.iter().find(|shadow| shadow.label() == name);
    found
        .copied()
        .map(Some)
        .ok_or_else(|| serde::de::Error::custom(format!("nothing shadows IMDS in this way: {name}")))
}

fn kind(name: &str) -> Kind {
    name.parse().unwrap_or_else(|_| panic!("no kind of failure: {name}"))
}

fn reason(label: &str) -> Reason {
    let found = Reason::VARIANTS.iter().find(|reason| reason.label() == label);
    *found.unwrap_or_else(|| panic!("no reason: {label}"))
}

fn timestamp(seconds: f64) -> Timestamp {
    let since_epoch = SignedDuration::try_from_secs_f64(seconds).expect("a time in seconds");
    Timestamp::from_duration(since_epoch).expect("a time that the calendar knows")
}

fn since_boot(seconds: f64) -> SinceBoot {
    SinceBoot(SignedDuration::try_from_secs_f64(seconds).expect("a time in seconds"))
}

fn duration(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// The machine on which the exporter runs, and what IMDS answers to it.
struct Machine {
    boot: u32,
    document: Document,
    fault: Option<Failure>,
    v1_fallback: Option<Kind>,
    signed_call_failure: Option<Reason>,
    poll_seconds: f64,
    clock_skew_seconds: f64,
    processes: Vec<(Candidate, Owner)>,
    /// The state file.
    saved: Option<SavedState>,
}

impl Machine {
    /// The machine's clock at a true time.
    fn clock(&self, at: f64) -> Timestamp {
        timestamp(at - self.clock_skew_seconds)
    }

    /// A true time by the machine's clocks; its boots are told apart by their id alone.
    fn moment(&self, at: f64) -> Moment {
        Moment { wall: self.clock(at), since_boot: since_boot(at) }
    }

    fn boot_id(&self) -> String {
        format!("boot-{}", self.boot)
    }

    fn resolution(&self, v1_disabled: bool) -> Resolution {
        let request = |request, status| RequestRecord { request, duration: duration(self.poll_seconds / 3.0), status };
        let token_failure = self.fault.filter(|fault| fault.step == Step::Token).map(|fault| fault.kind);
        let mut requests = vec![request(Request::Token, token_status(token_failure.or(self.v1_fallback)))];
        if token_failure.is_none() {
            let asked = if self.v1_fallback.is_some() { Request::RoleWithoutToken } else { Request::Role };
            requests.push(request(asked, Some(200)));
            if self.fault.is_none_or(|fault| fault.step == Step::Credentials) {
                requests.push(request(Request::Credentials, Some(200)));
            }
        }
        let Document { role, last_updated, expiration } = self.document.clone();
        let credential =
            Credential { role, last_updated: last_updated.map(timestamp), expiration: timestamp(expiration) };
        let mut resolution = Resolution {
            requests,
            clock_skew: Some(SignedDuration::from_secs_f64(self.clock_skew_seconds)),
            v1_fallback: self.v1_fallback.filter(|_| self.fault.is_none()),
            ..Resolution::from(self.fault.map_or(Ok(credential), Err))
        };
        if v1_disabled && token_failure.is_some_and(|kind| kind != Kind::TokenRejected) {
            // It raises an error or binds, by the version of boto3.
            resolution.creation = Creation::Unknown;
        }
        resolution
    }
}

/// The status with which the token request is answered.
fn token_status(failure: Option<Kind>) -> Option<u16> {
    match failure {
        None => Some(200),
        Some(Kind::TokenRejected) => Some(400),
        Some(Kind::ImdsDisabled | Kind::TokenForbidden) => Some(403),
        Some(Kind::TokenUnsupported) => Some(404),
        Some(Kind::Throttled) => Some(429),
        Some(Kind::ServerError) => Some(500),
        Some(_) => None,
    }
}

/// An exporter that runs.
struct Exporter {
    state: State,
    metrics: Metrics,
    started: f64,
    hangs: bool,
    next_poll: f64,
}

impl Exporter {
    fn start(history: &History, machine: &mut Machine, at: f64) -> Self {
        let now = machine.moment(at);
        let declared = WorkloadEnvironment {
            workload: history.workload,
            earlier_in_chain: history.shadowed,
            ..WorkloadEnvironment::default()
        };
        let mut state = State::new(declared, now);
        if let Some(saved) = machine.saved.as_ref() {
            let content = serde_json::to_vec(saved).expect("it can be written");
            if let Ok(restored) = SavedState::restore(&content, Some(&machine.boot_id()), now.since_boot) {
                state = state.with_restored(restored);
            }
        }
        if history.state_file && history.workload != Workload::Independent {
            machine.saved = Some(SavedState::of(&state, Some(&machine.boot_id()), false));
        }
        if let Some(interval) = history.signed_call_interval_seconds {
            state = state.with_signed_calls(duration(interval));
        }
        let options = MetricsOptions {
            poll_interval: duration(history.poll_interval_seconds),
            expected_role: history.expected_role.clone(),
            process_metrics: false,
        };
        let mut metrics = Metrics::new(options, Build::THIS);
        if history.signed_call_interval_seconds.is_some() {
            metrics = metrics.with_signed_calls();
        }
        Self { state, metrics, started: at, hangs: false, next_poll: at }
    }

    fn poll(&mut self, history: &History, machine: &mut Machine) {
        let began = self.next_poll;
        let (resolution, took) = (machine.resolution(history.v1_disabled), duration(machine.poll_seconds));
        let moment = machine.moment(began + machine.poll_seconds);
        let at = moment.wall;
        let change = self.state.record(&resolution, took, moment);
        let failed = resolution.outcome.is_err();
        if let Ok(credential) = &resolution.outcome {
            self.call(credential, machine.signed_call_failure, moment);
        }
        self.metrics.record(&PollReport { at, duration: took, resolution, change });
        self.next_poll += schedule::delay(duration(history.poll_interval_seconds), failed, 0.5).as_secs_f64();
        if history.state_file {
            let saved = SavedState::of(&self.state, Some(&machine.boot_id()), false);
            if machine.saved.as_ref().is_none_or(|before| saved.is_worth_writing_after(before)) {
                machine.saved = Some(saved);
            }
        }
    }

    /// Makes a signed call with these credentials, if one is due.
    fn call(&mut self, credential: &Credential, failure: Option<Reason>, at: Moment) {
        let is_due = |calls: &&mut SignedCalls| calls.is_due(Some(credential), at.since_boot);
        let Some(calls) = self.state.signed_calls_mut().filter(is_due) else {
            return;
        };
        let caller = || Caller { account: AccountId::parse("123456789012").expect("an account"), role: None };
        let outcome = failure.map_or_else(|| Ok(caller()), |reason| Err(reason.into()));
        let call = SignedCall { at: at.wall, duration: duration(0.08), outcome };
        calls.begin(credential, at.since_boot);
        self.metrics.record_signed_call(&call);
        calls.finish(call);
    }

    fn scrape(&self, history: &History, machine: &Machine, at: f64) -> BTreeMap<String, String> {
        let watched = history.watch.then(|| {
            let outages: Vec<_> = self.state.outages().past().copied().collect();
            let candidates = machine.processes.iter().map(|(candidate, _)| candidate.clone()).collect();
            let mut suspects = suspects(candidates, &outages, self.state.booted_at());
            for suspect in &mut suspects {
                let owner = machine.processes.iter().find(|(candidate, _)| candidate.pid == suspect.pid);
                suspect.owner = owner.expect("a suspect is a process").1.clone();
            }
            Watched { processes: machine.processes.len(), sees_others: true, suspects, ..Watched::default() }
        });
        let text = self.metrics.render(&self.state, watched.as_ref(), machine.clock(at));
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.map(|line| line.rsplit_once(' ').expect("a series and its value"));
        let started = self.started.to_string();
        let samples = samples.chain([("process_start_time_seconds", started.as_str())]);
        let wanted = |series: &str| {
            let name = series.split('{').next().expect("a name");
            history.metrics.is_empty() || history.metrics.iter().any(|metric| metric == name)
        };
        let samples = samples.filter(|(series, _)| wanted(series));
        samples.map(|(series, value)| (series.to_owned(), value.to_owned())).collect()
    }
}

/// The scrapes of a history.
fn replay(history: &History) -> Vec<Scrape> {
    let mut machine = Machine {
        boot: 0,
        document: Document {
            role: "web".to_owned().try_into().expect("a role name"),
            last_updated: Some(0.0),
            expiration: 6.5 * 3600.0,
        },
        fault: None,
        v1_fallback: None,
        signed_call_failure: None,
        poll_seconds: 0.002,
        clock_skew_seconds: 0.0,
        processes: Vec::new(),
        saved: None,
    };
    let mut exporter: Option<Exporter> = None;
    let mut events = history.events.iter().peekable();
    let mut before: BTreeMap<String, String> = BTreeMap::new();
    let mut scrapes = Vec::new();
    for scrape_at in history.scrapes.iter().copied() {
        loop {
            let event_at = events.peek().map_or(f64::INFINITY, |event| event.at);
            let polling = exporter.as_mut().filter(|exporter| !exporter.hangs);
            // A poll is seen once it has ended.
            let ends = polling.as_ref().map_or(f64::INFINITY, |exporter| exporter.next_poll + machine.poll_seconds);
            let begins = polling.as_ref().map_or(f64::INFINITY, |exporter| exporter.next_poll);
            if event_at <= scrape_at && (event_at <= begins || ends > scrape_at) {
                let event = events.next().expect("it was seen");
                apply(event, history, &mut machine, &mut exporter);
            } else if let Some(exporter) = polling
                && ends <= scrape_at
            {
                exporter.poll(history, &mut machine);
            } else {
                break;
            }
        }
        let now = exporter.as_ref().map(|exporter| exporter.scrape(history, &machine, scrape_at));
        let Some(now) = now else { continue };
        let set = now.iter().filter(|(series, value)| before.get(*series) != Some(*value));
        let set = set.map(|(series, value)| (series.clone(), value.clone())).collect();
        let gone = before.keys().filter(|series| !now.contains_key(*series)).cloned().collect();
        scrapes.push(Scrape { at: scrape_at, set, gone });
        before = now;
    }
    scrapes
}

fn apply(event: &Event, history: &History, machine: &mut Machine, exporter: &mut Option<Exporter>) {
    if let Some(document) = &event.document {
        machine.document = document.clone();
    }
    if let Some(fault) = &event.fault {
        machine.fault = fault.as_ref().map(|fault| Failure {
            kind: kind(&fault.kind),
            step: fault.step.parse().unwrap_or_else(|_| panic!("no step: {}", fault.step)),
        });
    }
    if let Some(fallback) = &event.v1_fallback {
        machine.v1_fallback = fallback.as_deref().map(kind);
    }
    if let Some(failure) = &event.signed_call_failure {
        machine.signed_call_failure = failure.as_deref().map(reason);
    }
    machine.poll_seconds = event.duration_seconds.unwrap_or(machine.poll_seconds);
    machine.clock_skew_seconds = event.clock_skew_seconds.unwrap_or(machine.clock_skew_seconds);
    if let Some(WatchedProcess { pid, command, unit, container_id, pod_uid }) = &event.process {
        let started = since_boot(event.at);
        let candidate = Candidate { pid: *pid, command: command.clone(), started, start_ticks: 0 };
        let owner = Owner { unit: unit.clone(), container_id: container_id.clone(), pod_uid: pod_uid.clone() };
        machine.processes.push((candidate, owner));
    }
    if let Some(pid) = event.process_ends {
        machine.processes.retain(|(candidate, _)| candidate.pid != pid);
    }
    match event.exporter {
        None => {}
        Some(Run::Start) => *exporter = Some(Exporter::start(history, machine, event.at)),
        Some(Run::Stop) => {
            if let Some(stopped) = exporter.take().filter(|_| history.state_file) {
                machine.saved = Some(SavedState::of(&stopped.state, Some(&machine.boot_id()), true));
            }
        }
        Some(Run::Crash) => *exporter = None,
        Some(Run::Reboot) => {
            *exporter = None;
            machine.boot += 1;
            machine.processes.clear();
        }
        Some(Run::Hang) => exporter.iter_mut().for_each(|exporter| exporter.hangs = true),
        Some(Run::GoOn) => exporter.iter_mut().for_each(|exporter| {
            exporter.hangs = false;
            exporter.next_poll = exporter.next_poll.max(event.at);
        }),
    }
}

fn main() {
    let mut out = BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let history: History = match serde_json::from_str(&line.expect("the input is text")) {
            Ok(history) => history,
            Err(error) => {
                eprintln!("no history: {error}");
                std::process::exit(64);
            }
        };
        serde_json::to_writer(&mut out, &replay(&history)).expect("the output is read");
        out.write_all(b"\n").expect("the output is read");
    }
    out.flush().expect("the output is read");
}
