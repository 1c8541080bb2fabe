//! The routes: paths, status codes, content types. The only module that knows axum.
//!
//! `/-/healthy` and `/-/ready` never depend on IMDS: a failing IMDS must neither restart the exporter nor take the
//! pod that it runs in out of service. Must not know how metrics are made or where credentials come from.

mod page;
mod parts;
mod server;

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, USER_AGENT};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

pub use server::{Limits, converse, serve};

use crate::clock::{Clock, monotonic};
use crate::process::{Suspect, Watch};
use crate::pulse::Pulse;
use crate::state::Shared;
use crate::status::Status;
use parts::Parts;

/// What an answer is made from.
pub struct Context {
    /// What is known.
    pub state: Shared,
    /// Whether the poll loop turns.
    pub pulse: Pulse,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// The metrics' exposition, in parts.
    pub exposition: Box<dyn Fn() -> [Bytes; 2] + Send + Sync>,
    /// The watched processes, where watching is on.
    pub watch: Option<Arc<Mutex<Watch>>>,
    /// Where IMDS is, for people.
    pub endpoint: String,
}

impl Context {
    /// The suspects that run at this moment.
    fn suspects(&self) -> Option<Vec<Suspect>> {
        let watch = self.watch.as_ref()?;
        Some(watch.lock().unwrap_or_else(PoisonError::into_inner).alive().to_vec())
    }

    fn status(&self) -> Status {
        Status::new(&self.state.lock(), self.suspects(), &self.endpoint, self.clock.now())
    }
}

macro_rules! routes {
    ($($page:ident = $path:literal, $meaning:literal;)+) => {
        /// Every page that is served.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Page { $(#[doc = $meaning] $page,)+ }

        impl Page {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$page,)+];

            /// Its path.
            #[must_use]
            pub const fn path(self) -> &'static str {
                match self { $(Self::$page => $path,)+ }
            }

            /// What it answers.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$page => $meaning,)+ }
            }
        }
    };
}

routes! {
    Metrics = "/metrics", "The metrics; always 200.";
    Home = "/", "The status page, for people.";
    Status = "/api/v1/status", "The same as JSON.";
    Runbook = "/runbook", "The runbook: a section for each alert and each kind of failure.";
    Healthy = "/-/healthy", "200 while the poll loop turns, 503 when it has been silent for 5 intervals. Does not depend on IMDS.";
    Ready = "/-/ready", "200 once the first poll ended, however it went; 503 before.";
    Startup = "/-/startup", "503 until credentials were resolved once, then 200 for good. A platform that is told 503 holds the workload back: `at_start` counts from the first 200 then.";
    Clients = "/-/clients", "503 with the list while suspect processes run, else 200.";
}

/// The routes; any other path is 404, any other method 405.
pub fn router(context: &Arc<Context>) -> Router {
    router_of(Page::ALL.iter().copied(), context)
}

/// The routes that tell no more than whether something is well: for a listener of their own.
pub fn probe_router(context: &Arc<Context>) -> Router {
    router_of(Page::ALL.iter().copied().filter(|page| page.path().starts_with("/-/")), context)
}

fn router_of(pages: impl Iterator<Item = Page>, context: &Arc<Context>) -> Router {
    let routes = pages.fold(Router::new(), |router, page| {
        let context = Arc::clone(context);
        let answer = move |request: Request| std::future::ready(page.answer(&context, request.headers()));
        router.route(page.path(), get(answer))
    });
    routes.fallback(|| std::future::ready(text(StatusCode::NOT_FOUND, "not found\n")))
}

impl Page {
    fn answer(self, context: &Context, headers: &HeaderMap) -> Response {
        match self {
            Self::Metrics => typed(crate::metrics::CONTENT_TYPE, Body::new(Parts::from((context.exposition)()))),
            Self::Home => html(page::render(&context.status())),
            Self::Status => typed("application/json", context.status().to_json()),
            Self::Runbook => html(crate::runbook::html()),
            Self::Healthy => {
                let silent = context.pulse.silent_for(monotonic()).as_secs();
                gate(context.pulse.is_alive(monotonic()), "ok\n", format!("no poll for {silent} s\n"))
            }
            Self::Ready => {
                let polled = context.state.lock().last_attempt_at().is_some();
                gate(polled, "ok\n", "the first poll has not ended yet\n".to_owned())
            }
            Self::Startup => {
                let mut state = context.state.lock();
                match gate_that_asks(headers) {
                    Some(Gate::Kubelet) => state.hold_back(),
                    Some(Gate::Wait) => {
                        state.hold_back();
                        state.let_start();
                    }
                    None => {}
                }
                let kind = state.failing().map_or("no poll has ended yet", |run| run.failure.kind.label());
                gate(state.last_success_at().is_some(), "ok\n", format!("credentials never resolved: {kind}\n"))
            }
            Self::Clients => clients(context.suspects()),
        }
    }
}

/// Who holds a workload back until credentials resolve. A person who looks holds nothing back.
enum Gate {
    /// A startup probe: it asks until it is told 200.
    Kubelet,
    /// `wait`: it asks before it waits, and again when it lets the workload start.
    Wait,
}

/// How `wait` says that it is one.
pub const WAIT_USER_AGENT: &str = "imds-exporter-wait";

fn gate_that_asks(headers: &HeaderMap) -> Option<Gate> {
    let agent = headers.get(USER_AGENT)?.to_str().ok()?;
    match agent {
        WAIT_USER_AGENT => Some(Gate::Wait),
        _ if agent.starts_with("kube-probe/") => Some(Gate::Kubelet),
        _ => None,
    }
}

fn clients(suspects: Option<Vec<Suspect>>) -> Response {
    let Some(suspects) = suspects else {
        return text(StatusCode::OK, "watching is off: set IMDS_EXPORTER_WATCH_PROCESSES\n");
    };
    let line = |suspect: &Suspect| {
        let Suspect { pid, command, started_at, outage, .. } = suspect;
        let (start, end) = (outage.start, outage.end);
        format!("suspect: pid {pid} ({command}) started at {started_at:.0} in the outage from {start:.0} to {end:.0}\n")
    };
    let list: String = suspects.iter().map(line).collect();
    gate(suspects.is_empty(), "no suspect process\n", list)
}

fn gate(open: bool, yes: &'static str, no: String) -> Response {
    if open { text(StatusCode::OK, yes) } else { text(StatusCode::SERVICE_UNAVAILABLE, no) }
}

fn text(status: StatusCode, body: impl IntoResponse) -> Response {
    (status, body).into_response()
}

/// A page holds all that it needs: nothing is loaded from anywhere, nothing is sent but to here.
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
