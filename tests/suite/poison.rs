//! A bug that panics ends the process with a line and a code of its own, wherever it strikes: no half of the exporter
//! lives on. The victims are this test binary, started once more for one test alone.

use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use imds_exporter::clock::{Clock, SystemClock};
use imds_exporter::config::Config;
use imds_exporter::model::Resolution;
use imds_exporter::source::Source;
use imds_exporter::{app, log};
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::time::timeout;

use crate::http::{PATIENCE, request};
use crate::support::{FakeSource, credential, resolved};

/// Set for victims. Without it they do nothing: a run of all tests, ignored ones included, is to survive them.
const VICTIM: &str = "VICTIM";

/// What a bug may have got hold of.
const SECRET: &str = "CANARY";

/// Panics at the second poll, with a text that quotes what it read.
struct Poisoned {
    polls: u32,
}

impl Source for Poisoned {
    async fn resolve(&mut self) -> Resolution {
        self.polls += 1;
        assert!(self.polls < 2, "cannot read {SECRET}");
        good()
    }
}

/// Panics once it is told to.
struct PoisonedClock(AtomicBool);

impl Clock for PoisonedClock {
    fn now(&self) -> Timestamp {
        assert!(!self.0.load(Ordering::Relaxed), "the clock is poisoned");
        SystemClock.now()
    }
}

fn good() -> Resolution {
    resolved(credential("web", "2026-01-31T12:00:00Z", "2026-01-31T18:30:00Z"))
}

/// Serves until the poison works. What comes after is never reached.
async fn serve(
    source: impl Source,
    clock: Arc<dyn Clock>,
    interval: Duration,
    poison: impl AsyncFnOnce(std::net::SocketAddr),
) {
    if std::env::var_os(VICTIM).is_none() {
        return;
    }
    log::end_on_panic();
    let mut config = Config::from_environment(std::iter::empty()).expect("nothing is wrong with nothing");
    config.poll_interval = interval;
    log::set_up(&config.log);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
    let address = listener.local_addr().expect("it is bound");
    let serving = app::serve(config, source, listener, clock, |_| {}, std::future::pending());
    tokio::join!(serving, poison(address));
}

#[tokio::test]
#[ignore = "the victim of a test: its process is to end"]
async fn victim_of_a_poisoned_poll() {
    serve(Poisoned { polls: 0 }, Arc::new(SystemClock), Duration::from_millis(10), async |_| {}).await;
}

#[tokio::test]
#[ignore = "the victim of a test: its process is to end"]
async fn victim_of_a_poisoned_scrape() {
    let clock = Arc::new(PoisonedClock(AtomicBool::new(false)));
    let source = FakeSource::new([good()]);
    serve(source, Arc::clone(&clock) as Arc<dyn Clock>, Duration::from_hours(1), async |address| {
        while request(address, "GET", "/-/ready").await.0 != 200 {}
        clock.0.store(true, Ordering::Relaxed);
        let _no_answer = request(address, "GET", "/metrics").await;
    })
    .await;
}

async fn end_of(victim: &str) -> (Output, String) {
    let mut command = Command::new(std::env::current_exe().expect("it runs"));
    command.args(["--exact", victim, "--ignored", "--nocapture", "--test-threads=1"]);
    command.env_clear().env(VICTIM, "1").stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(PATIENCE, command.output()).await.expect("it ends").expect("it runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, text)
}

#[tokio::test]
async fn a_poisoned_poll_ends_the_process_with_a_line_and_a_code() {
    let (output, text) = end_of("poison::victim_of_a_poisoned_poll").await;
    assert_eq!(output.status.code(), Some(log::EXIT_BUG.into()), "{text}");
    assert!(text.contains("poison.rs:") && text.contains("ERROR"), "{text}");
    assert!(!text.contains(SECRET), "{text}");
}

#[tokio::test]
async fn a_poisoned_scrape_ends_the_process_too() {
    let (output, text) = end_of("poison::victim_of_a_poisoned_scrape").await;
    assert_eq!(output.status.code(), Some(log::EXIT_BUG.into()), "{text}");
    assert!(text.contains("poison.rs:") && text.contains("the clock is poisoned"), "{text}");
}

/// In the build that is shipped a panic cannot be caught at all, and there is no unsafe code that could go wrong in
/// other ways.
#[test]
fn the_shipped_build_aborts_on_panic_and_has_no_unsafe_code() {
    let manifest = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).expect("a manifest");
    let manifest: toml::Table = manifest.parse().expect("TOML");
    assert_eq!(manifest["profile"]["release"]["panic"].as_str(), Some("abort"));
    assert_eq!(manifest["lints"]["rust"]["unsafe_code"].as_str(), Some("forbid"));
}
