//! Requests as they come from a connection.
//!
//! Owns reading them, within bounds. Must not know what is asked or answered.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const MAX_HEAD_BYTES: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
/// The largest body that is read.
pub(super) const MAX_BODY_BYTES: usize = 64 * 1024;

/// A request without its body.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: String,
    /// The path, without a query.
    pub(super) path: String,
    headers: Vec<(String, String)>,
    /// Whether the client wants the connection to stay open.
    pub(super) keep_alive: bool,
}

impl Request {
    /// The first header of this name.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    fn read(head: &[u8]) -> Result<Option<(Self, usize)>, Unreadable> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut parsed = httparse::Request::new(&mut headers);
        let Ok(status) = parsed.parse(head) else { return Err(Unreadable::Malformed) };
        let httparse::Status::Complete(bytes) = status else { return Ok(None) };
        let path = parsed.path.unwrap_or_default();
        let text = |value: &[u8]| String::from_utf8_lossy(value).trim().to_owned();
        let mut request = Self {
            method: parsed.method.unwrap_or_default().to_owned(),
            path: path.split_once('?').map_or(path, |(path, _)| path).to_owned(),
            headers: parsed.headers.iter().map(|header| (header.name.to_owned(), text(header.value))).collect(),
            keep_alive: parsed.version == Some(1),
        };
        let connection = request.header("connection").map(str::to_ascii_lowercase);
        match connection.as_deref() {
            Some("close") => request.keep_alive = false,
            Some("keep-alive") => request.keep_alive = true,
            _ => {}
        }
        Ok(Some((request, bytes)))
    }

    fn body_bytes(&self) -> Result<usize, Unreadable> {
        if self.header("transfer-encoding").is_some() {
            return Err(Unreadable::Malformed);
        }
        let bytes = self.header("content-length").map_or(Ok(0), str::parse).map_err(|_| Unreadable::Malformed)?;
        if bytes > MAX_BODY_BYTES { Err(Unreadable::TooLarge) } else { Ok(bytes) }
    }
}

/// Why no request could be read.
#[derive(Debug)]
pub(super) enum Unreadable {
    /// It is not HTTP, or has a body of unknown length.
    Malformed,
    /// The head or the body is beyond its bound.
    TooLarge,
    /// The connection ended or broke.
    Gone,
}

impl From<io::Error> for Unreadable {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

/// The requests of one connection, one after the other.
pub(super) struct Requests<'s> {
    pub(super) stream: &'s mut TcpStream,
    /// What was read and belongs to no request yet.
    buffer: Vec<u8>,
}

impl<'s> Requests<'s> {
    pub(super) const fn new(stream: &'s mut TcpStream) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    /// The next request and its body.
    pub(super) async fn next(&mut self) -> Result<(Request, Vec<u8>), Unreadable> {
        let (request, head_bytes) = loop {
            if let Some(read) = Request::read(&self.buffer)? {
                break read;
            }
            if self.buffer.len() >= MAX_HEAD_BYTES {
                return Err(Unreadable::TooLarge);
            }
            self.fill().await?;
        };
        self.buffer.drain(..head_bytes);
        let body_bytes = request.body_bytes()?;
        // curl waits for this before it sends a body that it finds large.
        if self.buffer.len() < body_bytes && request.header("expect").is_some() {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        while self.buffer.len() < body_bytes {
            self.fill().await?;
        }
        let body = self.buffer.drain(..body_bytes).collect();
        Ok((request, body))
    }

    /// Ends once the client has closed the connection.
    pub(super) async fn ended(&mut self) {
        loop {
            self.buffer.clear();
            if self.fill().await.is_err() {
                return;
            }
        }
    }

    async fn fill(&mut self) -> Result<(), Unreadable> {
        let mut chunk = [0; 4 * 1024];
        match self.stream.read(&mut chunk).await? {
            0 => Err(Unreadable::Gone),
            bytes => {
                self.buffer.extend_from_slice(&chunk[..bytes]);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A request with this method and path.
    pub(in crate::simulator) fn request(line: &str) -> Request {
        let head = format!("{line} HTTP/1.1\r\nHost: imds\r\n\r\n");
        Request::read(head.as_bytes()).expect("it is HTTP").expect("it is complete").0
    }

    #[test]
    fn keep_alive_depends_on_the_version_and_the_connection_header() {
        for (head, keep_alive) in [
            ("GET / HTTP/1.1\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nconnection: Close\r\n\r\n", false),
            ("GET / HTTP/1.0\r\n\r\n", false),
            ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true),
        ] {
            let (request, _) = Request::read(head.as_bytes()).unwrap().unwrap();
            assert_eq!(request.keep_alive, keep_alive, "{head}");
        }
    }
}
