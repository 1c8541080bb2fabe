//! The SDKs beside boto3: whose clients are exported, and what is said of them over outages, fallbacks and restarts.

use std::collections::BTreeMap;
use std::time::Duration;

use imds_exporter::domain::client::{Created, Holds, Outlook};
use imds_exporter::domain::sdk::SDKS;
use imds_exporter::domain::state::{Declared, State};
use imds_exporter::domain::workload::Workload;
use imds_exporter::domain::{Kind, Step};
use imds_exporter::metrics::{self, Build, Metrics};
use imds_exporter::platform::state_file::Saved;
use imds_exporter::simulator::Simulator;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use strum::VariantArray;
use tempfile::tempdir;
use tokio::process::Command;

use crate::support::client::ModelClient;
use crate::support::program::{ExporterProcess, output, program, program_with_imds};
use crate::support::request::get;
use crate::support::scrape::{Scrape, scrape_until};
use crate::support::simulator::{CONNECT_REFUSED, HEALTHY, apply_toml, start_simulator};
use crate::support::source::{START, credential, failed, resolved, success};
use crate::support::state_file::{edit, until_saved};

fn labels() -> Vec<&'static str> {
    SDKS.iter().map(|sdk| sdk.label).collect()
}

fn with_sdks(simulator: &Simulator, sdks: &str) -> Command {
    let mut command = program_with_imds(simulator.address(), &[]);
    command.env("IMDS_EXPORTER_SDKS", sdks);
    command
}

/// The exported rows: the value by SDK and `created`.
fn rows(scrape: &Scrape) -> BTreeMap<(String, String), bool> {
    let rows = scrape.0.lines().filter_map(|line| line.strip_prefix("imds_client_usable{sdk=\""));
    rows.map(|row| {
        let (sdk, rest) = row.split_once("\",created=\"").expect("the labels in their order");
        let (created, value) = rest.split_once("\"} ").expect("a value");
        ((sdk.to_owned(), created.to_owned()), value == "1")
    })
    .collect()
}

fn usable(scrape: &Scrape, sdk: &str, created: Created) -> Option<bool> {
    rows(scrape).get(&(sdk.to_owned(), created.label().to_owned())).copied()
}

async fn status(exporter: &ExporterProcess) -> Value {
    serde_json::from_str(get(exporter.address, "/api/v1/status").await.body()).expect("JSON")
}

/// What the status says of a client, in `sdks`.
fn told<'a>(status: &'a Value, sdk: &str, created: Created) -> &'a Value {
    let sdks = status["sdks"].as_array().expect("a list");
    let row = sdks.iter().find(|row| row["sdk"] == sdk).expect("every SDK is told of");
    let clients = row["clients"].as_array().expect("a list");
    clients.iter().find(|client| client["created"] == created.label()).expect("it is told of")
}

#[tokio::test]
async fn only_the_chosen_rows_are_exported_and_all_are_told_of() {
    let simulator = start_simulator().await;
    for (sdks, exported) in [("", &["boto3"][..]), ("object-store, ruby", &["object-store", "ruby"])] {
        let exporter = ExporterProcess::start_with(with_sdks(&simulator, sdks)).await;
        let scrape = scrape_until(exporter.address, "a success", |scrape| scrape.value("imds_up") == 1).await;
        let found: Vec<_> = rows(&scrape).into_iter().collect();
        let expected: Vec<_> = exported
            .iter()
            .flat_map(|sdk| ["before_outage", "now"].map(|created| (((*sdk).to_owned(), created.to_owned()), true)))
            .collect();
        assert_eq!(found, expected);

        let status = status(&exporter).await;
        let told: Vec<_> = status["sdks"].as_array().expect("a list").iter().collect();
        assert_eq!(told.iter().map(|row| row["sdk"].as_str().expect("a label")).collect::<Vec<_>>(), labels());
        for row in told {
            assert_eq!(row["exported"], exported.contains(&row["sdk"].as_str().expect("a label")), "{row}");
            let outlooks = row["clients"].as_array().expect("a list").iter().map(|client| &client["outlook"]);
            assert_eq!(outlooks.collect::<Vec<_>>(), ["works", "works"], "{row}");
        }
        let page = get(exporter.address, "/").await;
        for sdk in &SDKS {
            assert!(page.body().contains(&format!("<code>{}</code>", sdk.label)), "{}", sdk.label);
        }
    }
}

