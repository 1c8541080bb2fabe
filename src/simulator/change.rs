//! What the simulator can be told to do: the keys of a change, which the control interface and scenario files share.
//!
//! A key is declared once, in the table below; its comment is its line in the control interface's help. Must not know
//! what follows from a change.

use std::collections::BTreeMap;
use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

use jiff::SignedDuration;
use jiff::fmt::serde::{
    duration::friendly::compact::optional as signed, unsigned_duration::friendly::compact::optional as span,
};
use serde::{Deserialize, Serialize};

use super::document::{Rotation, Terms};
use super::fault::Fault;
use super::imds_request::Resource;
use crate::domain::signed_call::Reason;
use crate::domain::{Kind, RoleName, Step};

macro_rules! keys {
    ($($(#[doc = $meaning:literal])+ $(#[serde($($serde:tt)*)])? $key:ident: $type:ty,)+) => {
        /// A change; `None` leaves what was set before. All changes together are what the simulator does at present.
        #[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Change {
            $($(#[doc = $meaning])+ $(#[serde($($serde)*)])? #[serde(skip_serializing_if = "Option::is_none")]
            pub $key: Option<$type>,)+
        }

        /// Each key and its meaning.
        pub(super) const KEYS: &[(&str, &str)] = &[$((stringify!($key), concat!($($meaning),+)),)+];

        impl Change {
            fn merge(&mut self, change: &Self) {
                $(if change.$key.is_some() { self.$key.clone_from(&change.$key); })+
            }
        }
    };
}

keys! {
    /// In a scenario: when it happens, after the start.
    #[serde(with = "span")] at: Duration,
    /// In a scenario: what to tell the reader.
    say: String,
    /// A kind of failure from now on, or "none".
    fault: Health,
    /// The form of the fault.
    variant: String,
    /// The first request that fails: "token", "role" or "credentials".
    step: Step,
    /// true: the fault affects this step alone, not those after it.
    only_step: bool,
    /// The fault turns on and off with this period, such as "3s".
    #[serde(with = "span")] flap: Duration,
    /// Delay of each answer, such as "800ms".
    #[serde(with = "span")] delay: Duration,
    /// More delay of each answer to a token request.
    #[serde(with = "span")] token_delay: Duration,
    /// More delay of each other answer.
    #[serde(with = "span")] get_delay: Duration,
    /// The answers are sent in this many pieces; 1 by default.
    pieces: NonZeroUsize,
    /// The pause between two pieces; "400ms" by default.
    #[serde(with = "span")] pause: Duration,
    /// The attached role; creates a new document.
    role: RoleName,
    /// true: create a newer document.
    rotate: bool,
    /// Lifetime of documents from now on; creates a new document. "6h 34m" by default.
    #[serde(with = "span")] lifetime: Duration,
    /// Create a document that expires in this time; "-5m": already expired.
    #[serde(serialize_with = "signed")] expires_in: SignedDuration,
    /// Create newer documents automatically with this period, or "off"; "1h" by default.
    rotation: Rotation,
    /// Fields of the document as JSON, such as { Token = 'null' }; '' omits the field; {} restores all.
    fields: BTreeMap<String, String>,
    /// Parts of answers, such as { role = { status = 404, body = "", headers = { Via = "proxy" } } }; {} restores all.
    /// Answers: `token`, `role`, `credentials`, `profile_info`, `region`, `other` or `any`.
    answers: BTreeMap<Resource, Part>,
    /// The Server header; "" omits it.
    server: String,
    /// The Date header is ahead of the clock by this; "-90s": behind it.
    #[serde(serialize_with = "signed")] clock_skew: SignedDuration,
    /// Whether there is a Date header.
    date_header: bool,
    /// Whether a GET requires a session token: "required" or "optional".
    tokens: TokenPolicy,
    /// true: invalidate all session tokens.
    forget_tokens: bool,
    /// The longest lifetime of session tokens from now on.
    #[serde(with = "span")] token_lifetime: Duration,
    /// Whether connections stay open after an answer.
    keep_alive: bool,
    /// How many hops the answer to a token request may pass; loopback has no hops.
    hop_limit: NonZeroU8,
    /// "checks": the simulated STS checks signatures; or the reason for which it fails, such as "throttled".
    sts: StsVerdict,
}

impl Change {
    /// The end of any fault; everything else stays unchanged.
    #[must_use]
    pub fn to_healthy() -> Self {
        Self { fault: Some(Health::Healthy), ..Self::default() }
    }

    /// The fault that it names, if its keys fit together.
    pub(super) fn fault(&self) -> Result<Option<Fault>, String> {
        if matches!(self.sts, Some(StsVerdict::Fails(Reason::Connect | Reason::Tls))) {
            return Err("`sts`: an STS that can be reached cannot fail so".to_owned());
        }
        if let Some(Health::Faulty(kind)) = self.fault {
            return Fault::find(kind, self.variant.as_deref(), self.step).map(Some);
        }
        let flaps = self.flap.is_some() && self.fault.is_some();
        let lone = [("step", self.step.is_some()), ("variant", self.variant.is_some()), ("flap", flaps)];
        match lone.into_iter().find(|(_, is_set)| *is_set) {
            Some((key, _)) => Err(format!("`{key}`: it needs a `fault` other than none")),
            None => Ok(None),
        }
    }

    /// The terms of credentials; as at EC2 where nothing is set: a bit more than six hours, and newer ones each hour.
    pub(super) fn terms(&self) -> Terms {
        let usual = || RoleName::try_from("simulated-role".to_owned()).expect("it consists of letters and a hyphen");
        let lifetime = self.lifetime.unwrap_or(Duration::from_mins(6 * 60 + 34));
        Terms {
            role: self.role.clone().unwrap_or_else(usual),
            lifetime: lifetime.try_into().unwrap_or(SignedDuration::MAX),
            rotation: self.rotation.unwrap_or(Rotation::Every(Duration::from_hours(1))),
        }
    }

    /// Adds a change to what is set; what it does once leaves no trace.
    pub(super) fn add(&mut self, change: &Self) {
        if change.fault.is_some() {
            (self.variant, self.step, self.only_step, self.flap) = (None, None, None, None);
        }
        self.merge(change);
        (self.at, self.say, self.rotate, self.expires_in, self.forget_tokens) = (None, None, None, None, None);
    }
}

impl From<Fault> for Change {
    fn from(fault: Fault) -> Self {
        let variant = Some(fault.variant.to_owned()).filter(|variant| !variant.is_empty());
        Self { fault: Some(Health::Faulty(fault.kind)), variant, step: Some(fault.step), ..Self::default() }
    }
}

/// Whether the simulated IMDS works.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(expecting = "neither \"none\" nor a kind of failure; GET / of the control interface lists them")]
pub enum Health {
    /// It works.
    #[serde(rename = "none")]
    Healthy,
    /// It fails with this kind.
    #[serde(untagged)]
    Faulty(Kind),
}

/// Whether a `GET` needs a session token.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenPolicy {
    /// IMDSv2 only.
    #[default]
    Required,
    /// A `GET` without a token is answered too.
    Optional,
}

/// Parts of an answer in place of the usual ones.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Part {
    /// The status, whatever the session token.
    pub status: Option<u16>,
    /// The body: of an answer with status 200, or together with `status`.
    pub body: Option<String>,
    /// Headers that are added or replaced; an empty value removes the header.
    pub headers: BTreeMap<String, String>,
}

/// How the simulated STS judges a signed call.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", expecting = "neither \"checks\" nor a reason for which a signed call fails")]
pub enum StsVerdict {
    /// By its signature.
    #[default]
    Checks,
    /// It fails for this reason, whatever its signature is.
    #[serde(untagged)]
    Fails(Reason),
}
