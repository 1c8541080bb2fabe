//! The real Prometheus: its linter reads the live exposition, its server scrapes it.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::support::{simulator, tell};
use crate::tools::{Exporter, PATIENCE, command, get, prometheus, tool, until};

#[tokio::test]
#[ignore = "needs promtool: tests/run fetches it"]
async fn promtool_has_nothing_to_say() {
    let simulator = simulator().await;
    let exporter = Exporter::start(simulator.address()).await;
    exporter.metrics_with("imds_up 1").await;
    tell(&simulator, "fault = \"connect_refused\"").await;
    let failing = exporter.metrics_with("imds_up 0").await;
    tell(&simulator, "fault = \"none\"").await;
    let recovered = exporter.metrics_with("imds_outage_last_end_timestamp_seconds").await;
    for exposition in [failing, recovered] {
        let mut promtool = command(tool("debian/usr/bin/promtool"));
        promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut promtool = promtool.spawn().expect("promtool runs");
        let mut stdin = promtool.stdin.take().expect("it is piped");
        stdin.write_all(exposition.as_bytes()).await.expect("it reads");
        drop(stdin);
        let output = timeout(PATIENCE, promtool.wait_with_output()).await.expect("it ends").expect("it ran");
        let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.is_empty(), "{said}");
    }
}

#[tokio::test]
#[ignore = "needs Prometheus: tests/run fetches it"]
async fn prometheus_scrapes_it() {
    let simulator = simulator().await;
    let exporter = Exporter::start(simulator.address()).await;
    let folder = tempfile::tempdir().expect("a folder");
    let config = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: imds\n  static_configs: [{{targets: ['{}']}}]\n",
        exporter.address
    );
    let (_prometheus, address) = prometheus(folder.path(), &config).await;

    let query = async |query: &str| {
        let body = get(address, &format!("/api/v1/query?query={query}")).await?;
        let answer: serde_json::Value = serde_json::from_str(&body).ok()?;
        answer["data"]["result"].as_array().filter(|result| !result.is_empty()).cloned()
    };
    let value = |series: &[serde_json::Value]| series[0]["value"][1].as_str().expect("a value").to_owned();
    assert_eq!(value(&until(async || query("imds_up").await, "imds_up").await), "1");
    assert_eq!(value(&query("up").await.expect("there is a target")), "1");
    let samples = query("scrape_samples_scraped").await.expect("there was a scrape");
    assert!((100..=120).contains(&value(&samples).parse::<u32>().expect("a number")), "{samples:?}");
    let failures = query("imds_fetch_failures_total").await.expect("they are there from the start");
    assert_eq!(failures.len(), imds_exporter::model::Kind::ALL.len());
}
