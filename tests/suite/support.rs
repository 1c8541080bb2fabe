//! What several tests need: a simulator with a client, a fake source, a clock to set.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use imds_exporter::clock::{Clock, SystemClock, monotonic};
use imds_exporter::imds::{Endpoint, Imds, Options};
use imds_exporter::model::{Credential, Exchange, Failure, Kind, Request, Resolution, Step};
use imds_exporter::simulator::{self, Change, Simulator};
use imds_exporter::source::Source;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// Time for one request: long enough for a loaded machine, short enough to wait for in a test.
pub(crate) const TIMEOUT: Duration = Duration::from_millis(400);

pub(crate) async fn simulator() -> Simulator {
    Simulator::start(simulator::Options::default(), Arc::new(SystemClock)).await.expect("loopback has a free port")
}

pub(crate) async fn tell(simulator: &Simulator, toml: &str) {
    let change = Change::parse(toml).unwrap_or_else(|error| panic!("{toml}: {error}"));
    simulator.apply(&change).await.expect("the simulator can do that");
}

pub(crate) fn client(endpoint: &str) -> Imds {
    let endpoint = Endpoint::parse(endpoint).expect("a good endpoint");
    Imds::new(Options { endpoint, timeout: TIMEOUT, disabled: false }, Arc::new(SystemClock)).expect("a client")
}

pub(crate) fn client_of(simulator: &Simulator) -> Imds {
    client(&format!("http://{}", simulator.address()))
}

/// Wall time from an epoch on, moved by tokio's (paused) time and by hand.
pub(crate) struct TestClock {
    epoch: Timestamp,
    began: Instant,
    jump_seconds: AtomicI64,
}

impl TestClock {
    pub(crate) fn new(epoch: &str) -> Arc<Self> {
        let epoch = epoch.parse().expect("an instant");
        Arc::new(Self { epoch, began: monotonic(), jump_seconds: AtomicI64::new(0) })
    }

    pub(crate) fn jump(&self, seconds: i64) {
        self.jump_seconds.fetch_add(seconds, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let jumped = SignedDuration::from_secs(self.jump_seconds.load(Ordering::Relaxed));
        let passed = SignedDuration::try_from(monotonic() - self.began).expect("a short test");
        self.epoch + passed + jumped
    }
}

/// Answers what it was told, then the last of it again and again; counts.
#[derive(Clone)]
pub(crate) struct FakeSource {
    script: Arc<Mutex<VecDeque<Resolution>>>,
    pub(crate) asked: Arc<Mutex<u32>>,
}

impl FakeSource {
    pub(crate) fn new(script: impl IntoIterator<Item = Resolution>) -> Self {
        Self { script: Arc::new(Mutex::new(script.into_iter().collect())), asked: Arc::default() }
    }

    pub(crate) fn asked(&self) -> u32 {
        *self.asked.lock().expect("no test panics while it holds this")
    }
}

impl Source for FakeSource {
    async fn resolve(&mut self) -> Resolution {
        *self.asked.lock().expect("no test panics while it holds this") += 1;
        let mut script = self.script.lock().expect("no test panics while it holds this");
        if script.len() > 1 { script.pop_front().expect("there are two") } else { script[0].clone() }
    }
}

/// Never answers.
pub(crate) struct Hanging;

impl Source for Hanging {
    async fn resolve(&mut self) -> Resolution {
        std::future::pending().await
    }
}

pub(crate) fn credential(role: &str, last_updated: &str, expiration: &str) -> Credential {
    Credential {
        role: role.to_owned().try_into().expect("a role name"),
        last_updated: Some(last_updated.parse().expect("an instant")),
        expiration: expiration.parse().expect("an instant"),
    }
}

fn exchange(request: Request, milliseconds: u64, status: u16) -> Exchange {
    Exchange { request, duration: Duration::from_millis(milliseconds), status: Some(status) }
}

pub(crate) fn resolved(credential: Credential) -> Resolution {
    Resolution {
        outcome: Ok(credential),
        exchanges: vec![
            exchange(Request::Token, 2, 200),
            exchange(Request::Role, 3, 200),
            exchange(Request::Credentials, 30, 200),
        ],
        clock_skew: Some(SignedDuration::from_millis(-250)),
        tokens_obtained: 1,
        cause: None,
    }
}

pub(crate) fn failed(kind: Kind, step: Step) -> Resolution {
    Resolution {
        outcome: Err(Failure { kind, step }),
        exchanges: vec![exchange(Request::Token, 1_001, 500)],
        clock_skew: None,
        tokens_obtained: 0,
        cause: Some("made up".to_owned()),
    }
}
