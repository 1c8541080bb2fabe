//! Workloads whose start waits for credentials, by the startup probe or by `wait`: the exporter counts them as created
//! after the outage.

use std::process::Stdio;
use std::time::Duration;

use imds_exporter::domain::sdk::BoundCredentials;
use imds_exporter::domain::state::{RestoredState, State};
use imds_exporter::domain::{Kind, Step};
use imds_exporter::simulator::Simulator;
use jiff::Timestamp;
use tokio::process::Command;

use crate::support::exporter::Exporter;
use crate::support::program::{Lines, exit_status, program_with_imds};
use crate::support::request::{metrics_with, send};
use crate::support::simulator::{CONNECT_REFUSED, HEALTHY, apply_toml, start_simulator};
use crate::support::source::{credential, failed, resolved};

/// A simulator that refuses connections, and an exporter whose first poll failed.
async fn exporter_in_an_outage() -> (Simulator, Exporter) {
    let simulator = start_simulator().await;
    apply_toml(&simulator, CONNECT_REFUSED).await;
    let exporter = Exporter::start(&simulator).await;
    metrics_with(exporter.address, "imds_up 0").await;
    (simulator, exporter)
}

/// `wait`, next to this exporter.
fn wait_command(simulator: &Simulator, exporter: &Exporter) -> Command {
    let mut wait = program_with_imds(simulator.address(), &["wait", "--timeout", "60s"]);
    wait.env("IMDS_EXPORTER_LISTEN_ADDRESS", exporter.address.to_string()).stdout(Stdio::piped());
    wait
}

/// Whether clients that were created at the start are usable once IMDS has recovered.
async fn usable_after_recovery(simulator: &Simulator, exporter: &Exporter) -> bool {
    apply_toml(simulator, HEALTHY).await;
    let metrics = metrics_with(exporter.address, "imds_up 1").await;
    metrics.contains("imds_client_usable{sdk=\"boto3\",created=\"at_start\"} 1")
}

#[tokio::test]
async fn clients_whose_start_waited_for_the_startup_probe_are_not_stuck() {
    for (user_agent, delays_the_start) in [("kube-probe/1.33", true), ("curl/8", false)] {
        let (simulator, exporter) = exporter_in_an_outage().await;
        let probe =
            format!("GET /-/startup HTTP/1.1\r\nHost: x\r\nUser-Agent: {user_agent}\r\nConnection: close\r\n\r\n");
        assert_eq!(send(exporter.address, &probe).await.status, 503);
        assert_eq!(usable_after_recovery(&simulator, &exporter).await, delays_the_start, "{user_agent}");
        exporter.stop().await;
    }
}

#[tokio::test]
async fn clients_whose_wait_begins_after_the_outage_are_not_stuck() {
    let (simulator, exporter) = exporter_in_an_outage().await;
    assert!(!usable_after_recovery(&simulator, &exporter).await);
    let mut wait = wait_command(&simulator, &exporter).spawn().expect("it runs");
    assert!(exit_status(&mut wait).await.success());
    assert!(usable_after_recovery(&simulator, &exporter).await);
    exporter.stop().await;
}

#[tokio::test]
async fn wait_notifies_the_exporter_that_a_start_is_delayed() {
    let (simulator, exporter) = exporter_in_an_outage().await;
    let mut wait = wait_command(&simulator, &exporter).spawn().expect("it runs");
    let mut lines = Lines::of(wait.stdout.take());
    lines.next().await;
    assert!(usable_after_recovery(&simulator, &exporter).await);
    assert!(exit_status(&mut wait).await.success());
    exporter.stop().await;
}

#[test]
fn a_startup_probe_after_a_restart_keeps_the_restored_state() {
    let at = |second| Timestamp::from_second(second).expect("a small number");
    let duration = Duration::from_millis(3);
    let failure = failed(Kind::ConnectRefused, Step::Token);
    let success = resolved(credential("web", "1970-01-01T00:00:00Z", "1970-01-01T06:00:00Z"));

    let mut first = State::new(at(0));
    first.record(&failure, duration, at(1));
    let restored = |bound_since_start| RestoredState { outages: first.outages().clone(), bound_since_start };
    let mut second = State::new(at(10)).with_restored(restored(Some(first.bound_since_start())));
    second.gate_start();
    second.record(&success, duration, at(11));
    assert!(second.clients_stuck(at(12)));

    // The exporter restarts while it delays a start: no clients exist yet.
    let mut restarted = State::new(at(10)).with_restored(restored(Some([None])));
    restarted.gate_start();
    restarted.record(&failure, duration, at(11));
    restarted.record(&success, duration, at(12));
    assert!(!restarted.clients_stuck(at(13)));

    let mut delayed = State::new(at(0));
    delayed.record(&failure, duration, at(1));
    delayed.gate_start();
    delayed.record(&failure, duration, at(2));
    assert_eq!(delayed.bound_since_start(), [None]);
    delayed.record(&success, duration, at(3));
    assert!(!delayed.clients_stuck(at(4)));
    delayed.record(&failure, duration, at(5));
    delayed.gate_start();
    delayed.record(&success, duration, at(6));
    assert_eq!(delayed.bound_since_start(), [Some(BoundCredentials::Until(at(6 * 3600)))]);
}
