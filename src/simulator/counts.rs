//! What the simulator was asked.
//!
//! Owns the numbers and the last requests. Must not know how a request is answered.

use std::net::SocketAddr;

use jiff::Timestamp;
use serde::Serialize;

/// What was seen since the start, whatever came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Connections accepted.
    pub connections: u64,
    /// Requests for a session token.
    pub token: u64,
    /// Requests for the role list.
    pub role: u64,
    /// Requests for `iam/info`.
    pub profile_info: u64,
    /// Requests for a credential document.
    pub credentials: u64,
    /// Requests for the region.
    pub region: u64,
    /// All other requests.
    pub other: u64,
    /// Requests of version 1 among all these: with neither a session token nor a lifetime for one.
    pub without_token: u64,
}

/// A request as it came.
#[derive(Clone, Debug, Serialize)]
pub struct Seen {
    /// When.
    pub at: Timestamp,
    /// Its sender; a connection is told by its port.
    pub client: SocketAddr,
    /// Its method.
    pub method: String,
    /// Its path, without the query.
    pub path: String,
}
