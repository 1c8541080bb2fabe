//! What repeats is logged once: the lines of an exporter in paused time, over many polls.

use std::sync::Arc;

use imds_exporter::domain::{Kind, Resolution, Step};
use imds_exporter::exporter;
use imds_exporter::platform::clock::Clock;
use jiff::SignedDuration;
use serde_json::Value;
use tokio::sync::Notify;
use tracing::Level;

use crate::support::clock::TestClock;
use crate::support::exporter::{config, listen, open};
use crate::support::log::Log;
use crate::support::source::{FakeSource, START, credential, failed, resolved, success};

/// The lines of an exporter that gets these answers, one a poll; nobody asks it anything.
async fn lines(script: Vec<Resolution>, clock: Arc<dyn Clock>) -> Vec<Value> {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().json().flatten_event(true).with_max_level(Level::INFO);
    let guard = tracing::subscriber::set_default(subscriber.with_writer(log.clone()).finish());
    let (polls, done) = (script.len(), Arc::new(Notify::new()));
    let (mut polled, last) = (0, Arc::clone(&done));
    let on_poll = |_: &_| {
        polled += 1;
        if polled == polls {
            last.notify_one();
        }
    };
    let listeners = open(listen().await.0);
    let stop = async { done.notified().await };
    let ended = exporter::run_with(config(&[]), FakeSource::new(script), listeners, clock, on_poll, stop).await;
    ended.expect("it is stopped");
    drop(guard);
    let text = log.text();
    let lines = text.lines().map(|line| serde_json::from_str(line).expect("JSON"));
    lines.filter(|line: &Value| line["message"] != "stopping").collect()
}

#[tokio::test(start_paused = true)]
async fn an_emulator_that_makes_a_document_at_each_request_is_one_line() {
    let start = TestClock::new(START).now();
    let document = |poll: i64| {
        let updated = (start + SignedDuration::from_secs(15 * poll)).to_string();
        resolved(credential("web", &updated, "2026-01-31T18:30:00Z"))
    };
    let lines = lines((0..50).map(document).collect(), TestClock::new(START)).await;
    assert_eq!(lines.len(), 1, "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_a_line_when_it_begins_and_two_when_it_ends_however_long_it_lasts() {
    const OUTAGES: usize = 60;
    // Each with failures of one kind for half a minute, then success for as long: an hour.
    let refused = || failed(Kind::ConnectRefused, Step::Token);
    let cycle = |_| [vec![refused(); 6], vec![success(); 2]].concat();
    let lines = lines((0..OUTAGES).flat_map(cycle).collect(), TestClock::new(START)).await;
    let began = lines.iter().filter(|line| line["kind"].is_string()).count();
    assert_eq!((began, lines.len()), (OUTAGES, 3 * OUTAGES), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_lasts_is_one_line_for_each_change_of_its_kind() {
    let kinds = [Kind::ConnectRefused, Kind::Throttled, Kind::ConnectRefused];
    let script = kinds.iter().flat_map(|kind| vec![failed(*kind, Step::Token); 50]);
    let lines = lines(script.collect(), TestClock::new(START)).await;
    assert_eq!(lines.len(), kinds.len(), "{lines:?}");
}
