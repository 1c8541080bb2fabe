//! Suspect processes: real processes that start while IMDS fails.

use std::fs;
use std::process::{Command, Stdio};

use imds_exporter::domain::outage::Window;
use imds_exporter::workload::{Candidate, suspects};
use jiff::Timestamp;

use crate::support::exporter::Exporter;
use crate::support::request::{get, get_until, metrics_with};
use crate::support::simulator::{CONNECT_REFUSED, HEALTHY, apply_toml, start_simulator};

/// A process that is watched and ends with the test.
struct Worker(std::process::Child);

impl Worker {
    /// Runs until it is dropped; its command line contains `mark` and what looks like a secret.
    fn start(mark: &str) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", "read line", mark, "--password=CANARY"]).stdin(Stdio::piped());
        Self(command.spawn().expect("there is a shell"))
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

#[tokio::test]
async fn a_process_that_started_in_an_outage_is_suspect_until_it_is_restarted() {
    let simulator = start_simulator().await;
    let mark = format!("suspect-test-{}", std::process::id());
    // The init process is watched too; it started long before.
    let watch = format!("{mark}|^{}", regex_escape(&fs::read_to_string("/proc/1/cmdline").expect("there is an init")));
    let exporter = Exporter::start_with(&simulator, &[("IMDS_EXPORTER_WATCH_PROCESSES", &watch)]).await;
    let address = exporter.address;
    metrics_with(address, "imds_up 1").await;
    assert_eq!(get(address, "/-/clients").await.status, 200);

    apply_toml(&simulator, CONNECT_REFUSED).await;
    metrics_with(address, "imds_up 0").await;
    let worker = Worker::start(&mark);
    assert_eq!(get(address, "/-/clients").await.status, 200, "a restart during the outage would not help");
    apply_toml(&simulator, HEALTHY).await;
    metrics_with(address, "imds_up 1").await;

    let clients = get_until(address, "/-/clients", |response| response.status == 503).await;
    assert!(clients.body().contains(&format!("pid {} ", worker.pid())), "{clients:?}");
    assert!(!clients.body().contains("pid 1 "), "{clients:?}");
    let series = format!("imds_suspect_process_start_time_seconds{{pid=\"{}\",command=\"sh\"}}", worker.pid());
    let metrics = get_until(address, "/metrics", |response| response.body().contains(&series)).await;
    let status = get(address, "/api/v1/status").await;
    let page = get(address, "/").await;
    for shown in [&clients, &metrics, &status, &page] {
        assert!(!shown.text.contains("CANARY") && !shown.text.contains(&mark), "no command line is shown");
    }

    // A worker that starts now is in no outage; the suspect is restarted.
    let later = Worker::start(&mark);
    drop(worker);
    get_until(address, "/-/clients", |response| response.status == 200).await;
    metrics_with(address, "\nimds_suspect_processes 0\n").await;
    drop(later);
    exporter.stop().await;
}

/// A regular expression for exactly the first argument of a command line, in which NUL separates arguments.
fn regex_escape(cmdline: &str) -> String {
    let first = cmdline.split('\0').next().unwrap_or_default();
    first.chars().flat_map(|c| if c.is_alphanumeric() { vec![c] } else { vec!['\\', c] }).collect()
}

#[test]
fn the_outage_window_is_widened_at_its_start_only() {
    let at = |second| Timestamp::from_second(second).expect("a small number");
    let windows = [Window { start: at(1_000), end: at(1_100) }, Window { start: at(2_000), end: at(2_000) }];
    let candidate = |(pid, second): (i32, i64)| Candidate {
        pid,
        command: "python3".to_owned(),
        started_at: at(second),
        start_ticks: 0,
    };
    let started = [(1, 969), (2, 970), (3, 1_050), (4, 1_100), (5, 1_101), (6, 1_999), (7, 2_001)];
    let found = suspects(started.map(candidate).into(), &windows);
    assert_eq!(found.iter().map(|suspect| suspect.pid).collect::<Vec<_>>(), [2, 3, 4, 6]);
}

#[tokio::test]
async fn the_clients_probe_returns_200_and_names_the_variable_when_no_processes_are_watched() {
    let simulator = start_simulator().await;
    let exporter = Exporter::start(&simulator).await;
    let response = get(exporter.address, "/-/clients").await;
    assert!(response.status == 200 && response.body().contains("IMDS_EXPORTER_WATCH_PROCESSES"));
    exporter.stop().await;
}
