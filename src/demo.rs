//! The demo: simulator and exporter together, the story of a stuck client in fast motion, told as it happens.
//!
//! Owns the story. Everything in it is real except IMDS and the workers: those behave as the facts about boto3 in
//! `client` say.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::time::sleep_until;

use crate::app;
use crate::client::{Held, SDKS};
use crate::clock::{Clock, monotonic};
use crate::config::Config;
use crate::imds::Imds;
use crate::model::Outcome;
use crate::simulator::{Change, Options, Simulator};
use crate::source::Source;
use crate::state::Report;

/// Where the demo's exporter listens if it can.
pub const ADDRESS: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, crate::config::DEFAULT_PORT);

const INTERVAL: &str = "1s";

enum Event {
    /// Tell the simulator.
    Imds(&'static str),
    /// A worker starts, or starts again, and creates its client.
    Create(usize),
    /// Show who can sign.
    Table,
    /// Nothing happens.
    Word,
}

struct Beat {
    second: u64,
    event: Event,
    say: &'static str,
}

const fn beat(second: u64, event: Event, say: &'static str) -> Beat {
    Beat { second, event, say }
}

const WORKERS: [&str; 2] = ["worker-1", "worker-2"];

const STORY: &[Beat] = &[
    beat(0, Event::Word, "IMDS answers. The exporter polls it, every second here, every 15 seconds in earnest."),
    beat(1, Event::Create(0), "worker-1 starts and creates its boto3 client."),
    beat(2, Event::Table, ""),
    beat(6, Event::Imds("fault = \"connect_refused\""), "IMDS goes away: connections are refused."),
    beat(9, Event::Table, ""),
    beat(
        12,
        Event::Create(1),
        "worker-2 starts in the middle of the outage and creates its client. No error is raised.",
    ),
    beat(14, Event::Table, ""),
    beat(20, Event::Imds("fault = \"none\""), "IMDS is back. Everybody believes that the incident is over."),
    beat(23, Event::Table, ""),
    beat(
        25,
        Event::Word,
        "worker-2 retries its call, again and again: NoCredentialsError. It sends no request, so nobody sees it.",
    ),
    beat(28, Event::Word, "The exporter knows: see \"outages\" and the client table on the status page."),
    beat(33, Event::Create(1), "worker-2 creates its client again: the only cure."),
    beat(35, Event::Table, ""),
    beat(
        38,
        Event::Imds("fault = \"hop_limit\"\nforget_tokens = true"),
        "Another fault: answers to the token request die on the way (hop limit 1 and a container network).",
    ),
    beat(43, Event::Imds("fault = \"none\""), "It is mended."),
    beat(46, Event::Word, "That was the story."),
];

/// A worker and its boto3 client.
struct Worker {
    created_at: Timestamp,
    held: Option<Held>,
}

/// What the story needs while it is told.
struct Stage<'a> {
    simulator: &'a Simulator,
    imds: Imds,
    clock: Arc<dyn Clock>,
    workers: [Option<Worker>; WORKERS.len()],
    tell: &'a dyn Fn(&str),
    last: &'a RefCell<Option<Outcome>>,
}

