//! The table of usable clients (`imds_client_usable`): boto3 clients go through scripted outages of the simulator. After
//! every step, whether each client can sign is compared with what the exporter says. A difference fails.

use std::sync::Arc;
use std::time::Duration;

use imds_exporter::domain::Source;
use imds_exporter::domain::state::{Report, State};
use imds_exporter::imds::{Imds, Options};
use imds_exporter::metrics::{self, Build, Metrics};
use imds_exporter::platform::clock::Clock;
use imds_exporter::simulator::{self, Simulator};
use serde_json::{Value, json};

use crate::support::clock::TestClock;
use crate::support::simulator::{CONNECT_REFUSED, HEALTHY, apply_toml, imds_options_for};
use crate::support::tools::Python;

/// The simulator, an exporter that polls on demand, and boto3.
struct Scenario {
    /// The clock of the simulator and the exporter; boto3's own clock advances with it.
    clock: Arc<TestClock>,
    simulator: Simulator,
    imds: Imds,
    state: State,
    metrics: Metrics,
    boto3: Python,
    clients: u32,
    /// The client that was created right after the last successful poll.
    before_outage: Option<String>,
}

/// Whether clients that were created at some time are usable.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    created: &'static str,
    usable: Option<bool>,
}

const AT_START: &str = "at-start";

impl Scenario {
    /// The exporter starts with `change` in effect; after its first poll a client is created, as by a workload that starts
    /// with it.
    async fn start(change: &str) -> Self {
        let clock = TestClock::from_now();
        let shared: Arc<dyn Clock> = Arc::clone(&clock) as Arc<dyn Clock>;
        let simulator =
            Simulator::start(simulator::Options::default(), Arc::clone(&shared)).await.expect("a free port");
        apply_toml(&simulator, change).await;
        let options = Options { timeout: Duration::from_secs(1), ..imds_options_for(&simulator) };
        let metrics_options =
            metrics::Options { poll_interval: Duration::from_secs(15), expected_role: None, process_metrics: false };
        let mut scenario = Self {
            imds: Imds::new(options, shared).expect("an IMDS client"),
            state: State::new(clock.now()),
            metrics: Metrics::new(metrics_options, Build::THIS),
            boto3: Python::start("boto3_clients.py", simulator.address()),
            clock,
            simulator,
            clients: 0,
            before_outage: None,
        };
        scenario.poll().await;
        scenario.create(AT_START, "workload").await;
        scenario.compare("at the start").await;
        scenario
    }

    async fn poll(&mut self) -> bool {
        let resolution = self.imds.resolve().await;
        let succeeded = resolution.outcome.is_ok();
        let at = self.clock.now();
        let change = self.state.record(&resolution, Duration::ZERO, at);
        self.metrics.record(&Report { at, duration: Duration::ZERO, resolution, change });
        succeeded
    }

    async fn create(&mut self, client: &str, session: &str) {
        let command = json!({"do": "create", "client": client, "session": session});
        self.boto3.ask(&command.to_string()).await;
    }

    async fn signs(&mut self, client: &str) -> bool {
        let command = json!({"do": "sign", "client": client});
        let answer: Value = serde_json::from_str(&self.boto3.ask(&command.to_string()).await).expect("JSON");
        answer["signed"].as_bool().expect("an answer")
    }

    async fn advance(&mut self, seconds: i64) {
        self.clock.jump(seconds);
        self.boto3.ask(&json!({"do": "advance", "seconds": seconds}).to_string()).await;
    }

    /// Advances to this many seconds before the credentials expire.
    async fn advance_to_remaining(&mut self, seconds: i64) {
        let remaining = self.simulator.credential().remaining(self.clock.now()).as_secs();
        self.advance(remaining - seconds).await;
    }

    /// Applies a change, then polls and compares.
    async fn then(&mut self, change: &str) {
        apply_toml(&self.simulator, change).await;
        self.compare(change).await;
    }

    fn exported(&self, created: &'static str) -> Row {
        let exposition = self.metrics.render(&self.state, None, self.clock.now());
        let series = format!("imds_client_usable{{sdk=\"boto3\",created=\"{created}\"}} ");
        let value = exposition.lines().find_map(|line| line.strip_prefix(&series));
        Row { created, usable: value.map(|value| value == "1") }
    }

    /// Polls, and compares the exported table with what each client can do.
    async fn compare(&mut self, after: &str) {
        let succeeded = self.poll().await;
        self.clients += 1;
        let newest = format!("client-{}", self.clients);
        self.create(&newest, &newest).await;
        let now = self.signs(&newest).await;
        if succeeded {
            self.before_outage = Some(newest.clone());
        }
        let at_start = self.signs(AT_START).await;
        let mut actual =
            vec![Row { created: "now", usable: Some(now) }, Row { created: "at_start", usable: Some(at_start) }];
        if let Some(client) = self.before_outage.clone() {
            let usable = self.signs(&client).await;
            actual.push(Row { created: "before_outage", usable: Some(usable) });
        }
        let exported: Vec<_> = actual.iter().map(|row| self.exported(row.created)).collect();
        assert_eq!(exported, actual, "the exported and the actual table after: {after}");
    }

