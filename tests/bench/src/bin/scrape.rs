//! A scraper that costs next to nothing: `scrape ADDRESS PATH SCRAPES CONNECTIONS`. Each connection scrapes its share,
//! one after the other, and is kept where the server keeps it. Prints the latencies' p50 and p99 in microseconds
//! and the size of the last answer in bytes, head included. Asks for gzip, as Prometheus does.

use std::env;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

/// What one connection asks and has measured.
struct Scraper {
    address: String,
    request: Vec<u8>,
    stream: Option<TcpStream>,
    answer: Vec<u8>,
    latencies: Vec<Duration>,
    answer_bytes: usize,
}

fn main() {
    let arguments: Vec<String> = env::args().collect();
    let [_, address, path, scrapes, connections] = &arguments[..] else {
        panic!("usage: scrape ADDRESS PATH SCRAPES CONNECTIONS");
    };
    let (scrapes, connections): (usize, usize) =
        (scrapes.parse().expect("a number"), connections.parse().expect("a number"));
    let accept = "Accept: text/plain;version=0.0.4\r\nAccept-Encoding: gzip";
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{accept}\r\n\r\n");
    let threads: Vec<_> = (0..connections)
        .map(|_| {
            let mut scraper = Scraper {
                address: address.clone(),
                request: request.clone().into_bytes(),
                stream: None,
                answer: Vec::new(),
                latencies: Vec::with_capacity(scrapes / connections),
                answer_bytes: 0,
            };
            thread::spawn(move || {
                (0..scrapes / connections).for_each(|_| scraper.scrape());
                scraper
            })
        })
        .collect();
    let scrapers: Vec<Scraper> = threads.into_iter().map(|thread| thread.join().expect("it scrapes")).collect();
    let mut latencies: Vec<Duration> = scrapers.iter().flat_map(|scraper| scraper.latencies.clone()).collect();
    latencies.sort_unstable();
    let quantile = |percent: usize| latencies[(latencies.len() - 1) * percent / 100].as_secs_f64() * 1e6;
    println!("{:.1} {:.1} {}", quantile(50), quantile(99), scrapers[0].answer_bytes);
}

impl Scraper {
    fn scrape(&mut self) {
        let began = Instant::now();
        let mut stream = self.stream.take().unwrap_or_else(|| {
            let stream = TcpStream::connect(&self.address).expect("it listens");
            stream.set_nodelay(true).expect("it is TCP");
            stream
        });
        stream.write_all(&self.request).expect("it reads");
        let open = self.read(&mut stream);
        self.latencies.push(began.elapsed());
        self.stream = open.then_some(stream);
    }

    /// Reads one answer; whether the connection stays open.
    fn read(&mut self, stream: &mut TcpStream) -> bool {
        self.answer.clear();
        let head_bytes = loop {
            assert!(self.more(stream), "the connection ended in the head");
            if let Some(at) = find(&self.answer, b"\r\n\r\n") {
                break at + 4;
            }
        };
        let head = String::from_utf8_lossy(&self.answer[..head_bytes]).to_ascii_lowercase();
        assert!(head.contains(" 200 "), "{head}");
        let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        if let Some(length) = header("content-length") {
            let whole = head_bytes + length.parse::<usize>().expect("a number");
            while self.answer.len() < whole {
                assert!(self.more(stream), "the connection ended in the body");
            }
        } else if header("transfer-encoding") == Some("chunked") {
            while !self.answer.ends_with(b"\r\n0\r\n\r\n") {
                assert!(self.more(stream), "the connection ended in the body");
            }
        } else {
            while self.more(stream) {}
        }
        self.answer_bytes = self.answer.len();
        head.starts_with("http/1.1") && header("connection") != Some("close") && {
            header("content-length").is_some() || header("transfer-encoding").is_some()
        }
    }

    fn more(&mut self, stream: &mut TcpStream) -> bool {
        let mut piece = [0; 64 * 1024];
        let read = stream.read(&mut piece).expect("it answers");
        self.answer.extend_from_slice(&piece[..read]);
        read > 0
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}
