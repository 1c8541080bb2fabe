//! Hostile clients: the exporter stays within its limits, polling continues, and `/metrics` is served to other clients
//! meanwhile.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use imds_exporter::http::{Limits, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::support::exporter::listen;
use crate::support::program::ExporterProcess;
use crate::support::request::{ELSEWHERE, connect_from, send_over, status};
use crate::support::resources::Resources;
use crate::support::scrape::{polls_after, scrape_until};
use crate::support::simulator::start_simulator;
use crate::support::wait::{DEADLINE, wait_until};

/// Room for 64 connections with full buffers in a build without optimisation.
const RSS_MARGIN_KIB: u64 = 8 * 1024;
/// The attacker's connections at a time, within the usual limit of descriptors per process.
const ATTACKER_CONNECTIONS: usize = 400;
/// The size of a response that does not fit into the buffers of a connection.
const LARGE_RESPONSE: usize = 16 * 1024 * 1024;

async fn connect(address: SocketAddr) -> TcpStream {
    timeout(DEADLINE, TcpStream::connect(address)).await.expect("it accepts connections").expect("it listens")
}

/// Over a connection of its own.
async fn send_all(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    send_over(connect(address).await, bytes).await
}

async fn thousands_of_idle_connections(address: SocketAddr) {
    let mut held = VecDeque::new();
    for _ in 0..3_000 {
        held.push_back(connect(address).await);
        if held.len() > ATTACKER_CONNECTIONS {
            held.pop_front();
        }
    }
    // All but as many as there are slots are closed.
    let slots = Limits::default().connections;
    wait_until("the connections are closed", || held.iter().filter(|stream| is_open(stream)).count() <= slots).await;
}

fn is_open(stream: &TcpStream) -> bool {
    matches!(stream.try_read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
}

async fn slow_headers(address: SocketAddr) {
    let mut streams = Vec::new();
    for _ in 0..200 {
        streams.push(connect(address).await);
    }
    for byte in b"GET /metrics HTTP/1.1\r\nX-Slow: " {
        for stream in &mut streams {
            let _closed = stream.write_all(&[*byte]).await;
        }
    }
}

async fn huge_heads(address: SocketAddr) {
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(2_000));
    let long_name = format!("GET / HTTP/1.1\r\n{}: x\r\n\r\n", "x".repeat(1024 * 1024));
    let long_value = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(8 * 1024 * 1024));
    let long_path = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(8 * 1024 * 1024));
    for head in [many, long_name, long_value, long_path] {
        let status = status(&send_all(address, head.as_bytes()).await);
        assert!(matches!(status, None | Some(400 | 414 | 431)), "{head:.40}: {status:?}");
    }
    // A long path within the limits does not exist.
    let path = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(4 * 1024));
    assert_eq!(status(&send_all(address, path.as_bytes()).await), Some(404));
}

async fn half_closed_connections(address: SocketAddr) {
    // A client may close its side after its request, and is answered.
    let answer = send_all(address, b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(status(&answer), Some(200));
    for _ in 0..200 {
        assert!(send_all(address, b"").await.is_empty());
        assert!(send_all(address, b"GET /metr").await.is_empty());
    }
}

async fn pipelining(address: SocketAddr) {
    let count = 299;
    let requests = "GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n".repeat(count);
    let last = "GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answers = String::from_utf8(send_all(address, format!("{requests}{last}").as_bytes()).await).expect("text");
    assert_eq!(answers.matches("HTTP/1.1 200").count(), count);
    assert_eq!(answers.matches("HTTP/1.1 404").count(), 1);
}

async fn bad_http(address: SocketAddr) {
    for bytes in [
        &b"\0\0\0\0\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: \x01\0\r\n\r\n",
    ] {
        let status = status(&send_all(address, bytes).await);
        assert!(matches!(status, None | Some(400 | 505)), "{}: {status:?}", bytes.escape_ascii());
    }
    // A request that is smuggled in a body is not answered.
    let smuggled = b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n\
                     0\r\n\r\nGET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n";
    let answers = String::from_utf8_lossy(&send_all(address, smuggled).await).into_owned();
    assert!(!answers.starts_with("HTTP/1.1 200"), "{answers}");
    let endless = format!("POST /metrics HTTP/1.1\r\nContent-Length: {}\r\n\r\n{}", u64::MAX, "x".repeat(1024 * 1024));
    assert!(matches!(status(&send_all(address, endless.as_bytes()).await), None | Some(400..500)));
}

async fn clients_that_never_read(address: SocketAddr) {
    let requests = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1_000);
    let mut streams = Vec::new();
    for _ in 0..80 {
        let mut stream = connect(address).await;
        // Until the buffers are full.
        let _full = timeout(Duration::from_millis(20), stream.write_all(&requests)).await;
        streams.push(stream);
    }
}

