//! What the simulator does at present.
//!
//! Owns the values and their defaults. Must not know how they changed or what follows from them.

use std::num::NonZeroU8;
use std::time::Duration;

use jiff::SignedDuration;
use serde::{Serialize, Serializer};

use super::change::{Change, Content, Health, Rotation, TokenPolicy, Verdict};
use super::fault::Fault;
use crate::domain::RoleName;

/// How many hops a packet may pass as Linux sends it.
pub(super) const USUAL_HOP_LIMIT: NonZeroU8 = NonZeroU8::new(64).expect("it is not zero");

/// The settings, under the keys that change them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Settings {
    /// The fault.
    pub fault: Option<Fault>,
    /// Whether the fault is active at this moment: a flapping fault comes and goes.
    pub fault_active: bool,
    /// Whether the fault is at its step alone.
    pub only_step: bool,
    /// Period of a flapping fault.
    #[serde(serialize_with = "some_span")]
    pub flap: Option<Duration>,
    /// Time before each answer.
    #[serde(serialize_with = "span")]
    pub delay: Duration,
    /// More time before each answer to a token request.
    #[serde(serialize_with = "span")]
    pub token_delay: Duration,
    /// More time before each other answer.
    #[serde(serialize_with = "span")]
    pub get_delay: Duration,
    /// The role attached.
    pub role: RoleName,
    /// Lifetime of documents that will be made.
    #[serde(serialize_with = "span")]
    pub lifetime: Duration,
    /// Period of automatic rotation.
    #[serde(serialize_with = "period")]
    pub rotation: Rotation,
    /// What the document is made of.
    pub document: Content,
    /// How far the `Date` header is ahead of the clock.
    #[serde(serialize_with = "signed")]
    pub clock_skew: SignedDuration,
    /// Whether there is a `Date` header.
    pub date_header: bool,
    /// Whether a `GET` needs a session token.
    pub tokens: TokenPolicy,
    /// Whether the answer to a token request names the token's lifetime.
    pub token_ttl_header: bool,
    /// The longest lifetime that a session token gets.
    #[serde(serialize_with = "some_span")]
    pub token_lifetime: Option<Duration>,
    /// Whether connections stay open after an answer.
    pub keep_alive: bool,
    /// Whether answers come one byte a second, whatever they are.
    pub drip: bool,
    /// How many hops the answer to a token request may pass.
    pub hop_limit: NonZeroU8,
    /// How the simulated STS judges signed calls.
    pub sts: Verdict,
}

impl Default for Settings {
    /// As the real IMDS is: credentials for a bit more than six hours, new ones each hour.
    fn default() -> Self {
        Self {
            fault: None,
            fault_active: true,
            only_step: false,
            flap: None,
            delay: Duration::ZERO,
            token_delay: Duration::ZERO,
            get_delay: Duration::ZERO,
            role: RoleName::try_from("simulated-role".to_owned()).expect("it consists of letters and a hyphen"),
            lifetime: Duration::from_mins(6 * 60 + 34),
            rotation: Rotation::Every(Duration::from_hours(1)),
            document: Content::Generated,
            clock_skew: SignedDuration::ZERO,
            date_header: true,
            tokens: TokenPolicy::Required,
            token_ttl_header: true,
            token_lifetime: None,
            keep_alive: true,
            drip: false,
            hop_limit: USUAL_HOP_LIMIT,
            sts: Verdict::Checks,
        }
    }
}

impl Settings {
    /// The fault, if it is active at this moment.
    #[must_use]
    pub fn active_fault(&self) -> Option<Fault> {
        self.fault.filter(|_| self.fault_active)
    }

    pub(super) fn apply(&mut self, change: &Change) {
        if let Some(health) = change.fault {
            self.fault = match health {
                Health::Healthy => None,
                Health::Faulty(fault) => Some(fault),
            };
            self.flap = None;
            self.only_step = false;
            self.fault_active = true;
        }
        if change.flap.is_some() {
            self.flap = change.flap;
            self.fault_active = true;
        }
        if change.token_lifetime.is_some() {
            self.token_lifetime = change.token_lifetime;
        }
        set(&mut self.only_step, change.only_step.as_ref());
        set(&mut self.delay, change.delay.as_ref());
        set(&mut self.token_delay, change.token_delay.as_ref());
        set(&mut self.get_delay, change.get_delay.as_ref());
        set(&mut self.role, change.role.as_ref());
        set(&mut self.lifetime, change.lifetime.as_ref());
        set(&mut self.rotation, change.rotation.as_ref());
        set(&mut self.document, change.document.as_ref());
        set(&mut self.clock_skew, change.clock_skew.as_ref());
        set(&mut self.date_header, change.date_header.as_ref());
        set(&mut self.tokens, change.tokens.as_ref());
        set(&mut self.token_ttl_header, change.token_ttl_header.as_ref());
        set(&mut self.keep_alive, change.keep_alive.as_ref());
        set(&mut self.drip, change.drip.as_ref());
        set(&mut self.hop_limit, change.hop_limit.as_ref());
        set(&mut self.sts, change.sts.as_ref());
    }
}

fn set<T: Clone>(setting: &mut T, change: Option<&T>) {
    if let Some(value) = change {
        setting.clone_from(value);
    }
}

fn span<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_duration(*span))
}

#[expect(clippy::ref_option, reason = "serde passes fields so")]
fn some_span<S: Serializer>(value: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => span(value, serializer),
        None => serializer.serialize_none(),
    }
}

fn signed<S: Serializer>(span: &SignedDuration, serializer: S) -> Result<S::Ok, S::Error> {
    let sign = if span.is_negative() { "-" } else { "" };
    serializer.collect_str(&format_args!("{sign}{}", humantime::format_duration(span.unsigned_abs())))
}

fn period<S: Serializer>(rotation: &Rotation, serializer: S) -> Result<S::Ok, S::Error> {
    match rotation {
        Rotation::Off => serializer.serialize_str("off"),
        Rotation::Every(period) => span(period, serializer),
    }
}
