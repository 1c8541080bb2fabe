//! The workload that is declared to start with the exporter: what is said of its clients while the exporter is killed,
//! stopped and started again around an outage.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;

use crate::support::machine::Machine;
use crate::support::program::ExporterProcess;
use crate::support::request::get;
use crate::support::scrape::{Scrape, scrape_until};
use crate::support::simulator::{CONNECT_REFUSED, HEALTHY};
use crate::support::state_file::until_saved;
use crate::support::wait::all_at_once;

const INDEPENDENT: &str = "independent";
const WITH_EXPORTER: &str = "starts-with-exporter";
const WHEN_READY: &str = "starts-when-ready";

/// Whether IMDSv1 is disabled, the declaration, and what happens in its order.
///
/// `down`, `up` and `fault:NAME` are of IMDS; `start`, `kill` and `stop` of the exporter, and `reboot` of the machine;
/// `saved:POINTER` waits until that is in the state file, and `truncate` spoils it; after `slow` an exporter that starts has a slow
/// disk. `fails:n` waits for a poll that fails,
/// and `works:y` for one that succeeds: clients of the workload are then said to be usable (`y`), stuck (`n`), or nothing
/// is said of them (`-`). `startup:503` is the answer of `/-/startup`; `startup:200` is one that says that IMDS fails.
const TIMELINES: [(bool, &str, &str); 18] = [
    // A workload that starts in an outage is stuck until the exporter is stopped in order: then perhaps the workload was
    // restarted too, perhaps not.
    (
        false,
        WITH_EXPORTER,
        "down start fails:n up works:n saved:/outages/0 kill start works:n stop start works:- saved:/workload/created \
         kill start works:-",
    ),
    // The exporter stops in order although its disk is slow: what it knew is no longer said.
    (false, WITH_EXPORTER, "slow down start fails:n up works:n stop start works:-"),
    // Restarted or not, the client of the workload has credentials; in an outage a new one has none, an old one has some.
    (false, WITH_EXPORTER, "start works:y stop start works:y stop down start fails:-"),
    (false, WITH_EXPORTER, "start works:y saved:/workload/created down fails:y kill start fails:y up works:y"),
    // After a reboot the workload is a new one.
    (false, WITH_EXPORTER, "down start fails:n saved:/workload/created kill reboot up start works:y"),
    // The first poll takes seconds, and has not ended.
    (false, WITH_EXPORTER, "fault:read_timeout start saved:/workload kill start fails:- up works:- stop start works:-"),
    // What an earlier run saved and is lost must not become an all-clear.
    (false, WITH_EXPORTER, "down start fails:n saved:/outage_since kill truncate up start works:-"),
    (
        false,
        WHEN_READY,
        "down start fails:- startup:503 kill start fails:- startup:503 up works:y startup:ok down fails:y startup:200",
    ),
    // A workload that was released stays released when the exporter restarts in an outage, before its first poll too.
    (
        false,
        WHEN_READY,
        "start works:y startup:ok saved:/resolved down kill start startup:200 fails:y startup:200 kill reboot start fails:- \
         startup:503",
    ),
    // Its pod is restarted in the outage, and the gate is open: it may have started then.
    (false, WHEN_READY, "start works:y startup:ok stop down start startup:200 fails:- up works:-"),
    (
        false,
        INDEPENDENT,
        "start works:- startup:ok saved:/resolved down kill start startup:200 fails:- startup:200 kill reboot start fails:- \
         startup:503",
    ),
    (false, INDEPENDENT, "down start fails:- up works:- works:- kill start works:-"),
    // Where IMDSv1 is disabled only failures after the token step bind: after a creation that raised, nobody knows what runs.
    (true, WITH_EXPORTER, "down start fails:- up works:-"),
    (true, WITH_EXPORTER, "fault:imds_disabled start fails:- up works:-"),
    (true, WITH_EXPORTER, "fault:token_rejected start fails:n up works:n"),
    (true, WITH_EXPORTER, "fault:no_role start fails:n up works:n"),
    (true, WITH_EXPORTER, "fault:role_not_found start fails:n up works:n"),
    (true, WITH_EXPORTER, "fault:incomplete_document start fails:n up works:n"),
];

/// What the exporter says of clients that were created when the workload started.
fn at_start(scrape: &Scrape) -> &'static str {
    let has = |value: u8| {
        let series = format!("imds_client_usable{{sdk=\"boto3\",created=\"at_start\"}} {value}");
        scrape.0.lines().any(|line| line == series)
    };
    if has(1) {
        "y"
    } else if has(0) {
        "n"
    } else {
        "-"
    }
}

