//! Asks the exporter on this machine: one bounded GET over loopback.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::platform::listener::ListenAddress;

const TIMEOUT: Duration = Duration::from_secs(2);

/// The largest answer that is read, in bytes.
const LARGEST_ANSWER: u64 = 1024 * 1024;

/// Status and body of `GET path`, from the exporter that listens on `listen`.
///
/// # Errors
/// When no exporter listens there, or it does not answer in time.
pub(super) fn get(listen: ListenAddress, path: &str) -> io::Result<(u16, String)> {
    let mut result = Err(io::ErrorKind::AddrNotAvailable.into());
    for address in listen.reachable() {
        result = get_from(address, path);
        if result.is_ok() {
            break;
        }
    }
    result
}

/// The same, of the exporter at this address.
pub(super) fn get_from(address: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(LARGEST_ANSWER).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.map(|status| (status, body.to_owned())).ok_or_else(|| io::ErrorKind::InvalidData.into())
}
