//! One thing to tell the simulator.
//!
//! Owns the typed form of it. Must not know how it is spelled (see `spelling`) nor what follows from it.

use std::num::NonZeroU8;
use std::time::Duration;

use jiff::SignedDuration;
use serde::Serialize;

use super::fault::Fault;
use super::scenario_error::ScenarioError;
use super::spelling;
use super::words::words;
use crate::model::RoleName;

words! {
    /// Whether a `GET` needs a session token.
    TokenPolicy {
        /// IMDSv2 only.
        Required = "required",
        /// A `GET` without a token is answered too.
        Optional = "optional",
    }
}

/// What state the simulated IMDS is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It works.
    Sound,
    /// This is wrong with it.
    Faulty(Fault),
}

/// When newer credentials come by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// Never.
    Off,
    /// Each time this much has passed.
    Every(Duration),
}

/// What the credential document is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Content {
    /// Made-up credentials.
    Made,
    /// This text, whatever it is.
    Raw(String),
}

/// What shall be different from now on; whatever is `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// A new fault replaces the former one, and ends its flapping.
    pub fault: Option<Health>,
    /// Alternate between the fault and health with this period, the fault first.
    pub flap: Option<Duration>,
    /// Time before each answer.
    pub delay: Option<Duration>,
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
}

impl Change {
    /// Reads a change from TOML.
    ///
    /// # Errors
    /// If the text is not TOML, or a key or a value is not known; the error names the key and the line.
    pub fn parse(toml: &str) -> Result<Self, ScenarioError> {
        spelling::change(toml)
    }

    /// Healthy again; all else stays as it is.
    #[must_use]
    pub fn to_health() -> Self {
        Self { fault: Some(Health::Sound), ..Self::default() }
    }
}

impl From<Fault> for Change {
    fn from(fault: Fault) -> Self {
        Self { fault: Some(Health::Faulty(fault)), ..Self::default() }
    }
}
