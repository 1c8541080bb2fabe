//! The pages: routes, status codes and content types.
//!
//! `/-/healthy` and `/-/ready` never depend on IMDS: a failing IMDS must neither restart the exporter nor make its pod
//! unready. Must not know how metrics are made or where credentials come from.

pub mod auth;
mod connection_slots;
mod document;
mod routes;
mod runbook_page;
mod server;
pub mod status;
mod status_page;
mod text;

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, USER_AGENT};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use strum::VariantArray;

pub use routes::Route;
pub use server::{Limits, serve, serve_connection};

use crate::domain::state::Shared;
use crate::platform::clock::{Clock, monotonic};
use crate::platform::heartbeat::Heartbeat;
use crate::workload::{ProcessWatcher, SuspectProcess};
use status::Status;

/// What the pages are made from.
pub struct Context {
    /// What is known.
    pub state: Shared,
    /// Whether the poll loop is alive.
    pub heartbeat: Heartbeat,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Renders the metrics.
    pub exposition: Box<dyn Fn() -> String + Send + Sync>,
    /// The watched processes, if processes are watched.
    pub watcher: Option<Arc<Mutex<ProcessWatcher>>>,
    /// The address of IMDS, for people.
    pub endpoint: String,
}

impl Context {
    /// The suspects that still run.
    fn suspects(&self) -> Option<Vec<SuspectProcess>> {
        let watcher = self.watcher.as_ref()?;
        Some(watcher.lock().unwrap_or_else(PoisonError::into_inner).alive().to_vec())
    }

    fn status(&self) -> Status {
        Status::new(&self.state.lock(), self.suspects(), &self.endpoint, self.clock.now())
    }
}

/// The routes; any other path is 404, any other method 405.
pub fn router(context: &Arc<Context>) -> Router {
    router_of(Route::VARIANTS.iter().copied(), context)
}

/// The probes alone, for a listener without TLS or a password.
pub fn probe_router(context: &Arc<Context>) -> Router {
    router_of(Route::VARIANTS.iter().copied().filter(|route| route.is_probe()), context)
}

fn router_of(routes: impl Iterator<Item = Route>, context: &Arc<Context>) -> Router {
    let served = routes.fold(Router::new(), |router, route| {
        let context = Arc::clone(context);
        let answer = move |request: Request| std::future::ready(route.answer(&context, request.headers()));
        router.route(route.path(), get(answer))
    });
    served.fallback(|| std::future::ready(text(StatusCode::NOT_FOUND, "not found\n")))
}

impl Route {
    fn answer(self, context: &Context, headers: &HeaderMap) -> Response {
        match self {
            Self::Metrics => typed(crate::metrics::CONTENT_TYPE, (context.exposition)()),
            Self::StatusPage => html(status_page::render(&context.status())),
            Self::StatusJson => typed("application/json", context.status().to_json()),
            Self::Runbook => html(runbook_page::render()),
            Self::Healthy => {
                let silent = context.heartbeat.silent_for(monotonic()).as_secs();
                probe(context.heartbeat.is_alive(monotonic()), "ok\n", format!("no poll for {silent} s\n"))
            }
            Self::Ready => {
                let polled = context.state.lock().last_attempt_at().is_some();
                probe(polled, "ok\n", "the first poll has not ended yet\n".to_owned())
            }
            Self::Startup => {
                let mut state = context.state.lock();
                match StartGate::asking(headers) {
                    Some(StartGate::StartupProbe) => state.gate_start(),
                    Some(StartGate::Wait) => {
                        state.gate_start();
                        state.release_start();
                    }
                    None => {}
                }
                let kind = state.failing().map_or("no poll has ended yet", |streak| streak.failure.kind.label());
                probe(state.last_success_at().is_some(), "ok\n", format!("credentials never resolved: {kind}\n"))
            }
            Self::Clients => clients(context.suspects()),
        }
    }
}

/// A client that holds a workload back until credentials resolve. A person's browser holds nothing back.
enum StartGate {
    /// A startup probe: it asks until it gets 200.
    StartupProbe,
    /// `wait`: it asks before it waits, and again when it lets the workload start.
    Wait,
}

/// The `User-Agent` of `wait`.
pub const WAIT_USER_AGENT: &str = "imds-exporter-wait";

impl StartGate {
    fn asking(headers: &HeaderMap) -> Option<Self> {
        let agent = headers.get(USER_AGENT)?.to_str().ok()?;
        match agent {
            WAIT_USER_AGENT => Some(Self::Wait),
            _ if agent.starts_with("kube-probe/") => Some(Self::StartupProbe),
            _ => None,
        }
    }
}

fn clients(suspects: Option<Vec<SuspectProcess>>) -> Response {
    let Some(suspects) = suspects else {
        return text(StatusCode::OK, "watching is off: set IMDS_EXPORTER_WATCH_PROCESSES\n");
    };
    let line = |suspect: &SuspectProcess| {
        let SuspectProcess { pid, command, started_at, outage, .. } = suspect;
        let (start, end) = (outage.start, outage.end);
        format!("suspect: pid {pid} ({command}) started at {started_at:.0} in the outage from {start:.0} to {end:.0}\n")
    };
    let list: String = suspects.iter().map(line).collect();
    probe(suspects.is_empty(), "no suspect process\n", list)
}

fn probe(is_well: bool, yes: &'static str, no: String) -> Response {
    if is_well { text(StatusCode::OK, yes) } else { text(StatusCode::SERVICE_UNAVAILABLE, no) }
}

fn text(status: StatusCode, body: impl IntoResponse) -> Response {
    (status, body).into_response()
}

/// A page loads nothing from elsewhere, and sends requests to this exporter only.
fn html(page: String) -> Response {
    const POLICY: HeaderValue = HeaderValue::from_static(
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    );
    let mut response = typed("text/html; charset=utf-8", page);
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, POLICY);
    response
}

fn typed(content_type: &'static str, body: impl Into<Body>) -> Response {
    const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
    const NOSNIFF: (HeaderName, HeaderValue) =
        (HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
    let headers = [(CONTENT_TYPE, HeaderValue::from_static(content_type)), (CACHE_CONTROL, NO_STORE), NOSNIFF];
    (headers, body.into()).into_response()
}
