//! The control interface: a separate HTTP listener that takes changes and scenarios.
//!
//! Owns its routes and its help. Must not know what follows from a change.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, ORIGIN};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::change::{Change, KEYS};
use super::fault::{self, listed};
use super::scenario::Scenario;
use super::server::ImdsServer;

const MAX_BODY_BYTES: usize = 64 * 1024;

type Answer = (StatusCode, String);

#[derive(Clone)]
struct Control {
    server: Arc<ImdsServer>,
    /// The control interface's own address, for the examples of the help.
    address: SocketAddr,
    /// At most one task, which plays a scenario.
    playing: Arc<Mutex<JoinSet<()>>>,
}

pub(super) fn router(server: Arc<ImdsServer>, address: SocketAddr) -> Router {
    Router::new()
        .route("/", get(help).post(change))
        .route("/state", get(state))
        .route("/requests", get(async |State(Control { server, .. })| json(&json!(server.imds.lock().seen))))
        .route("/play", post(play))
        .route("/play/{name}", post(play_bundled))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(from_fn(refuse_web_pages))
        .with_state(Control { server, address, playing: Arc::default() })
}

/// Refuses the requests of web pages in a browser on this machine.
async fn refuse_web_pages(request: Request, next: Next) -> Response {
    if request.headers().contains_key(ORIGIN) {
        return (StatusCode::FORBIDDEN, "not from a web page\n").into_response();
    }
    next.run(request).await
}

async fn help(State(control): State<Control>) -> String {
    let keys: Vec<_> = KEYS.iter().map(|(key, meaning)| format!("  {key:<15}{meaning}")).collect();
    include_str!("control_help.txt")
        .replace("{control}", &control.address.to_string())
        .replace("{imds}", &control.server.address.to_string())
        .replace("{scenarios}", &scenario_names())
        .replace("{keys}", &keys.join("\n"))
        .replace("{faults}", &fault::table().join("\n"))
}

async fn state(State(Control { server, .. }): State<Control>) -> Response {
    let mut imds = server.imds.lock();
    json(&json!({ "settings": imds.settings, "credential": imds.credential(), "counts": imds.counts }))
}

async fn change(State(control): State<Control>, toml: String) -> Result<StatusCode, Answer> {
    let change = Change::parse(&toml).map_err(bad_request)?;
    control.server.apply(&change).await.map_err(bad_request)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn play_bundled(State(control): State<Control>, Path(name): Path<String>) -> Result<Answer, Answer> {
    let unknown = || (StatusCode::NOT_FOUND, format!("no such scenario, only {}\n", scenario_names()));
    let toml = Scenario::bundled(&name).ok_or_else(unknown)?;
    play(State(control), toml.to_owned()).await
}

async fn play(State(control): State<Control>, toml: String) -> Result<Answer, Answer> {
    let scenario = Scenario::parse(&toml).map_err(bad_request)?;
    let title = format!("plays: {}\n", scenario.title);
    let mut playing = control.playing.lock().await;
    // The running scenario has finished its last step before the new one starts.
    playing.shutdown().await;
    playing.spawn(async move {
        let on_step = |step: &Change| {
            if let Some(say) = &step.say {
                tracing::info!("{say}");
            }
        };
        if let Err(error) = control.server.play(&scenario, on_step).await {
            tracing::warn!(%error, "the scenario ended early");
        }
    });
    Ok((StatusCode::ACCEPTED, title))
}

fn json(value: &Value) -> Response {
    ([(CONTENT_TYPE, "application/json")], format!("{value:#}\n")).into_response()
}

fn bad_request(why: impl Display) -> Answer {
    (StatusCode::BAD_REQUEST, format!("{}\n", why.to_string().trim_end()))
}

fn scenario_names() -> String {
    listed(Scenario::BUNDLED.iter().map(|(name, _)| *name))
}
