//! The state file: when it is written, what is restored from it, and what happens when it cannot be used.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use imds_exporter::domain::saved_state::SavedState;
use imds_exporter::domain::state::{State, WorkloadEnvironment};
use imds_exporter::domain::{Kind, Step};
use imds_exporter::simulator::Simulator;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tempfile::tempdir;

use crate::support::program::{ExporterProcess, command, output, program, program_with_imds};
use crate::support::request::{get_until, metrics_with};
use crate::support::scrape::{Scrape, polls_after, scrape_until};
use crate::support::simulator::{CONNECT_REFUSED, HEALTHY, apply_toml, start_simulator};
use crate::support::source::{credential, failed, resolved};
use crate::support::state_file::{edit, saved, until_saved, wall};
use crate::support::wait::wait_until;

async fn start_with_state_file(simulator: &Simulator, state_file: &Path) -> ExporterProcess {
    let mut command = program_with_imds(simulator.address(), &[]);
    command.env("IMDS_EXPORTER_STATE_FILE", state_file);
    ExporterProcess::start_with(command).await
}

/// The names of the files in the folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("it is there");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect();
    names.sort();
    names
}

fn instant(value: &Value) -> Timestamp {
    value.as_str().expect("a time").parse().expect("an instant")
}

/// The wall clock and the time since the boot are not read in the same moment.
fn assert_near(value: &Value, expected: Timestamp) {
    let apart = instant(value).duration_until(expected).abs();
    assert!(apart < SignedDuration::from_secs(1), "{value} is not near {expected}");
}

/// Tells one version of a file from the next.
fn version(file: &Path) -> (u64, i64, i64) {
    let metadata = fs::symlink_metadata(file).expect("it is there");
    (metadata.ino(), metadata.mtime(), metadata.mtime_nsec())
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
    let saved = until_saved(&file, "the outage", |saved| saved["outage_since"].is_string()).await;
    exporter.kill().await;

    let exporter = start_with_state_file(&simulator, &file).await;
    metrics_with(exporter.address, "imds_up 0").await;
    apply_toml(&simulator, HEALTHY).await;
    let status =
        get_until(exporter.address, "/api/v1/status", |response| response.body().contains("\"up\": true")).await;
    let status: Value = serde_json::from_str(status.body()).expect("JSON");
    assert_eq!(status["outages"].as_array().map(Vec::len), Some(1));
    assert_eq!(saved["outage_since"], saved["last_success"]);
    assert_near(&status["outages"][0]["start"], wall(&saved, &saved["last_success"]));
    assert_near(&status["outages"][0]["end"], instant(&status["last_success_at"]));
}

/// Every series that a restart could lose.
fn known(scrape: &Scrape) -> Vec<String> {
    let names = [
        "imds_credentials_expiration_timestamp_seconds ",
        "imds_credentials_last_updated_timestamp_seconds ",
        "imds_role_info{",
        "imds_client_usable{sdk=\"boto3\",created=\"before_outage\"} ",
    ];
    let lines = scrape.0.lines().filter(|line| names.iter().any(|name| line.starts_with(name)));
    lines.map(str::to_owned).collect()
}

