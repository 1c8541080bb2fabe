//! STS: one `GetCallerIdentity`, signed with the fetched credentials. It needs no permission, and tells what IMDS cannot:
//! whether AWS accepts them.
//!
//! Nothing is kept of a call but its result: no secret, no text of an answer. Must not know IMDS, metrics, pages or when a
//! call is due.

mod answer;
mod client;
mod endpoint;
mod signature;
mod trust;

pub use answer::{CallerIdentity, parse_error, parse_identity};
pub use client::{Proxy, Sts, StsOptions};
pub use endpoint::{Choice, Endpoint};
pub use signature::{Unsignable, signed_headers};
pub use trust::CaBundle;
