//! A client that works on bytes, and a simulator with a fixed clock.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::domain::SinceBoot;
use crate::platform::clock::Clock;
use crate::simulator::{Change, Simulator, SimulatorOptions};

/// Longer than anything on loopback takes; only a failing test waits this long.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);
pub(super) const NOW: &str = "2026-01-31T12:00:00Z";
pub(super) const ROLE_LIST: &str = "/latest/meta-data/iam/security-credentials/";
pub(super) const DOCUMENT: &str = "/latest/meta-data/iam/security-credentials/simulated-role";
pub(super) const PROFILE_INFO: &str = "/latest/meta-data/iam/info";

struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        NOW.parse().unwrap()
    }

    fn since_boot(&self) -> SinceBoot {
        SinceBoot::default()
    }
}

pub(super) async fn simulator() -> Simulator {
    let control = Some(([127, 0, 0, 1], 0).into());
    Simulator::start(SimulatorOptions { control, ..SimulatorOptions::default() }, Arc::new(Fixed)).await.unwrap()
}

pub(super) async fn apply(simulator: &Simulator, toml: &str) {
    simulator.apply(&Change::parse(toml).unwrap()).await.unwrap();
}

/// A response.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// Writes a request and reads one answer.
pub(super) async fn exchange(stream: &mut TcpStream, request: &str) -> Answer {
    stream.write_all(request.as_bytes()).await.unwrap();
    timeout(DEADLINE, answer(stream)).await.expect("an answer comes in time")
}

/// Reads one answer.
pub(super) async fn answer(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.expect("the head is whole"));
    }
    let head = String::from_utf8(bytes).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut answer = Answer { status, head, body: String::new() };
    let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.expect("the body is whole");
    answer.body = String::from_utf8_lossy(&body).into_owned();
    answer
}

/// Everything until the stream ends or fails.
pub(super) async fn rest(stream: &mut TcpStream) -> (Vec<u8>, std::io::Result<usize>) {
    let mut bytes = Vec::new();
    let end = timeout(DEADLINE, stream.read_to_end(&mut bytes)).await.expect("the stream ends in time");
    (bytes, end)
}

pub(super) async fn connect(simulator: &Simulator) -> TcpStream {
    timeout(DEADLINE, TcpStream::connect(simulator.address())).await.unwrap().unwrap()
}

pub(super) const PUT: &str = "PUT /latest/api/token HTTP/1.1\r\nHost: imds\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\nContent-Length: 0\r\n\r\n";

pub(super) fn get(path: &str, token: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: imds\r\nX-aws-ec2-metadata-token: {token}\r\n\r\n")
}

/// A connection, and a session token obtained over it.
pub(super) async fn session(simulator: &Simulator) -> (TcpStream, String) {
    let mut stream = connect(simulator).await;
    let answer = exchange(&mut stream, PUT).await;
    assert_eq!(answer.status, 200);
    (stream, answer.body)
}
