//! A log that nobody reads, or that cannot be written, stops nothing.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, PipeWriter, Write, pipe};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Stdio;
use std::sync::mpsc::channel;
use std::thread;

use tokio::process::Command;

use crate::support::program::{exit_status, in_shell, program, program_with_imds, send_signal};
use crate::support::request::{get, get_until, metrics_with};
use crate::support::simulator::{CONNECT_REFUSED, HEALTHY, apply_toml, start_simulator};
use crate::support::wait::DEADLINE;

/// Of Linux, on the architectures that are supported.
const O_NONBLOCK: i32 = 0o4000;

/// A free port of an address of loopback that no other test uses.
fn free_address() -> SocketAddr {
    let [a, b, c] = std::array::from_fn(|_| fastrand::u8(2..250));
    let listener = TcpListener::bind((IpAddr::from(Ipv4Addr::new(127, a, b, c)), 0));
    listener.and_then(|listener| listener.local_addr()).expect("loopback has a free port")
}

/// The exporter at an address that it need not tell.
fn exporter(imds: SocketAddr, address: SocketAddr) -> Command {
    let mut command = program_with_imds(imds, &[]);
    command.env("IMDS_EXPORTER_LISTEN_ADDRESS", address.to_string()).env("IMDS_EXPORTER_POLL_INTERVAL", "1s");
    command
}

/// Writes until nothing more fits into the pipe. A description of its own leaves the exporter's as it is.
fn fill(writer: &PipeWriter) {
    let path = format!("/proc/self/fd/{}", writer.as_raw_fd());
    let mut own = OpenOptions::new().write(true).custom_flags(O_NONBLOCK).open(path).expect("it is open");
    loop {
        match own.write(b"filler\n") {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn polls_scrapes_and_probes_go_on_while_nobody_reads_the_log() {
    let simulator = start_simulator().await;
    let (reader, writer) = pipe().expect("a pipe");
    let address = free_address();
    let mut command = exporter(simulator.address(), address);
    let stderr = writer.try_clone().expect("there are descriptors");
    let mut child = command.stderr(Stdio::from(stderr)).spawn().expect("it runs");
    drop(command);
    wait_until_it_listens(address).await;
    metrics_with(address, "\nimds_up 1\n").await;
    fill(&writer);
    apply_toml(&simulator, CONNECT_REFUSED).await;
    metrics_with(address, "\nimds_up 0\n").await;
    apply_toml(&simulator, HEALTHY).await;
    metrics_with(address, "\nimds_up 1\n").await;
    assert_eq!(get(address, "/-/healthy").await.status, 200);

    // Once it is read again, the log says how much of it is missing.
    let (lines, read) = channel();
    thread::spawn(move || {
        for line in BufReader::new(reader).lines().map_while(Result::ok) {
            let _nobody_waits = lines.send(line);
        }
    });
    apply_toml(&simulator, CONNECT_REFUSED).await;
    metrics_with(address, "\nimds_up 0\n").await;
    let dropped = std::iter::from_fn(|| read.recv_timeout(DEADLINE).ok()).find(|line| line.contains("dropped"));
    assert!(dropped.is_some(), "nothing is said of dropped lines");
    send_signal(&child, "-TERM").await;
    assert!(exit_status(&mut child).await.success());
}

async fn wait_until_it_listens(address: SocketAddr) {
    let listens = async || tokio::net::TcpStream::connect(address).await.ok();
    crate::support::wait::answer_within(DEADLINE, listens).await.expect("it listens in time");
}

fn full() -> File {
    OpenOptions::new().write(true).open("/dev/full").expect("Linux has it")
}

#[tokio::test]
async fn a_log_that_cannot_be_written_ends_nothing() {
    let simulator = start_simulator().await;
    let (reader, closed) = pipe().expect("a pipe");
    drop(reader);
    for stderr in [Some(Stdio::from(full())), Some(Stdio::from(closed)), None] {
        let address = free_address();
        let mut command = exporter(simulator.address(), address);
        if let Some(stderr) = stderr {
            command.stderr(stderr);
        } else {
            command = in_shell("exec 2>&-; exec", &command);
        }
        let mut child = command.spawn().expect("it runs");
        wait_until_it_listens(address).await;
        get_until(address, "/-/startup", |response| response.status == 200).await;
        send_signal(&child, "-TERM").await;
        assert!(exit_status(&mut child).await.success());
    }
}

#[tokio::test]
async fn an_error_that_cannot_be_written_keeps_its_exit_code() {
    for (arguments, code) in [(&["serv"][..], 64), (&["healthcheck"], 1)] {
        let mut command = program(arguments);
        command.env("IMDS_EXPORTER_LISTEN_ADDRESS", "127.0.0.1:1").stderr(full());
        let mut child = command.spawn().expect("it runs");
        assert_eq!(exit_status(&mut child).await.code(), Some(code), "{arguments:?}");
    }
}
