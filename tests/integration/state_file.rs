//! The state file: what is restored from it, and what happens when it cannot be used.

use std::fs;
use std::path::Path;

use imds_exporter::simulator::Simulator;
use serde_json::Value;
use tempfile::tempdir;

use crate::support::program::{ExporterProcess, program_with_imds};
use crate::support::request::{get_until, metrics_with};
use crate::support::simulator::{CONNECT_REFUSED, HEALTHY, apply_toml, start_simulator};
use crate::support::wait::wait_until;

async fn start_with_state_file(simulator: &Simulator, state_file: &Path) -> ExporterProcess {
    let mut command = program_with_imds(simulator.address(), &[]);
    command.env("IMDS_EXPORTER_STATE_FILE", state_file);
    ExporterProcess::start_with(command).await
}

fn saved(state_file: &Path) -> Option<Value> {
    serde_json::from_slice(&fs::read(state_file).ok()?).ok()
}

async fn until_saved(state_file: &Path) {
    wait_until("the state is saved", || saved(state_file).is_some()).await;
}

#[tokio::test]
async fn an_outage_window_survives_a_kill_and_restart() {
    let simulator = start_simulator().await;
    let folder = tempdir().expect("a folder");
    let file = folder.path().join("state.json");

    let mut exporter = start_with_state_file(&simulator, &file).await;
    metrics_with(exporter.address, "imds_up 1").await;
    apply_toml(&simulator, CONNECT_REFUSED).await;
    metrics_with(exporter.address, "imds_up 0").await;
    wait_until("the outage is saved", || saved(&file).is_some_and(|saved| saved["outage_since"].is_string())).await;
    let last_success = saved(&file).expect("it was just there")["last_success_at"].clone();
    exporter.kill().await;

    let exporter = start_with_state_file(&simulator, &file).await;
    metrics_with(exporter.address, "imds_up 0").await;
    apply_toml(&simulator, HEALTHY).await;
    let status =
        get_until(exporter.address, "/api/v1/status", |response| response.body().contains("\"up\": true")).await;
    let status: Value = serde_json::from_str(status.body()).expect("JSON");
    assert_eq!(status["outages"].as_array().map(Vec::len), Some(1));
    assert_eq!(status["outages"][0]["start"], last_success);
    assert_eq!(status["outages"][0]["end"], status["last_success_at"]);
    // The clients of the first start had credentials: a restart of the exporter does not make them stuck.
    assert!(status["clients_stuck"] == false, "{status}");
}

#[tokio::test]
async fn stuck_clients_stay_stuck_after_a_restart_but_not_after_a_reboot() {
    let simulator = start_simulator().await;
    let folder = tempdir().expect("a folder");
    let file = folder.path().join("state.json");
    apply_toml(&simulator, CONNECT_REFUSED).await;
    let mut exporter = start_with_state_file(&simulator, &file).await;
    until_saved(&file).await;
    exporter.kill().await;
    apply_toml(&simulator, HEALTHY).await;
    let up_and_stuck = async |exporter: &ExporterProcess, stuck: bool| {
        get_until(exporter.address, "/metrics", |response| {
            let unusable = response.body().contains("imds_client_usable{sdk=\"boto3\",created=\"at_start\"} 0");
            response.body().contains("imds_up 1") && unusable == stuck
        })
        .await;
    };
    let mut exporter = start_with_state_file(&simulator, &file).await;
    up_and_stuck(&exporter, true).await;
    exporter.kill().await;
    let mut other_boot = saved(&file).expect("it is there");
    other_boot["boot_id"] = "another".into();
    fs::write(&file, other_boot.to_string()).expect("the folder can be written");
    let exporter = start_with_state_file(&simulator, &file).await;
    up_and_stuck(&exporter, false).await;
}

#[tokio::test]
async fn an_unusable_state_file_is_reported_set_aside_and_replaced() {
    let simulator = start_simulator().await;
    let folder = tempdir().expect("a folder");
    let good = folder.path().join("good.json");
    let exporter = start_with_state_file(&simulator, &good).await;
    until_saved(&good).await;
    drop(exporter);
    let text = fs::read_to_string(&good).expect("it was just there");
    let mut future: Value = serde_json::from_str(&text).expect("JSON");
    future["last_success_at"] = "2999-01-01T00:00:00Z".into();
    let contents = [
        ("truncated", text[..text.len() / 2].to_owned()),
        ("empty", String::new()),
        ("not-json", "hello".to_owned()),
        ("null", "null".to_owned()),
        ("from-the-future", future.to_string()),
        ("too-large", " ".repeat(100_000)),
    ];
    for (name, content) in contents {
        let file = folder.path().join(name);
        fs::write(&file, &content).expect("the folder can be written");
        let exporter = start_with_state_file(&simulator, &file).await;
        metrics_with(exporter.address, "imds_up 1").await;
        assert!(exporter.has_warning_with("why"), "{name} is reported");
        let aside = folder.path().join(format!("{name}.broken"));
        assert_eq!(fs::read_to_string(aside).expect("it was set aside"), content, "{name}");
        until_saved(&file).await;
    }
}

#[tokio::test]
async fn an_unreadable_or_unwritable_state_file_is_reported_and_polling_continues() {
    let simulator = start_simulator().await;
    let folder = tempdir().expect("a folder");
    let directory = folder.path().join("directory");
    fs::create_dir(&directory).expect("the folder can be written");
    // What is written goes to a full disk.
    let full = folder.path().join("full");
    std::os::unix::fs::symlink("/dev/full", folder.path().join("full.new")).expect("the folder can be written");
    let nowhere = folder.path().join("no-such-folder/state.json");
    for (file, field) in [(directory, "why"), (full, "error"), (nowhere, "error")] {
        let exporter = start_with_state_file(&simulator, &file).await;
        metrics_with(exporter.address, "imds_fetches_total 3").await;
        assert!(exporter.has_warning_with(field), "{} is reported", file.display());
        get_until(exporter.address, "/-/healthy", |response| response.body() == "ok\n").await;
    }
}

#[tokio::test]
async fn a_read_only_file_system_is_reported_and_polling_continues() {
    let simulator = start_simulator().await;
    // /proc refuses every new file, even to root.
    let exporter = start_with_state_file(&simulator, Path::new("/proc/imds-exporter-state")).await;
    metrics_with(exporter.address, "imds_fetches_total 2").await;
    wait_until("the failed write is reported", || exporter.has_warning_with("error")).await;
}
