//! The workload that is declared to start with the exporter: what is said of its clients while the exporter is killed,
//! stopped and started again around an outage.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use imds_exporter::domain::Kind;
use imds_exporter::simulator::Simulator;
use serde_json::Value;
use tempfile::{TempDir, tempdir};
use tokio::time::sleep;

use crate::support::program::{ExporterProcess, output, program, program_with_imds};
use crate::support::request::get;
use crate::support::scrape::{Scrape, polls_after, scrape_until};
use crate::support::simulator::{CONNECT_REFUSED, HEALTHY, apply_toml, start_simulator};
use crate::support::state_file::{edit, until_saved};

/// A machine with an IMDS and a state file, on which the exporter is started again and again.
struct Machine {
    simulator: Simulator,
    folder: TempDir,
    workload: &'static str,
}

impl Machine {
    async fn new(workload: &'static str) -> Self {
        Self { simulator: start_simulator().await, folder: tempdir().expect("a folder"), workload }
    }

    fn state_file(&self) -> PathBuf {
        self.folder.path().join("state.json")
    }

    async fn start(&self) -> ExporterProcess {
        let mut command = program_with_imds(self.simulator.address(), &[]);
        command.env("IMDS_EXPORTER_WORKLOAD", self.workload).env("IMDS_EXPORTER_STATE_FILE", self.state_file());
        ExporterProcess::start_with(command).await
    }

    async fn apply(&self, change: &str) {
        apply_toml(&self.simulator, change).await;
    }

    /// Makes the state file look as if the machine has booted since.
    fn reboot(&self) {
        edit(&self.state_file(), |saved| saved["boot_id"] = "another".into());
    }
}

/// What the exporter says of clients that were created when the workload started; `None` is nothing.
fn at_start(scrape: &Scrape) -> Option<bool> {
    let value = |value: u8| format!("imds_client_usable{{sdk=\"boto3\",created=\"at_start\"}} {value}");
    [false, true].into_iter().find(|usable| scrape.0.lines().any(|line| line == value(u8::from(*usable))))
}

/// Waits for a poll with this result of a new exporter, and returns what is said of the workload's clients, everywhere.
async fn said(exporter: &ExporterProcess, up: u64) -> Option<bool> {
    let polled = |scrape: &Scrape| scrape.polls() > 0 && scrape.value("imds_up") == up;
    let scrape = scrape_until(exporter.address, "a poll", polled).await;
    let said = at_start(&scrape);
    let status: Value = serde_json::from_str(get(exporter.address, "/api/v1/status").await.body()).expect("JSON");
    let row = status["clients"].as_array().expect("a list").iter().find(|row| row["created"] == "at_start").cloned();
    assert_eq!(row.and_then(|row| row["usable"].as_bool()), said);
    assert_eq!(status["clients_stuck"], up == 1 && said == Some(false), "{status}");
    said
}

#[tokio::test]
async fn a_workload_that_starts_in_an_outage_is_stuck_until_the_exporter_is_stopped_in_order() {
    let machine = Machine::new("starts-with-exporter").await;
    machine.apply(CONNECT_REFUSED).await;
    let mut exporter = machine.start().await;
    assert_eq!(said(&exporter, 0).await, Some(false));
    machine.apply(HEALTHY).await;
    assert_eq!(said(&exporter, 1).await, Some(false));
    until_saved(&machine.state_file(), "the end of the outage", |saved| saved["outage_since"].is_null()).await;

    exporter.kill().await;
    let exporter = machine.start().await;
    assert_eq!(said(&exporter, 1).await, Some(false), "the workload did not restart with it");

    exporter.stop().await;
    let mut exporter = machine.start().await;
    assert_eq!(said(&exporter, 1).await, None, "perhaps the workload was restarted too, perhaps not");
    let started = |saved: &Value| saved["workload"]["created"].is_object();
    until_saved(&machine.state_file(), "the start of the workload", started).await;
    exporter.kill().await;
    assert_eq!(said(&machine.start().await, 1).await, None);
}

