//! `demo`: simulator and exporter together; the story of a stuck client in fast motion.
//!
//! Owns the story. Everything in it is real except IMDS and the workers, which behave as `domain::boto3` says of boto3.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::time::sleep_until;

use super::loopback_client::get_from;
use super::output::print;
use super::runtime::{block_on, stop_signal};
use crate::config::{Config, DEFAULT_PORT};
use crate::domain::boto3::BoundCredentials;
use crate::domain::state::PollReport;
use crate::domain::{Creation, Source};
use crate::exporter;
use crate::http::Route;
use crate::imds::Imds;
use crate::platform::clock::{Clock, SystemClock, monotonic};
use crate::simulator::{Change, Options, Simulator};

/// Where the exporter listens, if the port is free.
const ADDRESS: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, DEFAULT_PORT);

const INTERVAL: &str = "1s";

/// Between signed calls: shorter than can be configured, since this is told in fast motion.
const SIGNED_CALL_INTERVAL: Duration = Duration::from_secs(1);

enum Event {
    /// Change the simulated IMDS.
    Imds(&'static str),
    /// A worker starts, or restarts, and creates its client.
    Create(usize),
    /// Show which worker can sign.
    Table,
    /// Show what the exporter says of the last signed call.
    SignedCall,
    /// Nothing but the text.
    Narration,
}

struct Scene {
    second: u64,
    event: Event,
    say: &'static str,
}

const fn scene(second: u64, event: Event, say: &'static str) -> Scene {
    Scene { second, event, say }
}

const WORKERS: [&str; 2] = ["worker-1", "worker-2"];

const STORY: &[Scene] = &[
    scene(0, Event::Narration, "IMDS answers. The exporter polls it, every second here, every 15 seconds by default."),
    scene(
        2,
        Event::SignedCall,
        "With a signed call (sts:GetCallerIdentity) the exporter proves that AWS accepts the credentials.",
    ),
    scene(3, Event::Create(0), "worker-1 starts and creates its boto3 client."),
    scene(4, Event::Table, ""),
    scene(6, Event::Imds("fault = \"connect_refused\""), "An outage of IMDS begins: connections are refused."),
    scene(9, Event::Table, ""),
    scene(
        12,
        Event::Create(1),
        "worker-2 starts in the middle of the outage and creates its client. No error is raised.",
    ),
    scene(14, Event::Table, ""),
    scene(20, Event::Imds("fault = \"none\""), "IMDS is back. The incident seems to be over."),
    scene(23, Event::Table, ""),
    scene(
        25,
        Event::Narration,
        "worker-2 retries its call, again and again: NoCredentialsError. It sends no request, so nobody sees it.",
    ),
    scene(28, Event::Narration, "The exporter knows: see the outages and the client table on the status page."),
    scene(33, Event::Create(1), "worker-2 re-creates its client: the only remedy."),
    scene(35, Event::Table, ""),
    scene(
        38,
        Event::Imds("fault = \"hop_limit\"\nforget_tokens = true"),
        "Another fault: answers to the token request are lost on the way (hop limit 1 and a container network).",
    ),
    scene(46, Event::Imds("fault = \"none\""), "It is fixed."),
    scene(
        48,
        Event::Imds("sts = \"invalid_token\""),
        "The role is deleted. IMDS still hands out its credentials, and every check of IMDS is green.",
    ),
    scene(51, Event::SignedCall, "Only a signed call tells:"),
    scene(53, Event::Imds("sts = \"checks\""), "The role is restored."),
    scene(56, Event::SignedCall, ""),
    scene(57, Event::Narration, "That is the end of the story."),
];

/// A worker and its boto3 client.
struct Worker {
    created_at: Timestamp,
    holds: BoundCredentials,
}

/// What the story needs while it runs.
struct Stage<'a> {
    simulator: &'a Simulator,
    imds: Imds,
    clock: Arc<dyn Clock>,
    workers: [Option<Worker>; WORKERS.len()],
    print: &'a dyn Fn(&str),
    last: &'a RefCell<Option<Creation>>,
    /// The exporter.
    address: SocketAddr,
}

