//! IMDSv2: resolves the instance's role credentials as boto3 does when a client is created, gives every failure its kind,
//! and says what boto3 makes of the same answers.
//!
//! Must not know metrics, pages or the schedule.

mod client;
mod document;
mod endpoint;
mod expiration;
mod role_path;
mod session_token;
mod status;
mod text;
mod time_limit;
mod transport;

use std::num::NonZeroU32;
use std::time::Duration;

pub use client::{Imds, ImdsOptions};
pub use document::{Document, creation, parse_document, parse_profile_info};
pub use endpoint::{Endpoint, IPV4_ENDPOINT, IPV6_ENDPOINT};
pub use session_token::SessionToken;

/// boto3's time-out, for a connection and for each read.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);

/// boto3's attempts for each request.
pub const DEFAULT_ATTEMPTS: NonZeroU32 = NonZeroU32::MIN;
