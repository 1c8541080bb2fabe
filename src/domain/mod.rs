//! The vocabulary and the decisions: what is known after each poll, and what follows from it.
//!
//! Pure: no I/O and no clock; every decision takes the time as a parameter. Must not know the wire format, metrics,
//! logs or pages.

pub mod boto3;
mod credential;
mod human_duration;
mod imds_state;
mod kind;
mod moment;
pub mod outage;
pub mod place;
pub mod poll_history;
mod region;
mod resolution;
pub mod saved_state;
pub mod schedule;
mod shadow;
pub mod signed_call;
mod signing;
mod source;
pub mod state;
pub mod workload;

pub use credential::{Credential, RoleName};
pub use human_duration::HumanDuration;
pub use imds_state::ImdsState;
pub use kind::Kind;
pub use moment::{Moment, SinceBoot};
pub use region::{DnsSuffixes, Region};
pub use resolution::{
    Creation, Evidence, Failure, KeyFingerprint, NetworkError, Outcome, Request, RequestRecord, Resolution, Server,
    Step,
};
pub use shadow::Shadow;
pub use signing::{Signing, SigningCredentials};
pub use source::Source;
