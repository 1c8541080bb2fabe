//! The truth test: real boto3 clients live through scripted timelines on the simulator. After every step each
//! client's real ability to sign is compared with the exporter's table. A difference fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use imds_exporter::clock::{Clock, SystemClock};
use imds_exporter::imds::{Endpoint, Imds, Options};
use imds_exporter::metrics::{self, Build, Metrics};
use imds_exporter::simulator::{self, Simulator};
use imds_exporter::source::Source;
use imds_exporter::state::{Report, State};
use jiff::{SignedDuration, Timestamp};

use crate::support::tell;
use crate::tools::Python;

/// The clock of the simulator and the exporter; the clients' is advanced with it.
#[derive(Default)]
struct Advanced(AtomicI64);

impl Clock for Advanced {
    fn now(&self) -> Timestamp {
        SystemClock.now() + SignedDuration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

/// A world with an IMDS, an exporter that polls when told to, and boto3.
struct World {
    clock: Arc<Advanced>,
    simulator: Simulator,
    imds: Imds,
    state: State,
    metrics: Metrics,
    boto3: Python,
    clients: u32,
    /// The client that was created right after the last poll that went well.
    before_outage: Option<String>,
}

/// What the exporter says of a client, and what is so.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    created: &'static str,
    usable: Option<bool>,
}

const AT_START: &str = "at-start";

impl World {
    /// The exporter starts with `fault`; after its first poll a client is created, as by a workload that starts with it.
    async fn new(fault: &str) -> Self {
        let clock = Arc::new(Advanced::default());
        let shared: Arc<dyn Clock> = Arc::clone(&clock) as Arc<dyn Clock>;
        let simulator =
            Simulator::start(simulator::Options::default(), Arc::clone(&shared)).await.expect("a free port");
        tell(&simulator, fault).await;
        let endpoint = Endpoint::parse(&format!("http://{}", simulator.address())).expect("a good endpoint");
        let options = Options { endpoint, timeout: Duration::from_secs(1), disabled: false };
        let options_of_metrics =
            metrics::Options { poll_interval: Duration::from_secs(15), expected_role: None, process_metrics: false };
        let mut world = Self {
            imds: Imds::new(options, shared).expect("a client"),
            state: State::new(clock.now()),
            metrics: Metrics::new(options_of_metrics, Build::THIS),
            boto3: Python::start("clients.py", simulator.address()),
            clock,
            simulator,
            clients: 0,
            before_outage: None,
        };
        world.poll().await;
        world.create(AT_START, "workload").await;
        world.compare("at the start").await;
        world
    }

    async fn poll(&mut self) -> bool {
        let resolution = self.imds.resolve().await;
        let well = resolution.outcome.is_ok();
        let at = self.clock.now();
        let change = self.state.record(&resolution, Duration::ZERO, at);
        self.metrics.record(&Report { at, duration: Duration::ZERO, resolution, change });
        well
    }

    async fn create(&mut self, client: &str, session: &str) {
        let command = serde_json::json!({"do": "create", "client": client, "session": session});
        self.boto3.ask(&command.to_string()).await;
    }

    async fn signs(&mut self, client: &str) -> bool {
        let command = serde_json::json!({"do": "sign", "client": client});
        let answer: serde_json::Value =
            serde_json::from_str(&self.boto3.ask(&command.to_string()).await).expect("JSON");
        answer["signed"].as_bool().expect("an answer")
    }

    async fn advance(&mut self, seconds: i64) {
        self.clock.0.fetch_add(seconds, Ordering::Relaxed);
        self.boto3.ask(&serde_json::json!({"do": "advance", "seconds": seconds}).to_string()).await;
    }

    /// Time passes until this much of the credentials' life remains.
    async fn advance_to_remaining(&mut self, seconds: i64) {
        let remaining = self.simulator.credential().remaining(self.clock.now()).as_secs();
        self.advance(remaining - seconds).await;
    }

    /// The simulator is told something, and the exporter polls.
    async fn then(&mut self, change: &str) {
        tell(&self.simulator, change).await;
        self.compare(change).await;
    }

    fn said(&self, created: &'static str) -> Row {
        let exposition = self.metrics.render(&self.state, None, self.clock.now());
        let series = format!("imds_client_usable{{sdk=\"boto3\",created=\"{created}\"}} ");
        let value = exposition.lines().find_map(|line| line.strip_prefix(&series));
        Row { created, usable: value.map(|value| value == "1") }
    }

    /// Polls, and compares the table with what each client really can.
    async fn compare(&mut self, after: &str) {
        let well = self.poll().await;
        self.clients += 1;
        let newest = format!("client-{}", self.clients);
        self.create(&newest, &newest).await;
        let now = self.signs(&newest).await;
        if well {
            self.before_outage = Some(newest.clone());
        }
        let at_start = self.signs(AT_START).await;
        let mut truth =
            vec![Row { created: "now", usable: Some(now) }, Row { created: "at_start", usable: Some(at_start) }];
        if let Some(client) = self.before_outage.clone() {
            let usable = self.signs(&client).await;
            truth.push(Row { created: "before_outage", usable: Some(usable) });
        }
        let said: Vec<_> = truth.iter().map(|row| self.said(row.created)).collect();
        assert_eq!(said, truth, "what is said, and what is so, after: {after}");
    }