pub(super) fn run(once: bool) -> ExitCode {
    block_on(async {
        let listener = match TcpListener::bind(ADDRESS).await {
            Ok(listener) => listener,
            Err(_) => TcpListener::bind((ADDRESS.0, 0)).await?,
        };
        Box::pin(play(listener, Arc::new(SystemClock), once, stop_signal()?, |line| print(format_args!("{line}\n"))))
            .await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Plays the story on `listener` and serves until `stop`, or until the end of the story if `once`.
async fn play(
    listener: TcpListener,
    clock: Arc<dyn Clock>,
    once: bool,
    stop: impl Future<Output = ()>,
    print: impl Fn(&str),
) -> io::Result<()> {
    let options = Options { sts: Some((Ipv4Addr::LOCALHOST, 0).into()), ..Options::default() };
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

    print("THIS IS A SIMULATION: no AWS, no real credentials. Everything happens on this machine, on loopback.\n");
    for (what, path) in [("status page", "/"), ("metrics", "/metrics"), ("status as JSON", "/api/v1/status")] {
        print(&format!("  {what:<15} http://{address}{path}"));
    }
    print(&format!("  {:<15} {endpoint}", "simulated IMDS"));
    print(&format!("  {:<15} {sts}\n\nCtrl-C stops it.\n", "simulated STS"));

    let last = RefCell::new(None);
    let imds = || Imds::new(config.imds.clone(), Arc::clone(&clock));
    let (watched, own) = (imds(), imds());
    let on_poll = |report: &PollReport| print_poll(report, &last, &print);
    let stage = Stage {
        simulator: &simulator,
        imds: own,
        clock: Arc::clone(&clock),
        workers: [const { None }; WORKERS.len()],
        print: &print,
        last: &last,
        address,
    };
    let story = async {
        stage.play().await;
        if !once {
            print("\nThe pages stay up. Ctrl-C stops it.");
            std::future::pending::<()>().await;
        }
    };
    let ended = async {
        tokio::select! {
            () = stop => {}
            () = story => {}
        }
    };
    exporter::run_with(config, watched, listener, Arc::clone(&clock), on_poll, ended).await?;
    simulator.shutdown().await;
    print("The demo has ended.");
    Ok(())
}

fn print_poll(report: &PollReport, last: &RefCell<Option<Creation>>, print: &dyn Fn(&str)) {
    let works = |attempt: Creation| matches!(attempt, Creation::Credentials { .. });
    let attempt = report.resolution.creation;
    let changed = last.replace(Some(attempt)).map(works) != Some(works(attempt));
    let line = match &report.resolution.outcome {
        Ok(_) => "sees: credentials resolve (imds_up 1)".to_owned(),
        Err(failure) => format!("sees: {} in the {} step (imds_up 0)", failure.kind, failure.step),
    };
    if changed || report.change.failure_changed {
        print(&line_of(report.at, "exporter", &line));
    }
}

fn line_of(at: Timestamp, who: &str, what: &str) -> String {
    format!("{}  {who:<9} {what}", at.strftime("%H:%M:%S"))
}

impl Stage<'_> {
    async fn play(mut self) {
        let start = monotonic();
        for scene in STORY {
            sleep_until(start + Duration::from_secs(scene.second)).await;
            if !scene.say.is_empty() {
                self.say("story", scene.say);
            }
            match scene.event {
                Event::Imds(toml) => {
                    let change = Change::parse(toml).expect("the story's changes are tested");
                    if let Err(error) = self.simulator.apply(&change).await {
                        self.say("story", &format!("the simulator cannot do that here: {error}"));
                    }
                }
                Event::Create(worker) => self.create(worker).await,
                Event::Table => self.table(),
                Event::SignedCall => self.signed_call().await,
                Event::Narration => {}
            }
        }
    }

    fn say(&self, who: &str, what: &str) {
        (self.print)(&line_of(self.clock.now(), who, what));
    }

    /// What botocore does: it resolves once, and binds the result.
    async fn create(&mut self, worker: usize) {
        let resolution = self.imds.resolve().await;
        let created_at = self.clock.now();
        let holds = BoundCredentials::created(resolution.creation, created_at);
        self.workers[worker] = Some(Worker { created_at, holds });
    }

    /// What the exporter says of the last signed call.
    async fn signed_call(&self) {
        let address = self.address;
        let asked = tokio::task::spawn_blocking(move || get_from(address, Route::StatusJson.path())).await;
        let status = asked.ok().and_then(Result::ok).and_then(|(_, body)| serde_json::from_str::<Value>(&body).ok());
        let call = status.map(|status| status["signed_call"].clone()).unwrap_or_default();
        let line = match (call["account"].as_str(), call["failure"]["reason"].as_str()) {
            (Some(account), _) => {
                format!("sees: AWS accepts the credentials, account {account} (imds_signed_call_up 1)")
            }
            (None, Some(reason)) => format!("sees: AWS refuses the credentials, {reason} (imds_signed_call_up 0)"),
            (None, None) => "has not made a signed call yet".to_owned(),
        };
        self.say("exporter", &line);
    }

    fn table(&self) {
        let now = self.clock.now();
        let last = self.last.borrow().unwrap_or(Creation::Nothing);
        for (name, worker) in WORKERS.iter().zip(&self.workers) {
            let Some(Worker { created_at, holds }) = worker else { continue };
            let since = created_at.strftime("%H:%M:%S");
            let line = match holds {
                BoundCredentials::Nothing => {
                    format!("CANNOT SIGN since {since}: its client holds no credentials, permanently")
                }
                holds if holds.can_sign(last, now) == Some(true) => {
                    format!("can sign; client created at {since}")
                }
                _ => format!("CANNOT SIGN: its credentials of {since} need a refresh"),
            };
            (self.print)(&line_of(now, name, &line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scenes_are_in_order_and_their_changes_are_valid() {
        assert!(STORY.is_sorted_by_key(|scene| scene.second));
        for scene in STORY {
            if let Event::Imds(toml) = scene.event {
                Change::parse(toml).expect("a change");
            }
        }
    }
}