    fn assert_usable(&self, expected: [(&'static str, bool); 3]) {
        for (created, usable) in expected {
            assert_eq!(self.exported(created), Row { created, usable: Some(usable) });
        }
    }
}

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn clients_that_hold_credentials_stay_usable_in_a_short_outage() {
    let mut scenario = Scenario::start(HEALTHY).await;
    scenario.assert_usable([("now", true), ("before_outage", true), ("at_start", true)]);
    scenario.then(CONNECT_REFUSED).await;
    scenario.assert_usable([("now", false), ("before_outage", true), ("at_start", true)]);
    scenario.advance(3_600).await;
    scenario.compare("an hour of outage").await;
    scenario.then(HEALTHY).await;
    scenario.assert_usable([("now", true), ("before_outage", true), ("at_start", true)]);
}

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn a_client_created_in_an_outage_stays_stuck_but_its_session_can_create_a_usable_one() {
    for fault in [CONNECT_REFUSED, "fault = \"hop_limit\"", "fault = \"imds_disabled\"", "fault = \"server_error\""] {
        let mut scenario = Scenario::start(fault).await;
        scenario.assert_usable([("now", false), ("before_outage", false), ("at_start", false)]);
        scenario.then(HEALTHY).await;
        scenario.assert_usable([("now", true), ("before_outage", true), ("at_start", false)]);
        // A new client recovers, even from the session of the stuck one.
        scenario.create("again", "workload").await;
        assert!(scenario.signs("again").await);
        assert!(!scenario.signs(AT_START).await);
        scenario.advance(5 * 3_600).await;
        scenario.compare("five hours later").await;
        scenario.assert_usable([("now", true), ("before_outage", true), ("at_start", false)]);
    }
}

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn clients_fail_from_fifteen_minutes_before_the_expiry_until_the_outage_ends() {
    let mut scenario = Scenario::start("rotation = \"off\"").await;
    scenario.then(CONNECT_REFUSED).await;
    scenario.advance_to_remaining(15 * 60 + 20).await;
    scenario.compare("fifteen minutes and a little remain").await;
    scenario.assert_usable([("now", false), ("before_outage", true), ("at_start", true)]);
    scenario.advance(30).await;
    scenario.compare("less than fifteen minutes remain").await;
    scenario.assert_usable([("now", false), ("before_outage", false), ("at_start", false)]);
    scenario.advance_to_remaining(-600).await;
    scenario.compare("expired").await;
    apply_toml(&scenario.simulator, "rotate = true").await;
    scenario.then(HEALTHY).await;
    scenario.assert_usable([("now", true), ("before_outage", true), ("at_start", true)]);
}

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn a_client_keeps_the_document_from_its_creation_when_imds_rotates() {
    let mut scenario = Scenario::start("lifetime = \"6h\"\nrotation = \"1h\"").await;
    for hour in 1..=3 {
        scenario.advance(3_600).await;
        scenario.compare(&format!("rotation {hour}")).await;
    }
    scenario.then(CONNECT_REFUSED).await;
    // The document of the start ends in three hours, the last one in six.
    scenario.advance(3 * 3_600 - 14 * 60).await;
    scenario.compare("the last minutes of the first document").await;
    scenario.assert_usable([("now", false), ("before_outage", true), ("at_start", false)]);
    scenario.then(HEALTHY).await;
    scenario.assert_usable([("now", true), ("before_outage", true), ("at_start", true)]);
    scenario.advance(3_600).await;
    scenario.then(CONNECT_REFUSED).await;
    scenario.advance(2 * 3_600).await;
    scenario.compare("with the document from after the recovery").await;
    scenario.assert_usable([("now", false), ("before_outage", true), ("at_start", true)]);
}

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn a_client_created_without_a_role_stays_stuck_when_one_is_attached() {
    let mut scenario = Scenario::start("fault = \"no_role\"").await;
    scenario.assert_usable([("now", false), ("before_outage", false), ("at_start", false)]);
    scenario.then(HEALTHY).await;
    scenario.assert_usable([("now", true), ("before_outage", true), ("at_start", false)]);
    scenario.then("role = \"another-role\"").await;
}

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn clients_stay_usable_when_the_role_is_detached() {
    let mut scenario = Scenario::start(HEALTHY).await;
    scenario.then("fault = \"no_role\"").await;
    scenario.assert_usable([("now", false), ("before_outage", true), ("at_start", true)]);
}

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn a_client_created_with_an_incomplete_document_stays_stuck() {
    // Empty or null fields are left out: boto3 accepts them, and signs requests that AWS then rejects.
    for field in ["AccessKeyId", "SecretAccessKey", "Token", "Expiration"] {
        let mut scenario = Scenario::start(&format!("fault = \"incomplete_document\"\nfield = \"{field}\"")).await;
        scenario.then(HEALTHY).await;
        scenario.assert_usable([("now", true), ("before_outage", true), ("at_start", false)]);
    }
}

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn an_expired_document_is_used() {
    let mut scenario = Scenario::start(HEALTHY).await;
    scenario.then("rotation = \"off\"\nexpires_in = \"-5m\"").await;
    scenario.assert_usable([("now", true), ("before_outage", true), ("at_start", true)]);
}
