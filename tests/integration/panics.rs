//! A panic, wherever it happens, ends the whole process with a log line and an exit code of its own. The processes that
//! panic are this test binary, started for one test.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use imds_exporter::domain::{Resolution, SinceBoot, Source};
use imds_exporter::exporter;
use imds_exporter::platform::clock::{Clock, SystemClock};
use imds_exporter::platform::logging;
use jiff::Timestamp;

use crate::support::exporter::{config, listen, open};
use crate::support::program::{output, test_as_process};
use crate::support::repository::committed;
use crate::support::request::{get, get_until};
use crate::support::source::{FakeSource, success};

/// Set for the processes that panic. Without it their tests do nothing, so that a run of all ignored tests survives.
const PANIC: &str = "PANIC_IN_THIS_PROCESS";

/// What a panic message may contain.
const SECRET: &str = "CANARY";

/// Panics at the second poll, with a formatted message.
struct PanickingSource {
    polls: u32,
}

impl Source for PanickingSource {
    async fn resolve(&mut self) -> Resolution {
        self.polls += 1;
        assert!(self.polls < 2, "cannot read {SECRET}");
        success()
    }
}

/// Panics once the flag is set.
struct PanickingClock(AtomicBool);

impl Clock for PanickingClock {
    fn now(&self) -> Timestamp {
        assert!(!self.0.load(Ordering::Relaxed), "the clock panics");
        SystemClock.now()
    }

    fn since_boot(&self) -> SinceBoot {
        SystemClock.since_boot()
    }
}

/// Serves until something panics. `trigger` gets the address.
async fn serve(
    source: impl Source,
    clock: Arc<dyn Clock>,
    poll_interval: Duration,
    trigger: impl AsyncFnOnce(SocketAddr),
) {
    if std::env::var_os(PANIC).is_none() {
        return;
    }
    logging::exit_on_panic();
    let mut config = config(&[]);
    config.poll_interval = poll_interval;
    logging::set_up(&config.log);
    let (listener, address) = listen().await;
    let serving = exporter::run_with(config, source, open(listener), clock, |_| {}, std::future::pending());
    let (_, ()) = tokio::join!(serving, trigger(address));
}

#[tokio::test]
#[ignore = "a process that another test starts"]
async fn child_that_panics_in_a_poll() {
    serve(PanickingSource { polls: 0 }, Arc::new(SystemClock), Duration::from_millis(10), async |_| {}).await;
}

#[tokio::test]
#[ignore = "a process that another test starts"]
async fn child_that_panics_in_a_scrape() {
    let clock = Arc::new(PanickingClock(AtomicBool::new(false)));
    let source = FakeSource::new([success()]);
    serve(source, Arc::clone(&clock) as Arc<dyn Clock>, Duration::from_hours(1), async |address| {
        get_until(address, "/-/ready", |response| response.status == 200).await;
        clock.0.store(true, Ordering::Relaxed);
        let _no_response = get(address, "/metrics").await;
    })
    .await;
}

#[tokio::test]
async fn a_panic_in_a_poll_or_a_scrape_ends_the_process_with_a_log_line_and_exit_code_70() {
    for (child, shown) in [("poll", "ERROR"), ("scrape", "the clock panics")] {
        let mut command = test_as_process(&format!("panics::child_that_panics_in_a_{child}"));
        command.env(PANIC, "1");
        let output = output(command).await;
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(logging::EXIT_BUG.into()), "{log}");
        assert!(log.contains("panics.rs:") && log.contains(shown) && !log.contains(SECRET), "{log}");
    }
}

/// In release builds a panic cannot be caught.
#[test]
fn the_release_profile_aborts_on_panic_and_unsafe_code_is_forbidden() {
    let manifest: toml::Table = committed("Cargo.toml").parse().expect("TOML");
    assert_eq!(manifest["profile"]["release"]["panic"].as_str(), Some("abort"));
    assert_eq!(manifest["lints"]["rust"]["unsafe_code"].as_str(), Some("forbid"));
}
