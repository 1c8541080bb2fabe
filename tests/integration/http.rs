//! The HTTP server and its routes, over real sockets: the whole exporter against the simulator.

use imds_exporter::http::Route;
use strum::VariantArray;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::exporter::Exporter;
use crate::support::request::{Response, get, get_until, metrics_with, request};
use crate::support::scrape::Scrape;
use crate::support::simulator::{HEALTHY, apply_toml, start_simulator};
use crate::support::wait::{DEADLINE, answer_within, wait_until};

#[tokio::test]
async fn every_route_answers_and_other_paths_are_not_found() {
    let simulator = start_simulator().await;
    let exporter = Exporter::start(&simulator).await;
    get_until(exporter.address, "/-/startup", |response| response.status == 200).await;
    for page in Route::VARIANTS {
        assert_eq!(get(exporter.address, page.path()).await.status, 200, "{}", page.path());
        assert_eq!(request(exporter.address, "POST", page.path()).await.status, 405, "{}", page.path());
    }
    for path in ["/metrics/", "/x", "/-/", "/api/v1/status/x", "/..", "/%00"] {
        assert_eq!(get(exporter.address, path).await.status, 404, "{path}");
    }
    let metrics = get(exporter.address, "/metrics").await.text;
    assert!(metrics.to_ascii_lowercase().contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    exporter.stop().await;
}

#[tokio::test]
async fn a_failing_imds_fails_the_startup_probe_only_and_only_until_the_first_success() {
    let simulator = start_simulator().await;
    apply_toml(&simulator, "fault = \"imds_disabled\"").await;
    let exporter = Exporter::start(&simulator).await;
    get_until(exporter.address, "/-/ready", |response| response.status == 200).await;
    assert_eq!(get(exporter.address, "/-/healthy").await.status, 200);
    assert_eq!(get(exporter.address, "/-/startup").await.status, 503);
    assert_eq!(get(exporter.address, "/metrics").await.status, 200);
    apply_toml(&simulator, HEALTHY).await;
    get_until(exporter.address, "/-/startup", |response| response.status == 200).await;
    apply_toml(&simulator, "fault = \"imds_disabled\"").await;
    metrics_with(exporter.address, "imds_up 0").await;
    assert_eq!(get(exporter.address, "/-/startup").await.status, 200, "a start that was allowed stays allowed");
    exporter.stop().await;
}

#[tokio::test]
async fn a_hanging_imds_delays_neither_scrapes_nor_the_shutdown() {
    let simulator = start_simulator().await;
    apply_toml(&simulator, "fault = \"read_timeout\"").await;
    // One poll takes longer than the whole test may.
    let long = [("IMDS_EXPORTER_TIMEOUT", "30s"), ("IMDS_EXPORTER_POLL_INTERVAL", "1h")];
    let exporter = Exporter::start_with(&simulator, &long).await;
    wait_until("a poll begins", || simulator.counts().token > 0).await;
    for _ in 0..20 {
        let metrics = get(exporter.address, "/metrics").await;
        assert!(metrics.status == 200 && metrics.body().contains("imds_fetches_total 0"));
    }
    assert_eq!(get(exporter.address, "/-/ready").await.status, 503);
    exporter.stop().await;
}

#[tokio::test]
async fn the_status_document_shows_the_credentials_and_clients() {
    let simulator = start_simulator().await;
    let exporter = Exporter::start(&simulator).await;
    let up = |response: &Response| response.body().contains("\"up\": true");
    let response = get_until(exporter.address, "/api/v1/status", up).await;
    let status: serde_json::Value = serde_json::from_str(response.body()).expect("JSON");
    assert_eq!(status["role"], simulator.credential().role.as_str());
    assert_eq!(status["expiration"], simulator.credential().expiration.to_string());
    // No workload is declared to start with the exporter.
    let created: Vec<_> = status["clients"].as_array().expect("a list").iter().map(|row| &row["created"]).collect();
    assert_eq!(created, ["now", "before_outage"]);
    assert_eq!((&status["workload"], &status["clients_stuck"]), (&"independent".into(), &false.into()));
    assert_eq!(status["suspects"], serde_json::Value::Null);
    exporter.stop().await;
}

#[tokio::test]
async fn process_metrics_are_those_of_the_scrape() {
    let simulator = start_simulator().await;
    let exporter = Exporter::start_with(&simulator, &[("IMDS_EXPORTER_POLL_INTERVAL", "1h")]).await;
    get_until(exporter.address, "/-/startup", |response| response.status == 200).await;
    let open = async || Scrape::of(exporter.address).await.value("process_open_fds");
    let before = open().await;
    let held = std::fs::File::open("/dev/null").expect("Linux has it");
    let held: Vec<_> = (0..100).map(|_| held.try_clone().expect("there are descriptors")).collect();
    // Other tests in this process open and close some too.
    assert!(answer_within(DEADLINE, async || (open().await >= before + 50).then_some(())).await.is_some());
    drop(held);
    exporter.stop().await;
}

#[tokio::test]
async fn a_request_head_that_is_too_large_is_rejected() {
    let simulator = start_simulator().await;
    let exporter = Exporter::start(&simulator).await;
    let mut stream = TcpStream::connect(exporter.address).await.expect("it listens");
    let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(64 * 1024));
    let _closed_while_writing = stream.write_all(long.as_bytes()).await;
    let mut answer = Vec::new();
    let _reset = timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("it is closed");
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"), "{answer:?}");
    exporter.stop().await;
}
