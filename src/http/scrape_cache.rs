//! The answers to scrapes, kept until the metrics change: a scrape beside others needs neither rendering nor compression.
//!
//! Must not know what is in an answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::ACCEPT_ENCODING;
use axum::http::response::Parts;
use axum::http::{HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use jiff::{SignedDuration, Timestamp};

use crate::metrics::Metrics;
use crate::platform::clock::Clock;

/// How old an answer may be in what passes with time alone, such as the remaining seconds and the process's own memory.
const MAX_AGE: SignedDuration = SignedDuration::from_secs(1);

/// How many answers are kept, for clients that accept different encodings.
const MAX_ANSWERS: usize = 4;

type Encodings = Vec<HeaderValue>;

/// How often the metrics have changed, and the time.
type Version = (u64, Timestamp);

#[derive(Clone)]
struct Answer {
    version: Version,
    head: Parts,
    body: Bytes,
}

#[derive(Clone)]
pub(super) struct ScrapeCache {
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    answers: Arc<Mutex<HashMap<Encodings, Answer>>>,
}

impl ScrapeCache {
    pub(super) fn new(metrics: Arc<Metrics>, clock: Arc<dyn Clock>) -> Self {
        Self { metrics, clock, answers: Arc::default() }
    }

    fn answers(&self) -> MutexGuard<'_, HashMap<Encodings, Answer>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) async fn answer(State(cache): State<ScrapeCache>, request: Request, next: Next) -> Response {
    if request.method() != Method::GET {
        return next.run(request).await;
    }
    let encodings: Encodings = request.headers().get_all(ACCEPT_ENCODING).iter().cloned().collect();
    let version @ (changes, now) = (cache.metrics.changes(), cache.clock.now());
    let is_current = |answer: &Answer| {
        let (at_changes, at) = answer.version;
        at_changes == changes && now.duration_since(at).abs() < MAX_AGE
    };
    let kept = cache.answers().get(&encodings).filter(|answer| is_current(answer)).cloned();
    if let Some(Answer { head, body, .. }) = kept {
        return Response::from_parts(head, Body::from(body));
    }
    let (head, body) = next.run(request).await.into_parts();
    let body = to_bytes(body, usize::MAX).await.expect("the body is in memory");
    let mut answers = cache.answers();
    answers.retain(|_, answer| is_current(answer));
    if answers.len() < MAX_ANSWERS {
        answers.insert(encodings, Answer { version, head: head.clone(), body: body.clone() });
    }
    drop(answers);
    Response::from_parts(head, Body::from(body))
}