#[tokio::test]
async fn the_document_survives_a_kill_in_an_outage_but_not_a_reboot() {
    let simulator = start_simulator().await;
    let folder = tempdir().expect("a folder");
    let file = folder.path().join("state.json");
    let mut exporter = start_with_state_file(&simulator, &file).await;
    let up = scrape_until(exporter.address, "a success", |scrape| scrape.value("imds_up") == 1).await;
    assert_eq!(known(&up).len(), 4, "{:?}", known(&up));
    until_saved(&file, "the document", |saved| saved["document"].is_object()).await;
    apply_toml(&simulator, CONNECT_REFUSED).await;
    let failed = |scrape: &Scrape| scrape.polls() > 0 && scrape.value("imds_up") == 0;
    for _ in 0..2 {
        exporter.kill().await;
        exporter = start_with_state_file(&simulator, &file).await;
        // What clients hold is known from the first scrape on, what they could do with it from the first poll on.
        assert_eq!(known(&Scrape::of(exporter.address).await)[..3], known(&up)[..3]);
        assert_eq!(known(&scrape_until(exporter.address, "a failure", failed).await), known(&up));
    }
    // Its clients must refresh now.
    exporter.kill().await;
    edit(&file, |saved| {
        saved["document"]["expiration"] = "2020-01-01T00:15:00Z".into();
        saved["document"]["fetched_at"] = "2020-01-01T00:00:00Z".into();
    });
    exporter = start_with_state_file(&simulator, &file).await;
    let stale = known(&scrape_until(exporter.address, "a failure", failed).await);
    assert_eq!(stale[3], "imds_client_usable{sdk=\"boto3\",created=\"before_outage\"} 0");

    exporter.kill().await;
    edit(&file, |saved| saved["boot_id"] = "another".into());
    exporter = start_with_state_file(&simulator, &file).await;
    assert!(known(&scrape_until(exporter.address, "a failure", failed).await).is_empty());
    apply_toml(&simulator, HEALTHY).await;
    let up_again = scrape_until(exporter.address, "a success", |scrape| scrape.value("imds_up") == 1).await;
    assert_eq!(known(&up_again), known(&up));
}

#[tokio::test]
async fn without_a_role_nothing_is_restored_but_what_clients_hold() {
    let simulator = start_simulator().await;
    let folder = tempdir().expect("a folder");
    let file = folder.path().join("state.json");
    let mut exporter = start_with_state_file(&simulator, &file).await;
    metrics_with(exporter.address, "imds_up 1").await;
    apply_toml(&simulator, "fault = \"no_role\"").await;
    until_saved(&file, "that there is no role", |saved| saved["role_attached"] == false).await;
    exporter.kill().await;
    apply_toml(&simulator, CONNECT_REFUSED).await;
    let exporter = start_with_state_file(&simulator, &file).await;
    let failed = |scrape: &Scrape| scrape.polls() > 0 && scrape.value("imds_up") == 0;
    let scrape = scrape_until(exporter.address, "a failure", failed).await;
    assert_eq!(known(&scrape), ["imds_client_usable{sdk=\"boto3\",created=\"before_outage\"} 1"]);
}

#[tokio::test]
async fn an_outage_ends_with_the_boot_that_it_was_in() {
    let simulator = start_simulator().await;
    let folder = tempdir().expect("a folder");
    let file = folder.path().join("state.json");
    let mut exporter = start_with_state_file(&simulator, &file).await;
    metrics_with(exporter.address, "imds_up 1").await;
    apply_toml(&simulator, CONNECT_REFUSED).await;
    until_saved(&file, "the outage", |saved| saved["outage_since"].is_string()).await;
    exporter.kill().await;
    edit(&file, |saved| saved["boot_id"] = "another".into());
    let before = saved(&file).expect("it is there");

    let exporter = start_with_state_file(&simulator, &file).await;
    let failing = |status: &Value| status["up"] == false;
    let status = get_until(exporter.address, "/api/v1/status", |response| {
        serde_json::from_str(response.body()).is_ok_and(|status| failing(&status))
    })
    .await;
    let status: Value = serde_json::from_str(status.body()).expect("JSON");
    assert_eq!(status["outages"].as_array().map(Vec::len), Some(1), "{status}");
    assert_near(&status["outages"][0]["start"], wall(&before, &before["outage_since"]));
    assert_near(&status["outages"][0]["end"], wall(&before, &before["last_attempt"]));
    // The present one is another, which began with the exporter.
    assert_near(&status["outage_since"], instant(&status["started_at"]));
}