/// Waits for the next poll with this result, and returns what is said of the workload's clients, everywhere.
async fn said(exporter: &ExporterProcess, up: u64) -> &'static str {
    let before = Scrape::of(exporter.address).await;
    let polled = |scrape: &Scrape| scrape.value("imds_up") == up && scrape.polls() > before.polls();
    let scrape = scrape_until(exporter.address, "a poll", polled).await;
    let said = at_start(&scrape);
    let status: Value = serde_json::from_str(get(exporter.address, "/api/v1/status").await.body()).expect("JSON");
    let row = status["clients"].as_array().expect("a list").iter().find(|row| row["created"] == "at_start").cloned();
    let usable = row.and_then(|row| row["usable"].as_bool());
    assert_eq!(usable.map_or("-", |usable| if usable { "y" } else { "n" }), said);
    assert_eq!(status["clients_stuck"], up == 1 && said == "n", "{status}");
    // A failing IMDS fails the startup probe only, and only until the first success.
    for probe in ["/-/healthy", "/-/ready"] {
        assert_eq!(get(exporter.address, probe).await.status, 200, "{probe}");
    }
    said
}

/// What makes the disk of a program slow: to write through takes a second.
fn build_slow_disk(library: &Path) {
    let source = library.with_extension("c");
    fs::write(&source, "#include <unistd.h>\nint fsync(int file) { (void)file; sleep(1); return 0; }\n")
        .expect("it can be written");
    // Rust links with this compiler too.
    let done = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([library, source.as_path()]).status();
    assert!(done.expect("cc").success());
}

async fn follow((v1_disabled, workload, timeline): (bool, &str, &str)) {
    let machine = Machine::new().await;
    let slow_disk = machine.folder.path().join("slow_disk.so");
    let start = async || {
        let mut command = machine.command();
        if slow_disk.exists() {
            command.env("LD_PRELOAD", &slow_disk);
        }
        command.env("IMDS_EXPORTER_WORKLOAD", workload).env("AWS_EC2_METADATA_V1_DISABLED", v1_disabled.to_string());
        // All timelines run at once: a busy machine is no slow IMDS.
        command.env("IMDS_EXPORTER_TIMEOUT", "8s");
        ExporterProcess::start_with(command).await
    };
    let mut exporter = None;
    for (index, word) in timeline.split_whitespace().enumerate() {
        let what = format!("{workload}: {timeline}: {word} ({index})");
        let running = || exporter.as_ref().expect("it runs");
        match word.split_once(':').unwrap_or((word, "")) {
            ("up", _) => machine.apply(HEALTHY).await,
            ("down", _) => machine.apply(CONNECT_REFUSED).await,
            ("fault", name) => machine.apply(&format!("fault = '{name}'")).await,
            ("start", _) => exporter = Some(start().await),
            ("kill", _) => exporter.as_mut().expect("it runs").kill().await,
            ("stop", _) => exporter.take().expect("it runs").stop().await,
            ("slow", _) => build_slow_disk(&slow_disk),
            ("reboot", _) => machine.reboot(),
            ("truncate", _) => {
                let content = fs::read(machine.state_file()).expect("it is there");
                fs::write(machine.state_file(), &content[..content.len() / 2]).expect("it can be written");
            }
            ("saved", pointer) => {
                let is_there = |saved: &Value| {
                    saved.pointer(pointer).is_some_and(|value| !value.is_null() && *value != Value::Bool(false))
                };
                until_saved(&machine.state_file(), &what, is_there).await;
            }
            ("fails", expected) => assert_eq!(said(running(), 0).await, expected, "{what}"),
            ("works", expected) => assert_eq!(said(running(), 1).await, expected, "{what}"),
            ("startup", expected) => {
                let answer = get(running().address, "/-/startup").await;
                let answer = if answer.body() == "ok\n" { "ok".to_owned() } else { answer.status.to_string() };
                assert_eq!(answer, expected, "{what}");
            }
            _ => panic!("{what} is no word"),
        }
    }
    assert!(!v1_disabled || machine.simulator.counts().without_token == 0, "{timeline}");
}

#[tokio::test]
async fn what_is_said_of_a_declared_workload_holds_over_kills_stops_and_reboots() {
    all_at_once(TIMELINES.into_iter().map(follow)).await;
}

#[tokio::test]
async fn a_workload_that_is_held_back_is_never_stuck_whenever_the_exporter_is_killed() {
    let machine = Machine::new().await;
    let start = async || {
        let mut command = machine.command();
        command.env("IMDS_EXPORTER_WORKLOAD", WHEN_READY);
        ExporterProcess::start_with(command).await
    };
    // Killed at random moments: before the first poll ends, between two polls, and around the first success.
    for round in 0..8_u32 {
        machine.apply(if round % 3 == 2 { HEALTHY } else { CONNECT_REFUSED }).await;
        let mut exporter = start().await;
        sleep(Duration::from_millis(fastrand::u64(0..1_500))).await;
        let scrape = Scrape::of(exporter.address).await;
        assert_ne!(at_start(&scrape), "n", "{}", scrape.0);
        exporter.kill().await;
    }
    machine.apply(CONNECT_REFUSED).await;
    let exporter = start().await;
    assert_ne!(said(&exporter, 0).await, "n");
    machine.apply(HEALTHY).await;
    assert_eq!(said(&exporter, 1).await, "y");
    machine.apply(CONNECT_REFUSED).await;
    assert_eq!(said(&exporter, 0).await, "y");
}