#[tokio::test]
async fn scrapes_are_served_and_resources_stay_bounded_under_attack() {
    let simulator = start_simulator().await;
    let ExporterProcess { child, address, .. } = ExporterProcess::start(simulator.address()).await;
    let before = scrape_until(address, "the first poll", |scrape| scrape.value("imds_up") == 1).await;
    let level = Resources::of(&child);

    let (over, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let scraping = {
        let (over, served) = (Arc::clone(&over), Arc::clone(&served));
        tokio::spawn(async move {
            while !over.load(Ordering::Relaxed) {
                // The attack comes from elsewhere, and so closes none of these connections.
                let stream = connect_from(ELSEWHERE, address).await;
                let answer = send_over(stream, b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
                assert_eq!(status(&answer), Some(200), "a scrape is not served");
                served.fetch_add(1, Ordering::Relaxed);
                sleep(Duration::from_millis(10)).await;
            }
        })
    };
    thousands_of_idle_connections(address).await;
    slow_headers(address).await;
    huge_heads(address).await;
    half_closed_connections(address).await;
    pipelining(address).await;
    bad_http(address).await;
    clients_that_never_read(address).await;
    let after = polls_after(&before, 2, address).await;
    over.store(true, Ordering::Relaxed);
    scraping.await.expect("scrapes are served");

    assert!(served.load(Ordering::Relaxed) >= 10);
    assert_eq!(after.outcomes("failure"), 0, "polling continues");
    level.assert_restored(&child, RSS_MARGIN_KIB, "after the attacks").await;
}

/// A server with a short idle timeout.
async fn server_with_short_timeout() -> SocketAddr {
    let limits = Limits { idle_timeout: Duration::from_millis(300), ..Limits::default() };
    let (listener, address) = listen().await;
    let page = axum::routing::get(|| async { vec![b'x'; LARGE_RESPONSE] });
    let router = axum::Router::new().route("/large", page);
    tokio::spawn(serve(listener, router, limits, None, std::future::pending()));
    address
}

/// Reads until the connection is closed.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    let _reset = timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("it is closed");
    answer
}

#[tokio::test]
async fn a_client_that_never_finishes_its_request_head_or_never_reads_is_disconnected() {
    let address = server_with_short_timeout().await;
    for sent in [&b""[..], b"GET / HTTP/1.1\r\nHost: "] {
        let mut stream = connect(address).await;
        stream.write_all(sent).await.expect("it reads");
        rest(&mut stream).await;
    }
    let mut stream = connect(address).await;
    stream.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("it reads");
    // What was sent before the connection was closed can be read; it is not all.
    sleep(Duration::from_millis(600)).await;
    assert!(rest(&mut stream).await.len() < LARGE_RESPONSE);
}

#[tokio::test]
async fn a_client_that_keeps_sending_requests_stays_connected() {
    let mut stream = connect(server_with_short_timeout().await).await;
    for _ in 0..30 {
        stream.write_all(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("it is open");
        let mut answer = [0; 1024];
        let read = timeout(DEADLINE, stream.read(&mut answer)).await.expect("it answers").expect("it is open");
        assert_eq!(status(&answer[..read]), Some(404));
        sleep(Duration::from_millis(20)).await;
    }
}