#[tokio::test]
async fn the_file_is_written_only_when_something_worth_keeping_changed() {
    let simulator = start_simulator().await;
    let folder = tempdir().expect("a folder");
    let file = folder.path().join("state.json");
    let exporter = start_with_state_file(&simulator, &file).await;
    let until = async |what: &str, wanted: fn(&Value) -> bool| {
        until_saved(&file, what, wanted).await;
        version(&file)
    };
    let healthy = until("a success", |saved| saved["resolved"] == true).await;
    let scrape = scrape_until(exporter.address, "a success", |scrape| scrape.value("imds_up") == 1).await;
    let scrape = polls_after(&scrape, 3, exporter.address).await;
    assert_eq!(scrape.all_failures(), 0);
    assert_eq!(version(&file), healthy, "healthy polls are not worth a write");

    apply_toml(&simulator, CONNECT_REFUSED).await;
    let failing = until("an outage", |saved| saved["outage_since"].is_string()).await;
    assert_ne!(failing, healthy);
    polls_after(&scrape, 3, exporter.address).await;
    assert_eq!(version(&file), failing, "another failed poll of the same outage is not worth a write");

    apply_toml(&simulator, HEALTHY).await;
    let ended = until("its end", |saved| saved["outage_since"].is_null()).await;
    assert_ne!(ended, failing);
    apply_toml(&simulator, "rotate = true").await;
    let expiration = simulator.credential().expiration.to_string();
    wait_until("a newer document is saved", || {
        saved(&file).is_some_and(|saved| saved["document"]["expiration"] == expiration.as_str())
    })
    .await;
    assert_eq!(names(folder.path()), ["state.json", "state.json.lock"], "no temporary file is left");

    let last = saved(&file).expect("it is there")["last_attempt"].clone();
    polls_after(&Scrape::of(exporter.address).await, 1, exporter.address).await;
    exporter.stop().await;
    assert_ne!(saved(&file).expect("it is there")["last_attempt"], last, "the last poll is saved at the stop");
}

#[test]
fn the_times_of_the_last_polls_are_worth_a_write_once_a_minute() {
    let at = |seconds| Timestamp::from_second(seconds).expect("a small number");
    let mut state = State::new(WorkloadEnvironment::default(), at(0));
    let resolution = resolved(credential("web", "1970-01-01T00:00:00Z", "1970-01-01T06:00:00Z"));
    let mut saved_at = |seconds| {
        state.record(&resolution, Duration::ZERO, at(seconds));
        SavedState::of(&state, Some("boot"), false)
    };
    let written = saved_at(1);
    assert!(!saved_at(16).is_worth_writing_after(&written));
    assert!(!saved_at(60).is_worth_writing_after(&written));
    assert!(saved_at(61).is_worth_writing_after(&written));
    let failure = failed(Kind::ReadTimeout, Step::Role);
    state.record(&failure, Duration::ZERO, at(62));
    assert!(SavedState::of(&state, Some("boot"), false).is_worth_writing_after(&written));
}

/// A device, a pipe, a link or a folder would be replaced by a file, or would block.
#[tokio::test]
async fn what_is_no_regular_file_is_refused_before_a_port_is_bound() {
    let folder = tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("folder")).expect("the folder can be written");
    fs::write(at("target"), "kept").expect("the folder can be written");
    std::os::unix::fs::symlink(at("target"), at("link")).expect("the folder can be written");
    let made = command("mkfifo").arg(at("pipe")).status().await.expect("there is mkfifo");
    assert!(made.success());
    // A null device of its own: a mistake must not replace the machine's. Only root can make one, or could replace that.
    let made = command("mknod").arg(at("device")).args(["c", "1", "3"]).stderr(Stdio::null()).status().await;
    let device = if made.is_ok_and(|made| made.success()) { at("device") } else { "/dev/null".into() };
    for file in [at("folder"), at("link"), at("pipe"), device] {
        let mut command = program(&[]);
        // An address that cannot be bound has another exit code.
        command.env("IMDS_EXPORTER_LISTEN_ADDRESS", "192.0.2.1:1").env("IMDS_EXPORTER_STATE_FILE", &file);
        let before = fs::symlink_metadata(&file).expect("it is there").ino();
        let output = output(command).await;
        let text = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(64), "{}: {text}", file.display());
        assert!(text.contains("IMDS_EXPORTER_STATE_FILE: "), "{text}");
        assert_eq!(fs::symlink_metadata(&file).expect("it is still there").ino(), before, "{}", file.display());
    }
    assert_eq!(fs::read_to_string(at("target")).expect("it is there"), "kept");
}

