//! An exporter that is starved of CPU time, by a flood of requests or by the look at many processes, takes that for no
//! failure of IMDS.

use std::fs;
use std::io::{PipeWriter, Read, Write, pipe};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use imds_exporter::http::{Limits, Route};
use imds_exporter::metrics::catalog::SUSPECT_SERIES;
use strum::VariantArray;
use tokio::process::Child as AsyncChild;

use crate::support::cgroup::Cgroup;
use crate::support::program::{ExporterProcess, command, in_shell, program_with_imds};
use crate::support::repository;
use crate::support::request::metrics_with;
use crate::support::scrape::{Scrape, polls_after, scrape_until};
use crate::support::simulator::{CONNECT_REFUSED, HEALTHY, apply_toml, start_simulator};
use crate::support::wait::wait_until;

/// The CPU limit that the deployments set: 100m.
const MICROSECONDS_OF_100_MS: u32 = 10_000;
/// Requests that a client sends before it reads the answers.
const PIPELINED: usize = 32;

/// Clients that take all connections and pipeline every route in turn, on threads of their own.
struct Flood {
    over: Arc<AtomicBool>,
    answered_bytes: Arc<AtomicU64>,
    clients: Vec<thread::JoinHandle<()>>,
}

impl Flood {
    fn start(address: SocketAddr) -> Self {
        let (over, answered_bytes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let clients = (0..Limits::default().connections).map(|number| {
            let (over, answered_bytes) = (Arc::clone(&over), Arc::clone(&answered_bytes));
            thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    // A connection may be closed to make room for another.
                    let _closed = pipeline(address, number, &over, &answered_bytes);
                }
            })
        });
        let clients = clients.collect();
        Self { over, answered_bytes, clients }
    }

    /// Ends it; returns how much was answered.
    fn stop(self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.join().expect("a client does not panic");
        }
        self.answered_bytes.load(Ordering::Relaxed)
    }
}

fn pipeline(address: SocketAddr, first: usize, over: &AtomicBool, answered: &AtomicU64) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_millis(200)))?;
    stream.set_write_timeout(Some(Duration::from_millis(200)))?;
    let routes = Route::VARIANTS.iter().cycle().skip(first).take(PIPELINED);
    let requests = routes.map(|route| ["GET ", route.path(), " HTTP/1.1\r\nHost: x\r\n\r\n"].concat());
    let requests: String = requests.collect();
    let mut buffer = [0; 16 * 1024];
    while !over.load(Ordering::Relaxed) {
        stream.write_all(requests.as_bytes())?;
        // What has come so far; the rest of the answers is read with those of the next requests.
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => answered.fetch_add(read as u64, Ordering::Relaxed),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
    }
    Ok(())
}

/// Limits a process to a tenth of a CPU, by a control group, or where none can be made, by stopping it again and again.
enum Limit {
    Cgroup { _group: Cgroup },
    Slices { _stopper: AsyncChild },
}

impl Limit {
    fn of(pid: u32) -> Self {
        let group = Cgroup::create("cpu", "").and_then(|group| {
            group.limit_cpu(MICROSECONDS_OF_100_MS)?;
            Ok(group)
        });
        if let Ok(group) = group {
            group.add(pid);
            return Self::Cgroup { _group: group };
        }
        let mut stopper = command("sh");
        let slices = "while kill -STOP $0; do sleep 0.09; kill -CONT $0; sleep 0.01; done";
        let stopper = stopper.args(["-c", slices, &pid.to_string()]).spawn().expect("there is a shell");
        Self::Slices { _stopper: stopper }
    }
}

async fn no_poll_fails_in_a_flood(limited: bool) {
    let simulator = start_simulator().await;
    let exporter = ExporterProcess::start(simulator.address()).await;
    metrics_with(exporter.address, "\nimds_up 1\n").await;
    let limit = limited.then(|| Limit::of(exporter.child.id().expect("it runs")));
    let flood = Flood::start(exporter.address);
    let polled = simulator.counts().credentials;
    wait_until("eight polls in the flood", || simulator.counts().credentials >= polled + 8).await;
    let answered = flood.stop();
    drop(limit);
    let after = Scrape::of(exporter.address).await;
    assert!(answered > 100_000, "{answered} bytes are no flood");
    assert_eq!((after.all_failures(), after.value("imds_outages_total")), (0, 0), "{}", after.0);
}

