//! Prometheus: promtool checks the exposition, and a server scrapes it.

use std::io::{Seek, Write};

use imds_exporter::domain::Kind;
use serde_json::Value;
use strum::VariantArray;

use crate::support::program::{ExporterProcess, command, output};
use crate::support::request::{metrics_with, try_get};
use crate::support::simulator::{CONNECT_REFUSED, HEALTHY, apply_toml, start_simulator};
use crate::support::tools::{eventually, start_prometheus, tool};

#[tokio::test]
#[ignore = "needs promtool: tests/run fetches it"]
async fn promtool_finds_nothing_wrong_with_the_exposition() {
    let simulator = start_simulator().await;
    let exporter = ExporterProcess::start(simulator.address()).await;
    metrics_with(exporter.address, "imds_up 1").await;
    apply_toml(&simulator, CONNECT_REFUSED).await;
    let failing = metrics_with(exporter.address, "imds_up 0").await;
    apply_toml(&simulator, HEALTHY).await;
    let recovered = metrics_with(exporter.address, "imds_outage_last_end_timestamp_seconds").await;
    for exposition in [failing, recovered] {
        let mut promtool = command(tool("debian/usr/bin/promtool"));
        let mut input = tempfile::tempfile().expect("a file");
        input.write_all(exposition.as_bytes()).expect("it can be written");
        input.rewind().expect("a file can be read again");
        promtool.args(["check", "metrics"]).stdin(input);
        let output = output(promtool).await;
        let output_text =
            String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && output_text.is_empty(), "{output_text}");
    }
}

#[tokio::test]
#[ignore = "needs Prometheus: tests/run fetches it"]
async fn prometheus_scrapes_the_exporter() {
    let simulator = start_simulator().await;
    let exporter = ExporterProcess::start(simulator.address()).await;
    let folder = tempfile::tempdir().expect("a folder");
    let config = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: imds\n  static_configs: [{{targets: ['{}']}}]\n",
        exporter.address
    );
    let (_prometheus, address) = start_prometheus(folder.path(), &config).await;

    let query = async |query: &str| {
        let body = try_get(address, &format!("/api/v1/query?query={query}")).await?;
        let answer: Value = serde_json::from_str(&body).ok()?;
        answer["data"]["result"].as_array().filter(|result| !result.is_empty()).cloned()
    };
    let value = |series: &[Value]| series[0]["value"][1].as_str().expect("a value").to_owned();
    assert_eq!(value(&eventually("imds_up", async || query("imds_up").await).await), "1");
    assert_eq!(value(&query("up").await.expect("there is a target")), "1");
    let samples = query("scrape_samples_scraped").await.expect("there was a scrape");
    assert!((100..=120).contains(&value(&samples).parse::<u32>().expect("a number")), "{samples:?}");
    let failures = query("imds_fetch_failures_total").await.expect("every counter exists from the start");
    assert_eq!(failures.len(), Kind::VARIANTS.len());
}