/// Plays the story on `listener` and serves on until `stop`, or ends with the story if `once`.
///
/// # Errors
/// When the simulator cannot start.
pub async fn run(
    listener: TcpListener,
    clock: Arc<dyn Clock>,
    once: bool,
    stop: impl Future<Output = ()>,
    tell: impl Fn(&str),
) -> io::Result<()> {
    let simulator = Simulator::start(Options::default(), Arc::clone(&clock)).await?;
    let address = listener.local_addr()?;
    let endpoint = format!("http://{}", simulator.address());
    let variables =
        [("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint.as_str()), ("IMDS_EXPORTER_POLL_INTERVAL", INTERVAL)];
    let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
    let config = Config::from_environment(variables).map_err(io::Error::other)?;

    tell("THIS IS A SIMULATION: no AWS, no real credentials. Everything happens on this machine, on loopback.\n");
    for (what, path) in [("status page", "/"), ("metrics", "/metrics"), ("status as JSON", "/api/v1/status")] {
        tell(&format!("  {what:<15} http://{address}{path}"));
    }
    tell(&format!("  {:<15} {endpoint}\n\nCtrl-C ends it.\n", "simulated IMDS"));

    let last = RefCell::new(None);
    let imds = || Imds::new(config.imds.clone(), Arc::clone(&clock)).map_err(io::Error::other);
    let (watched, own) = (imds()?, imds()?);
    let told = |report: &Report| tell_poll(report, &last, &tell);
    let stage = Stage {
        simulator: &simulator,
        imds: own,
        clock: Arc::clone(&clock),
        workers: [const { None }; WORKERS.len()],
        tell: &tell,
        last: &last,
    };
    let story = async {
        stage.play().await;
        if !once {
            tell("\nThe pages stay up. Ctrl-C ends it.");
            std::future::pending::<()>().await;
        }
    };
    let ended = async {
        tokio::select! {
            () = stop => {}
            () = story => {}
        }
    };
    app::serve(config, watched, listener, Arc::clone(&clock), told, ended).await;
    simulator.shutdown().await;
    tell("The demo has ended.");
    Ok(())
}

fn tell_poll(report: &Report, last: &RefCell<Option<Outcome>>, tell: &dyn Fn(&str)) {
    let outcome = if report.resolution.outcome.is_ok() { Outcome::Success } else { Outcome::Failure };
    let changed = last.replace(Some(outcome)) != Some(outcome);
    let line = match &report.resolution.outcome {
        Ok(_) => "sees: credentials resolve (imds_up 1)".to_owned(),
        Err(failure) => format!("sees: {} at the step {} (imds_up 0)", failure.kind, failure.step),
    };
    if changed || report.change.failure_changed {
        tell(&said(report.at, "exporter", &line));
    }
}

fn said(at: Timestamp, who: &str, what: &str) -> String {
    format!("{}  {who:<9} {what}", at.strftime("%H:%M:%S"))
}

impl Stage<'_> {
    async fn play(mut self) {
        let start = monotonic();
        for beat in STORY {
            sleep_until(start + Duration::from_secs(beat.second)).await;
            if !beat.say.is_empty() {
                self.say("story", beat.say);
            }
            match beat.event {
                Event::Imds(toml) => {
                    let change = Change::parse(toml).expect("the story's changes are tested");
                    if let Err(error) = self.simulator.apply(&change).await {
                        self.say("story", &format!("the simulator cannot do that here: {error}"));
                    }
                }
                Event::Create(worker) => self.create(worker).await,
                Event::Table => self.table(),
                Event::Word => {}
            }
        }
    }

    fn say(&self, who: &str, what: &str) {
        (self.tell)(&said(self.clock.now(), who, what));
    }

    /// What botocore does: it resolves once, and binds what it got.
    async fn create(&mut self, worker: usize) {
        let resolution = self.imds.resolve().await;
        let created_at = self.clock.now();
        let expiration = resolution.outcome.ok().map(|credential| credential.expiration);
        let held = SDKS[0].held_after(None, expiration, created_at);
        self.workers[worker] = Some(Worker { created_at, held });
    }

    fn table(&self) {
        let now = self.clock.now();
        let last = self.last.borrow().unwrap_or(Outcome::Failure);
        for (name, worker) in WORKERS.iter().zip(&self.workers) {
            let Some(Worker { created_at, held }) = worker else { continue };
            let since = created_at.strftime("%H:%M:%S");
            let line = match held {
                Some(Held::Nothing) => {
                    format!("CANNOT SIGN since {since}: its client holds no credentials, for ever")
                }
                held if SDKS[0].can_sign(*held, last, now) => format!("can sign; client created at {since}"),
                _ => format!("CANNOT SIGN: its credentials of {since} need a refresh"),
            };
            (self.tell)(&said(now, name, &line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_story_is_in_order_and_its_changes_can_be_read() {
        assert!(STORY.is_sorted_by_key(|beat| beat.second));
        for beat in STORY {
            if let Event::Imds(toml) = beat.event {
                Change::parse(toml).expect("a change");
            }
        }
    }
}
