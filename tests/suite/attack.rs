//! Clients that mean no good: the exporter stays within its bounds, the poll loop is untouched, and `/metrics` is
//! answered for the honest client meanwhile.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use imds_exporter::http::{Limits, serve};
use imds_exporter::web::Door;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::commands::{Served, against};
use crate::faults::{Holdings, until};
use crate::http::PATIENCE;
use crate::support::simulator;

/// Room for 64 connections with full buffers in a build that is not optimised.
const RSS_MARGIN_KIB: u64 = 8 * 1024;
/// Connections of an attacker at a time: fewer than a process may usually have descriptors.
const AT_A_TIME: usize = 400;

async fn connect(address: SocketAddr) -> TcpStream {
    timeout(PATIENCE, TcpStream::connect(address)).await.expect("it takes connections").expect("it listens")
}

/// Sends what it can; what comes back, until the end.
async fn send_all(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(address).await;
    let (mut reader, mut writer) = stream.split();
    let mut answer = Vec::new();
    let write = async {
        let _closed = writer.write_all(bytes).await;
        let _closed = writer.shutdown().await;
    };
    let both = async { tokio::join!(write, reader.read_to_end(&mut answer)) };
    let _reset = timeout(PATIENCE, both).await.expect("the connection ends");
    answer
}

fn status(answer: &[u8]) -> Option<u16> {
    std::str::from_utf8(answer.get(9..12)?).ok()?.parse().ok()
}

async fn idle_connections_by_the_thousand(address: SocketAddr) {
    let mut held = VecDeque::new();
    for _ in 0..3_000 {
        held.push_back(connect(address).await);
        if held.len() > AT_A_TIME {
            held.pop_front();
        }
    }
}

