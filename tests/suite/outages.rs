//! Outages and what they leave behind: the state file, suspect processes, the gates. Real processes, real outages.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use imds_exporter::client::Held;
use imds_exporter::model::{Kind, Step};
use imds_exporter::outage::Window;
use imds_exporter::process::{Candidate, suspects};
use imds_exporter::simulator::Simulator;
use imds_exporter::state::{Past, State};
use jiff::Timestamp;
use serde_json::Value;
use tempfile::tempdir;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use crate::commands::{Served, against};
use crate::http::{Exporter, PATIENCE, raw};
use crate::support::{credential, failed, resolved, simulator, tell};

/// A process that is watched; it ends with the test.
struct Worker(std::process::Child);

impl Worker {
    /// Runs until it is dropped, with `mark` on its command line beside what looks like a secret.
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
        // It may have ended by itself.
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

async fn outage(simulator: &Simulator, exporter: &Exporter) {
    tell(simulator, "fault = \"connect_refused\"").await;
    exporter.until("/metrics", |_, body| body.contains("imds_up 0")).await;
}

async fn recovery(simulator: &Simulator, exporter: &Exporter) {
    tell(simulator, "fault = \"none\"").await;
    exporter.until("/metrics", |_, body| body.contains("imds_up 1")).await;
}

#[tokio::test]
async fn a_process_that_started_in_an_outage_is_suspect_until_it_is_restarted() {
    let simulator = simulator().await;
    let mark = format!("suspect-test-{}", std::process::id());
    // The test itself and its ancestors are watched too: they started long before.
    let watch = format!("{mark}|^{}", regex_escape(&fs::read_to_string("/proc/1/cmdline").expect("there is an init")));
    let exporter = Exporter::start(&simulator, &[("IMDS_EXPORTER_WATCH_PROCESSES", &watch)]).await;
    exporter.until("/metrics", |_, body| body.contains("imds_up 1")).await;
    assert_eq!(exporter.get("/-/clients").await.0, 200);

    outage(&simulator, &exporter).await;
    let worker = Worker::start(&mark);
    assert_eq!(exporter.get("/-/clients").await.0, 200, "the outage is not over: restarting would not help");
    recovery(&simulator, &exporter).await;

    let clients = exporter.until("/-/clients", |status, _| status == 503).await;
    assert!(clients.contains(&format!("pid {} ", worker.pid())), "{clients}");
    assert!(!clients.contains("pid 1 "), "{clients}");
    let series = format!("imds_suspect_process_start_time_seconds{{pid=\"{}\",command=\"sh\"}}", worker.pid());
    let metrics = exporter.until("/metrics", |_, body| body.contains(&series)).await;
    let status = exporter.get("/api/v1/status").await.1;
    let page = exporter.get("/").await.1;
    for shown in [&clients, &metrics, &status, &page] {
        assert!(!shown.contains("CANARY") && !shown.contains(&mark), "no command line is shown");
    }

    // A worker that starts now is in no outage; the suspect is restarted.
    let later = Worker::start(&mark);
    drop(worker);
    exporter.until("/-/clients", |status, _| status == 200).await;
    exporter.until("/metrics", |_, body| body.contains("\nimds_suspect_processes 0\n")).await;
    drop(later);
    exporter.stop().await;
}

/// A regular expression for exactly this text; NUL separates arguments in `/proc`, a space in what is matched.
fn regex_escape(cmdline: &str) -> String {
    let first = cmdline.split('\0').next().unwrap_or_default();
    first.chars().flat_map(|c| if c.is_alphanumeric() { vec![c] } else { vec!['\\', c] }).collect()
}

#[test]
fn the_window_is_widened_at_its_start_only() {
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
async fn with_watching_off_the_gate_is_open_and_says_so() {
    let simulator = simulator().await;
    let exporter = Exporter::start(&simulator, &[]).await;
    let (status, body) = exporter.get("/-/clients").await;
    assert!(status == 200 && body.contains("IMDS_EXPORTER_WATCH_PROCESSES"));
    exporter.stop().await;
}

async fn served(simulator: &Simulator, state_file: &Path) -> Served {
    let mut command = against(simulator, &[]);
    command.env("IMDS_EXPORTER_STATE_FILE", state_file);
    Served::start(command).await
}

fn saved(state_file: &Path) -> Option<Value> {
    serde_json::from_slice(&fs::read(state_file).ok()?).ok()
}

#[tokio::test]
async fn killed_in_an_outage_and_restarted_the_window_is_right() {
    let simulator = simulator().await;
    let folder = tempdir().expect("a folder");
    let file = folder.path().join("state.json");

    let mut exporter = served(&simulator, &file).await;
    exporter.until("/metrics", |body| body.contains("imds_up 1")).await;
    tell(&simulator, "fault = \"connect_refused\"").await;
    exporter.until("/metrics", |body| body.contains("imds_up 0")).await;
    exporter.until("/metrics", |_| saved(&file).is_some_and(|saved| saved["outage_since"].is_string())).await;
    let last_success = saved(&file).expect("it was just there")["last_success_at"].clone();
    exporter.kill().await;

    let exporter = served(&simulator, &file).await;
    exporter.until("/metrics", |body| body.contains("imds_up 0")).await;
    tell(&simulator, "fault = \"none\"").await;
    let status = exporter.until("/api/v1/status", |body| body.contains("\"up\": true")).await;
    let status: Value = serde_json::from_str(&status).expect("JSON");
    assert_eq!(status["outages"].as_array().map(Vec::len), Some(1));
    assert_eq!(status["outages"][0]["start"], last_success);
    assert_eq!(status["outages"][0]["end"], status["last_success_at"]);
    // The clients of the first start had credentials: a restart of the exporter does not make them stuck.
    assert!(status["clients_stuck"] == false, "{status}");
}

#[tokio::test]
async fn clients_that_were_stuck_are_so_after_a_restart_too() {
    let simulator = simulator().await;
    let folder = tempdir().expect("a folder");
    let file = folder.path().join("state.json");
    tell(&simulator, "fault = \"connect_refused\"").await;
    let mut exporter = served(&simulator, &file).await;
    exporter.until("/metrics", |_| saved(&file).is_some()).await;
    exporter.kill().await;
    tell(&simulator, "fault = \"none\"").await;
    let stuck = |body: &str| body.contains("imds_client_usable{sdk=\"boto3\",created=\"at_start\"} 0");
    let mut exporter = served(&simulator, &file).await;
    exporter.until("/metrics", |body| body.contains("imds_up 1") && stuck(body)).await;
    // Of another boot, the clients are gone.
    exporter.kill().await;
    let mut other_boot = saved(&file).expect("it is there");
    other_boot["boot_id"] = "another".into();
    fs::write(&file, other_boot.to_string()).expect("the folder can be written");
    let exporter = served(&simulator, &file).await;
    exporter.until("/metrics", |body| body.contains("imds_up 1") && !stuck(body)).await;
}

#[tokio::test]
async fn a_state_file_that_cannot_be_used_is_reported_and_it_runs() {
    let simulator = simulator().await;
    let folder = tempdir().expect("a folder");
    let good = folder.path().join("good.json");
    let exporter = served(&simulator, &good).await;
    exporter.until("/metrics", |_| saved(&good).is_some()).await;
    drop(exporter);
    let text = fs::read_to_string(&good).expect("it was just there");
    let mut future: Value = serde_json::from_str(&text).expect("JSON");
    future["last_success_at"] = "2999-01-01T00:00:00Z".into();
    let contents = [
        ("truncated", text[..text.len() / 2].to_owned()),
        ("empty", String::new()),
        ("not-json", "hello".to_owned()),
        ("null", "null".to_owned()),
        ("from-the-future", future.to_string()),
        ("too-large", " ".repeat(100_000)),
    ];
    for (name, content) in contents {
        let file = folder.path().join(name);
        fs::write(&file, &content).expect("the folder can be written");
        let exporter = served(&simulator, &file).await;
        exporter.until("/metrics", |body| body.contains("imds_up 1")).await;
        assert!(exporter.reported("why"), "{name} is reported");
        let aside = folder.path().join(format!("{name}.broken"));
        assert_eq!(fs::read_to_string(aside).expect("it was set aside"), content, "{name}");
        // A good one takes its place.
        exporter.until("/metrics", |_| saved(&file).is_some()).await;
    }
}

#[tokio::test]
async fn a_place_that_cannot_be_read_or_written_is_reported_and_polling_goes_on() {
    let simulator = simulator().await;
    let folder = tempdir().expect("a folder");
    let directory = folder.path().join("directory");
    fs::create_dir(&directory).expect("the folder can be written");
    // What is written goes to a full disk.
    let full = folder.path().join("full");
    std::os::unix::fs::symlink("/dev/full", folder.path().join("full.new")).expect("the folder can be written");
    let nowhere = folder.path().join("no-such-folder/state.json");
    for (file, field) in [(directory, "why"), (full, "error"), (nowhere, "error")] {
        let exporter = served(&simulator, &file).await;
        exporter.until("/metrics", |body| body.contains("imds_fetches_total 3")).await;
        assert!(exporter.reported(field), "{} is reported", file.display());
        exporter.until("/-/healthy", |body| body == "ok\n").await;
    }
}

#[tokio::test]
async fn a_read_only_file_system_is_reported_and_polling_goes_on() {
    let simulator = simulator().await;
    // /proc refuses every new file, whoever asks.
    let exporter = served(&simulator, Path::new("/proc/imds-exporter-state")).await;
    exporter.until("/metrics", |body| body.contains("imds_fetches_total 2")).await;
    let reported = async {
        while !exporter.reported("error") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, reported).await.expect("it is reported");
}

/// `at_start` while the exporter's first polls failed and IMDS is back.
async fn at_start_after(simulator: &Simulator, exporter: &Exporter) -> bool {
    recovery(simulator, exporter).await;
    let metrics = exporter.get("/metrics").await.1;
    metrics.contains("imds_client_usable{sdk=\"boto3\",created=\"at_start\"} 1")
}

#[tokio::test]
async fn clients_whose_start_was_held_back_are_not_stuck() {
    let simulator = simulator().await;
    for (gate, held_back) in [("kube-probe/1.33", true), ("curl/8", false)] {
        tell(&simulator, "fault = \"connect_refused\"").await;
        let exporter = Exporter::start(&simulator, &[]).await;
        exporter.until("/metrics", |_, body| body.contains("imds_up 0")).await;
        let agent = format!("GET /-/startup HTTP/1.1\r\nHost: x\r\nUser-Agent: {gate}\r\nConnection: close\r\n\r\n");
        assert_eq!(raw(exporter.address, &agent).await.0, 503);
        assert_eq!(at_start_after(&simulator, &exporter).await, held_back, "{gate}");
        exporter.stop().await;
    }
}

#[tokio::test]
async fn a_wait_that_begins_after_the_outage_lets_the_workload_start_all_the_same() {
    let simulator = simulator().await;
    tell(&simulator, "fault = \"connect_refused\"").await;
    let exporter = Exporter::start(&simulator, &[]).await;
    exporter.until("/metrics", |_, body| body.contains("imds_up 0")).await;
    assert!(!at_start_after(&simulator, &exporter).await);
    let mut wait = against(&simulator, &["wait", "--timeout", "60s"]);
    wait.env("IMDS_EXPORTER_LISTEN_ADDRESS", exporter.address.to_string());
    assert!(timeout(PATIENCE, wait.status()).await.expect("it ends").expect("it ran").success());
    assert!(at_start_after(&simulator, &exporter).await);
    exporter.stop().await;
}

#[tokio::test]
async fn wait_tells_the_exporter_beside_it_that_a_start_is_held_back() {
    let simulator = simulator().await;
    tell(&simulator, "fault = \"connect_refused\"").await;
    let exporter = Exporter::start(&simulator, &[]).await;
    exporter.until("/metrics", |_, body| body.contains("imds_up 0")).await;
    let mut wait = against(&simulator, &["wait", "--timeout", "60s"]);
    wait.env("IMDS_EXPORTER_LISTEN_ADDRESS", exporter.address.to_string()).stdout(Stdio::piped());
    let mut child = wait.spawn().expect("it runs");
    let mut told = [0];
    child.stdout.as_mut().expect("it is piped").read_exact(&mut told).await.expect("it tells what it waits for");
    assert!(at_start_after(&simulator, &exporter).await);
    assert!(timeout(PATIENCE, child.wait()).await.expect("it ends").expect("it ran").success());
    exporter.stop().await;
}

#[test]
fn a_gate_that_is_asked_after_a_restart_forgets_nothing() {
    let at = |second| Timestamp::from_second(second).expect("a small number");
    let duration = Duration::from_millis(3);
    let failure = failed(Kind::ConnectRefused, Step::Token);
    let success = resolved(credential("web", "1970-01-01T00:00:00Z", "1970-01-01T06:00:00Z"));

    let mut first = State::new(at(0));
    first.record(&failure, duration, at(1));
    let past = Past { outages: first.outages().clone(), held_since_start: Some(first.held_since_start()) };
    let mut second = State::new(at(10)).with_past(past);
    second.hold_back();
    second.record(&success, duration, at(11));
    assert!(second.clients_stuck(at(12)));

    // Restarted while it held a start back: there are no clients to know of yet.
    let past = Past { outages: first.outages().clone(), held_since_start: Some([None]) };
    let mut restarted = State::new(at(10)).with_past(past);
    restarted.hold_back();
    restarted.record(&failure, duration, at(11));
    restarted.record(&success, duration, at(12));
    assert!(!restarted.clients_stuck(at(13)));

    let mut held = State::new(at(0));
    held.record(&failure, duration, at(1));
    held.hold_back();
    held.record(&failure, duration, at(2));
    assert_eq!(held.held_since_start(), [None]);
    held.record(&success, duration, at(3));
    assert!(!held.clients_stuck(at(4)));
    held.record(&failure, duration, at(5));
    held.hold_back();
    held.record(&success, duration, at(6));
    assert_eq!(held.held_since_start(), [Some(Held::Until(at(6 * 3600)))]);
}
