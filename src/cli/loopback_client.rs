//! Asks the exporter on this machine: one bounded GET over loopback.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// The `User-Agent` of commands that only read.
pub(super) const AGENT: &str = "imds-exporter";

const TIMEOUT: Duration = Duration::from_secs(2);
/// The largest answer that is read, in bytes.
const LARGEST_ANSWER: u64 = 1024 * 1024;

/// Status and body of `GET path`, from the exporter that listens on `listen`; `agent` is the `User-Agent`.
///
/// # Errors
/// When no exporter listens there, or it does not answer in time.
pub(super) fn get(listen: SocketAddr, path: &str, agent: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&reachable(listen), TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: {agent}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(LARGEST_ANSWER).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.map(|status| (status, body.to_owned())).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// A listener on all addresses is reached over loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}
