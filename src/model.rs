//! The vocabulary: what a credential, a poll and a failure are.
//!
//! Owns plain values. Must not know any I/O, wire format, clock, metric or log.

mod kind;

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

pub use kind::Kind;

/// What is kept of a credential document: no secret is a field of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Credential {
    /// The role that the credentials belong to.
    pub role: RoleName,
    /// `LastUpdated`: when IMDS got the credentials; absent where a document has none.
    pub last_updated: Option<Timestamp>,
    /// `Expiration`: when the credentials end.
    pub expiration: Timestamp,
}

impl Credential {
    /// Time to expiry; negative once past.
    #[must_use]
    pub fn remaining(&self, at: Timestamp) -> SignedDuration {
        at.duration_until(self.expiration)
    }

    /// Whether this is a newer document than `earlier`.
    #[must_use]
    pub fn is_newer_than(&self, earlier: &Credential) -> bool {
        (self.last_updated, self.expiration) > (earlier.last_updated, earlier.expiration)
    }
}

/// The name of an IAM role: 1 to 64 letters, digits and `_+=,.@-`, as IAM has it, and so safe in a URL path,
/// in a label and on a terminal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct RoleName(String);

impl RoleName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is no name that IAM allows for a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotARoleName;

impl fmt::Display for NotARoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a role name is 1 to 64 letters, digits and _+=,.@-")
    }
}

impl std::error::Error for NotARoleName {}

impl TryFrom<String> for RoleName {
    type Error = NotARoleName;

    fn try_from(name: String) -> Result<Self, NotARoleName> {
        let legal = |c: u8| c.is_ascii_alphanumeric() || b"_+=,.@-".contains(&c);
        // `.` and `..` would change the path that the name is put into.
        let dots = name == "." || name == "..";
        if (1..=64).contains(&name.len()) && name.bytes().all(legal) && !dots {
            Ok(Self(name))
        } else {
            Err(NotARoleName)
        }
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A closed set of words that are labels: metrics, JSON and state files show the label.
macro_rules! labels {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $label:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $label)] $variant,)+
        }

        impl $name {
            /// All of them, in the order of their declaration.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The value of the metrics' label.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.label())
            }
        }
    };
}

labels! {
    /// The requests that resolve credentials.
    Step {
        /// `PUT` of the session token.
        Token = "token",
        /// `GET` of the role list.
        Role = "role",
        /// `GET` of the credential document.
        Credentials = "credentials",
    }
}

labels! {
    /// How a whole poll went.
    Outcome {
        /// It returned credentials.
        Success = "success",
        /// It did not.
        Failure = "failure",
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
    /// `GET` with a made-up session token, only after a token request that ran out of time.
    HopLimitProbe,
}

impl Request {
    /// The step that is measured by this request; the diagnostic ones belong to none.
    #[must_use]
    pub const fn measures(self) -> Option<Step> {
        match self {
            Self::Token => Some(Step::Token),
            Self::Role => Some(Step::Role),
            Self::Credentials => Some(Step::Credentials),
            Self::ProfileInfo | Self::HopLimitProbe => None,
        }
    }
}

/// One request and what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// What was asked.
    pub request: Request,
    /// From the start of the request to the end of the answer's body.
    pub duration: Duration,
    /// The HTTP status, if an answer came.
    pub status: Option<u16>,
}

/// One resolution, told whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// The credentials, or why there are none.
    pub outcome: Result<Credential, Failure>,
    /// The requests in their order.
    pub exchanges: Vec<Exchange>,
    /// IMDS's `Date` header minus the local clock, from the last answer that had one. `Date` counts whole seconds.
    pub clock_skew: Option<SignedDuration>,
    /// Session tokens obtained.
    pub tokens_obtained: u32,
    /// What the operating system or the HTTP library said of a failure: for the log and `check`. Never text
    /// from a body.
    pub cause: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn role_names_are_what_iam_allows() {
        for good in ["a", "my-role", "A_z+=,.@-9", &"r".repeat(64)] {
            assert!(RoleName::try_from(good.to_owned()).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "rôle", "a\n", "a?b", "<html>", &"r".repeat(65)] {
            assert_eq!(RoleName::try_from(bad.to_owned()), Err(NotARoleName), "{bad}");
        }
    }

    #[test]
    fn kinds_have_distinct_labels_and_all_texts() {
        let mut labels: Vec<_> = Kind::ALL.iter().map(|kind| kind.label()).collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), Kind::ALL.len());
        for kind in Kind::ALL {
            for text in [kind.when(), kind.cause(), kind.confirm(), kind.action()] {
                assert!(!text.is_empty(), "{kind}");
            }
        }
    }
}