#[tokio::test]
async fn an_unknown_a_repeated_and_an_empty_sdk_exit_with_64() {
    for (value, named) in
        [("boto", &labels()[..]), ("boto3,java", &labels()), ("ruby,ruby", &["ruby"]), ("boto3,,ruby", &[]), (",", &[])]
    {
        for command in [&[][..], &["check"], &["wait"], &["healthcheck"]] {
            let mut command = program(command);
            command.env("IMDS_EXPORTER_SDKS", value).env("IMDS_EXPORTER_POLL_INTERVAL", "never");
            let output = output(command).await;
            let text = String::from_utf8(output.stderr).expect("text");
            assert_eq!(output.status.code(), Some(64), "{value}: {text}");
            assert!(text.contains("IMDS_EXPORTER_SDKS"), "{value}: {text}");
            assert!(text.contains("IMDS_EXPORTER_POLL_INTERVAL"), "all errors are listed: {text}");
            assert!(named.iter().all(|name| text.contains(name)), "{value}: {text}");
        }
    }
}

#[tokio::test]
async fn an_sdk_that_knows_version_2_only_has_no_credentials_while_version_1_alone_works() {
    let simulator = start_simulator().await;
    apply_toml(&simulator, "tokens = 'optional'\nfault = 'token_unsupported'").await;
    let all = labels().join(",");
    let exporter = ExporterProcess::start_with(with_sdks(&simulator, &all)).await;
    let up = |scrape: &Scrape| scrape.value("imds_up") == 1;
    let scrape = scrape_until(exporter.address, "a success by version 1", up).await;
    let falls_back = |sdk: &str| !["minio-go", "object-store"].contains(&sdk);
    for sdk in labels() {
        assert_eq!(usable(&scrape, sdk, Created::Now), Some(falls_back(sdk)), "{sdk}");
        let held = falls_back(sdk).then_some(true);
        assert_eq!(usable(&scrape, sdk, Created::BeforeOutage), held, "{sdk}: it never had a document");
    }
    // A token request that is lost: minio-go falls back after that.
    apply_toml(&simulator, "fault = 'hop_limit'").await;
    let lost = |scrape: &Scrape| scrape.0.contains("imds_v1_fallback_active{kind=\"hop_limit\"} 1");
    let scrape = scrape_until(exporter.address, "the hop limit", lost).await;
    for sdk in labels() {
        assert_eq!(usable(&scrape, sdk, Created::Now), Some(sdk != "object-store"), "{sdk}");
    }
    assert_eq!(told(&status(&exporter).await, "object-store", Created::Now)["outlook"], "fails");
    apply_toml(&simulator, HEALTHY).await;
    let healed = |scrape: &Scrape| usable(scrape, "object-store", Created::Now) == Some(true);
    let scrape = scrape_until(exporter.address, "version 2", healed).await;
    assert_eq!(usable(&scrape, "object-store", Created::BeforeOutage), Some(true));
}

