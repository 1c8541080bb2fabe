//! Requests to the simulated IMDS: reading them, within bounds, and what they ask for.
//!
//! Owns the paths. Must not know what is answered.

use std::io;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, copy, sink};
use tokio::net::TcpStream;

use crate::domain::Step;

const MAX_HEAD_BYTES: u64 = 16 * 1024;

/// What can be asked for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// A session token.
    Token,
    /// The role list: the name of the role.
    Role,
    /// The credential document of a role.
    Credentials,
    /// `iam/info`.
    ProfileInfo,
    /// The name of the region.
    Region,
    /// Anything else.
    Other,
    /// Any of these.
    Any,
}

impl Resource {
    pub(super) const fn step(self) -> Option<Step> {
        match self {
            Self::Token => Some(Step::Token),
            Self::Role => Some(Step::Role),
            Self::Credentials => Some(Step::Credentials),
            Self::ProfileInfo | Self::Region | Self::Other | Self::Any => None,
        }
    }
}

pub(super) struct ImdsRequest {
    pub(super) method: String,
    pub(super) path: String,
    headers: Vec<(String, String)>,
    pub(super) keep_alive: bool,
}

const ROLES: &str = "meta-data/iam/security-credentials";

impl ImdsRequest {
    pub(super) fn resource(&self) -> Resource {
        match (self.method.as_str(), self.metadata_path()) {
            ("PUT", Some("api/token")) if self.path.starts_with("/latest/") => Resource::Token,
            ("GET" | "HEAD", Some("meta-data/placement/region")) => Resource::Region,
            ("GET" | "HEAD", Some("meta-data/iam/info")) => Resource::ProfileInfo,
            ("GET" | "HEAD", Some(path)) => match path.strip_prefix(ROLES) {
                Some("" | "/") => Resource::Role,
                Some(name) if name.starts_with('/') => Resource::Credentials,
                _ => Resource::Other,
            },
            _ => Resource::Other,
        }
    }

    /// The path below its version, such as `latest`, `2021-03-23` or `1.0`.
    pub(super) fn metadata_path(&self) -> Option<&str> {
        let (version, path) = self.path.trim_start_matches('/').split_once('/')?;
        let is_dated = !version.is_empty() && version.bytes().all(|c| c.is_ascii_digit() || c == b'-' || c == b'.');
        (version == "latest" || is_dated).then_some(path)
    }

    pub(super) fn role(&self) -> Option<&str> {
        self.metadata_path()?.strip_prefix(ROLES)?.strip_prefix('/')
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Reads the head of a request; `None` if it is not HTTP.
    fn parse(head: &str) -> Option<Self> {
        let mut lines = head.lines();
        let [method, target, version] = lines.next()?.split(' ').collect::<Vec<_>>().try_into().ok()?;
        let header = |line: &str| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
        let mut request = Self {
            method: method.to_owned(),
            path: target.split('?').next()?.to_owned(),
            headers: lines.filter(|line| !line.is_empty()).map(header).collect::<Option<_>>()?,
            keep_alive: version == "HTTP/1.1",
        };
        match request.header("connection").map(str::to_ascii_lowercase).as_deref() {
            Some("close") => request.keep_alive = false,
            Some("keep-alive") => request.keep_alive = true,
            _ => {}
        }
        version.starts_with("HTTP/1.").then_some(request)
    }

    /// The size of its body, if that is known.
    fn body_bytes(&self) -> Option<u64> {
        match (self.header("transfer-encoding"), self.header("content-length")) {
            (Some(_), _) => None,
            (None, length) => length.map_or(Some(0), |length| length.parse().ok()),
        }
    }
}

pub(super) struct ImdsRequests<'s>(BufReader<&'s mut TcpStream>);

impl<'s> ImdsRequests<'s> {
    pub(super) fn new(stream: &'s mut TcpStream) -> Self {
        Self(BufReader::new(stream))
    }

    pub(super) fn stream(&mut self) -> &mut TcpStream {
        self.0.get_mut()
    }

    /// The next request; its body is skipped. `InvalidData` is what is not HTTP, or has a body of unknown length.
    pub(super) async fn next(&mut self) -> io::Result<ImdsRequest> {
        let (mut head, mut reader) = (String::new(), (&mut self.0).take(MAX_HEAD_BYTES));
        while !head.ends_with("\r\n\r\n") && !head.ends_with("\n\n") {
            if reader.read_line(&mut head).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let request = ImdsRequest::parse(&head).ok_or(io::ErrorKind::InvalidData)?;
        let body_bytes = request.body_bytes().ok_or(io::ErrorKind::InvalidData)?;
        copy(&mut (&mut self.0).take(body_bytes), &mut sink()).await?;
        Ok(request)
    }

    pub(super) async fn ended(&mut self) -> io::Result<()> {
        copy(&mut self.0, &mut sink()).await.map(drop)
    }
}
