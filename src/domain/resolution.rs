//! One resolution of credentials: its requests, and the credentials or the failure that it ended with.
//!
//! Owns plain values. Must not know I/O, the wire format, metrics or logs.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, IntoStaticStr, VariantArray};

use super::credential::Credential;
use super::kind::Kind;

/// The requests that resolve credentials: the `step` label.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
#[derive(Display, EnumString, IntoStaticStr, VariantArray)]
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
    /// `GET` with a made-up session token, only after a token request that timed out or was answered 403.
    Probe,
}

impl Request {
    /// The step that is measured by this request; the diagnostic ones belong to none.
    #[must_use]
    pub const fn measures(self) -> Option<Step> {
        match self {
            Self::Token => Some(Step::Token),
            Self::Role | Self::RoleWithoutToken => Some(Step::Role),
            Self::Credentials => Some(Step::Credentials),
            Self::ProfileInfo | Self::Probe => None,
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

/// What happens to a boto3 client that is created at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Creation {
    /// It gets credentials.
    Credentials {
        /// `Expiration`.
        expiration: Timestamp,
    },
    /// It is bound to nothing that it could sign with, and never asks again. No error is raised.
    Nothing,
    /// It gets a document with which every call raises an error. A client that refreshes takes it as well, and may go on to fail
    /// when IMDS has another one.
    Unusable,
    /// Its creation raises an error: there is no such client. At most, versions of boto3 that do not know
    /// `AWS_EC2_METADATA_V1_DISABLED` are bound to nothing instead.
    Raises,
    /// Versions of boto3 differ, or this program cannot tell.
    Unknown,
}

/// A key, hashed with a secret of this process, which dies with it: tells one key from another, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyFingerprint(pub u64);

/// Who answered, as the `Server` header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// `EC2ws`: IMDS itself.
    Ec2,
    /// Another name: a proxy or an emulator, or no EC2.
    Other,
}

/// What the operating system says of a connection that cannot be made, where it is no refusal and no time-out.
#[derive(Clone, Copy, Debug, Eq, PartialEq, VariantArray)]
pub enum NetworkError {
    /// `ENETUNREACH`: no route.
    NoRoute,
    /// `EHOSTUNREACH`: a route, but nobody there, or a firewall that says so.
    HostUnreachable,
    /// `EINVAL`: a blackhole route, as ECS makes one for `ECS_AWSVPC_BLOCK_IMDS`.
    BlackholeRoute,
    /// `EACCES`, `EPERM`: a prohibit route, or a local firewall.
    Forbidden,
    /// `EADDRNOTAVAIL`: no local address or port is left for it.
    NoLocalPort,
    /// `EAFNOSUPPORT`: the machine lacks IPv6 or IPv4.
    NoAddressFamily,
    /// The host's name does not resolve.
    NoSuchName,
    /// Any other error.
    Other,
}

/// What a resolution saw beside its result: for advice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Who gave the last answer that decided: not that of `iam/info`. `None` if it had no `Server` header.
    pub server: Option<Server>,
    /// The status of the answer to the token request.
    pub token_status: Option<u16>,
    /// Why the last connection that failed could not be made.
    pub network_error: Option<NetworkError>,
    /// Whether any `GET` was answered, whatever the status.
    pub get_answered: bool,
}

/// One resolution, from the first request to the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// The credentials, or why there are none.
    pub outcome: Result<Credential, Failure>,
    /// What boto3 makes of the same answers, which may be another thing.
    pub creation: Creation,
    /// The key that the document has, if it is known.
    pub key: Option<KeyFingerprint>,
    /// The requests in their order.
    pub requests: Vec<RequestRecord>,
    /// IMDS's `Date` header minus the local clock, from the last answer that had one. `Date` counts whole seconds.
    pub clock_skew: Option<SignedDuration>,
    /// Why the token request failed, if the credentials were resolved by IMDSv1.
    pub v1_fallback: Option<Kind>,
    /// What the operating system or the HTTP library said of a failure: for the log and `check`. Never text
    /// from a body.
    pub cause: Option<String>,
    /// What else was seen.
    pub evidence: Evidence,
}

impl From<Result<Credential, Failure>> for Resolution {
    /// One without requests, of which boto3 makes the same.
    fn from(outcome: Result<Credential, Failure>) -> Self {
        let creation = match &outcome {
            Ok(Credential { expiration, .. }) => Creation::Credentials { expiration: *expiration },
            Err(_) => Creation::Nothing,
        };
        let (requests, evidence) = (Vec::new(), Evidence::default());
        Self { outcome, creation, key: None, requests, clock_skew: None, v1_fallback: None, cause: None, evidence }
    }
}
