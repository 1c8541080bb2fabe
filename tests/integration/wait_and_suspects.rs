//! `wait` beside an exporter: what it lets start is no suspect.

use std::net::SocketAddr;
use std::ops::Range;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::support::program::{ExporterProcess, exit_status, output, program_with_imds};
use crate::support::request::{get, metrics_with};
use crate::support::scrape::{Scrape, polls_after, scrape_until};
use crate::support::simulator::{CONNECT_REFUSED, HEALTHY, apply_toml, start_simulator};
use crate::support::wait::{DEADLINE, all_at_once};
use crate::support::worker::Worker;

/// Outages at the same time, each of an exporter and an IMDS of its own: another outage within half a minute would make
/// suspects of what started before it.
const OUTAGES: u32 = 6;
const STARTS_PER_OUTAGE: u32 = 17;
/// Longer than the longest time from the end of an outage to the next poll.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// `wait`, for a workload beside this exporter.
fn wait_command(imds: SocketAddr, exporter: SocketAddr, timeout: &str) -> Command {
    let mut command = program_with_imds(imds, &["wait", "--timeout", timeout]);
    command.env("IMDS_EXPORTER_LISTEN_ADDRESS", exporter.to_string()).stdout(Stdio::null());
    command
}

/// An outage, in which `wait` starts workloads at random moments; `seen` lasts until the exporter has noticed it.
async fn assert_no_suspects(number: u32, seen: bool) {
    let simulator = start_simulator().await;
    let imds = simulator.address();
    let mark = format!("wait-test-{}-{number}-", std::process::id());
    let mut command = program_with_imds(imds, &[]);
    command.env("IMDS_EXPORTER_WATCH_PROCESSES", &mark).env("IMDS_EXPORTER_POLL_INTERVAL", "5s");
    // A busy machine is no other outage.
    command.env("IMDS_EXPORTER_TIMEOUT", "5s");
    let exporter = ExporterProcess::start_with_default_interval(command).await;
    let address = exporter.address;
    metrics_with(address, "\nimds_up 1\n").await;
    // At any moment but while a poll is on its way: it may still succeed, and then nothing is known of what started meanwhile.
    let before = Scrape::of(address).await;
    polls_after(&before, 1, address).await;
    sleep(random_milliseconds(0..4_000)).await;

    let mut starts = JoinSet::new();
    for _ in 0..STARTS_PER_OUTAGE {
        let mut command = wait_command(imds, address, "60s");
        let mark = mark.clone();
        let delay = random_milliseconds(0..12_000);
        starts.spawn(async move {
            sleep(delay).await;
            let mut waiting = command.spawn().expect("it runs");
            let status = timeout(LONGEST_WAIT, waiting.wait()).await.expect("it returns").expect("it ran");
            assert!(status.success(), "{status}");
            Worker::start(&mark)
        });
    }
    apply_toml(&simulator, CONNECT_REFUSED).await;
    let without_wait = Worker::start(&mark);
    if seen {
        scrape_until(address, "a failure", |scrape| scrape.value("imds_up") == 0).await;
    }
    sleep(random_milliseconds(0..6_000)).await;
    apply_toml(&simulator, HEALTHY).await;
    let workers: Vec<_> = starts.join_all().await;

    // A look at all of them after the outage.
    let all = u64::from(STARTS_PER_OUTAGE) + 1;
    let scrape = scrape_until(address, "all are watched", |scrape| {
        scrape.value("imds_up") == 1 && scrape.value("imds_watched_processes") == all
    })
    .await;
    let was_seen = scrape.value("imds_outages_total") == 1;
    assert!(was_seen || !seen);
    let clients = get(address, "/-/clients").await;
    let suspects: Vec<_> = clients.body().lines().filter(|line| line.contains("pid ")).collect();
    // What started without `wait` is the only one.
    assert_eq!(suspects.len(), usize::from(was_seen), "{suspects:?}");
    assert!(suspects.iter().all(|line| line.contains(&format!("pid {} ", without_wait.pid()))), "{suspects:?}");
    assert_eq!(workers.len() as u64 + 1, all);
}

fn random_milliseconds(range: Range<u64>) -> Duration {
    Duration::from_millis(fastrand::u64(range))
}

#[tokio::test]
async fn nothing_that_wait_lets_start_in_a_hundred_starts_is_a_suspect() {
    all_at_once((0..OUTAGES).map(|number| assert_no_suspects(number, number % 3 != 0))).await;
}

/// At the exporter's address, or at that of its probes.
#[tokio::test]
async fn wait_returns_once_the_exporter_has_seen_the_end_of_the_outage() {
    for probes in [false, true] {
        let simulator = start_simulator().await;
        apply_toml(&simulator, CONNECT_REFUSED).await;
        let mut command = program_with_imds(simulator.address(), &[]);
        command.env("IMDS_EXPORTER_PROBE_LISTEN_ADDRESS", "127.0.0.1:0").env("IMDS_EXPORTER_POLL_INTERVAL", "3s");
        let exporter = ExporterProcess::start_with_default_interval(command).await;
        metrics_with(exporter.address, "\nimds_up 0\n").await;
        apply_toml(&simulator, HEALTHY).await;
        let nobody = "127.0.0.1:9".parse().expect("an address");
        let address = if probes { nobody } else { exporter.address };
        let mut command = wait_command(simulator.address(), address, "60s");
        if probes {
            let probes = exporter.probe_address.expect("it has its own listener");
            command.env("IMDS_EXPORTER_PROBE_LISTEN_ADDRESS", probes.to_string());
        }
        let status = exit_status(&mut command.spawn().expect("it runs")).await;
        assert!(status.success(), "{status}");
        assert_eq!(get(exporter.address, "/-/startup").await.body(), "ok\n");
        assert_eq!(Scrape::of(exporter.address).await.value("imds_up"), 1);
    }
}

#[tokio::test]
async fn wait_returns_at_its_timeout_although_the_exporter_has_not_seen_it() {
    let simulator = start_simulator().await;
    // An exporter that asks another IMDS, which stays down.
    let other = start_simulator().await;
    apply_toml(&other, CONNECT_REFUSED).await;
    let exporter = ExporterProcess::start(other.address()).await;
    metrics_with(exporter.address, "\nimds_up 0\n").await;
    let began = Instant::now();
    let output = output(wait_command(simulator.address(), exporter.address, "1500ms")).await;
    assert_eq!(output.status.code(), Some(0), "credentials resolve");
    assert!(began.elapsed() >= Duration::from_millis(1_500));
}

#[tokio::test]
async fn wait_does_not_wait_for_an_exporter_that_is_not_there() {
    let simulator = start_simulator().await;
    // Nothing listens; something that is no exporter answers; something that says nothing listens.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let silent = silent.local_addr().expect("it is bound");
    for address in ["127.0.0.1:9".parse().expect("an address"), simulator.address(), silent] {
        let mut waiting = wait_command(simulator.address(), address, "60s").spawn().expect("it runs");
        assert!(timeout(DEADLINE, waiting.wait()).await.expect("it returns").expect("it ran").success(), "{address}");
    }
}
