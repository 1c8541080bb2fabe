//! IMDSv2: resolves the instance's role credentials as an AWS SDK does, in one attempt, and gives every failure its
//! kind.
//!
//! Must not know metrics, pages, the schedule, or the result of earlier polls.

mod client;
mod document;
mod endpoint;
mod session_token;
mod status;
mod transport;

use std::time::Duration;

pub use client::{Imds, Options};
pub use document::{Document, parse_document, parse_profile_info, parse_signing_credentials};
pub use endpoint::{Endpoint, IPV4_ENDPOINT, IPV6_ENDPOINT};
pub use session_token::SessionToken;

/// The time-out of every SDK, for a connection and for an answer.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);
