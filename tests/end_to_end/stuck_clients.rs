//! A declared workload around an outage: the exporter as a process, and the real boto3 client of the workload.

use std::path::PathBuf;
use std::time::Duration;

use imds_exporter::simulator::Simulator;
use tempfile::{TempDir, tempdir};
use tokio::time::sleep;

use crate::alerts::fires;
use crate::claims::{Claims, log_warns_of_clients};
use crate::clients::{Clients, Creation};
use crate::support::program::{ExporterProcess, program_with_imds};
use crate::support::request::get_until;
use crate::support::simulator::{CONNECT_REFUSED, HEALTHY, apply_toml, start_simulator};
use crate::support::state_file::until_saved;

/// A pod: IMDS, the state file, and boto3 in the workload.
struct Pod {
    simulator: Simulator,
    folder: TempDir,
    declared: &'static str,
    boto3: Clients,
}

impl Pod {
    async fn in_an_outage(declared: &'static str) -> Self {
        let simulator = start_simulator().await;
        apply_toml(&simulator, CONNECT_REFUSED).await;
        let boto3 = Clients::start(simulator.address(), &[]);
        Self { simulator, folder: tempdir().expect("a folder"), declared, boto3 }
    }

    fn state_file(&self) -> PathBuf {
        self.folder.path().join("state.json")
    }

    async fn start_exporter(&self) -> ExporterProcess {
        let mut command = program_with_imds(self.simulator.address(), &[]);
        command.env("IMDS_EXPORTER_WORKLOAD", self.declared).env("IMDS_EXPORTER_STATE_FILE", self.state_file());
        ExporterProcess::start_with(command).await
    }

    async fn apply(&self, change: &str) {
        apply_toml(&self.simulator, change).await;
    }
}

#[tokio::test]
#[ignore = "needs boto3 and promtool: tests/run fetches them"]
async fn a_workload_that_starts_with_the_exporter_in_an_outage_is_stuck_until_both_are_restarted() {
    let mut pod = Pod::in_an_outage("starts-with-exporter").await;
    let mut exporter = pod.start_exporter().await;
    assert_eq!(pod.boto3.create("workload", "workload").await, Creation::BoundToNothing);
    let claims = Claims::once_up_is(0, exporter.address).await;
    assert_eq!([claims.usable("now"), claims.usable("at_start")], [Some(false); 2]);
    assert!(!claims.stuck(), "nothing works at all");

    pod.apply(HEALTHY).await;
    let recovered = Claims::once_up_is(1, exporter.address).await;
    assert!(!pod.boto3.signs("workload").await);
    assert!(recovered.stuck());
    assert!(log_warns_of_clients(&exporter));
    assert!(fires("ImdsClientsStuck", &[(&claims.metrics, 1), (&recovered.metrics, 10)]));

    let over = |saved: &serde_json::Value| saved["outages"].as_array().is_some_and(|outages| !outages.is_empty());
    until_saved(&pod.state_file(), "the end of the outage", over).await;
    exporter.kill().await;
    let exporter = pod.start_exporter().await;
    assert!(Claims::once_up_is(1, exporter.address).await.stuck(), "after SIGKILL");
    assert!(!pod.boto3.signs("workload").await);

    exporter.stop().await;
    let exporter = pod.start_exporter().await;
    assert_eq!(pod.boto3.create("workload", "restarted").await, Creation::Bound);
    let restarted = Claims::once_up_is(1, exporter.address).await;
    assert_eq!(restarted.usable("at_start"), None, "whether the workload was restarted too");
    assert!(!restarted.stuck(), "after SIGTERM");
    assert!(pod.boto3.signs("workload").await);
    assert!(!fires("ImdsClientsStuck", &[(&restarted.metrics, 15)]));
}

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn a_workload_that_got_credentials_is_never_called_stuck() {
    let mut pod = Pod::in_an_outage("starts-with-exporter").await;
    pod.apply(HEALTHY).await;
    let mut exporter = pod.start_exporter().await;
    Claims::once_up_is(1, exporter.address).await;
    assert_eq!(pod.boto3.create("workload", "workload").await, Creation::Bound);
    until_saved(&pod.state_file(), "the workload", |saved| saved["workload"]["created"].is_object()).await;
    pod.apply(CONNECT_REFUSED).await;
    for _ in 0..2 {
        exporter.kill().await;
        exporter = pod.start_exporter().await;
        let claims = Claims::once_up_is(0, exporter.address).await;
        let held = [claims.usable("before_outage"), claims.usable("at_start")];
        assert_eq!(held, [Some(true); 2], "hours are left");
        assert!(pod.boto3.signs("workload").await);
    }
    pod.apply(HEALTHY).await;
    assert!(!Claims::once_up_is(1, exporter.address).await.stuck());
}

/// When the exporter of a workload that is held back is killed: after the answer that releases it, and in the outage
/// after that.
const KILLED_AFTER_MILLISECONDS: [[u64; 2]; 8] =
    [[0, 0], [2, 600], [20, 5], [150, 900], [500, 30], [900, 1_300], [1_100, 0], [1_900, 400]];

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn what_was_held_back_is_never_called_stuck_whenever_the_exporter_is_killed() {
    let [one, two, three, four, five, six, seven, eight] = KILLED_AFTER_MILLISECONDS.map(held_back);
    tokio::join!(one, two, three, four, five, six, seven, eight);
}

async fn held_back(killed_after: [u64; 2]) {
    let mut pod = Pod::in_an_outage("starts-when-ready").await;
    // Killed while it still holds the workload back, before its first poll and after it.
    let mut exporter = pod.start_exporter().await;
    exporter.kill().await;
    let mut exporter = pod.start_exporter().await;
    assert_eq!(Claims::once_up_is(0, exporter.address).await.usable("at_start"), None);
    exporter.kill().await;

    let mut exporter = pod.start_exporter().await;
    pod.apply(HEALTHY).await;
    get_until(exporter.address, "/-/startup", |response| response.status == 200).await;
    let (created, ()) = tokio::join!(pod.boto3.create("workload", "workload"), async {
        sleep(Duration::from_millis(killed_after[0])).await;
        exporter.kill().await;
    });
    assert_eq!(created, Creation::Bound);

    // Another outage, in which the exporter starts twice.
    pod.apply(CONNECT_REFUSED).await;
    let mut exporter = pod.start_exporter().await;
    let claims = Claims::once_up_is(0, exporter.address).await;
    assert_ne!(claims.usable("at_start"), Some(false), "killed after {killed_after:?} ms");
    sleep(Duration::from_millis(killed_after[1])).await;
    exporter.kill().await;
    let mut exporter = pod.start_exporter().await;
    let claims = Claims::once_up_is(0, exporter.address).await;
    assert_ne!(claims.usable("at_start"), Some(false), "killed after {killed_after:?} ms");

    pod.apply(HEALTHY).await;
    let recovered = Claims::once_up_is(1, exporter.address).await;
    assert_eq!(recovered.usable("at_start"), Some(true), "killed after {killed_after:?} ms");
    assert!(!recovered.stuck());
    assert!(pod.boto3.signs("workload").await);
    exporter.kill().await;
}
