//! The state file: when it is written, what is restored from it, and what happens when it cannot be used.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tempfile::tempdir;

use crate::support::machine::Machine;
use crate::support::program::{ExporterProcess, command, in_shell, output, program};
use crate::support::request::{get, get_until, metrics_with};
use crate::support::scrape::{Scrape, polls_after, scrape_until};
use crate::support::simulator::{CONNECT_REFUSED, HEALTHY};
use crate::support::state_file::{edit, saved, until_saved, wall};

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

/// What an exporter says at the end of an outage or in it, after another one that was killed in it.
async fn after_a_kill_in_an_outage(reboots: bool) -> (Value, Value) {
    let machine = Machine::new().await;
    let mut exporter = machine.start().await;
    metrics_with(exporter.address, "imds_up 1").await;
    machine.apply(CONNECT_REFUSED).await;
    let saved = until_saved(&machine.state_file(), "the outage", |saved| saved["outage_since"].is_string()).await;
    exporter.kill().await;
    if reboots {
        machine.reboot();
    }
    let exporter = machine.start().await;
    metrics_with(exporter.address, "imds_up 0").await;
    if !reboots {
        machine.apply(HEALTHY).await;
        metrics_with(exporter.address, "imds_up 1").await;
    }
    let status: Value = serde_json::from_str(get(exporter.address, "/api/v1/status").await.body()).expect("JSON");
    assert_eq!(status["outages"].as_array().map(Vec::len), Some(1), "{status}");
    (saved, status)
}

#[tokio::test]
async fn an_outage_window_survives_a_kill_and_restart() {
    let (saved, status) = after_a_kill_in_an_outage(false).await;
    assert_eq!(saved["outage_since"], saved["last_success"]);
    assert_near(&status["outages"][0]["start"], wall(&saved, &saved["last_success"]));
    assert_near(&status["outages"][0]["end"], instant(&status["last_success_at"]));
}

#[tokio::test]
async fn an_outage_ends_with_the_boot_that_it_was_in() {
    let (saved, status) = after_a_kill_in_an_outage(true).await;
    assert_near(&status["outages"][0]["start"], wall(&saved, &saved["outage_since"]));
    assert_near(&status["outages"][0]["end"], wall(&saved, &saved["last_attempt"]));
    // The present one is another, which began with the exporter.
    assert_near(&status["outage_since"], instant(&status["started_at"]));
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
    let machine = Machine::new().await;
    let mut exporter = machine.start().await;
    let up = scrape_until(exporter.address, "a success", |scrape| scrape.value("imds_up") == 1).await;
    assert_eq!(known(&up).len(), 4, "{:?}", known(&up));
    until_saved(&machine.state_file(), "the document", |saved| saved["document"].is_object()).await;
    machine.apply(CONNECT_REFUSED).await;
    // What an exporter that starts then says after its first poll.
    let restart = async |exporter: &mut ExporterProcess, change: fn(&mut Value)| {
        exporter.kill().await;
        edit(&machine.state_file(), change);
        *exporter = machine.start().await;
        let first = known(&Scrape::of(exporter.address).await);
        let failed = |scrape: &Scrape| scrape.polls() > 0 && scrape.value("imds_up") == 0;
        (first, known(&scrape_until(exporter.address, "a failure", failed).await))
    };
    for _ in 0..2 {
        let (first, polled) = restart(&mut exporter, |_| ()).await;
        // What clients hold is known from the first scrape on, what they could do with it from the first poll on.
        assert_eq!((&first[..3], &polled), (&known(&up)[..3], &known(&up)));
    }
    // Its clients must refresh now.
    let refresh = |saved: &mut Value| {
        saved["document"]["expiration"] = "2020-01-01T00:15:00Z".into();
        saved["document"]["fetched_at"] = "2020-01-01T00:00:00Z".into();
    };
    let of_clients = |usable: u8| format!("imds_client_usable{{sdk=\"boto3\",created=\"before_outage\"}} {usable}");
    assert_eq!(restart(&mut exporter, refresh).await.1[3], of_clients(0));
    assert!(restart(&mut exporter, |saved| saved["boot_id"] = "another".into()).await.1.is_empty());
    machine.apply(HEALTHY).await;
    let up_again = scrape_until(exporter.address, "a success", |scrape| scrape.value("imds_up") == 1).await;
    assert_eq!(known(&up_again), known(&up));
    until_saved(&machine.state_file(), "the role", |saved| saved["role_attached"] == true).await;

    // Without a role, nothing is restored but what clients hold.
    machine.apply("fault = \"no_role\"").await;
    until_saved(&machine.state_file(), "that there is no role", |saved| saved["role_attached"] == false).await;
    machine.apply(CONNECT_REFUSED).await;
    assert_eq!(restart(&mut exporter, |_| ()).await.1, [of_clients(1)]);
}