#[tokio::test]
async fn clients_that_work_stay_known_over_an_orderly_restart() {
    let machine = Machine::new("starts-with-exporter").await;
    let exporter = machine.start().await;
    assert_eq!(said(&exporter, 1).await, Some(true));
    exporter.stop().await;
    // Restarted or not, the client of the workload has credentials.
    let exporter = machine.start().await;
    assert_eq!(said(&exporter, 1).await, Some(true));
    exporter.stop().await;
    machine.apply(CONNECT_REFUSED).await;
    let exporter = machine.start().await;
    assert_eq!(said(&exporter, 0).await, None, "a new client has none, an old one has some");
}

#[tokio::test]
async fn a_workload_that_got_credentials_is_not_stuck_by_a_restart_of_the_exporter_in_an_outage() {
    let machine = Machine::new("starts-with-exporter").await;
    let mut exporter = machine.start().await;
    assert_eq!(said(&exporter, 1).await, Some(true));
    let started = |saved: &Value| saved["workload"]["created"].is_object();
    until_saved(&machine.state_file(), "the start of the workload", started).await;
    machine.apply(CONNECT_REFUSED).await;
    assert_eq!(said(&exporter, 0).await, Some(true));
    exporter.kill().await;
    let exporter = machine.start().await;
    assert_eq!(said(&exporter, 0).await, Some(true));
    machine.apply(HEALTHY).await;
    assert_eq!(said(&exporter, 1).await, Some(true));
}

#[tokio::test]
async fn after_a_reboot_the_workload_is_a_new_one() {
    let machine = Machine::new("starts-with-exporter").await;
    machine.apply(CONNECT_REFUSED).await;
    let mut exporter = machine.start().await;
    assert_eq!(said(&exporter, 0).await, Some(false));
    let started = |saved: &Value| saved["workload"]["created"].is_object();
    until_saved(&machine.state_file(), "the start of the workload", started).await;
    exporter.kill().await;
    machine.reboot();
    machine.apply(HEALTHY).await;
    assert_eq!(said(&machine.start().await, 1).await, Some(true));
}

#[tokio::test]
async fn nothing_is_said_of_a_workload_whose_start_was_not_seen() {
    let machine = Machine::new("starts-with-exporter").await;
    // The first poll takes a second at least.
    machine.apply("fault = \"read_timeout\"").await;
    let mut exporter = machine.start().await;
    let state = until_saved(&machine.state_file(), "the start", |_| true).await;
    exporter.kill().await;
    assert_eq!(state["workload"], "unseen", "no poll has ended");
    let exporter = machine.start().await;
    assert_eq!(said(&exporter, 0).await, None);
    machine.apply(HEALTHY).await;
    assert_eq!(said(&exporter, 1).await, None);
    exporter.stop().await;
    assert_eq!(said(&machine.start().await, 1).await, None);
}

/// What an earlier run saved and is lost must not become an all-clear.
#[tokio::test]
async fn a_state_file_that_cannot_be_used_leaves_the_workload_unknown() {
    for spoil in ["truncated", "empty", "another version", "another program's"] {
        let machine = Machine::new("starts-with-exporter").await;
        machine.apply(CONNECT_REFUSED).await;
        let mut exporter = machine.start().await;
        assert_eq!(said(&exporter, 0).await, Some(false));
        until_saved(&machine.state_file(), "the outage", |saved| saved["outage_since"].is_string()).await;
        exporter.kill().await;
        let file = machine.state_file();
        let content = fs::read(&file).expect("it is there");
        match spoil {
            "truncated" => fs::write(&file, &content[..content.len() / 2]),
            "empty" => fs::write(&file, ""),
            "another version" => {
                edit(&file, |saved| saved["version"] = 99.into());
                Ok(())
            }
            _ => fs::write(&file, "{}"),
        }
        .expect("the folder can be written");
        machine.apply(HEALTHY).await;
        assert_eq!(said(&machine.start().await, 1).await, None, "{spoil}");
    }
}

