//! A GET changes nothing, whoever sends it and whatever its headers and query say.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use imds_exporter::domain::{Kind, Resolution, Step};
use imds_exporter::exporter;
use imds_exporter::http::Route;
use imds_exporter::platform::clock::SystemClock;
use serde_json::Value;
use strum::VariantArray;
use tempfile::{TempDir, tempdir};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::support::exporter::{config, listen, open};
use crate::support::request::{get, send};
use crate::support::scrape::scrape_until;
use crate::support::source::{START, SentSource, credential, failed, resolved};

const USER_AGENTS: [&str; 12] = [
    "",
    "-",
    "kube-probe/1.33",
    "kubelet",
    "systemd",
    "imds-exporter/0.1.0",
    "imds-exporter-wait/0.1.0",
    "Prometheus/3.5.0",
    "Boto3/1.44.5 md/Botocore#1.44.5",
    "ELB-HealthChecker/2.0",
    "curl/8.5.0",
    "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0",
];

const HEADERS: [&str; 12] = [
    "X-Forwarded-For: 10.0.0.1",
    "Forwarded: for=127.0.0.1",
    "Cookie: session=x",
    "Authorization: Basic YWRtaW46YWRtaW4=",
    "X-HTTP-Method-Override: POST",
    "X-Aws-Ec2-Metadata-Token: x",
    "Accept-Encoding: gzip, br",
    "If-None-Match: *",
    "If-Modified-Since: Sat, 31 Jan 2026 12:00:00 GMT",
    "Range: bytes=0-1",
    "X-Gate-Start: true",
    "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
];

const QUERIES: [&str; 8] = [
    "?",
    "?command=sh",
    "?gate=start&wait=true",
    "?ready=1&started=true",
    "?reset=1&clear=1",
    "?%00%ff",
    "?%0d%0aX:%20y",
    "?a=b&&&=",
];

/// Every request: each variant of a GET of each route.
fn requests() -> Vec<String> {
    let user_agents = USER_AGENTS.iter().map(|agent| ("", format!("User-Agent: {agent}")));
    let headers = HEADERS.iter().map(|header| ("", (*header).to_owned()));
    let queries = QUERIES.iter().map(|query| (*query, "User-Agent: kube-probe/1.33".to_owned()));
    let variants: Vec<_> = user_agents.chain(headers).chain(queries).collect();
    let of_route = |route: &Route| {
        let path = route.path();
        let request = |(query, header): &(&str, String)| {
            format!("GET {path}{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}\r\n\r\n")
        };
        variants.iter().map(request).collect::<Vec<_>>()
    };
    Route::VARIANTS.iter().flat_map(of_route).collect()
}

/// An exporter that polls only when the test says so.
struct Exporter {
    address: SocketAddr,
    polls: UnboundedSender<Resolution>,
    _folder: TempDir,
}

impl Exporter {
    async fn start(workload: &str) -> Self {
        let folder = tempdir().expect("a folder");
        let state_file = folder.path().join("state.json");
        let mut config = config(&[
            ("IMDS_EXPORTER_WORKLOAD", workload),
            ("IMDS_EXPORTER_STATE_FILE", state_file.to_str().expect("text")),
            ("IMDS_EXPORTER_WATCH_PROCESSES", "there-is-no-such-process"),
        ]);
        config.poll_interval = Duration::from_millis(10);
        let (polls, source) = unbounded_channel();
        let (listener, address) = listen().await;
        let (clock, never) = (Arc::new(SystemClock), std::future::pending());
        tokio::spawn(exporter::run_with(config, SentSource(source), open(listener), clock, |_| {}, never));
        Self { address, polls, _folder: folder }
    }

    async fn poll(&self, number: u64, resolution: Resolution) {
        self.polls.send(resolution).expect("it runs");
        // The first scan of the processes follows the first poll.
        scrape_until(self.address, "a poll and a look", |scrape| {
            scrape.polls() == number && scrape.0.contains("\nimds_watched_processes 0\n")
        })
        .await;
    }

    /// All that is shown, but what changes with time: the exporter's own process is one of these.
    async fn shown(&self) -> (String, Value) {
        let metrics = get(self.address, "/metrics").await;
        let changing = ["imds_credentials_remaining_seconds ", "process_"];
        let lines = metrics.body().lines().filter(|line| !changing.iter().any(|name| line.starts_with(name)));
        let mut status: Value = serde_json::from_str(get(self.address, "/api/v1/status").await.body()).expect("JSON");
        for changing in ["now", "remaining_seconds"] {
            status[changing] = Value::Null;
        }
        (lines.collect::<Vec<_>>().join("\n"), status)
    }

    async fn assert_unchanged_by_gets(&self) {
        let before = self.shown().await;
        for request in requests() {
            let status = send(self.address, &request).await.status;
            assert!(matches!(status, 200 | 400 | 503), "{status}: {request}");
        }
        let after = self.shown().await;
        assert_eq!(after.0, before.0);
        assert_eq!(after.1, before.1);
    }
}

/// A success whose credentials do not expire while the test runs.
fn lasting() -> Resolution {
    resolved(credential("web", START, "2100-01-01T00:00:00Z"))
}

#[tokio::test]
async fn no_get_changes_what_is_shown_or_what_follows() {
    for (workload, at_start) in
        [("starts-with-exporter", Some(false)), ("starts-when-ready", Some(true)), ("independent", None)]
    {
        let exporter = Exporter::start(workload).await;
        exporter.assert_unchanged_by_gets().await;
        exporter.poll(1, failed(Kind::ConnectRefused, Step::Token)).await;
        exporter.assert_unchanged_by_gets().await;
        exporter.poll(2, lasting()).await;
        exporter.assert_unchanged_by_gets().await;
        exporter.poll(3, failed(Kind::NoRole, Step::Role)).await;
        exporter.poll(4, lasting()).await;
        let (metrics, status) = exporter.shown().await;
        let series = "imds_client_usable{sdk=\"boto3\",created=\"at_start\"} ";
        let value = metrics.lines().find_map(|line| line.strip_prefix(series));
        assert_eq!(value.map(|value| value == "1"), at_start, "{workload}");
        assert_eq!(status["clients_stuck"], at_start == Some(false), "{workload}");
    }
}
