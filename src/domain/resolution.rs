//! One resolution of credentials: its requests, and the credentials or the failure that it ended with.
//!
//! Owns plain values. Must not know I/O, the wire format, metrics or logs.

use std::time::Duration;

use jiff::SignedDuration;
use serde::Serialize;
use strum::{Display, EnumString, IntoStaticStr, VariantArray};

use super::credential::Credential;
use super::kind::Kind;

/// The requests that resolve credentials: the `step` label.
#[derive(
    Clone,
    Copy,
    Debug,
    Display,
    EnumString,
    Eq,
    Hash,
    IntoStaticStr,
    Ord,
    PartialEq,
    PartialOrd,
    Serialize,
    VariantArray,
)]
#[serde(into = "&'static str")]
#[strum(serialize_all = "snake_case")]
pub enum Step {
    /// `PUT` of the session token.
    Token,
    /// `GET` of the role list.
    Role,
    /// `GET` of the credential document.
    Credentials,
}

impl Step {
    /// The value of the `step` label.
    #[must_use]
    pub fn label(self) -> &'static str {
        self.into()
    }
}

/// How a whole poll ended: the `outcome` label.
#[derive(Clone, Copy, Debug, Display, Eq, IntoStaticStr, PartialEq, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Outcome {
    /// It returned credentials.
    Success,
    /// It did not.
    Failure,
}

impl Outcome {
    /// The value of the `outcome` label.
    #[must_use]
    pub fn label(self) -> &'static str {
        self.into()
    }
}

/// Why a poll failed, and in which step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The kind, from the closed list.
    pub kind: Kind,
    /// The step in which it happened.
    pub step: Step,
}

/// A request that a poll made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// `PUT` of the session token.
    Token,
    /// `GET` of the role list.
    Role,
    /// `GET` of `iam/info`, only to tell why there is no role.
    ProfileInfo,
    /// `GET` of the credential document.
    Credentials,
    /// `GET` of the role list without a session token, only after a token request that failed.
    RoleWithoutToken,
    /// `GET` with a made-up session token, only after a token request that timed out.
    HopLimitProbe,
}

impl Request {
    /// The step that is measured by this request; the diagnostic ones belong to none.
    #[must_use]
    pub const fn measures(self) -> Option<Step> {
        match self {
            Self::Token => Some(Step::Token),
            Self::Role | Self::RoleWithoutToken => Some(Step::Role),
            Self::Credentials => Some(Step::Credentials),
            Self::ProfileInfo | Self::HopLimitProbe => None,
        }
    }
}

/// One request and what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestRecord {
    /// What was asked.
    pub request: Request,
    /// From the start of the request to the end of the answer's body.
    pub duration: Duration,
    /// The HTTP status, if an answer came.
    pub status: Option<u16>,
}

/// One resolution, from the first request to the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// The credentials, or why there are none.
    pub outcome: Result<Credential, Failure>,
    /// The requests in their order.
    pub requests: Vec<RequestRecord>,
    /// IMDS's `Date` header minus the local clock, from the last answer that had one. `Date` counts whole seconds.
    pub clock_skew: Option<SignedDuration>,
    /// Why the token request failed, if the credentials were resolved by IMDSv1.
    pub v1_fallback: Option<Kind>,
    /// What the operating system or the HTTP library said of a failure: for the log and `check`. Never text
    /// from a body.
    pub cause: Option<String>,
}

impl Resolution {
    /// The status with which the token request was answered.
    #[must_use]
    pub fn token_status(&self) -> Option<u16> {
        self.requests.iter().find(|record| record.request == Request::Token)?.status
    }
}
