//! Sources that answer from a script, and the resolutions that they answer with.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use imds_exporter::domain::Source;
use imds_exporter::domain::{Credential, Failure, Kind, Request, RequestRecord, Resolution, Step};
use jiff::SignedDuration;
use tokio::sync::mpsc::UnboundedReceiver;

/// The time at which tests with a [`TestClock`](super::clock::TestClock) begin.
pub(crate) const START: &str = "2026-01-31T12:00:00Z";

/// Answers with each resolution of a script in turn, then repeats the last one; counts the calls.
#[derive(Clone)]
pub(crate) struct FakeSource {
    script: Arc<Mutex<VecDeque<Resolution>>>,
    calls: Arc<Mutex<u32>>,
}

impl FakeSource {
    pub(crate) fn new(script: impl IntoIterator<Item = Resolution>) -> Self {
        Self { script: Arc::new(Mutex::new(script.into_iter().collect())), calls: Arc::default() }
    }

    pub(crate) fn calls(&self) -> u32 {
        *self.calls.lock().expect("no test panics while it holds this")
    }
}

impl Source for FakeSource {
    async fn resolve(&mut self) -> Resolution {
        *self.calls.lock().expect("no test panics while it holds this") += 1;
        let mut script = self.script.lock().expect("no test panics while it holds this");
        if script.len() > 1 { script.pop_front().expect("there are two") } else { script[0].clone() }
    }
}

pub(crate) fn credential(role: &str, last_updated: &str, expiration: &str) -> Credential {
    Credential {
        role: role.to_owned().try_into().expect("a role name"),
        last_updated: Some(last_updated.parse().expect("an instant")),
        expiration: expiration.parse().expect("an instant"),
    }
}

fn request_record(request: Request, milliseconds: u64, status: u16) -> RequestRecord {
    RequestRecord { request, duration: Duration::from_millis(milliseconds), status: Some(status) }
}

/// A successful resolution of this credential.
pub(crate) fn resolved(credential: Credential) -> Resolution {
    Resolution {
        requests: vec![
            request_record(Request::Token, 2, 200),
            request_record(Request::Role, 3, 200),
            request_record(Request::Credentials, 30, 200),
        ],
        clock_skew: Some(SignedDuration::from_millis(-250)),
        ..Resolution::from(Ok(credential))
    }
}

/// A successful resolution of a credential of [`START`] that lasts six and a half hours.
pub(crate) fn success() -> Resolution {
    resolved(credential("web", START, "2026-01-31T18:30:00Z"))
}

/// A failed resolution.
pub(crate) fn failed(kind: Kind, step: Step) -> Resolution {
    Resolution {
        requests: vec![request_record(Request::Token, 1_001, 500)],
        cause: Some("made up".to_owned()),
        ..Resolution::from(Err(Failure { kind, step }))
    }
}

/// Answers with what the test sends, and hangs until then.
pub(crate) struct SentSource(pub(crate) UnboundedReceiver<Resolution>);

impl Source for SentSource {
    async fn resolve(&mut self) -> Resolution {
        match self.0.recv().await {
            Some(resolution) => resolution,
            None => std::future::pending().await,
        }
    }
}
