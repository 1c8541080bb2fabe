//! Suspect processes: real processes that start while IMDS fails.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStringExt;

use imds_exporter::simulator::Simulator;
use serde_json::Value;

use crate::support::cgroup::Cgroup;
use crate::support::exporter::Exporter;
use crate::support::program::{ExporterProcess, in_shell, program_with_imds};
use crate::support::request::{get, get_until, metrics_with};
use crate::support::scrape::{Scrape, polls_after, scrape_until};
use crate::support::simulator::{CONNECT_REFUSED, HEALTHY, apply_toml, start_simulator};
use crate::support::wait::wait_until;
use crate::support::worker::Worker;

/// A busy machine is no other outage.
const BUSY_MACHINE: (&str, &str) = ("IMDS_EXPORTER_TIMEOUT", "5s");

#[tokio::test]
async fn a_process_that_started_in_an_outage_is_suspect_until_it_is_restarted() {
    let simulator = start_simulator().await;
    let mark = format!("suspect-test-{}", std::process::id());
    // The init process is watched too; it started long before.
    let init = fs::read_to_string("/proc/1/cmdline").expect("there is an init");
    let watch = format!("{mark}|^{}", regex_lite::escape(init.split('\0').next().unwrap_or_default()));
    let variables = [("IMDS_EXPORTER_WATCH_PROCESSES", watch.as_str()), BUSY_MACHINE];
    let exporter = Exporter::start_with(&simulator, &variables).await;
    let address = exporter.address;
    metrics_with(address, "imds_up 1").await;
    assert_eq!(get(address, "/-/clients").await.status, 200);

    apply_toml(&simulator, CONNECT_REFUSED).await;
    metrics_with(address, "imds_up 0").await;
    let worker = Worker::start(&mark);
    fails_again(address).await;
    assert_eq!(get(address, "/-/clients").await.status, 200, "a restart during the outage would not help");
    apply_toml(&simulator, HEALTHY).await;
    metrics_with(address, "imds_up 1").await;

    let clients = get_until(address, "/-/clients", |response| response.status == 503).await;
    assert!(clients.body().contains(&format!("pid {} ", worker.pid())), "{clients:?}");
    assert!(!clients.body().contains("pid 1 "), "{clients:?}");
    let series = format!("imds_suspect_process_start_time_seconds{{pid=\"{}\",command=\"sh\",", worker.pid());
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

/// Until a poll has failed that began later than this: one that is on its way may still succeed on a busy machine, and then says nothing
/// of what started meanwhile.
async fn fails_again(address: SocketAddr) {
    let before = Scrape::of(address).await;
    polls_after(&before, 2, address).await;
}

/// An exporter that watches what has `mark` in its command line, and what `start` starts in an outage that is over.
async fn after_an_outage<T>(simulator: &Simulator, mark: &str, start: impl FnOnce() -> T) -> (ExporterProcess, T) {
    let mut command = program_with_imds(simulator.address(), &[]);
    command.env("IMDS_EXPORTER_WATCH_PROCESSES", mark).envs([BUSY_MACHINE]);
    let exporter = ExporterProcess::start_with(command).await;
    metrics_with(exporter.address, "imds_up 1").await;
    apply_toml(simulator, CONNECT_REFUSED).await;
    metrics_with(exporter.address, "imds_up 0").await;
    let started = start();
    fails_again(exporter.address).await;
    apply_toml(simulator, HEALTHY).await;
    metrics_with(exporter.address, "imds_up 1").await;
    (exporter, started)
}

/// A scan holds one descriptor at a time, and says each suspect once.
#[tokio::test]
async fn with_fewer_descriptors_than_processes_all_are_seen_and_each_suspect_is_logged_once() {
    const WORKERS: usize = 100;
    let simulator = start_simulator().await;
    let mark = format!("many-{}", std::process::id());
    let mut limited = in_shell("ulimit -n 48; exec", &program_with_imds(simulator.address(), &[]));
    limited.env("IMDS_EXPORTER_WATCH_PROCESSES", &mark).envs([BUSY_MACHINE]);
    let exporter = ExporterProcess::start_with(limited).await;
    metrics_with(exporter.address, "imds_up 1").await;
    apply_toml(&simulator, CONNECT_REFUSED).await;
    metrics_with(exporter.address, "imds_up 0").await;
    let _workers: Vec<_> = (0..WORKERS).map(|_| Worker::start(&mark)).collect();
    fails_again(exporter.address).await;
    apply_toml(&simulator, HEALTHY).await;
    let mut scrape = suspects_of(exporter.address, WORKERS).await;
    assert_eq!(scrape.value("imds_unread_processes"), 0);
    // Fifty polls.
    for _ in 0..10 {
        scrape = polls_after(&scrape, 5, exporter.address).await;
    }
    assert_eq!(exporter.count_logged(|line| line["pid"].is_number()), WORKERS, "each is logged once");
}

async fn suspects_of(address: SocketAddr, number: usize) -> Scrape {
    let found = |scrape: &Scrape| scrape.value("imds_suspect_processes") == number as u64;
    scrape_until(address, "the suspects", found).await
}

#[tokio::test]
#[ignore = "needs root: control groups"]
async fn suspects_are_named_by_unit_container_and_pod() {
    const ID: &str = "3f1c5e9a7b2d4c6e8f0a1b3c5d7e9f1a2b4c6d8e0f1a3b5c7d9e1f2a4b6c8d0e";
    const UID: &str = "4c2d1e5f-6a7b-4c8d-9e0f-1a2b3c4d5e6f";
    let pod = format!("kubepods/burstable/pod{UID}/{ID}");
    let docker = format!("system.slice/docker-{ID}.scope");
    // The path of the group, and the unit, container and pod in it.
    let cases = [
        ("system.slice/orders-test.service", ["orders-test.service", "", ""]),
        (&pod, ["", ID, UID]),
        (&docker, ["", ID, ""]),
        ("user.slice/session-3.scope", ["session-3.scope", "", ""]),
    ];
    let simulator = start_simulator().await;
    let mark = format!("owner-test-{}", std::process::id());
    let groups = cases.map(|(path, _)| Cgroup::create("systemd", path).expect("a control group"));
    let start_all = || {
        groups.each_ref().map(|group| {
            let worker = Worker::start(&mark);
            group.add(worker.pid());
            worker
        })
    };
    let (exporter, workers) = after_an_outage(&simulator, &mark, start_all).await;
    let scrape = suspects_of(exporter.address, cases.len()).await;
    let status: Value = serde_json::from_str(get(exporter.address, "/api/v1/status").await.body()).expect("JSON");
    let clients = get(exporter.address, "/-/clients").await;
    let page = get(exporter.address, "/").await;
    assert_eq!(clients.status, 503);
    for (worker, (path, [unit, container_id, pod_uid])) in workers.iter().zip(cases) {
        let pid = worker.pid();
        let labels = format!(
            "pid=\"{pid}\",command=\"sh\",unit=\"{unit}\",container_id=\"{container_id}\",pod_uid=\"{pod_uid}\""
        );
        let series = format!("\nimds_suspect_process_start_time_seconds{{{labels}}} ");
        assert!(scrape.0.contains(&series), "{path}: {series} in {}", scrape.0);
        let suspects = status["suspects"].as_array().expect("a list");
        let suspect = suspects.iter().find(|suspect| suspect["pid"] == pid).expect("each is there");
        for (field, value) in [("unit", unit), ("container_id", container_id), ("pod_uid", pod_uid)] {
            assert_eq!(suspect[field], value, "{path}: {suspect}");
        }
        let line = clients.body().lines().find(|line| line.contains(&format!("pid {pid} "))).expect("each has a line");
        let remedy = match (unit, container_id, pod_uid) {
            ("orders-test.service", "", "") => "systemctl restart orders-test.service",
            (_, _, UID) => UID,
            (_, ID, _) => &ID[..12],
            _ => "restart the process",
        };
        assert!(line.contains(remedy), "{path}: {line}");
        assert!(page.body().contains(remedy), "{path}");
        let logged = exporter.logged(|line| line["pid"] == pid && line["level"] == "WARN").expect("it is logged");
        assert_eq!((logged["unit"].as_str(), logged["pod_uid"].as_str()), (Some(unit), Some(pod_uid)), "{path}");
        assert!(logged["remedy"].as_str().is_some_and(|logged| logged.contains(remedy)), "{path}: {logged}");
    }
}

#[tokio::test]
async fn each_container_of_a_pod_can_ask_for_its_own_program() {
    let simulator = start_simulator().await;
    let mark = format!("command-test-{}", std::process::id());
    let start_both = || (Worker::start(&mark), Worker::start_cat(&mark));
    let (exporter, (shell, cat)) = after_an_outage(&simulator, &mark, start_both).await;
    suspects_of(exporter.address, 2).await;
    let lines = async |query: &str| {
        let response = get(exporter.address, &format!("/-/clients{query}")).await;
        let suspects = response.body().lines().filter(|line| line.contains("pid "));
        (response.status, suspects.map(str::to_owned).collect::<Vec<_>>())
    };
    let has =
        |lines: &[String], worker: &Worker| lines.iter().any(|line| line.contains(&format!("pid {} ", worker.pid())));
    for (query, of_shell, of_cat) in [
        ("", true, true),
        ("?", true, true),
        ("?other=x", true, true),
        ("?command=sh", true, false),
        // Percent-encoded, as every name may be.
        ("?command=%73h", true, false),
        ("?command=cat", false, true),
        ("?x=y&command=cat", false, true),
        ("?command=python3", false, false),
        ("?command=s", false, false),
    ] {
        let (status, lines) = lines(query).await;
        assert_eq!((has(&lines, &shell), has(&lines, &cat)), (of_shell, of_cat), "{query}: {lines:?}");
        assert_eq!(lines.len(), usize::from(of_shell) + usize::from(of_cat), "{query}: {lines:?}");
        assert_eq!(status, if lines.is_empty() { 200 } else { 503 }, "{query}");
    }
    // A container that was restarted is well at once, whatever the others are.
    drop(cat);
    assert_eq!(lines("?command=cat").await.0, 200);
    assert_eq!(lines("?command=sh").await.0, 503);
}

#[tokio::test]
async fn command_lines_of_any_bytes_are_matched() {
    let simulator = start_simulator().await;
    let mark = format!("bytes-test-{}", std::process::id());
    let argument = OsString::from_vec([b"\xff\xfe \x1b[31m ", mark.as_bytes(), b"\xf0\x28\x8c"].concat());
    let (exporter, worker) = after_an_outage(&simulator, &mark, || Worker::start(&argument)).await;
    let scrape = suspects_of(exporter.address, 1).await;
    assert_eq!(scrape.value("imds_watched_processes"), 1);
    drop(worker);
    suspects_of(exporter.address, 0).await;
    scrape_until(exporter.address, "none is watched", |scrape| scrape.0.contains("\nimds_watched_processes 0\n")).await;
}

#[tokio::test]
#[ignore = "needs root: a PID namespace"]
async fn an_exporter_that_sees_only_itself_says_so() {
    let simulator = start_simulator().await;
    let program = program_with_imds(simulator.address(), &[]);
    let mut alone = in_shell("exec unshare --pid --fork --kill-child --mount-proc", &program);
    // The exporter itself matches, but is not watched.
    alone.env("IMDS_EXPORTER_WATCH_PROCESSES", ".");
    let exporter = ExporterProcess::start_with(alone).await;
    metrics_with(exporter.address, "\nimds_watched_processes 0\n").await;
    let status: Value = serde_json::from_str(get(exporter.address, "/api/v1/status").await.body()).expect("JSON");
    assert_eq!(status["sees_other_processes"], false);
    let warned = || exporter.logged(|line| line["level"] == "WARN" && line["message"].is_string()).is_some();
    wait_until("it is logged", warned).await;

    let mut command = program_with_imds(simulator.address(), &[]);
    command.env("IMDS_EXPORTER_WATCH_PROCESSES", "there-is-no-such-process");
    let exporter = ExporterProcess::start_with(command).await;
    metrics_with(exporter.address, "\nimds_watched_processes 0\n").await;
    let status: Value = serde_json::from_str(get(exporter.address, "/api/v1/status").await.body()).expect("JSON");
    assert_eq!(status["sees_other_processes"], true);
    assert!(exporter.logged(|line| line["level"] == "WARN").is_none());
}