    fn assert_usable(&self, expected: [(&'static str, bool); 3]) {
        for (created, usable) in expected {
            assert_eq!(self.said(created), Row { created, usable: Some(usable) });
        }
    }
}

const HEALTHY: &str = "fault = \"none\"";
const REFUSED: &str = "fault = \"connect_refused\"";

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn born_healthy_through_a_short_outage_with_hours_left() {
    let mut world = World::new(HEALTHY).await;
    world.assert_usable([("now", true), ("before_outage", true), ("at_start", true)]);
    world.then(REFUSED).await;
    world.assert_usable([("now", false), ("before_outage", true), ("at_start", true)]);
    world.advance(3_600).await;
    world.compare("an hour of outage").await;
    world.then(HEALTHY).await;
    world.assert_usable([("now", true), ("before_outage", true), ("at_start", true)]);
}

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn born_in_an_outage_stuck_for_ever_but_the_same_session_gives_a_new_client() {
    for fault in [REFUSED, "fault = \"hop_limit\"", "fault = \"imds_disabled\"", "fault = \"server_error\""] {
        let mut world = World::new(fault).await;
        world.assert_usable([("now", false), ("before_outage", false), ("at_start", false)]);
        world.then(HEALTHY).await;
        world.assert_usable([("now", true), ("before_outage", true), ("at_start", false)]);
        // The cure: a new client, of the very session of the stuck one.
        world.create("again", "workload").await;
        assert!(world.signs("again").await);
        assert!(!world.signs(AT_START).await);
        world.advance(5 * 3_600).await;
        world.compare("five hours later").await;
        world.assert_usable([("now", true), ("before_outage", true), ("at_start", false)]);
    }
}

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn an_outage_that_runs_into_the_last_fifteen_minutes_and_recovery() {
    let mut world = World::new("rotation = \"off\"").await;
    world.then(REFUSED).await;
    world.advance_to_remaining(15 * 60 + 20).await;
    world.compare("fifteen minutes and a little remain").await;
    world.assert_usable([("now", false), ("before_outage", true), ("at_start", true)]);
    world.advance(30).await;
    world.compare("less than fifteen minutes remain").await;
    world.assert_usable([("now", false), ("before_outage", false), ("at_start", false)]);
    world.advance_to_remaining(-600).await;
    world.compare("expired").await;
    tell(&world.simulator, "rotate = true").await;
    world.then(HEALTHY).await;
    world.assert_usable([("now", true), ("before_outage", true), ("at_start", true)]);
}

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn a_client_keeps_the_document_of_its_birth_past_rotations() {
    let mut world = World::new("lifetime = \"6h\"\nrotation = \"1h\"").await;
    for hour in 1..=3 {
        world.advance(3_600).await;
        world.compare(&format!("rotation {hour}")).await;
    }
    world.then(REFUSED).await;
    // The document of the start ends in three hours, the last one in six.
    world.advance(3 * 3_600 - 14 * 60).await;
    world.compare("the last minutes of the first document").await;
    world.assert_usable([("now", false), ("before_outage", true), ("at_start", false)]);
    world.then(HEALTHY).await;
    world.assert_usable([("now", true), ("before_outage", true), ("at_start", true)]);
    world.advance(3_600).await;
    world.then(REFUSED).await;
    world.advance(2 * 3_600).await;
    world.compare("with a document of after the recovery").await;
    world.assert_usable([("now", false), ("before_outage", true), ("at_start", true)]);
}

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn no_role_at_birth_then_a_role_is_attached() {
    let mut world = World::new("fault = \"no_role\"").await;
    world.assert_usable([("now", false), ("before_outage", false), ("at_start", false)]);
    world.then(HEALTHY).await;
    world.assert_usable([("now", true), ("before_outage", true), ("at_start", false)]);
    world.then("role = \"another-role\"").await;
}

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn a_role_that_is_detached_leaves_clients_what_they_hold() {
    let mut world = World::new(HEALTHY).await;
    world.then("fault = \"no_role\"").await;
    world.assert_usable([("now", false), ("before_outage", true), ("at_start", true)]);
}

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn a_partial_document_at_birth() {
    // A field that is there but empty or null boto3 takes, and signs with it what AWS then rejects: that such a
    // client "can sign" is no truth to compare with.
    for field in ["AccessKeyId", "SecretAccessKey", "Token", "Expiration"] {
        let mut world = World::new(&format!("fault = \"incomplete_document\"\nfield = \"{field}\"")).await;
        world.then(HEALTHY).await;
        world.assert_usable([("now", true), ("before_outage", true), ("at_start", false)]);
    }
}

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn a_document_that_is_expired_already_is_used() {
    let mut world = World::new(HEALTHY).await;
    world.then("rotation = \"off\"\nexpires_in = \"-5m\"").await;
    world.assert_usable([("now", true), ("before_outage", true), ("at_start", true)]);
}