#[tokio::test]
async fn the_file_is_written_only_when_something_worth_keeping_changed() {
    let machine = Machine::new().await;
    let file = machine.state_file();
    let exporter = machine.start().await;
    let until = async |what: &str, wanted: fn(&Value) -> bool| {
        until_saved(&file, what, wanted).await;
        version(&file)
    };
    let mut before = until("a success", |saved| saved["resolved"] == true).await;
    for (change, what, wanted) in [
        (HEALTHY, "a success", (|saved| saved["resolved"] == true) as fn(&Value) -> bool),
        (CONNECT_REFUSED, "an outage", |saved| saved["outage_since"].is_string()),
        (HEALTHY, "its end", |saved| saved["outage_since"].is_null()),
    ] {
        machine.apply(change).await;
        let written = until(what, wanted).await;
        assert_eq!(written == before, what == "a success", "{what}");
        // Further polls like it are not worth a write.
        polls_after(&Scrape::of(exporter.address).await, 2, exporter.address).await;
        assert_eq!(version(&file), written, "{what}");
        before = written;
    }
    machine.apply("rotate = true").await;
    let expiration = machine.simulator.credential().expiration.to_string();
    until_saved(&file, "a newer document", |saved| saved["document"]["expiration"] == expiration.as_str()).await;
    assert_eq!(names(machine.folder.path()), ["state.json", "state.json.lock"], "no temporary file is left");

    let last = saved(&file).expect("it is there")["last_attempt"].clone();
    polls_after(&Scrape::of(exporter.address).await, 1, exporter.address).await;
    exporter.stop().await;
    assert_ne!(saved(&file).expect("it is there")["last_attempt"], last, "the last poll is saved at the stop");
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
    let machine = Machine::new().await;
    let first = machine.start().await;
    let second = output(machine.command()).await;
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8(second.stderr).expect("text").contains("another exporter"));
    metrics_with(first.address, "imds_up 1").await;
    first.stop().await;
    metrics_with(machine.start().await.address, "imds_up 1").await;
}

#[tokio::test]
async fn an_unusable_state_file_is_reported_set_aside_and_replaced() {
    let machine = Machine::new().await;
    let exporter = machine.start().await;
    let good = until_saved(&machine.state_file(), "a poll", |saved| saved["resolved"] == true).await;
    exporter.stop().await;
    let with = |field: &str, value: Value| {
        let mut saved = good.clone();
        saved[field] = value;
        saved.to_string()
    };
    let text = good.to_string();
    let contents = [
        ("truncated", text[..text.len() / 2].to_owned()),
        ("empty", String::new()),
        ("not-json", "hello".to_owned()),
        ("null", "null".to_owned()),
        ("of-another-program", "{}".to_owned()),
        ("of-another-version", with("version", 99.into())),
        ("from-the-future", with("last_success", "PT999999H".into())),
    ];
    for (name, content) in contents {
        let path = |ending: &str| machine.folder.path().join(format!("{name}{ending}"));
        fs::write(path(""), &content).expect("the folder can be written");
        // One of a write that was interrupted.
        fs::write(path(".new"), "half").expect("the folder can be written");
        let mut command = machine.command();
        command.env("IMDS_EXPORTER_STATE_FILE", path("")).env("IMDS_EXPORTER_WORKLOAD", "starts-with-exporter");
        let exporter = ExporterProcess::start_with(command).await;
        let metrics = metrics_with(exporter.address, "imds_up 1").await;
        assert!(!metrics.contains("created=\"at_start\""), "{name}: the workload is unknown");
        assert!(exporter.has_warning_with("why"), "{name} is reported");
        assert_eq!(fs::read_to_string(path(".broken")).expect("it was set aside"), content, "{name}");
        until_saved(&path(""), "a poll", |saved| saved["resolved"] == true).await;
        exporter.stop().await;
        assert!(!path(".new").exists(), "{name}");
    }
}

/// The limit of a file's size stands for a full disk.
#[tokio::test]
async fn a_disk_that_is_full_at_a_restart_costs_what_is_said_of_the_workload_alone() {
    let machine = Machine::new().await;
    let start = async |limit: &str| {
        let mut command = machine.command();
        command.env("IMDS_EXPORTER_WORKLOAD", "starts-with-exporter");
        ExporterProcess::start_with(in_shell(&format!("trap '' XFSZ; ulimit -f {limit}; exec"), &command)).await
    };
    let mut exporter = start("unlimited").await;
    until_saved(&machine.state_file(), "a success", |saved| saved["resolved"] == true).await;
    exporter.kill().await;
    machine.apply(CONNECT_REFUSED).await;
    let before = fs::read_to_string(machine.state_file()).expect("it is there");

    let exporter = start("0").await;
    let metrics = metrics_with(exporter.address, "\nimds_up 0\n").await;
    assert!(!metrics.contains("created=\"at_start\"") && metrics.contains("created=\"before_outage\"} 1"));
    assert_eq!(get(exporter.address, "/-/startup").await.status, 200);
    exporter.stop().await;
    assert_eq!(fs::read_to_string(machine.state_file()).expect("it is there"), before);
}

#[tokio::test]
async fn a_state_file_that_cannot_be_read_or_written_is_reported_and_polling_continues() {
    let machine = Machine::new().await;
    let in_folder = |name: &str| machine.folder.path().join(name);
    fs::write(in_folder("large"), " ".repeat(100_000)).expect("the folder can be written");
    for (file, field, limit) in [
        (in_folder("large"), "why", "unlimited"),
        // The limit of a file's size stands for a full disk.
        (in_folder("full"), "error", "0"),
        (in_folder("no-such-folder/state.json"), "error", "unlimited"),
        // /proc refuses every new file, even to root, as a file system does that is read-only.
        ("/proc/imds-exporter-state".into(), "error", "unlimited"),
    ] {
        let mut command = machine.command();
        command.env("IMDS_EXPORTER_STATE_FILE", &file).env("IMDS_EXPORTER_WORKLOAD", "starts-with-exporter");
        let exporter =
            ExporterProcess::start_with(in_shell(&format!("trap '' XFSZ; ulimit -f {limit}; exec"), &command)).await;
        let metrics = metrics_with(exporter.address, "imds_fetches_total 2").await;
        // Without a state file that can be written, what is said of a declared workload would not outlive a crash.
        assert!(!metrics.contains("created=\"at_start\""), "{}", file.display());
        assert!(exporter.has_warning_with(field), "{} is reported", file.display());
        get_until(exporter.address, "/-/healthy", |response| response.body() == "ok\n").await;
        exporter.stop().await;
    }
    assert_eq!(names(machine.folder.path()), ["full.lock", "large", "large.lock"], "no temporary file is left");
}
