//! Compressed scrapes: the same samples, for whoever asks for them.

use std::io::Read;
use std::net::SocketAddr;

use flate2::read::GzDecoder;
use tokio::net::TcpStream;

use crate::support::exporter::Exporter;
use crate::support::request::{get_until, send_over};
use crate::support::simulator::{CONNECT_REFUSED, apply_toml, start_simulator};
use crate::support::wait::{DEADLINE, answer_within};

/// Header lines, and the body as it came.
struct Answer {
    head: Vec<String>,
    body: Vec<u8>,
}

impl Answer {
    async fn to(address: SocketAddr, method: &str, path: &str, headers: &[u8]) -> Self {
        // HTTP/1.0, so that the body has no chunks.
        let mut request = format!("{method} {path} HTTP/1.0\r\nHost: x\r\n").into_bytes();
        request.extend_from_slice(headers);
        request.extend_from_slice(b"\r\n");
        let answer = send_over(TcpStream::connect(address).await.expect("it listens"), &request).await;
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8(answer[..end].to_vec()).expect("a head is text");
        let head = head.lines().map(str::to_ascii_lowercase).filter(|line| !line.starts_with("date:")).collect();
        Self { head, body: answer[end + 4..].to_vec() }
    }

    async fn scrape(address: SocketAddr, headers: &[u8]) -> Self {
        let answer = Self::to(address, "GET", "/metrics", headers).await;
        assert_eq!(answer.head[0], "http/1.0 200 ok");
        // A cache in between must tell the two apart, whichever it has.
        assert!(answer.has("vary: accept-encoding"), "{:?}", answer.head);
        assert!(answer.has("content-type: text/plain; version=0.0.4; charset=utf-8"), "{:?}", answer.head);
        answer
    }

    fn has(&self, header: &str) -> bool {
        self.head.iter().any(|line| line == header)
    }

    fn is_compressed(&self) -> bool {
        self.has("content-encoding: gzip")
    }

    /// The text, without the values that are others at each scrape.
    fn samples(&self) -> String {
        let text = if self.is_compressed() {
            let mut text = String::new();
            let mut decoder = GzDecoder::new(self.body.as_slice());
            decoder.read_to_string(&mut text).expect("a valid stream");
            assert!(decoder.into_inner().is_empty(), "a stream has one member");
            text
        } else {
            String::from_utf8(self.body.clone()).expect("it is text")
        };
        text.lines()
            .filter(|line| !line.starts_with("process_"))
            .map(|line| line.strip_prefix("imds_credentials_remaining_seconds ").map_or(line, |_| "remaining\n"))
            .collect()
    }
}

#[tokio::test]
async fn a_compressed_scrape_has_the_same_samples_and_a_quarter_of_the_size() {
    let simulator = start_simulator().await;
    let exporter = Exporter::start_with(&simulator, &[("IMDS_EXPORTER_POLL_INTERVAL", "1h")]).await;
    // Also before the first poll has ended, when it has not been compressed beforehand.
    assert!(Answer::scrape(exporter.address, b"Accept-Encoding: gzip\r\n").await.is_compressed());
    get_until(exporter.address, "/-/startup", |response| response.status == 200).await;
    let plain = Answer::scrape(exporter.address, b"").await;
    assert!(!plain.is_compressed());
    let compressed = Answer::scrape(exporter.address, b"Accept-Encoding: gzip\r\n").await;
    assert!(compressed.is_compressed());
    assert_eq!(compressed.samples(), plain.samples());
    assert!(plain.samples().contains("remaining"), "{}", plain.samples());
    assert!(compressed.body.len() * 4 <= plain.body.len(), "{} of {}", compressed.body.len(), plain.body.len());
    let head = Answer::to(exporter.address, "HEAD", "/metrics", b"Accept-Encoding: gzip\r\n").await;
    let without_length = |answer: &Answer| {
        answer.head.iter().filter(|line| !line.starts_with("content-length")).cloned().collect::<Vec<_>>()
    };
    assert_eq!(without_length(&head), without_length(&compressed));
    assert!(head.body.is_empty());
    let head = Answer::to(exporter.address, "HEAD", "/metrics", b"").await;
    assert_eq!(without_length(&head), without_length(&plain));
    exporter.stop().await;
}

#[tokio::test]
async fn a_compressed_scrape_follows_the_polls() {
    let simulator = start_simulator().await;
    let exporter = Exporter::start(&simulator).await;
    let compressed_has = async |text: &str| {
        let scrape = async || {
            let scrape = Answer::scrape(exporter.address, b"Accept-Encoding: gzip\r\n").await;
            scrape.samples().contains(text).then_some(())
        };
        answer_within(DEADLINE, scrape).await.unwrap_or_else(|| panic!("{text} does not come"));
    };
    compressed_has("imds_up 1").await;
    apply_toml(&simulator, CONNECT_REFUSED).await;
    compressed_has("imds_up 0").await;
    exporter.stop().await;
}

#[tokio::test]
async fn a_hostile_accept_encoding_changes_nothing() {
    let simulator = start_simulator().await;
    let exporter = Exporter::start_with(&simulator, &[("IMDS_EXPORTER_POLL_INTERVAL", "1h")]).await;
    get_until(exporter.address, "/-/startup", |response| response.status == 200).await;
    let plain = Answer::scrape(exporter.address, b"").await;
    let header = |value: &[u8]| [b"Accept-Encoding: ", value, b"\r\n"].concat();
    let hostile = [
        header(b""),
        header(b",,,,;;;;===="),
        header(b"gzip;q=nan, gzip;q=-0.0, gzip;q=99999999999999999999999"),
        header(b"\xff\xfe\x80gzip"),
        header(&b",".repeat(10_000)),
        header(&b"gzip;q=0,".repeat(1000)),
        header(&[b'a'; 10_000]),
        header(b"gzip\tdeflate\t;q=1"),
        header(b"br").repeat(50),
    ];
    for headers in hostile {
        let answer = Answer::scrape(exporter.address, &headers).await;
        let shown = String::from_utf8_lossy(&headers);
        assert!(!answer.is_compressed(), "{shown}");
        assert_eq!(answer.samples(), plain.samples(), "{shown}");
    }
    // Nor is anything else compressed, or does it vary.
    let page = Answer::to(exporter.address, "GET", "/runbook", &header(b"gzip")).await;
    assert!(!page.is_compressed() && !page.has("vary: accept-encoding"));
    exporter.stop().await;
}
