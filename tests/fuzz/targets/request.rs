//! Any bytes from a client of the exporter: every answer is one of its own, and the connection ends.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use imds_exporter::domain::state::{Shared, State, WorkloadEnvironment};
use imds_exporter::domain::{Credential, Resolution};
use imds_exporter::http::{Context, LatestScan, Limits, router, serve_connection};
use imds_exporter::metrics::{Build, Metrics, MetricsOptions};
use imds_exporter::platform::clock::{Clock, SystemClock, monotonic};
use imds_exporter::platform::heartbeat::Heartbeat;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::runtime::{Builder, Runtime};

const LARGEST_ANSWERS: u64 = 64 * 1024 * 1024;

struct Stage {
    runtime: Runtime,
    router: Router,
}

impl Stage {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let clock = SystemClock;
        let mut state = State::new(WorkloadEnvironment::default(), clock.now());
        let credential = Credential {
            role: "web".to_owned().try_into().expect("a role name"),
            last_updated: Some(clock.now()),
            expiration: clock.now(),
        };
        let resolution = Resolution::from(Ok(credential));
        state.record(&resolution, Duration::ZERO, clock.now());
        let state = Shared::new(state);
        let options =
            MetricsOptions { poll_interval: Duration::from_secs(15), expected_role: None, process_metrics: false };
        let context = Context {
            state,
            heartbeat: Heartbeat::new(monotonic(), Duration::from_hours(1)),
            clock: Arc::new(clock),
            metrics: Arc::new(Metrics::new(options, Build::THIS)),
            latest_scan: Some(LatestScan::default()),
            endpoint: "http://127.0.0.1".to_owned(),
        };
        Self { runtime, router: router(&Arc::new(context)) }
    }

    fn ask(&self, request: &[u8]) {
        let answers = self.runtime.block_on(async {
            let (mut client, server) = duplex(64 * 1024);
            let conversation = serve_connection(
                server,
                IpAddr::from([127, 0, 0, 1]).into(),
                self.router.clone(),
                Limits::default(),
                None,
                std::future::pending(),
                || {},
            );
            let asking = async {
                let (mut reader, mut writer) = tokio::io::split(&mut client);
                let mut answers = Vec::new();
                let write = async {
                    let _closed = writer.write_all(request).await;
                    let _closed = writer.shutdown().await;
                };
                let read = async { (&mut reader).take(LARGEST_ANSWERS).read_to_end(&mut answers).await };
                let ((), read) = tokio::join!(write, read);
                read.expect("memory does not fail");
                answers
            };
            let ((), answers) = tokio::join!(conversation, asking);
            answers
        });
        if let Some(first) = answers.get(..12) {
            let status = std::str::from_utf8(&first[9..]).expect("an answer is HTTP");
            assert!(first.starts_with(b"HTTP/1."), "{first:?}");
            assert!(["200", "400", "404", "405", "414", "431", "503"].contains(&status), "{status}");
        } else {
            assert!(answers.is_empty());
        }
    }
}

thread_local! {
    static STAGE: Stage = Stage::new();
}

/// The property.
pub(crate) fn check(request: &[u8]) {
    STAGE.with(|stage| stage.ask(request));
}
