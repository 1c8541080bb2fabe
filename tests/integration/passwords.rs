//! Passwords and TLS under attack, and web configurations that change.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::program::{ExporterProcess, program_with_imds, send_signal};
use crate::support::request::{self, ELSEWHERE, connect_from};
use crate::support::simulator::start_simulator;
use crate::support::wait::{DEADLINE, wait_until};
use crate::support::web_config::{WebConfigFile, authorization, users};

/// A cost that takes long enough for a flood to queue.
const COST: u32 = 7;

async fn exporter(config: &WebConfigFile) -> ExporterProcess {
    let simulator = start_simulator().await;
    let mut command = program_with_imds(simulator.address(), &[]);
    command.env("IMDS_EXPORTER_WEB_CONFIG_FILE", config.path());
    ExporterProcess::start_with(command).await
}

/// Sends a request with this password.
async fn ask(stream: &mut TcpStream, password: &str) {
    let head = format!("GET /-/ready HTTP/1.1\r\nHost: x\r\n{}\r\n", authorization(password));
    stream.write_all(head.as_bytes()).await.expect("it reads");
}

/// The status of the answer; `None` if the connection is closed before.
async fn status(stream: &mut TcpStream) -> Option<u16> {
    let mut answer = [0; 1024];
    let read = timeout(DEADLINE, stream.read(&mut answer)).await.expect("an answer in time").ok()?;
    request::status(&answer[..read])
}

/// As many connections as close each other.
async fn flood(exporter: &ExporterProcess) -> Vec<TcpStream> {
    let mut flood = Vec::new();
    for _ in 0..200 {
        flood.push(TcpStream::connect(exporter.address).await.expect("it listens"));
    }
    flood
}

#[tokio::test]
async fn a_right_password_is_answered_amid_wrong_ones_from_elsewhere() {
    let config = WebConfigFile::new();
    config.write(&users(COST));
    let exporter = exporter(&config).await;
    let address = exporter.address;
    let answered = Arc::new(AtomicUsize::new(0));
    let mut flood = Vec::new();
    for number in 0..60 {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        ask(&mut stream, &format!("wrong {number}")).await;
        let answered = Arc::clone(&answered);
        flood.push(tokio::spawn(async move {
            if status(&mut stream).await == Some(401) {
                answered.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    // The first of them was verified: from now on that client has wrong passwords.
    wait_until("a wrong password is refused", || answered.load(Ordering::Relaxed) > 0).await;
    let before = answered.load(Ordering::Relaxed);
    let mut stream = connect_from(ELSEWHERE, address).await;
    ask(&mut stream, "right").await;
    assert!(matches!(status(&mut stream).await, Some(200 | 503)));
    let meanwhile = answered.load(Ordering::Relaxed) - before;
    assert!(meanwhile < 30, "{meanwhile} wrong passwords came first");
    drop(flood);
}

#[tokio::test]
async fn connections_from_elsewhere_outlive_a_flood_of_others() {
    let config = WebConfigFile::new();
    config.write("");
    let exporter = exporter(&config).await;
    let mut slow = connect_from(ELSEWHERE, exporter.address).await;
    slow.write_all(b"GET /-/healthy HTTP/1.1\r\n").await.expect("it reads");
    let mut flood = flood(&exporter).await;
    // The flood has been accepted when the last one of it is answered.
    let last = flood.last_mut().expect("there are some");
    last.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("it reads");
    assert_eq!(status(last).await, Some(200));
    slow.write_all(b"Host: x\r\n\r\n").await.expect("it is open");
    assert_eq!(status(&mut slow).await, Some(200));
}

#[tokio::test]
async fn a_slow_handshake_from_elsewhere_outlives_a_flood_of_others() {
    let config = WebConfigFile::new();
    config.write(&config.tls(2100));
    let exporter = exporter(&config).await;
    let mut slow = connect_from(ELSEWHERE, exporter.address).await;
    // The head of a TLS record, but for its last byte; the record is then no handshake, which is answered with an alert.
    slow.write_all(&[0x16, 3, 1, 0]).await.expect("it reads");
    let mut flood = flood(&exporter).await;
    let record: &[u8] = &[5, 0, 0, 0, 0, 0];
    let last = flood.last_mut().expect("there are some");
    last.write_all(&[&[0x16, 3, 1, 0], record].concat()).await.expect("it reads");
    for stream in [last, &mut slow] {
        if stream.local_addr().expect("it is connected").ip() == ELSEWHERE {
            stream.write_all(record).await.expect("it is open");
        }
        let first = timeout(DEADLINE, stream.read_u8()).await.expect("it is answered");
        assert_eq!(first.expect("it is not closed"), 0x15);
    }
}

#[tokio::test]
async fn what_was_closed_stays_closed_and_each_mistake_is_logged_once() {
    let config = WebConfigFile::new();
    config.write(&users(4));
    let exporter = exporter(&config).await;
    let refused = async || {
        let mut stream = TcpStream::connect(exporter.address).await.expect("it listens");
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("it reads");
        assert_eq!(status(&mut stream).await, Some(401));
    };
    let mistakes = || exporter.count_logged(|line| line["error"].is_string());
    for (number, text) in ["", "basic_auth_users: broken", "rate_limit: {}"].into_iter().enumerate() {
        config.write(text);
        refused().await;
        refused().await;
        wait_until("it is logged", || mistakes() == number + 1).await;
    }
    // Asked to read it again, it says again what is wrong.
    send_signal(&exporter.child, "-HUP").await;
    wait_until("it is logged again", || mistakes() == 4).await;
    refused().await;
    config.write(&users(5));
    refused().await;
    wait_until("it is read", || exporter.logged(|line| line["file"].is_string()).is_some()).await;
    assert_eq!(mistakes(), 4);
}

#[tokio::test]
async fn an_expired_certificate_is_logged_once() {
    let config = WebConfigFile::new();
    config.write(&config.tls(2001));
    let exporter = exporter(&config).await;
    let warnings =
        || exporter.count_logged(|line| line["message"].as_str().is_some_and(|text| text.contains("expired")));
    wait_until("it is logged", || warnings() == 1).await;
    let connect = async || {
        let mut stream = TcpStream::connect(exporter.address).await.expect("it listens");
        stream.write_all(b"no TLS\r\n\r\n").await.expect("it reads");
        assert_eq!(status(&mut stream).await, None);
    };
    for _ in 0..3 {
        connect().await;
    }
    config.write(&config.tls(2100));
    connect().await;
    assert_eq!(warnings(), 1);
}
