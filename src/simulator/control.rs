//! The control interface: a separate HTTP listener that takes changes and scenarios.
//!
//! Owns its routes and its help. Must not know what follows from a change.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::acceptor::Service;
use super::answer::Answer;
use super::change::{Change, KEYS};
use super::fault::{self, listed};
use super::request::{Request, Requests, Unreadable};
use super::scenario::Scenario;
use super::server::Server;

#[derive(Clone)]
pub(super) struct Control {
    server: Arc<Server>,
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
                Err(Unreadable::Malformed) => (error(400, "this is not a request with a length"), false, false),
                Err(Unreadable::TooLarge) => (error(413, "the request is too large"), false, false),
                Err(Unreadable::Gone) => return,
            };
            if requests.stream.write_all(&answer.encode(keep_alive, head_only)).await.is_err() || !keep_alive {
                return;
            }
        }
    }
}

impl Control {
    pub(super) fn new(server: Arc<Server>, address: SocketAddr) -> Self {
        Self { server, address, playing: Arc::default() }
    }

    async fn answer(&self, request: &Request, body: &[u8]) -> Answer {
        // Requests of web pages in a browser on this machine are refused.
        if request.header("origin").is_some() {
            return error(403, "not from a web page");
        }
        let Ok(body) = std::str::from_utf8(body) else { return error(400, "the body is not UTF-8 text") };
        match (request.method.as_str(), request.path.as_str()) {
            ("GET" | "HEAD", "/") => Answer::text(200, self.help()),
            ("GET" | "HEAD", "/state") => {
                let imds = &self.server.imds;
                json(&json!({ "settings": imds.settings(), "credential": imds.credential(), "counts": imds.counts() }))
            }
            ("GET" | "HEAD", "/requests") => json(&json!(self.server.imds.seen())),
            ("POST", "/") => match Change::parse(body) {
                Ok(change) => match self.server.apply(&change).await {
                    Ok(()) => Answer::text(204, ""),
                    Err(why) => error(400, why),
                },
                Err(why) => error(400, why),
            },
            ("POST", "/play") => self.play(body).await,
            ("POST", path) if let Some(name) = path.strip_prefix("/play/") => match Scenario::bundled(name) {
                Some(text) => self.play(text).await,
                None => error(404, format_args!("no such scenario, only {}", scenario_names())),
            },
            (_, "/" | "/state" | "/requests" | "/play") => Answer::error(405),
            (_, path) if path.starts_with("/play/") => Answer::error(405),
            _ => Answer::error(404),
        }
    }

    async fn play(&self, text: &str) -> Answer {
        let scenario = match Scenario::parse(text) {
            Ok(scenario) => scenario,
            Err(why) => return error(400, why),
        };
        let server = Arc::clone(&self.server);
        let title = format!("plays: {}\n", scenario.title);
        let mut playing = self.playing.lock().await;
        // The running scenario has finished its last step before the new one starts.
        playing.shutdown().await;
        playing.spawn(async move {
            let on_step = |step: &Change| {
                if let Some(say) = &step.say {
                    tracing::info!("{say}");
                }
            };
            if let Err(error) = server.play(&scenario, on_step).await {
                tracing::warn!(%error, "the scenario ended early");
            }
        });
        Answer::text(202, title)
    }

    fn help(&self) -> String {
        let keys: Vec<_> = KEYS.iter().map(|(key, meaning)| format!("  {key:<15}{meaning}")).collect();
        include_str!("control_help.txt")
            .replace("{control}", &self.address.to_string())
            .replace("{imds}", &self.server.address().to_string())
            .replace("{scenarios}", &scenario_names())
            .replace("{keys}", &keys.join("\n"))
            .replace("{faults}", &fault::table().join("\n"))
    }
}

fn json(value: &Value) -> Answer {
    Answer::text(200, format!("{value:#}\n")).with_header("Content-Type", "application/json")
}

fn scenario_names() -> String {
    listed(Scenario::BUNDLED.iter().map(|(name, _)| *name))
}

fn error(status: u16, text: impl Display) -> Answer {
    Answer::text(status, format!("{text}\n"))
}