#[tokio::test]
async fn what_an_sdk_gets_that_ignores_the_variable_is_absent_where_version_1_is_disabled() {
    let simulator = start_simulator().await;
    apply_toml(&simulator, "tokens = 'optional'\nfault = 'imds_disabled'\nonly_step = true").await;
    let mut command = with_sdks(&simulator, &labels().join(","));
    command.env("AWS_EC2_METADATA_V1_DISABLED", "true");
    let exporter = ExporterProcess::start_with(command).await;
    let scrape = scrape_until(exporter.address, "a failure", |scrape| scrape.active_kind().is_some()).await;
    for sdk in labels() {
        let known = !["ruby", "aws-crt"].contains(&sdk);
        assert_eq!(usable(&scrape, sdk, Created::Now), known.then_some(false), "{sdk}");
    }
    let status = status(&exporter).await;
    assert_eq!(told(&status, "boto3", Created::Now)["outlook"], "creation_raises");
    assert_eq!(told(&status, "ruby", Created::Now)["outlook"], "unknown");
    assert_eq!(told(&status, "go-v2", Created::Now)["outlook"], "fails");
    assert_eq!(simulator.counts().without_token, 0);
}

#[tokio::test]
async fn a_client_that_keeps_an_incomplete_document_signs_nothing() {
    let simulator = start_simulator().await;
    apply_toml(&simulator, "fault = 'incomplete_document'\nfield = 'SecretAccessKey'").await;
    let exporter = ExporterProcess::start_with(with_sdks(&simulator, &labels().join(","))).await;
    let incomplete = |scrape: &Scrape| scrape.active_kind() == Some(Kind::IncompleteDocument.label());
    let scrape = scrape_until(exporter.address, "the failure", incomplete).await;
    let status = status(&exporter).await;
    for sdk in &SDKS {
        assert_eq!(usable(&scrape, sdk.label, Created::Now), Some(false), "{}", sdk.label);
        let outlook = match sdk.label {
            "boto3" | "ruby" => "must_be_created_again",
            "minio-go" => "fails_until_refresh",
            _ => "fails",
        };
        assert_eq!(told(&status, sdk.label, Created::Now)["outlook"], outlook, "{}", sdk.label);
    }
}

/// Ruby goes on with credentials that have ended for up to six minutes after an outage, also over a crash of the exporter.
#[tokio::test]
async fn an_ended_holder_in_its_pause_cannot_sign_although_credentials_resolve() {
    let simulator = start_simulator().await;
    let folder = tempdir().expect("a folder");
    let file = folder.path().join("state.json");
    let start = async || {
        let mut command = with_sdks(&simulator, "ruby,boto3");
        command.env("IMDS_EXPORTER_STATE_FILE", &file);
        ExporterProcess::start_with(command).await
    };
    apply_toml(&simulator, "rotation = \"off\"\nexpires_in = \"3s\"").await;
    let mut exporter = start().await;
    scrape_until(exporter.address, "a success", |scrape| scrape.value("imds_up") == 1).await;
    apply_toml(&simulator, CONNECT_REFUSED).await;
    let ended = |scrape: &Scrape| usable(scrape, "ruby", Created::BeforeOutage) == Some(false);
    scrape_until(exporter.address, "the end of the document", ended).await;
    let lag = &status(&exporter).await;
    assert_eq!(told(lag, "ruby", Created::BeforeOutage)["outlook"], "fails_and_lags");
    assert_eq!(told(lag, "ruby", Created::BeforeOutage)["lag_seconds"], 360);
    assert_eq!(told(lag, "boto3", Created::BeforeOutage)["outlook"], "fails");

    apply_toml(&simulator, &format!("{HEALTHY}\nexpires_in = \"6h\"")).await;
    let up = |scrape: &Scrape| scrape.value("imds_up") == 1;
    for _ in 0..2 {
        let scrape = scrape_until(exporter.address, "the end of the outage", up).await;
        for (sdk, now, before_outage) in [("ruby", true, false), ("boto3", true, true)] {
            assert_eq!(usable(&scrape, sdk, Created::Now), Some(now), "{sdk}");
            assert_eq!(usable(&scrape, sdk, Created::BeforeOutage), Some(before_outage), "{sdk}");
        }
        let status = status(&exporter).await;
        let recovers = told(&status, "ruby", Created::BeforeOutage);
        assert_eq!((&recovers["usable"], &recovers["outlook"]), (&false.into(), &"recovers_by".into()));
        let until: Timestamp = recovers["until"].as_str().expect("a time").parse().expect("a time");
        let now: Timestamp = status["now"].as_str().expect("a time").parse().expect("a time");
        assert!((SignedDuration::ZERO..=SignedDuration::from_secs(360)).contains(&now.duration_until(until)));
        assert_eq!(status["clients_stuck"], false, "it recovers by itself");
        until_saved(&file, "the pause", |saved| {
            !saved["clients"]["ruby"]["before_outage"]["document"]["pause"].is_null()
        })
        .await;
        until_saved(&file, "the end of the outage", |saved| saved["outage_since"].is_null()).await;
        exporter.kill().await;
        exporter = start().await;
    }
    // The pause is over.
    exporter.kill().await;
    edit(&file, |saved| {
        let past = saved["last_success_at"].clone();
        let pause = &mut saved["clients"]["ruby"]["before_outage"]["document"]["pause"];
        *pause = serde_json::json!({ "not_before": past, "until": past });
    });
    exporter = start().await;
    let scrape = scrape_until(exporter.address, "a success", up).await;
    assert_eq!(usable(&scrape, "ruby", Created::BeforeOutage), Some(true));
    assert_eq!(told(&status(&exporter).await, "ruby", Created::BeforeOutage)["outlook"], "works");
}

