//! What systemd hears, on a real socket: the exporter runs in a child process, which has the environment that systemd
//! gives to a service. The child's time is paused, so an hour passes at once.

use std::env;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use imds_exporter::app;
use imds_exporter::clock::Clock;
use imds_exporter::config::Config;
use imds_exporter::model::{Kind, Resolution, Step};
use imds_exporter::source::Source;
use tokio::net::TcpListener;
use tokio::time::sleep;

use crate::support::{TestClock, credential, failed, resolved};

const RUNS_FOR: Duration = Duration::from_hours(1);
const WATCHDOG: Duration = Duration::from_secs(30);
/// What a loop that turns for all that time feeds, twice in the watchdog's time.
const MEALS: u64 = RUNS_FOR.as_secs() / (WATCHDOG.as_secs() / 2);
const POLLS_BEFORE_IT_HANGS: u32 = 20;

/// Names in which state the child's source is.
const SOURCE: &str = "CHILD_SOURCE";

/// Answers so many times, then never again.
struct Answers {
    resolution: Resolution,
    left: u32,
}

impl Source for Answers {
    async fn resolve(&mut self) -> Resolution {
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None => std::future::pending().await,
        }
        self.resolution.clone()
    }
}

/// Not a test: what the tests below run in a process of its own.
#[tokio::test(start_paused = true)]
#[ignore = "the tests below run it"]
async fn child() {
    let good = || resolved(credential("web", "2026-01-31T12:00:00Z", "2026-01-31T18:30:00Z"));
    let source = match env::var(SOURCE).as_deref() {
        Ok("good") => Answers { resolution: good(), left: u32::MAX },
        Ok("failing") => Answers { resolution: failed(Kind::HopLimit, Step::Token), left: u32::MAX },
        Ok("hanging") => Answers { resolution: good(), left: POLLS_BEFORE_IT_HANGS },
        _ => return,
    };
    let config = Config::from_environment([].into_iter()).expect("an empty environment");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
    let clock: Arc<dyn Clock> = TestClock::new("2026-01-31T12:00:00Z");
    app::serve(config, source, listener, clock, |_| {}, sleep(RUNS_FOR)).await;
}

/// Every message that systemd hears from an exporter with such a source, from its start to its end.
fn heard(source: &str, watchdog: Option<Duration>) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a place for a socket");
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_mins(1))).expect("a time-out");
    let mut command = Command::new(env::current_exe().expect("this program"));
    command.args(["--exact", "systemd::child", "--ignored"]).stdout(Stdio::null());
    command.env("NOTIFY_SOCKET", &path).env(SOURCE, source);
    if let Some(watchdog) = watchdog {
        command.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
    }
    let mut child = command.spawn().expect("the child starts");
    let mut messages = Vec::new();
    let mut buffer = [0; 4096];
    while messages.last().is_none_or(|last: &String| last != "STOPPING=1\n") {
        let length = socket.recv(&mut buffer).expect("the child says that it stops");
        messages.push(String::from_utf8(buffer[..length].to_vec()).expect("text"));
    }
    assert!(child.wait().expect("the child ends").success());
    messages
}

fn count(messages: &[String], wanted: &str) -> u64 {
    messages.iter().filter(|message| *message == wanted).count() as u64
}

#[test]
fn it_is_told_ready_first_then_how_things_stand_and_stopping_last() {
    let messages = heard("good", None);
    assert!(messages[0].lines().any(|line| line == "READY=1"), "{:?}", messages[0]);
    assert_eq!(messages.iter().filter(|message| message.contains("READY=1")).count(), 1);
    let status = messages.iter().filter(|message| message.starts_with("STATUS=")).count() as u64;
    assert!(status >= RUNS_FOR.as_secs() / 17, "{status} after {RUNS_FOR:?}");
    assert!(messages.iter().any(|message| message.starts_with("STATUS=") && message.contains("web")));
    assert_eq!(messages.last().expect("there are some"), "STOPPING=1\n");
}

#[test]
fn the_watchdog_is_fed_while_the_loop_turns() {
    assert!(count(&heard("good", Some(WATCHDOG)), "WATCHDOG=1\n") >= MEALS - 1);
}

#[test]
fn the_watchdog_is_fed_in_an_outage() {
    let messages = heard("failing", Some(WATCHDOG));
    assert!(count(&messages, "WATCHDOG=1\n") >= MEALS - 1);
    assert!(messages.iter().any(|message| message.starts_with("STATUS=") && message.contains("hop_limit")));
}

#[test]
fn the_watchdog_starves_once_the_loop_hangs() {
    let fed = count(&heard("hanging", Some(WATCHDOG)), "WATCHDOG=1\n");
    // Until the loop hangs, and for five more intervals, at which it counts as dead.
    assert!((u64::from(POLLS_BEFORE_IT_HANGS) - 3..=u64::from(POLLS_BEFORE_IT_HANGS) + 8).contains(&fed), "{fed}");
}

#[test]
fn without_a_watchdog_none_is_fed() {
    assert_eq!(count(&heard("good", None), "WATCHDOG=1\n"), 0);
}
