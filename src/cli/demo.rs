//! `demo`: simulator and exporter together; the story of a stuck client in fast motion.
//!
//! Owns the story. Everything in it is real except IMDS, STS and the workers, which behave as `domain::boto3` says of boto3,
//! and one of them as with `deploy/boto3`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::time::sleep_until;

use super::loopback_client::{Asked, LoopbackClient};
use super::output::print;
use super::runtime::{block_on, stop_signal};
use crate::config::{Config, DEFAULT_PORT};
use crate::domain::boto3::BoundCredentials;
use crate::domain::state::PollReport;
use crate::domain::{Creation, Source};
use crate::exporter::{self, Listeners};
use crate::http::Route;
use crate::imds::Imds;
use crate::platform::clock::{Clock, SystemClock, monotonic};
use crate::simulator::{Change, Simulator, SimulatorOptions};

/// Where the exporter listens, if the port is free.
const ADDRESS: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, DEFAULT_PORT);

const INTERVAL: &str = "1s";

/// Between signed calls: shorter than can be configured, since this is told in fast motion.
const SIGNED_CALL_INTERVAL: Duration = Duration::from_secs(1);

/// The columns of a terminal; longer lines are broken.
const COLUMNS: usize = 80;

enum Event {
    Simulate(&'static str),
    /// These workers start, or restart, and create their clients.
    Start(&'static [usize]),
    Calls,
    /// Show what the exporter says of the last signed call.
    SignedCall,
    Narration,
}

/// The second at which it happens, what happens, and what is said of it.
type Scene = (u64, Event, &'static str);

/// The workers, and whether their clients heal.
const WORKERS: [(&str, bool); 3] = [("worker-1", false), ("worker-2", true), ("worker-3", false)];

const STORY: &[Scene] = &[
    (0, Event::Narration, "IMDS answers. The exporter polls it, here every second."),
    (2, Event::SignedCall, "The exporter also makes a signed call to AWS:"),
    (3, Event::Start(&[0]), "worker-1 starts and creates its boto3 client."),
    (4, Event::Calls, "It calls AWS:"),
    (6, Event::Simulate("fault = \"connect_refused\""), "An outage of IMDS begins: connections are refused."),
    (
        8,
        Event::Start(&[1, 2]),
        "worker-2 and worker-3 start during the outage. Creating a boto3 client raises no error. worker-3 is plain \
         boto3; worker-2 calls never_stuck.heal() of deploy/boto3 first.",
    ),
    (10, Event::Calls, "All workers call AWS:"),
    (13, Event::Simulate("fault = \"none\""), "IMDS is back. The incident seems to be over."),
    (16, Event::Calls, "All workers call AWS again:"),
    (
        19,
        Event::Narration,
        "worker-3 is stuck: its client never looks for credentials again. It sends no request, so neither IMDS nor AWS \
         can see it. The exporter can: its status page shows the outage and what it means for clients.",
    ),
    (23, Event::Start(&[2]), "worker-3 restarts and creates its client again. Without heal() this is the only remedy."),
    (24, Event::Calls, "All workers call AWS again:"),
    (
        27,
        Event::Simulate("fault = \"hop_limit\""),
        "Another fault: the answers to token requests are lost on the way, as with a hop limit of 1 and a container network.",
    ),
    (33, Event::Simulate("fault = \"none\""), "It is fixed."),
    (
        35,
        Event::Simulate("sts = \"invalid_token\""),
        "The role is deleted. IMDS still serves its credentials, and every check of IMDS succeeds.",
    ),
    (38, Event::SignedCall, "Only the signed call shows it:"),
    (39, Event::Simulate("sts = \"checks\""), "The role is restored."),
    (42, Event::SignedCall, ""),
    (43, Event::Narration, "This is the end of the story."),
];

struct Worker {
    name: &'static str,
    /// Whether the client looks for credentials at each call while it has none, as `deploy/boto3` makes it do.
    heals: bool,
    created_at: Timestamp,
    holds: BoundCredentials,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Signed,
    /// It is signed, by a client that had no credentials before.
    Healed,
    /// The client found no credentials at this call; it looks again at the next one.
    NotYet,
    Stuck,
    NotRefreshed,
}

impl Worker {
    /// It starts and creates its client: botocore resolves once, and binds the result.
    async fn start((name, heals): (&'static str, bool), imds: &mut Imds) -> Self {
        let creation = imds.resolve().await.creation;
        let created_at = SystemClock.now();
        Self { name, heals, created_at, holds: BoundCredentials::created(creation, created_at) }
    }

    /// It calls AWS; `newest` is what the last poll found.
    async fn call(&mut self, newest: Creation, imds: &mut Imds) -> Call {
        let is_bound_to_nothing = self.holds == BoundCredentials::Nothing;
        if is_bound_to_nothing && self.heals {
            self.holds = BoundCredentials::created(imds.resolve().await.creation, SystemClock.now());
        }
        match (&self.holds, is_bound_to_nothing) {
            (BoundCredentials::Nothing, _) if self.heals => Call::NotYet,
            (BoundCredentials::Nothing, _) => Call::Stuck,
            (_, true) => Call::Healed,
            (holds, _) if holds.can_sign(newest, SystemClock.now()) == Some(true) => Call::Signed,
            _ => Call::NotRefreshed,
        }
    }
}

struct Stage<'a> {
    simulator: &'a Simulator,
    imds: Imds,
    workers: BTreeMap<usize, Worker>,
    last: &'a RefCell<Option<Creation>>,
    /// The exporter.
    address: SocketAddr,
    client: LoopbackClient,
}

pub(super) fn run(once: bool) -> ExitCode {
    block_on(async {
        let listener = match TcpListener::bind(ADDRESS).await {
            Ok(listener) => listener,
            Err(_) => TcpListener::bind((ADDRESS.0, 0)).await?,
        };
        play(listener, once).await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Plays the story on `listener` and serves until Ctrl-C, or until the end of the story if `once`.
async fn play(listener: TcpListener, once: bool) -> io::Result<()> {
    let (stop, clock): (_, Arc<dyn Clock>) = (stop_signal()?, Arc::new(SystemClock));
    let options = SimulatorOptions { sts: Some((Ipv4Addr::LOCALHOST, 0).into()), ..SimulatorOptions::default() };
    let simulator = Simulator::start(options, Arc::clone(&clock)).await?;
    let address = listener.local_addr()?;
    let endpoint = format!("http://{}", simulator.address());
    let sts = simulator.sts_address().map(|address| format!("http://{address}")).unwrap_or_default();
    let variables = [
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint.as_str()),
        ("AWS_ENDPOINT_URL_STS", &sts),
        ("IMDS_EXPORTER_POLL_INTERVAL", INTERVAL),
    ];
    let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
    let mut config = Config::from_environment(variables).map_err(io::Error::other)?;
    config.signed_call_interval = Some(SIGNED_CALL_INTERVAL);

    print_line("THIS IS A SIMULATION: no AWS, no real credentials, loopback only.");
    print_line("Exporter and metrics are real; IMDS, STS and the workers are simulated.\n");
    for (what, path) in [("status page", "/"), ("metrics", "/metrics"), ("status as JSON", "/api/v1/status")] {
        print_line(format_args!("  {what:<15} http://{address}{path}"));
    }
    print_line(format_args!("  {:<15} {endpoint}", "simulated IMDS"));
    print_line(format_args!("  {:<15} {sts}\n\nCtrl-C stops it.\n", "simulated STS"));

    let last = RefCell::new(None);
    let imds = || Imds::new(config.imds.clone(), Arc::clone(&clock));
    let (watched, own) = (imds(), imds());
    let on_poll = |report: &PollReport| print_poll(report, &last);
    let stage = Stage {
        simulator: &simulator,
        imds: own,
        workers: BTreeMap::new(),
        last: &last,
        address,
        client: LoopbackClient::new()?,
    };
    let story = async {
        stage.play().await;
        if !once {
            print_line("\nThe pages stay up. Ctrl-C stops it.");
            std::future::pending::<()>().await;
        }
    };
    let ended = async {
        tokio::select! {
            () = stop => {}
            () = story => {}
        }
    };
    let listeners = Listeners { pages: vec![listener], ..Listeners::default() };
    Box::pin(exporter::run_with(config, watched, listeners, clock, on_poll, ended)).await?;
    simulator.shutdown().await;
    print_line("The demo has ended.");
    Ok(())
}

fn print_line(line: impl Display) {
    print(format_args!("{line}\n"));
}

fn print_poll(report: &PollReport, last: &RefCell<Option<Creation>>) {
    let works = |attempt: Creation| matches!(attempt, Creation::Credentials { .. });
    let attempt = report.resolution.creation;
    let changed = last.replace(Some(attempt)).map(works) != Some(works(attempt));
    let line = match &report.resolution.outcome {
        Ok(_) => "sees: credentials resolve (imds_up 1)".to_owned(),
        Err(failure) => format!("sees: {} in the {} step (imds_up 0)", failure.kind, failure.step),
    };
    if changed || report.change.failure_changed {
        print_line(line_of(report.at, "exporter", &line));
    }
    if let Some(outage) = report.change.outage_ended {
        let [start, end] = [outage.start, outage.end].map(time_of_day);
        let line = format!("outage from {start} to {end}: a boto3 client created in it is stuck, unless it heals");
        print_line(line_of(report.at, "exporter", &line));
    }
}

fn time_of_day(at: Timestamp) -> String {
    at.strftime("%H:%M:%S").to_string()
}

/// A line with its time; broken where the terminal ends, and continued below its text.
fn line_of(at: Timestamp, who: &str, what: &str) -> String {
    let mut line = format!("{}  {who:<9}", time_of_day(at));
    let indent = line.len();
    let mut column = indent;
    for word in what.split(' ') {
        if column + 1 + word.len() > COLUMNS {
            line.push('\n');
            line.push_str(&" ".repeat(indent));
            column = indent;
        }
        line.push(' ');
        line.push_str(word);
        column += 1 + word.len();
    }
    line
}

fn say(who: &str, what: &str) {
    print_line(line_of(SystemClock.now(), who, what));
}

impl Stage<'_> {
    async fn play(mut self) {
        let start = monotonic();
        for (second, event, text) in STORY {
            sleep_until(start + Duration::from_secs(*second)).await;
            if !text.is_empty() {
                say("story", text);
            }
            match event {
                Event::Simulate(toml) => {
                    let change = Change::parse(toml).expect("the story's changes are tested");
                    if let Err(error) = self.simulator.apply(&change).await {
                        say("story", &format!("the simulator cannot do that here: {error}"));
                    }
                }
                Event::Start(workers) => {
                    for index in *workers {
                        let worker = Worker::start(WORKERS[*index], &mut self.imds).await;
                        self.workers.insert(*index, worker);
                    }
                }
                Event::Calls => self.calls().await,
                Event::SignedCall => self.signed_call().await,
                Event::Narration => {}
            }
        }
    }

    /// What the exporter says of the last signed call.
    async fn signed_call(&self) {
        let status = match self.client.get_from(self.address, Route::StatusJson.path()).await {
            Asked::Exporter { body, .. } => serde_json::from_str(&body).unwrap_or_default(),
            Asked::NoExporter(_) | Asked::Unclear(_) => Value::Null,
        };
        let call = &status["signed_call"];
        let line = match (call["account"].as_str(), call["failure"]["reason"].as_str()) {
            (Some(_), _) => "sees: AWS accepts the credentials (imds_signed_call_up 1)".to_owned(),
            (None, Some(reason)) => format!("sees: AWS refuses: {reason} (imds_signed_call_up 0)"),
            (None, None) => "has not made a signed call yet".to_owned(),
        };
        say("exporter", &line);
    }

    async fn calls(&mut self) {
        let newest = self.last.borrow().unwrap_or(Creation::Nothing);
        for worker in self.workers.values_mut() {
            let call = worker.call(newest, &mut self.imds).await;
            let since = time_of_day(worker.created_at);
            let line = match call {
                Call::Signed => format!("signs its call (client created at {since})"),
                Call::Healed => format!("HEALED, no restart: signs (client created at {since})"),
                Call::NotYet => "NoCredentialsError; looks again at its next call".to_owned(),
                Call::Stuck => format!("NoCredentialsError: STUCK (client created at {since})"),
                Call::NotRefreshed => format!("fails to refresh (client created at {since})"),
            };
            say(worker.name, &line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scenes_are_in_order_and_their_changes_are_valid() {
        assert!(STORY.is_sorted_by_key(|(second, ..)| second));
        for (_, event, _) in STORY {
            if let Event::Simulate(toml) = event {
                Change::parse(toml).expect("a change");
            }
        }
    }

    #[tokio::test]
    async fn a_client_created_in_the_outage_heals_or_is_stuck_until_its_worker_restarts() {
        let options = SimulatorOptions::default();
        let simulator = Simulator::start(options, Arc::new(SystemClock)).await.expect("loopback has a free port");
        let endpoint = ("AWS_EC2_METADATA_SERVICE_ENDPOINT".into(), format!("http://{}", simulator.address()).into());
        let config = Config::from_environment([endpoint].into_iter()).expect("a configuration");
        let mut imds = Imds::new(config.imds, Arc::new(SystemClock));
        let during = async |change: &Change, calls: [Call; 2], workers: &mut [Worker; 2], imds: &mut Imds| {
            simulator.apply(change).await.expect("a change");
            let newest = imds.resolve().await.creation;
            for (worker, call) in workers.iter_mut().zip(calls) {
                assert_eq!(worker.call(newest, imds).await, call, "{}", worker.name);
            }
        };

        let outage = Change::parse("fault = 'connect_refused'").expect("a change");
        simulator.apply(&outage).await.expect("a change");
        let [_, healing, plain] = WORKERS;
        let mut workers = [Worker::start(healing, &mut imds).await, Worker::start(plain, &mut imds).await];
        during(&outage, [Call::NotYet, Call::Stuck], &mut workers, &mut imds).await;
        during(&Change::to_healthy(), [Call::Healed, Call::Stuck], &mut workers, &mut imds).await;
        workers[1] = Worker::start(plain, &mut imds).await;
        during(&Change::to_healthy(), [Call::Signed, Call::Signed], &mut workers, &mut imds).await;
    }

    #[test]
    fn lines_fit_a_terminal() {
        for (_, _, text) in STORY {
            for line in line_of(Timestamp::UNIX_EPOCH, "story", text).lines() {
                assert!(line.len() <= COLUMNS, "{line}");
            }
        }
    }
}
