//! The routes over real sockets: the whole exporter against the simulator.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use imds_exporter::app;
use imds_exporter::clock::{Clock, SystemClock};
use imds_exporter::config::Config;
use imds_exporter::http::Page;
use imds_exporter::simulator::Simulator;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::support::{simulator, tell};

/// Longer than anything takes that goes well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// An exporter that runs in this process.
pub(crate) struct Exporter {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<std::io::Result<()>>,
}

impl Exporter {
    pub(crate) async fn start(simulator: &Simulator, more: &[(&str, &str)]) -> Self {
        let endpoint = format!("http://{}", simulator.address());
        let own = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint.as_str()), ("IMDS_EXPORTER_POLL_INTERVAL", "1s")];
        let pairs: BTreeMap<_, _> = own.iter().chain(more).copied().collect();
        let pairs = pairs.into_iter().map(|(name, value)| (name.into(), value.into()));
        let config = Config::from_environment(pairs).expect("a good configuration");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let (stop, stopped) = oneshot::channel();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let task = tokio::spawn(app::run(config, listener, clock, async {
            let _gone = stopped.await;
        }));
        Self { address, stop: Some(stop), task }
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        request(self.address, "GET", path).await
    }

    /// Asks until the answer is as wanted.
    pub(crate) async fn until(&self, path: &str, wanted: impl Fn(u16, &str) -> bool) -> String {
        let asking = async {
            loop {
                let (status, body) = self.get(path).await;
                if wanted(status, &body) {
                    return body;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("{path} does not become as wanted"))
    }

    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        timeout(PATIENCE, self.task).await.expect("it stops").expect("it does not panic").expect("it ends well");
    }
}

/// Status and whole answer, head included.
pub(crate) async fn request(address: SocketAddr, method: &str, path: &str) -> (u16, String) {
    raw(address, &format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await
}

/// As [`request`], for a request that is written out.
pub(crate) async fn raw(address: SocketAddr, request: &str) -> (u16, String) {
    let ask = async {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("it answers");
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("it answers in HTTP");
        (status, answer)
    };
    timeout(PATIENCE, ask).await.expect("it answers in time")
}

#[tokio::test]
async fn every_route_answers_and_others_do_not() {
    let simulator = simulator().await;
    let exporter = Exporter::start(&simulator, &[]).await;
    exporter.until("/-/startup", |status, _| status == 200).await;
    for page in Page::ALL {
        assert_eq!(exporter.get(page.path()).await.0, 200, "{}", page.path());
        assert_eq!(request(exporter.address, "POST", page.path()).await.0, 405, "{}", page.path());
    }
    for path in ["/metrics/", "/x", "/-/", "/api/v1/status/x", "/..", "/%00"] {
        assert_eq!(exporter.get(path).await.0, 404, "{path}");
    }
    let (_, metrics) = exporter.get("/metrics").await;
    assert!(metrics.to_ascii_lowercase().contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    exporter.stop().await;
}

#[tokio::test]
async fn a_failing_imds_touches_neither_health_nor_readiness_but_holds_the_start() {
    let simulator = simulator().await;
    tell(&simulator, "fault = \"imds_disabled\"").await;
    let exporter = Exporter::start(&simulator, &[]).await;
    exporter.until("/-/ready", |status, _| status == 200).await;
    assert_eq!(exporter.get("/-/healthy").await.0, 200);
    assert_eq!(exporter.get("/-/startup").await.0, 503);
    assert_eq!(exporter.get("/metrics").await.0, 200);
    tell(&simulator, "fault = \"none\"").await;
    exporter.until("/-/startup", |status, _| status == 200).await;
    tell(&simulator, "fault = \"imds_disabled\"").await;
    exporter.until("/metrics", |_, body| body.contains("imds_up 0")).await;
    assert_eq!(exporter.get("/-/startup").await.0, 200, "for good");
    exporter.stop().await;
}

#[tokio::test]
async fn a_hanging_imds_delays_no_scrape_and_no_stop() {
    let simulator = simulator().await;
    tell(&simulator, "fault = \"read_timeout\"").await;
    // One poll takes longer than the whole test may.
    let exporter =
        Exporter::start(&simulator, &[("IMDS_EXPORTER_TIMEOUT", "1h"), ("IMDS_EXPORTER_POLL_INTERVAL", "1h")]).await;
    let asked = async {
        while simulator.counts().token == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, asked).await.expect("the poll begins");
    for _ in 0..20 {
        let (status, metrics) = exporter.get("/metrics").await;
        assert!(status == 200 && metrics.contains("imds_fetches_total 0"));
    }
    assert_eq!(exporter.get("/-/ready").await.0, 503);
    exporter.stop().await;
}

#[tokio::test]
async fn the_status_is_json_of_the_same_facts() {
    let simulator = simulator().await;
    let exporter = Exporter::start(&simulator, &[]).await;
    let body = exporter.until("/api/v1/status", |_, body| body.contains("\"up\": true")).await;
    let json = body.split_once("\r\n\r\n").expect("an answer has a body").1;
    let status: serde_json::Value = serde_json::from_str(json).expect("JSON");
    assert_eq!(status["role"], simulator.credential().role.as_str());
    assert_eq!(status["expiration"], simulator.credential().expiration.to_string());
    assert_eq!(status["clients"].as_array().map(Vec::len), Some(3));
    assert_eq!(status["suspects"], serde_json::Value::Null);
    exporter.stop().await;
}

#[tokio::test]
async fn a_full_house_lets_the_honest_client_in() {
    let simulator = simulator().await;
    let exporter = Exporter::start(&simulator, &[]).await;
    let mut idle = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(exporter.address).await.expect("it listens");
        // Half a head: a client that never ends its request.
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHo").await.expect("it reads");
        idle.push(stream);
    }
    assert_eq!(exporter.get("/metrics").await.0, 200);
    // The quiet ones had to go.
    let mut gone = 0;
    for stream in &mut idle {
        let mut byte = [0];
        gone += usize::from(timeout(Duration::from_millis(1), stream.read(&mut byte)).await.is_ok());
    }
    assert!(gone >= 200 - 64, "{gone} were closed");
    exporter.stop().await;
}

#[tokio::test]
async fn a_head_without_end_is_cut_off() {
    let simulator = simulator().await;
    let exporter = Exporter::start(&simulator, &[]).await;
    let mut stream = TcpStream::connect(exporter.address).await.expect("it listens");
    let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(64 * 1024));
    let _closed_while_writing = stream.write_all(long.as_bytes()).await;
    let mut answer = Vec::new();
    let _reset = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("it is cut off");
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"), "{answer:?}");
    exporter.stop().await;
}
