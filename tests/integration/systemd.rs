//! Messages to systemd over a real socket: the exporter runs in a child process with the environment of a service. The
//! child's time is paused, so that an hour passes at once.

use std::env;
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use imds_exporter::domain::{Kind, Step};
use imds_exporter::exporter;
use imds_exporter::platform::clock::Clock;
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::sleep;

use crate::support::clock::TestClock;
use crate::support::exporter::{config, listen, open};
use crate::support::program::{exit_status, test_as_process};
use crate::support::source::{START, SentSource, failed, success};

const RUNS_FOR: Duration = Duration::from_hours(1);
const WATCHDOG: Duration = Duration::from_secs(30);
/// The notifications of a poll loop that runs all that time: two per watchdog timeout.
const NOTIFICATIONS: u64 = RUNS_FOR.as_secs() / (WATCHDOG.as_secs() / 2);
const WATCHDOG_MESSAGE: &str = "WATCHDOG=1\n";
const POLLS_BEFORE_IT_HANGS: u64 = 20;
const MORE_THAN_ALL_POLLS: u64 = RUNS_FOR.as_secs();

/// Tells the child which source to use.
const SOURCE: &str = "CHILD_SOURCE";

/// The process that the other tests start.
#[tokio::test(start_paused = true)]
#[ignore = "a process that other tests start"]
async fn child() {
    let (resolution, answers) = match env::var(SOURCE).as_deref() {
        Ok("succeeding") => (success(), MORE_THAN_ALL_POLLS),
        Ok("failing") => (failed(Kind::HopLimit, Step::Token), MORE_THAN_ALL_POLLS),
        Ok("hanging") => (success(), POLLS_BEFORE_IT_HANGS),
        _ => return,
    };
    let (polls, source) = unbounded_channel();
    (0..answers).for_each(|_| polls.send(resolution.clone()).expect("there is a receiver"));
    let source = SentSource(source);
    let (listener, _) = listen().await;
    let clock: Arc<dyn Clock> = TestClock::new(START);
    exporter::run_with(config(&[]), source, open(listener), clock, |_| {}, sleep(RUNS_FOR)).await.expect("it runs");
}

/// Every message that an exporter with such a source sends from its start to its end.
async fn messages_of(source: &str, watchdog: Option<Duration>) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a place for a socket");
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_mins(1))).expect("a time-out");
    let mut command = test_as_process("systemd::child");
    command.stdout(Stdio::null());
    command.env("NOTIFY_SOCKET", &path).env(SOURCE, source);
    if let Some(watchdog) = watchdog {
        command.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
    }
    let mut child = command.spawn().expect("the child starts");
    let mut messages = Vec::new();
    let mut buffer = [0; 4096];
    while messages.last().is_none_or(|last: &String| last != "STOPPING=1\n") {
        let length = socket.recv(&mut buffer).expect("a message in time");
        messages.push(String::from_utf8(buffer[..length].to_vec()).expect("text"));
    }
    assert!(exit_status(&mut child).await.success());
    messages
}

fn count(messages: &[String], wanted: &str) -> u64 {
    messages.iter().filter(|message| *message == wanted).count() as u64
}

#[tokio::test]
async fn without_a_watchdog_ready_is_the_first_message_then_status_and_stopping_is_the_last() {
    let messages = messages_of("succeeding", None).await;
    assert!(messages[0].lines().any(|line| line == "READY=1"), "{:?}", messages[0]);
    assert_eq!(messages.iter().filter(|message| message.contains("READY=1")).count(), 1);
    let status = messages.iter().filter(|message| message.starts_with("STATUS=")).count() as u64;
    assert!(status >= RUNS_FOR.as_secs() / 17, "{status} after {RUNS_FOR:?}");
    assert!(messages.iter().any(|message| message.starts_with("STATUS=") && message.contains("web")));
    assert_eq!(messages.last().expect("there are some"), "STOPPING=1\n");
    assert_eq!(count(&messages, WATCHDOG_MESSAGE), 0);
}

#[tokio::test]
async fn the_watchdog_is_notified_while_the_poll_loop_runs_however_polls_end() {
    let all = NOTIFICATIONS - 1..=NOTIFICATIONS + 1;
    // Until the loop hangs, and for five more intervals, after which it is unhealthy.
    let hangs = POLLS_BEFORE_IT_HANGS - 3..=POLLS_BEFORE_IT_HANGS + 8;
    for (source, expected, status) in
        [("succeeding", all.clone(), "web"), ("failing", all, "hop_limit"), ("hanging", hangs, "web")]
    {
        let messages = messages_of(source, Some(WATCHDOG)).await;
        let notifications = count(&messages, WATCHDOG_MESSAGE);
        assert!(expected.contains(&notifications), "{source}: {notifications}");
        assert!(messages.iter().any(|message| message.starts_with("STATUS=") && message.contains(status)), "{source}");
    }
}
