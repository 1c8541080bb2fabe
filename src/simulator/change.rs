//! A change to what the simulator does.
//!
//! Must not know how it is written (see `toml_format`) or what follows from it.

use std::num::NonZeroU8;
use std::time::Duration;

use jiff::SignedDuration;
use serde::Serialize;

use strum::{EnumString, IntoStaticStr};

use super::fault::Fault;
use crate::domain::RoleName;
use crate::domain::signed_call::Reason;

/// Whether a `GET` needs a session token.
#[derive(Clone, Copy, Debug, EnumString, Eq, IntoStaticStr, PartialEq, Serialize)]
#[serde(into = "&'static str")]
#[strum(serialize_all = "snake_case")]
pub enum TokenPolicy {
    /// IMDSv2 only.
    Required,
    /// A `GET` without a token is answered too.
    Optional,
}

/// Whether the simulated IMDS works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It works.
    Healthy,
    /// It has this fault.
    Faulty(Fault),
}

/// When the credentials are rotated automatically.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// Never.
    Off,
    /// With this period.
    Every(Duration),
}

/// What the credential document is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Content {
    /// Made-up credentials.
    Generated,
    /// This text, valid or not.
    Raw(String),
}

/// How the simulated STS judges a signed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Verdict {
    /// By its signature.
    Checks,
    /// It fails for this reason, whatever its signature is.
    Fails(Reason),
}

impl Verdict {
    /// Whether an STS that can be reached can do that.
    pub(super) const fn is_possible(self) -> bool {
        !matches!(self, Self::Fails(Reason::Connect | Reason::Tls))
    }
}

/// What changes; `None` leaves a setting unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// A new fault replaces the former one and stops its flapping.
    pub fault: Option<Health>,
    /// Alternate between the fault and health with this period, the fault first.
    pub flap: Option<Duration>,
    /// Whether the fault is at its step alone, and not at those after it; ends with the fault.
    pub only_step: Option<bool>,
    /// Time before each answer.
    pub delay: Option<Duration>,
    /// More time before each answer to a token request.
    pub token_delay: Option<Duration>,
    /// More time before each other answer.
    pub get_delay: Option<Duration>,
    /// The role attached; it comes with a new document.
    pub role: Option<RoleName>,
    /// `true`: a newer document.
    pub rotate: Option<bool>,
    /// Lifetime of documents made from now on; it comes with a new document.
    pub lifetime: Option<Duration>,
    /// Replace the document by one with this time left; negative: already expired.
    pub expires_in: Option<SignedDuration>,
    /// Period of automatic rotation.
    pub rotation: Option<Rotation>,
    /// What the document is made of.
    pub document: Option<Content>,
    /// How far the `Date` header is ahead of the clock.
    pub clock_skew: Option<SignedDuration>,
    /// Whether there is a `Date` header.
    pub date_header: Option<bool>,
    /// Whether a `GET` needs a session token.
    pub tokens: Option<TokenPolicy>,
    /// `true`: all session tokens become invalid.
    pub forget_tokens: Option<bool>,
    /// Whether the answer to a token request names the token's lifetime.
    pub token_ttl_header: Option<bool>,
    /// The longest lifetime that a session token gets.
    pub token_lifetime: Option<Duration>,
    /// Whether connections stay open after an answer.
    pub keep_alive: Option<bool>,
    /// Whether answers come one byte a second, whatever they are.
    pub drip: Option<bool>,
    /// How many hops the answer to a token request may pass.
    pub hop_limit: Option<NonZeroU8>,
    /// How the simulated STS judges signed calls.
    pub sts: Option<Verdict>,
}

impl Change {
    /// The end of any fault; everything else stays unchanged.
    #[must_use]
    pub fn to_healthy() -> Self {
        Self { fault: Some(Health::Healthy), ..Self::default() }
    }
}

impl From<Fault> for Change {
    fn from(fault: Fault) -> Self {
        Self { fault: Some(Health::Faulty(fault)), ..Self::default() }
    }
}