/// A workload that starts in an outage: those that bind are stuck, the others are not; all by the file after a crash.
#[tokio::test]
async fn the_clients_of_each_sdk_survive_a_crash_by_label() {
    let simulator = start_simulator().await;
    let folder = tempdir().expect("a folder");
    let file = folder.path().join("state.json");
    let start = async |sdks: &str| {
        let mut command = with_sdks(&simulator, sdks);
        command.env("IMDS_EXPORTER_STATE_FILE", &file).env("IMDS_EXPORTER_WORKLOAD", "starts-with-exporter");
        ExporterProcess::start_with(command).await
    };
    let all = labels().join(",");
    let binds = |sdk: &str| ["boto3", "ruby"].contains(&sdk);
    apply_toml(&simulator, CONNECT_REFUSED).await;
    let mut exporter = start(&all).await;
    scrape_until(exporter.address, "a failure", |scrape| scrape.active_kind().is_some()).await;
    apply_toml(&simulator, HEALTHY).await;
    let up = |scrape: &Scrape| scrape.value("imds_up") == 1;
    for (round, sdks) in [all.as_str(), &all, "go-v2,minio-go", "object-store,ruby"].iter().enumerate() {
        let scrape = scrape_until(exporter.address, "a success", up).await;
        let chosen: Vec<_> = sdks.split(',').collect();
        for sdk in labels() {
            let expected = chosen.contains(&sdk).then(|| !binds(sdk));
            assert_eq!(usable(&scrape, sdk, Created::AtStart), expected, "{sdk}, round {round}");
        }
        let status = status(&exporter).await;
        // All are followed, and counted where they are exported.
        assert_eq!(told(&status, "ruby", Created::AtStart)["outlook"], "must_be_created_again");
        assert_eq!(status["clients_stuck"], chosen.iter().any(|sdk| binds(sdk)), "round {round}");
        until_saved(&file, "the clients", |saved| saved["clients"]["ruby"]["at_start"] == "nothing").await;
        until_saved(&file, "the end of the outage", |saved| saved["outage_since"].is_null()).await;
        exporter.kill().await;
        exporter = start([&all, "go-v2,minio-go", "object-store,ruby", "boto3"][round]).await;
    }
}

fn at(second: i64) -> Timestamp {
    START.parse::<Timestamp>().expect("a time") + SignedDuration::from_secs(second)
}

