//! The pages: routes, status codes and content types.
//!
//! `/-/healthy` and `/-/ready` never depend on IMDS: a failing IMDS must neither restart the exporter nor make its pod
//! unready. Must not know how metrics are made or where credentials come from.

pub mod auth;
mod client_address;
mod connection_slots;
mod document;
mod routes;
mod runbook_page;
mod scrape_cache;
mod server;
pub(crate) mod status;
mod status_page;
mod text;

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State as Extract};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use serde::Deserialize;
use strum::VariantArray;
use tower_http::compression::CompressionLayer;

pub use client_address::ClientAddress;
pub use routes::Route;
pub use server::{Limits, SERVER_NAME, serve, serve_connection};

use crate::domain::state::Shared;
use crate::metrics::{CONTENT_TYPE as CONTENT_TYPE_OF_METRICS, Metrics};
use crate::platform::clock::{Clock, monotonic};
use crate::platform::heartbeat::Heartbeat;
use crate::workload::{SuspectProcess, Watched, still_running};
use scrape_cache::ScrapeCache;
use status::Status;

/// What the pages are made from.
pub struct Context {
    /// What is known.
    pub state: Shared,
    /// Whether the poll loop is alive.
    pub heartbeat: Heartbeat,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The latest scan of the watched processes, if processes are watched.
    pub latest_scan: Option<LatestScan>,
    /// The address of IMDS, for people.
    pub endpoint: String,
}

/// The latest scan of the processes; `None` before the first ended.
#[derive(Clone, Default)]
pub struct LatestScan(Arc<Mutex<Option<Watched>>>);

impl LatestScan {
    /// The scan.
    #[must_use]
    pub fn get(&self) -> Option<Watched> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the scan, and returns the former one.
    #[must_use]
    pub fn replace(&self, scan: Watched) -> Option<Watched> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).replace(scan)
    }
}

impl Context {
    /// The latest scan of the processes, without the suspects that have exited since.
    fn watched(&self) -> Option<Watched> {
        let latest = self.latest_scan.as_ref()?.get();
        let mut watched = latest.unwrap_or(Watched { sees_others: true, ..Watched::default() });
        watched.suspects.retain(still_running);
        Some(watched)
    }

    fn status(&self) -> Status {
        // It reads what the system says of processes: not while the state is locked.
        let watched = self.watched();
        Status::new(&self.state.lock(), watched, &self.endpoint, self.clock.now())
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
    routes
        .fold(Router::new(), |router, route| router.route(route.path(), route.handler(context)))
        .fallback(async || text(StatusCode::NOT_FOUND, "not found\n"))
        .with_state(Arc::clone(context))
}

/// The context, as a handler takes it.
type Known = Extract<Arc<Context>>;

impl Route {
    fn handler(self, context: &Arc<Context>) -> MethodRouter<Arc<Context>> {
        match self {
            Self::Metrics => {
                let cache = ScrapeCache::new(Arc::clone(&context.metrics), Arc::clone(&context.clock));
                let cache = from_fn_with_state(cache, scrape_cache::answer);
                get(metrics).layer(CompressionLayer::new()).layer(cache)
            }
            Self::StatusPage => get(async |Extract(context): Known| html(status_page::render(&context.status()))),
            Self::StatusJson => {
                get(async |Extract(context): Known| typed("application/json", status::to_json(&context.status())))
            }
            Self::Runbook => get(async || html(runbook_page::bytes())),
            Self::Healthy => get(healthy),
            Self::Ready => get(ready),
            Self::Startup => get(startup),
            Self::Clients => get(clients),
        }
    }
}

async fn metrics(Extract(context): Known) -> Response {
    let watched = context.latest_scan.as_ref().and_then(LatestScan::get);
    let exposition = context.metrics.render(&context.state.lock(), watched.as_ref(), context.clock.now());
    typed(CONTENT_TYPE_OF_METRICS, exposition)
}

async fn healthy(Extract(context): Known) -> Response {
    let now = monotonic();
    let silent = context.heartbeat.silent_for(now).as_secs();
    probe(context.heartbeat.is_alive(now), "ok\n", format!("no poll for {silent} s\n"))
}

async fn ready(Extract(context): Known) -> Response {
    let polled = context.state.lock().last_attempt_at().is_some();
    probe(polled, "ok\n", "the first poll has not ended yet\n".to_owned())
}

/// The answer of `/-/startup` when the last poll succeeded: then no outage is open, and what starts now is no suspect.
pub const STARTUP_OK: &str = "ok\n";

async fn startup(Extract(context): Known) -> Response {
    let state = context.state.lock();
    if state.is_unused() {
        // A workload that does not ask IMDS must not wait for it.
        return text(StatusCode::OK, STARTUP_OK);
    }
    let failing = state.failing().map(|streak| streak.failure.kind.label());
    match (state.resolved_in_boot(), failing, state.last_outcome()) {
        (true, None, Some(_)) => text(StatusCode::OK, STARTUP_OK),
        (true, None, None) => text(StatusCode::OK, "ok, but no poll of this run has ended yet\n"),
        (true, Some(kind), _) => text(StatusCode::OK, format!("ok, but the last poll failed: {kind}\n")),
        (false, kind, _) => {
            let kind = kind.unwrap_or("no poll has ended yet");
            text(StatusCode::SERVICE_UNAVAILABLE, format!("credentials never resolved: {kind}\n"))
        }
    }
}

#[derive(Deserialize)]
struct ClientsQuery {
    command: Option<String>,
}

async fn clients(Extract(context): Known, Query(query): Query<ClientsQuery>) -> Response {
    let Some(Watched { suspects, .. }) = context.watched() else {
        return text(StatusCode::OK, "watching is off: set IMDS_EXPORTER_WATCH_PROCESSES\n");
    };
    let asked = |suspect: &&SuspectProcess| query.command.as_ref().is_none_or(|command| suspect.command == *command);
    let lines: Vec<_> = suspects.iter().filter(asked).map(line).collect();
    probe(lines.is_empty(), "no suspect process\n", lines.concat())
}

fn line(suspect: &SuspectProcess) -> String {
    let SuspectProcess { pid, command, started_at, outage, owner, .. } = suspect;
    let (start, end, remedy) = (outage.start, outage.end, owner.remedy());
    format!(
        "suspect: pid {pid} ({command}) started at {started_at:.0} in the outage from {start:.0} to {end:.0}: {remedy}\n"
    )
}

fn probe(is_well: bool, yes: &'static str, no: String) -> Response {
    if is_well { text(StatusCode::OK, yes) } else { text(StatusCode::SERVICE_UNAVAILABLE, no) }
}

fn text(status: StatusCode, body: impl IntoResponse) -> Response {
    (status, body).into_response()
}

/// A page loads nothing from elsewhere, and sends requests to this exporter only.
fn html(page: impl Into<Body>) -> Response {
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
