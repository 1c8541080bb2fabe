//! The control interface: an HTTP listener of its own through which the simulator is told what to do.
//!
//! Owns its routes and its help. Must not know what follows from a change.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::acceptor::Service;
use super::answer::{Answer, Framing};
use super::change::Change;
use super::fault::{is_client_side, listed, steps, variants};
use super::plant::Plant;
use super::request::{Request, Requests, Unreadable};
use super::scenario::{Scenario, Step};
use crate::model::Kind;

#[derive(Clone)]
pub(super) struct Control {
    plant: Arc<Plant>,
    /// The control interface's own address, for the examples of the help.
    address: SocketAddr,
    /// At most one task, which plays a scenario.
    playing: Arc<Mutex<JoinSet<()>>>,
}

impl Service for Control {
    async fn serve(&self, stream: &mut TcpStream) {
        let mut requests = Requests::new(stream);
        loop {
            let (answer, keep_alive, head_only) = match requests.next().await {
                Ok((request, body)) => {
                    (self.answer(&request, &body).await, request.keep_alive, request.method == "HEAD")
                }
                Err(Unreadable::Malformed) => (mistake(400, "this is not a request with a length"), false, false),
                Err(Unreadable::TooLarge) => (mistake(413, "the request is too large"), false, false),
                Err(Unreadable::Gone) => return,
            };
            let framing = Framing { server: "imds-simulator", date: None, keep_alive, head_only };
            if requests.stream.write_all(&answer.encode(&framing)).await.is_err() || !keep_alive {
                return;
            }
        }
    }
}

impl Control {
    pub(super) fn new(plant: Arc<Plant>, address: SocketAddr) -> Self {
        Self { plant, address, playing: Arc::default() }
    }

    async fn answer(&self, request: &Request, body: &[u8]) -> Answer {
        // A web page in a browser on this machine has no business here.
        if request.header("origin").is_some() {
            return mistake(403, "not from a web page");
        }
        let Ok(body) = std::str::from_utf8(body) else { return mistake(400, "the body is not UTF-8 text") };
        match (request.method.as_str(), request.path.as_str()) {
            ("GET" | "HEAD", "/") => Answer::text(200, self.help()),
            ("GET" | "HEAD", "/state") => self.state(),
            ("POST", "/") => match Change::parse(body) {
                Ok(change) => match self.plant.apply(&change).await {
                    Ok(()) => Answer::text(204, ""),
                    Err(error) => mistake(400, error),
                },
                Err(error) => mistake(400, error),
            },
            ("POST", "/play") => self.play(body).await,
            ("POST", path) if let Some(name) = path.strip_prefix("/play/") => {
                match Scenario::bundled().iter().find(|(known, _)| *known == name) {
                    Some((_, text)) => self.play(text).await,
                    None => mistake(404, format_args!("no such scenario, only {}", scenario_names())),
                }
            }
            (_, "/" | "/state" | "/play") => Answer::error(405),
            (_, path) if path.starts_with("/play/") => Answer::error(405),
            _ => Answer::error(404),
        }
    }

    async fn play(&self, text: &str) -> Answer {
        let scenario = match Scenario::parse(text) {
            Ok(scenario) => scenario,
            Err(error) => return mistake(400, error),
        };
        let plant = Arc::clone(&self.plant);
        let title = format!("plays: {}\n", scenario.title);
        let mut playing = self.playing.lock().await;
        // The scenario that plays has told its last step before the new one tells its first.
        playing.shutdown().await;
        playing.spawn(async move {
            let told = |step: &Step| {
                if let Some(say) = &step.say {
                    tracing::info!("{say}");
                }
            };
            if let Err(error) = plant.play(&scenario, told).await {
                tracing::warn!(%error, "the scenario ended early");
            }
        });
        Answer::text(202, title)
    }

    fn state(&self) -> Answer {
        let imds = &self.plant.imds;
        let state = json!({ "settings": imds.settings(), "credential": imds.credential(), "counts": imds.counts() });
        let mut answer = Answer::text(200, format!("{state:#}\n"));
        answer.headers = vec![("Content-Type", "application/json".to_owned())];
        answer
    }

    fn help(&self) -> String {
        let kinds: String = Kind::ALL.iter().copied().filter(|kind| !is_client_side(*kind)).map(kind_line).collect();
        let settings = json!(self.plant.imds.settings());
        include_str!("control_help.txt")
            .replace("{control}", &self.address.to_string())
            .replace("{imds}", &self.plant.address().to_string())
            .replace("{scenarios}", &scenario_names())
            .replace("{kinds}", &kinds)
            .replace("{settings}", &format!("{settings:#}"))
    }
}

fn kind_line(kind: Kind) -> String {
    let first = variants(kind).first().copied();
    let steps = listed(steps(kind, first).iter().map(|step| step.label()));
    let forms = listed(variants(kind).iter().map(|variant| variant.label()));
    let forms = if forms.is_empty() { String::new() } else { format!("; variant: {forms}") };
    format!("  {kind:<22} step: {steps}{forms}\n")
}

fn scenario_names() -> String {
    listed(Scenario::bundled().iter().map(|(name, _)| *name))
}

fn mistake(status: u16, text: impl Display) -> Answer {
    Answer::text(status, format!("{text}\n"))
}