#[tokio::test]
async fn no_poll_fails_in_a_flood_under_the_cpu_limit_of_the_deployments() {
    no_poll_fails_in_a_flood(true).await;
}

#[tokio::test]
async fn no_poll_fails_in_a_flood_without_a_limit() {
    no_poll_fails_in_a_flood(false).await;
}

const LARGE_PROCESSES: usize = 300;
const SMALL_PROCESSES: usize = 1_200;
/// The longest argument that Linux allows is 128 KiB.
const ARGUMENT_BYTES: usize = 120 * 1024;
/// Almost 2 MB together, which is the most that Linux allows by default.
const ARGUMENTS: usize = 15;

/// Processes that wait until this is dropped.
struct Crowd {
    processes: Vec<Child>,
    input: Option<PipeWriter>,
}

impl Crowd {
    fn start(mark: &str) -> Self {
        let (output, input) = pipe().expect("a pipe");
        let padding = "x".repeat(ARGUMENT_BYTES);
        let large = (0..LARGE_PROCESSES).map(|_| ARGUMENTS);
        let processes = large.chain((0..SMALL_PROCESSES).map(|_| 0)).map(|arguments| {
            let mut command = Command::new("sh");
            command.args(["-c", "read line", mark]).args((0..arguments).map(|_| &padding));
            let stdin = output.try_clone().expect("there are descriptors");
            command.stdin(Stdio::from(stdin)).spawn().expect("there is a shell")
        });
        Self { processes: processes.collect(), input: Some(input) }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        drop(self.input.take());
        for process in &mut self.processes {
            let _ended = process.kill();
            let _reaped = process.wait();
        }
    }
}

/// With as few descriptors as the shipped unit allows, which is less than there are processes.
#[tokio::test]
async fn no_poll_fails_and_all_of_1500_processes_are_seen_under_the_limit_of_the_unit() {
    let simulator = start_simulator().await;
    let mark = format!("crowd-test-{}", std::process::id());
    let unit = fs::read_to_string(repository::path("deploy/systemd/imds-exporter.service")).expect("the unit");
    let limit = unit.lines().find_map(|line| line.strip_prefix("LimitNOFILE=")).expect("it limits descriptors");
    let limit = limit.parse::<u32>().expect("a number");
    assert!((limit as usize) < LARGE_PROCESSES + SMALL_PROCESSES);
    let program = program_with_imds(simulator.address(), &[]);
    let mut command = in_shell(&format!("ulimit -n {limit}; exec"), &program);
    command.env("IMDS_EXPORTER_WATCH_PROCESSES", &mark);
    let exporter = ExporterProcess::start_with(command).await;
    let address = exporter.address;
    metrics_with(address, "\nimds_up 1\n").await;
    apply_toml(&simulator, CONNECT_REFUSED).await;
    metrics_with(address, "\nimds_up 0\n").await;
    let crowd = Crowd::start(&mark);
    apply_toml(&simulator, HEALTHY).await;
    let before = scrape_until(address, "a success", |scrape| scrape.value("imds_up") == 1).await;

    let all = (LARGE_PROCESSES + SMALL_PROCESSES) as u64;
    // Each scrape is one that is answered.
    scrape_until(address, "all are watched", |scrape| scrape.value("imds_watched_processes") == all).await;
    // As many as are kept: the scan that finds them follows the end of the outage.
    let suspects = |scrape: &Scrape| scrape.value("imds_suspect_processes") == 1_000;
    scrape_until(address, "they are suspect", suspects).await;
    let after = polls_after(&before, 5, address).await;
    let (failures, outages) = (before.all_failures(), before.value("imds_outages_total"));
    assert_eq!((after.all_failures(), after.value("imds_outages_total")), (failures, outages), "{}", after.0);
    assert_eq!(after.value("imds_unread_processes"), 0, "{}", after.0);
    // As many as get a series.
    assert_eq!(after.0.matches("\nimds_suspect_process_start_time_seconds{").count(), SUSPECT_SERIES);
    drop(crowd);
    scrape_until(address, "none is watched", |scrape| scrape.0.contains("\nimds_watched_processes 0\n")).await;
    scrape_until(address, "none is suspect", |scrape| scrape.0.contains("\nimds_suspect_processes 0\n")).await;
}
