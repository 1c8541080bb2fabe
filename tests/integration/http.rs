//! The HTTP server and its routes, over real sockets: the whole exporter against the simulator.

use imds_exporter::http::Route;
use strum::VariantArray;
use tokio::net::TcpStream;

use crate::support::exporter::Exporter;
use crate::support::program::{ExporterProcess, program_with_imds};
use crate::support::request::{get, get_until, request};
use crate::support::scrape::{Scrape, scrape_until};
use crate::support::simulator::{apply_toml, start_simulator};
use crate::support::wait::wait_until;

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
    // No processes are watched.
    assert!(get(exporter.address, "/-/clients").await.text.contains("IMDS_EXPORTER_WATCH_PROCESSES"));
    let metrics = get(exporter.address, "/metrics").await.text;
    assert!(metrics.to_ascii_lowercase().contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"));
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
async fn process_metrics_are_those_of_the_scrape() {
    let simulator = start_simulator().await;
    let mut command = program_with_imds(simulator.address(), &[]);
    command.env("IMDS_EXPORTER_POLL_INTERVAL", "1h");
    let exporter = ExporterProcess::start_with_default_interval(command).await;
    get_until(exporter.address, "/-/startup", |response| response.status == 200).await;
    let open = |scrape: &Scrape| scrape.value("process_open_fds");
    let before = open(&Scrape::of(exporter.address).await);
    let mut held = Vec::new();
    for _ in 0..40 {
        held.push(TcpStream::connect(exporter.address).await.expect("it listens"));
    }
    scrape_until(exporter.address, "the connections are counted", |scrape| open(scrape) >= before + 30).await;
}