#[test]
fn a_file_of_an_older_version_keeps_its_outages_and_the_document() {
    let declared = Declared { workload: Workload::StartsWithExporter, ..Declared::default() };
    let mut state = State::new(declared, at(0));
    state.record(&success(), Duration::ZERO, at(1));
    let mut saved: Value = serde_json::to_value(Saved::of(&state, Some("boot"), false)).expect("it can be written");
    saved["version"] = 2.into();
    saved.as_object_mut().expect("an object").remove("clients");
    saved["workload"]["clients"] = serde_json::json!({ "boto3": null });
    let restored = Saved::parse(saved.to_string().as_bytes(), Some("boot"), at(9)).expect("it can be read");
    let mut state = State::new(declared, at(9)).with_restored(restored);
    state.record(&failed(Kind::ConnectRefused, Step::Token), Duration::ZERO, at(10));
    for (index, sdk) in SDKS.iter().enumerate() {
        let held = state.holds(index, Created::BeforeOutage);
        assert!(matches!(held, Some(Holds::Document(held)) if held.fetched_at == at(1)), "{}: {held:?}", sdk.label);
        assert_eq!(state.client_usable(index, Created::BeforeOutage, at(10)), Some(true), "{}", sdk.label);
        // What the workload's clients hold was written in another way.
        assert_eq!(state.client_usable(index, Created::AtStart, at(10)), None, "{}", sdk.label);
    }
}

#[test]
fn what_clients_hold_is_read_only_where_it_can_be_true() {
    let mut state = State::new(Declared::default(), at(0));
    state.record(&success(), Duration::ZERO, at(1));
    let saved = serde_json::to_value(Saved::of(&state, Some("boot"), false)).expect("it can be written");
    let document = |fetched_at: &str, pause: Value| serde_json::json!({ "document": { "fetched_at": fetched_at, "ends_at": "9999-01-01T00:00:00Z", "pause": pause } });
    let pause = |not_before: &str, until: &str| serde_json::json!({ "not_before": not_before, "until": until });
    for (holds, is_read) in [
        (document(START, Value::Null), true),
        (document(START, pause(START, START)), true),
        (document(START, pause("2026-01-31T12:05:00Z", "2026-01-31T12:15:00Z")), true),
        (document("2026-01-31T13:00:00Z", Value::Null), false),
        (document(START, pause("2026-01-31T12:15:00Z", "2026-01-31T12:05:00Z")), false),
        (document(START, pause(START, "2027-01-31T12:00:00Z")), false),
        (document("yesterday", Value::Null), false),
        ("everything".into(), false),
        (7.into(), false),
        (Value::Null, true),
    ] {
        let mut saved = saved.clone();
        saved["clients"]["go-v2"]["before_outage"] = holds.clone();
        let parsed = Saved::parse(saved.to_string().as_bytes(), Some("boot"), at(9));
        assert_eq!(parsed.is_ok(), is_read, "{holds}");
    }
    // An SDK that this version does not know, as after a downgrade.
    let mut newer = saved.clone();
    newer["clients"]["cobol"] = saved["clients"]["ruby"].clone();
    assert!(Saved::parse(newer.to_string().as_bytes(), Some("boot"), at(9)).is_ok());
}

#[test]
fn with_default_settings_the_series_stay_within_their_budget() {
    let declared = Declared { workload: Workload::StartsWithExporter, ..Declared::default() };
    let all = Declared { sdks: labels().join(",").parse().expect("labels"), ..declared };
    let series = |declared| {
        let options =
            metrics::Options { poll_interval: Duration::from_secs(15), expected_role: None, process_metrics: true };
        let metrics = Metrics::new(options, Build::THIS);
        let mut state = State::new(declared, at(0));
        state.record(&success(), Duration::ZERO, at(1));
        metrics.render(&state, None, at(2)).lines().filter(|line| !line.starts_with('#')).count()
    };
    assert_eq!(series(all) - series(declared), (SDKS.len() - 1) * Created::VARIANTS.len());
    assert!(series(declared) <= 160 && series(all) <= 160, "{}", series(all));
}