#[tokio::test]
async fn a_workload_that_is_held_back_is_never_stuck_whenever_the_exporter_is_killed() {
    let machine = Machine::new("starts-when-ready").await;
    machine.apply(CONNECT_REFUSED).await;
    // Killed at random moments: before the first poll ends, between two polls, and around the first success.
    for round in 0..8_u32 {
        let healthy = round % 3 == 2;
        machine.apply(if healthy { HEALTHY } else { CONNECT_REFUSED }).await;
        let mut exporter = machine.start().await;
        sleep(Duration::from_millis(fastrand::u64(0..1_500))).await;
        let scrape = Scrape::of(exporter.address).await;
        assert_ne!(at_start(&scrape), Some(false), "{}", scrape.0);
        exporter.kill().await;
    }
    machine.apply(CONNECT_REFUSED).await;
    let exporter = machine.start().await;
    assert_ne!(said(&exporter, 0).await, Some(false));
    machine.apply(HEALTHY).await;
    assert_eq!(said(&exporter, 1).await, Some(true));
    machine.apply(CONNECT_REFUSED).await;
    assert_eq!(said(&exporter, 0).await, Some(true));
}

#[tokio::test]
async fn a_workload_that_waits_for_the_first_success_waits_over_a_restart() {
    let machine = Machine::new("starts-when-ready").await;
    machine.apply(CONNECT_REFUSED).await;
    let mut exporter = machine.start().await;
    assert_eq!(said(&exporter, 0).await, None);
    assert_eq!(get(exporter.address, "/-/startup").await.status, 503);
    exporter.kill().await;
    let exporter = machine.start().await;
    assert_eq!(said(&exporter, 0).await, None);
    assert_eq!(get(exporter.address, "/-/startup").await.status, 503);
    machine.apply(HEALTHY).await;
    assert_eq!(said(&exporter, 1).await, Some(true));
    assert_eq!(get(exporter.address, "/-/startup").await.status, 200);
}

#[tokio::test]
async fn a_workload_that_was_released_stays_released_when_the_exporter_restarts_in_an_outage() {
    for workload in ["starts-when-ready", "independent"] {
        let machine = Machine::new(workload).await;
        let mut exporter = machine.start().await;
        scrape_until(exporter.address, "a success", |scrape| scrape.value("imds_up") == 1).await;
        assert_eq!(get(exporter.address, "/-/startup").await.body(), "ok\n");
        until_saved(&machine.state_file(), "the success", |saved| saved["resolved"] == true).await;
        machine.apply(CONNECT_REFUSED).await;
        exporter.kill().await;

        let mut exporter = machine.start().await;
        assert_eq!(get(exporter.address, "/-/startup").await.status, 200, "before the first poll ended");
        let failed = |scrape: &Scrape| scrape.polls() > 0;
        scrape_until(exporter.address, "a failure", failed).await;
        let startup = get(exporter.address, "/-/startup").await;
        assert_eq!(startup.status, 200);
        // What starts now is a suspect later: `wait` tells the two answers apart.
        assert_ne!(startup.body(), "ok\n");
        exporter.kill().await;

        machine.reboot();
        let exporter = machine.start().await;
        scrape_until(exporter.address, "a failure", failed).await;
        assert_eq!(get(exporter.address, "/-/startup").await.status, 503, "nothing was resolved in this boot");
    }
}

#[tokio::test]
async fn nothing_is_ever_said_of_an_independent_workload() {
    let machine = Machine::new("independent").await;
    machine.apply(CONNECT_REFUSED).await;
    let mut exporter = machine.start().await;
    assert_eq!(said(&exporter, 0).await, None);
    machine.apply(HEALTHY).await;
    assert_eq!(said(&exporter, 1).await, None);
    let before = Scrape::of(exporter.address).await;
    polls_after(&before, 2, exporter.address).await;
    exporter.kill().await;
    assert_eq!(said(&machine.start().await, 1).await, None);
}

#[tokio::test]
async fn where_imdsv1_is_disabled_only_failures_after_the_token_step_bind() {
    for (fault, stuck) in [
        (CONNECT_REFUSED, false),
        ("fault = \"imds_disabled\"", false),
        ("fault = \"token_rejected\"", true),
        ("fault = \"no_role\"", true),
        ("fault = \"server_error\"\nstep = \"credentials\"", true),
    ] {
        let machine = Machine::new("starts-with-exporter").await;
        machine.apply(fault).await;
        let mut command = program_with_imds(machine.simulator.address(), &[]);
        command.env("IMDS_EXPORTER_WORKLOAD", machine.workload).env("IMDS_EXPORTER_STATE_FILE", machine.state_file());
        command.env("AWS_EC2_METADATA_V1_DISABLED", "true");
        let exporter = ExporterProcess::start_with(command).await;
        // After a creation that raised an error, nobody knows what runs.
        let expected = stuck.then_some(false);
        assert_eq!(said(&exporter, 0).await, expected, "{fault}");
        machine.apply(HEALTHY).await;
        assert_eq!(said(&exporter, 1).await, expected, "{fault}");
        assert_eq!(machine.simulator.counts().without_token, 0);
    }
}

