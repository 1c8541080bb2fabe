//! The pages: routes, status codes and content types.
//!
//! `/-/healthy` and `/-/ready` never depend on IMDS: a failing IMDS must neither restart the exporter nor make its pod
//! unready. Must not know how metrics are made or where credentials come from.

mod accept_encoding;
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
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, VARY,
};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use strum::VariantArray;

pub use routes::Route;
pub use server::{Limits, serve, serve_connection};

use crate::domain::state::{Shared, State};
use crate::metrics::{CONTENT_TYPE as CONTENT_TYPE_OF_METRICS, Encoding};
use crate::platform::clock::{Clock, monotonic};
use crate::platform::heartbeat::Heartbeat;
use crate::workload::{SuspectProcess, Watched, still_running};
use accept_encoding::prefers_gzip;
use status::{Facts, Status};

/// What the pages are made from.
pub struct Context {
    /// What is known.
    pub state: Shared,
    /// Whether the poll loop is alive.
    pub heartbeat: Heartbeat,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Renders the metrics.
    pub exposition: Box<dyn Fn(Encoding) -> Vec<u8> + Send + Sync>,
    /// The latest look at the watched processes, if processes are watched; `None` in it before the first look ended.
    pub watched: Option<Arc<Mutex<Option<Watched>>>>,
    /// The address of IMDS, for people.
    pub endpoint: String,
}

impl Context {
    /// The latest look at the processes, without the suspects that have ended since.
    fn watched(&self) -> Option<Watched> {
        let latest = self.watched.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut watched = latest.unwrap_or(Watched { sees_others: true, ..Watched::default() });
        watched.suspects.retain(still_running);
        Some(watched)
    }

    fn suspects(&self) -> Option<Vec<SuspectProcess>> {
        self.watched().map(|watched| watched.suspects)
    }

    fn status(&self) -> Status {
        let facts = Facts { watched: self.watched(), endpoint: &self.endpoint, now: self.clock.now() };
        Status::new(&self.state.lock(), facts)
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
        let answer = move |request: Request| std::future::ready(route.answer(&context, &request));
        router.route(route.path(), get(answer))
    });
    served.fallback(|| std::future::ready(text(StatusCode::NOT_FOUND, "not found\n")))
}

impl Route {
    fn answer(self, context: &Context, request: &Request) -> Response {
        match self {
            Self::Metrics => metrics(context, request),
            Self::StatusPage => html(status_page::render(&context.status())),
            Self::StatusJson => typed("application/json", context.status().to_json()),
            Self::Runbook => html(runbook_page::bytes()),
            Self::Healthy => {
                let silent = context.heartbeat.silent_for(monotonic()).as_secs();
                probe(context.heartbeat.is_alive(monotonic()), "ok\n", format!("no poll for {silent} s\n"))
            }
            Self::Ready => {
                let polled = context.state.lock().last_attempt_at().is_some();
                probe(polled, "ok\n", "the first poll has not ended yet\n".to_owned())
            }
            Self::Startup => startup(&context.state.lock()),
            Self::Clients => clients(context.suspects(), request.uri().query()),
        }
    }
}

fn metrics(context: &Context, request: &Request) -> Response {
    let encoding = if prefers_gzip(request.headers()) { Encoding::Gzip } else { Encoding::Identity };
    let mut response = typed(CONTENT_TYPE_OF_METRICS, (context.exposition)(encoding));
    response.headers_mut().insert(VARY, HeaderValue::from(ACCEPT_ENCODING));
    if encoding == Encoding::Gzip {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// The answer of `/-/startup` when the last poll succeeded: then no outage is open, and what starts now is no suspect.
pub const STARTUP_OK: &str = "ok\n";

fn startup(state: &State) -> Response {
    if state.environment().earlier_in_chain.is_some() {
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

/// The suspects, or those whose program has the name in `?command=NAME`.
fn clients(suspects: Option<Vec<SuspectProcess>>, query: Option<&str>) -> Response {
    let Some(suspects) = suspects else {
        return text(StatusCode::OK, "watching is off: set IMDS_EXPORTER_WATCH_PROCESSES\n");
    };
    let command = query.into_iter().flat_map(|query| query.split('&')).find_map(|pair| pair.strip_prefix("command="));
    let asked = |suspect: &&SuspectProcess| command.is_none_or(|command| suspect.command == command);
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