/// What the state says of a client is what follows from the polls for one row, whatever the polls.
#[test]
fn the_state_follows_each_row_as_a_client_alone() {
    let declared = Declared { workload: Workload::StartsWithExporter, ..Declared::default() };
    for seed in 0..64 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut state = State::new(declared, at(0));
        let mut polls = Vec::new();
        let mut second = 0;
        for _ in 0..40 {
            second += [5, 15, 300, 3_600, 6 * 3_600][random.usize(..5)];
            let resolution = if random.bool() {
                let ends_at = at(second + [-60, 120, 900, 6 * 3_600][random.usize(..4)]);
                resolved(credential("web", START, &ends_at.to_string()))
            } else {
                failed(Kind::ServerError, Step::Role)
            };
            state.record(&resolution, Duration::ZERO, at(second));
            polls.push((at(second), resolution));
            for (index, sdk) in SDKS.iter().enumerate() {
                let client = ModelClient::replay(sdk, false, &polls);
                assert_eq!(state.holds(index, Created::AtStart), Some(client.holds), "{}, seed {seed}", sdk.label);
                for later in [0, 60, 600] {
                    let now = at(second + later);
                    let said = state.client_usable(index, Created::AtStart, now);
                    assert_eq!(said, client.can_sign(now), "{}, seed {seed}", sdk.label);
                    assert_eq!(state.outlook(index, Created::AtStart, now), Some(client.outlook(now)));
                    let works = matches!(client.outlook(now), Outlook::Works | Outlook::WorksUntil { .. });
                    assert_eq!(said, Some(works), "{}, seed {seed}: {:?}", sdk.label, client.outlook(now));
                }
            }
        }
    }
}

#[tokio::test]
async fn check_tells_what_the_state_means_for_each_sdk() {
    let simulator = start_simulator().await;
    let check = async |listen: &str| {
        let mut command = program_with_imds(simulator.address(), &["check", "--json"]);
        command.env("IMDS_EXPORTER_LISTEN_ADDRESS", listen);
        let output = output(command).await;
        let mut command = program_with_imds(simulator.address(), &["check"]);
        command.env("IMDS_EXPORTER_LISTEN_ADDRESS", listen);
        let text = String::from_utf8(self::output(command).await.stdout).expect("text");
        assert!(labels().iter().all(|label| text.contains(&format!("\n  {label}: "))), "{text}");
        serde_json::from_slice::<Value>(&output.stdout).expect("JSON")
    };
    let nobody = "127.255.255.255:9";
    let healthy = check(nobody).await;
    apply_toml(&simulator, CONNECT_REFUSED).await;
    let failing = check(nobody).await;
    for sdk in &SDKS {
        assert_eq!(told(&healthy, sdk.label, Created::Now)["outlook"], "works");
        let expected = if sdk.binds_at_creation { "must_be_created_again" } else { "fails" };
        assert_eq!(told(&failing, sdk.label, Created::Now)["outlook"], expected, "{}", sdk.label);
        for report in [&healthy, &failing] {
            let row = report["sdks"].as_array().expect("a list").iter().find(|row| row["sdk"] == sdk.label);
            let row = row.expect("every SDK");
            assert_eq!(row["cure"], sdk.cure);
            assert!(row["existing_clients"].is_string() && row["clients"].as_array().map(Vec::len) == Some(1), "{row}");
        }
    }
    // An exporter on this machine has followed them.
    apply_toml(&simulator, HEALTHY).await;
    let exporter = ExporterProcess::start_with(with_sdks(&simulator, "boto3")).await;
    scrape_until(exporter.address, "a success", |scrape| scrape.value("imds_up") == 1).await;
    apply_toml(&simulator, CONNECT_REFUSED).await;
    scrape_until(exporter.address, "a failure", |scrape| scrape.value("imds_up") == 0).await;
    let followed = check(&exporter.address.to_string()).await;
    for sdk in &SDKS {
        let client = told(&followed, sdk.label, Created::BeforeOutage);
        assert_eq!(client["outlook"], "works_until", "{}", sdk.label);
        assert!(client["until"].as_str().expect("a time").parse::<Timestamp>().is_ok());
    }
}