async fn slow_headers(address: SocketAddr) {
    let mut streams = Vec::new();
    for _ in 0..200 {
        streams.push(connect(address).await);
    }
    for byte in b"GET /metrics HTTP/1.1\r\nX-Slow: " {
        for stream in &mut streams {
            let _given_way = stream.write_all(&[*byte]).await;
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
    // A long path within the bounds is a path that there is not.
    let path = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(4 * 1024));
    assert_eq!(status(&send_all(address, path.as_bytes()).await), Some(404));
}

async fn half_closed(address: SocketAddr) {
    // A client may close its side once it has asked; it is answered.
    let answer = send_all(address, b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(status(&answer), Some(200));
    for _ in 0..200 {
        assert!(send_all(address, b"").await.is_empty());
        assert!(send_all(address, b"GET /metr").await.is_empty());
    }
}

async fn pipelining(address: SocketAddr) {
    let requests = 300;
    let ask = "GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n".repeat(requests - 1);
    let last = "GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answers = String::from_utf8(send_all(address, format!("{ask}{last}").as_bytes()).await).expect("text");
    assert_eq!(answers.matches("HTTP/1.1 200").count(), requests - 1);
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
    // A body that is not asked for is no way in either.
    let smuggled = b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n\
                     0\r\n\r\nGET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n";
    let answers = String::from_utf8_lossy(&send_all(address, smuggled).await).into_owned();
    assert!(!answers.starts_with("HTTP/1.1 200"), "{answers}");
    let endless = format!("POST /metrics HTTP/1.1\r\nContent-Length: {}\r\n\r\n{}", u64::MAX, "x".repeat(1024 * 1024));
    assert!(matches!(status(&send_all(address, endless.as_bytes()).await), None | Some(400..500)));
}

async fn clients_that_never_read(address: SocketAddr) {
    let ask = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1_000);
    let mut streams = Vec::new();
    for _ in 0..80 {
        let mut stream = connect(address).await;
        // Until nothing more goes in.
        let _stuck = timeout(Duration::from_millis(20), stream.write_all(&ask)).await;
        streams.push(stream);
    }
}

#[tokio::test]
async fn under_attack_the_honest_are_served_and_the_bounds_hold() {
    let simulator = simulator().await;
    let Served { child, address, .. } = Served::start(against(&simulator, &[])).await;
    let before = until(address, "a first poll", |scrape| scrape.value("imds_up") == 1).await;
    let level = Holdings::of(&child);

    let (over, honest) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let scraping = {
        let (over, honest) = (Arc::clone(&over), Arc::clone(&honest));
        tokio::spawn(async move {
            let mut in_a_row = 0;
            while !over.load(Ordering::Relaxed) {
                let answer = send_all(address, b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
                if status(&answer) == Some(200) {
                    honest.fetch_add(1, Ordering::Relaxed);
                    in_a_row = 0;
                } else {
                    // In a flood it may have to give way like anybody, and tries again.
                    in_a_row += 1;
                    assert!(in_a_row < 3, "the honest client is kept out");
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
    };
    let watching = {
        let (over, pid) = (Arc::clone(&over), child.id().expect("it runs"));
        tokio::spawn(async move {
            let mut most = 0;
            while !over.load(Ordering::Relaxed) {
                most = most.max(std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").count());
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            most
        })
    };
    idle_connections_by_the_thousand(address).await;
    slow_headers(address).await;
    huge_heads(address).await;
    half_closed(address).await;
    pipelining(address).await;
    bad_http(address).await;
    clients_that_never_read(address).await;
    let polls = before.value("imds_fetches_total") + 2;
    let after = until(address, "polling goes on", |scrape| scrape.value("imds_fetches_total") >= polls).await;
    over.store(true, Ordering::Relaxed);
    scraping.await.expect("the honest client is content");
    let most = watching.await.expect("it is watched");

    assert!(honest.load(Ordering::Relaxed) >= 10);
    let failed = after.value("imds_fetch_duration_seconds_count{outcome=\"failure\"}");
    assert!(failed == 0, "the poll loop is untouched");
    let places = Limits::default().connections;
    assert_eq!(places, 64, "the documented bound");
    assert!(most > level.descriptors + places / 2, "{most} descriptors are no attack");
    // One more than there are places: the newest, before the oldest is gone.
    assert!(most <= level.descriptors + places + 2, "{most} descriptors");
    level.return_to(&child, RSS_MARGIN_KIB, "after the attacks").await;
}

/// A server with short times, and nothing to serve.
async fn impatient() -> SocketAddr {
    let limits = Limits { quiet: Duration::from_millis(300), ..Limits::default() };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
    let address = listener.local_addr().expect("it is bound");
    let page = axum::routing::get(|| async { vec![b'x'; 16 * 1024 * 1024] });
    let router = axum::Router::new().route("/large", page);
    tokio::spawn(serve(listener, router, limits, Door::default(), std::future::pending()));
    address
}

#[tokio::test]
async fn who_does_not_finish_a_head_is_closed() {
    let address = impatient().await;
    for sent in [&b""[..], b"GET / HTTP/1.1\r\nHost: "] {
        let mut stream = connect(address).await;
        stream.write_all(sent).await.expect("it reads");
        let mut answer = Vec::new();
        let _reset = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("it is closed");
    }
}

#[tokio::test]
async fn who_does_not_read_the_answer_is_closed() {
    let mut stream = connect(impatient().await).await;
    stream.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("it reads");
    // What was sent before the end may be read; it is less than the whole.
    tokio::time::sleep(Duration::from_millis(600)).await;
    let mut answer = Vec::new();
    let _reset = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("it is closed");
    assert!(answer.len() < 16 * 1024 * 1024);
}

#[tokio::test]
async fn who_asks_again_and_again_is_not_quiet() {
    let mut stream = connect(impatient().await).await;
    for _ in 0..30 {
        stream.write_all(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("it is open");
        let mut answer = [0; 1024];
        let read = timeout(PATIENCE, stream.read(&mut answer)).await.expect("it answers").expect("it is open");
        assert_eq!(status(&answer[..read]), Some(404));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