#[tokio::test]
async fn a_second_exporter_on_the_same_file_ends_with_a_message_and_the_first_goes_on() {
    let simulator = start_simulator().await;
    let folder = tempdir().expect("a folder");
    let file = folder.path().join("state.json");
    let first = start_with_state_file(&simulator, &file).await;
    let mut second = program_with_imds(simulator.address(), &[]);
    second.env("IMDS_EXPORTER_STATE_FILE", &file);
    let second = output(second).await;
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8(second.stderr).expect("text").contains("another exporter"));
    metrics_with(first.address, "imds_up 1").await;
    first.stop().await;
    metrics_with(start_with_state_file(&simulator, &file).await.address, "imds_up 1").await;
}

#[tokio::test]
async fn what_a_killed_write_left_behind_is_replaced() {
    let simulator = start_simulator().await;
    let folder = tempdir().expect("a folder");
    let file = folder.path().join("state.json");
    fs::write(folder.path().join("state.json.new"), "half").expect("the folder can be written");
    let exporter = start_with_state_file(&simulator, &file).await;
    until_saved(&file, "a poll", |saved| saved["resolved"] == true).await;
    exporter.stop().await;
    assert_eq!(names(folder.path()), ["state.json", "state.json.lock"]);
}

#[tokio::test]
async fn an_unusable_state_file_is_reported_set_aside_and_replaced() {
    let simulator = start_simulator().await;
    let folder = tempdir().expect("a folder");
    let good = folder.path().join("good.json");
    let exporter = start_with_state_file(&simulator, &good).await;
    until_saved(&good, "a poll", |saved| saved["resolved"] == true).await;
    drop(exporter);
    let text = fs::read_to_string(&good).expect("it was just there");
    let mut future: Value = serde_json::from_str(&text).expect("JSON");
    future["last_success"] = "PT999999H".into();
    let contents = [
        ("truncated", text[..text.len() / 2].to_owned()),
        ("empty", String::new()),
        ("not-json", "hello".to_owned()),
        ("null", "null".to_owned()),
        ("from-the-future", future.to_string()),
    ];
    for (name, content) in contents {
        let file = folder.path().join(name);
        fs::write(&file, &content).expect("the folder can be written");
        let exporter = start_with_state_file(&simulator, &file).await;
        metrics_with(exporter.address, "imds_up 1").await;
        assert!(exporter.has_warning_with("why"), "{name} is reported");
        let aside = folder.path().join(format!("{name}.broken"));
        assert_eq!(fs::read_to_string(aside).expect("it was set aside"), content, "{name}");
        until_saved(&file, "a poll", |_| true).await;
    }
}

#[tokio::test]
async fn an_unreadable_or_unwritable_state_file_is_reported_and_polling_continues() {
    let simulator = start_simulator().await;
    let folder = tempdir().expect("a folder");
    let large = folder.path().join("large");
    fs::write(&large, " ".repeat(100_000)).expect("the folder can be written");
    let full = folder.path().join("full");
    let nowhere = folder.path().join("no-such-folder/state.json");
    for (file, field, limit) in [(&large, "why", "unlimited"), (&full, "error", "0"), (&nowhere, "error", "unlimited")]
    {
        // The limit of a file's size stands for a full disk.
        let program = program_with_imds(simulator.address(), &[]);
        let mut limited = command("sh");
        limited.args(["-c", &format!("trap '' XFSZ; ulimit -f {limit}; exec \"$0\"")]);
        limited.arg(program.as_std().get_program()).env_clear();
        limited.envs(program.as_std().get_envs().filter_map(|(name, value)| Some((name, value?))));
        limited.env("IMDS_EXPORTER_STATE_FILE", file);
        let exporter = ExporterProcess::start_with(limited).await;
        metrics_with(exporter.address, "imds_fetches_total 3").await;
        assert!(exporter.has_warning_with(field), "{} is reported", file.display());
        get_until(exporter.address, "/-/healthy", |response| response.body() == "ok\n").await;
        exporter.stop().await;
    }
    assert_eq!(names(folder.path()), ["full.lock", "large", "large.lock"], "no temporary file is left");
}

#[tokio::test]
async fn a_read_only_file_system_is_reported_and_polling_continues() {
    let simulator = start_simulator().await;
    // /proc refuses every new file, even to root.
    let exporter = start_with_state_file(&simulator, Path::new("/proc/imds-exporter-state")).await;
    metrics_with(exporter.address, "imds_fetches_total 2").await;
    wait_until("the failed write is reported", || exporter.has_warning_with("error")).await;
}