#[tokio::test]
async fn a_state_file_that_cannot_be_written_makes_the_workload_undeclared() {
    let simulator = start_simulator().await;
    apply_toml(&simulator, CONNECT_REFUSED).await;
    let mut command = program_with_imds(simulator.address(), &[]);
    // /proc refuses every new file, even to root.
    command.env("IMDS_EXPORTER_WORKLOAD", "starts-with-exporter").env("IMDS_EXPORTER_STATE_FILE", "/proc/state");
    let exporter = ExporterProcess::start_with(command).await;
    assert_eq!(said(&exporter, 0).await, None);
    assert!(exporter.has_warning_with("error"));
    apply_toml(&simulator, HEALTHY).await;
    assert_eq!(said(&exporter, 1).await, None);
}

#[tokio::test]
async fn a_declaration_without_a_state_file_or_of_an_unknown_value_exits_with_64() {
    let names = ["independent", "starts-with-exporter", "starts-when-ready"];
    for (value, named) in [
        (names[1], &["IMDS_EXPORTER_WORKLOAD", "IMDS_EXPORTER_STATE_FILE"][..]),
        (names[2], &["IMDS_EXPORTER_WORKLOAD", "IMDS_EXPORTER_STATE_FILE"]),
        ("starts-with", &names),
    ] {
        for command in [&[][..], &["check"], &["wait"], &["healthcheck"]] {
            let mut command = program(command);
            command.env("IMDS_EXPORTER_WORKLOAD", value);
            let output = output(command).await;
            let text = String::from_utf8(output.stderr).expect("text");
            assert_eq!(output.status.code(), Some(64), "{text}");
            assert!(named.iter().all(|name| text.contains(name)), "{text}");
        }
    }
    let simulator = start_simulator().await;
    apply_toml(&simulator, CONNECT_REFUSED).await;
    let mut command = program_with_imds(simulator.address(), &[]);
    command.env("IMDS_EXPORTER_WORKLOAD", names[0]);
    let exporter = ExporterProcess::start_with(command).await;
    let kind = Kind::ConnectRefused.label();
    scrape_until(exporter.address, "a poll", |scrape| scrape.active_kind() == Some(kind)).await;
}

#[tokio::test]
async fn check_tells_what_the_state_means_for_clients() {
    let machine = Machine::new("starts-with-exporter").await;
    let check = async |listen: &str| {
        let mut command = program_with_imds(machine.simulator.address(), &["check", "--json"]);
        command.env("IMDS_EXPORTER_LISTEN_ADDRESS", listen);
        let report: Value = serde_json::from_slice(&output(command).await.stdout).expect("JSON");
        let clients = report["clients"].as_array().expect("a list").clone();
        let told = |client: &Value| {
            assert!(client["text"].is_string(), "{client}");
            [&client["created"], &client["prognosis"]].map(|text| text.as_str().expect("text").to_owned())
        };
        clients.iter().map(told).collect::<Vec<_>>()
    };
    let nobody = "127.255.255.255:9";
    assert_eq!(check(nobody).await, [["now", "signs"]]);
    machine.apply(CONNECT_REFUSED).await;
    assert_eq!(check(nobody).await, [["now", "bound_to_nothing"]]);
    // An exporter on this machine has followed them.
    let exporter = machine.start().await;
    assert_eq!(said(&exporter, 0).await, Some(false));
    machine.apply(HEALTHY).await;
    assert_eq!(said(&exporter, 1).await, Some(false));
    let listen = exporter.address.to_string();
    let bound = "bound_to_nothing";
    assert_eq!(check(&listen).await, [["now", "signs"], ["before_outage", "signs"], ["at_start", bound]]);
    machine.apply(CONNECT_REFUSED).await;
    assert_eq!(said(&exporter, 0).await, Some(false));
    assert_eq!(check(&listen).await, [["now", bound], ["before_outage", "signs_until"], ["at_start", bound]]);
}
