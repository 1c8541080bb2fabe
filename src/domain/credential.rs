//! A credential document without its secrets, and the role that it belongs to.
//!
//! Owns plain values. Must not know I/O or the wire format.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

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
pub struct InvalidRoleName;

impl fmt::Display for InvalidRoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a role name is 1 to 64 letters, digits and _+=,.@-")
    }
}

impl std::error::Error for InvalidRoleName {}

impl TryFrom<String> for RoleName {
    type Error = InvalidRoleName;

    fn try_from(name: String) -> Result<Self, InvalidRoleName> {
        let legal = |c: u8| c.is_ascii_alphanumeric() || b"_+=,.@-".contains(&c);
        // `.` and `..` would change the path that the name is put into.
        let dots = name == "." || name == "..";
        if (1..=64).contains(&name.len()) && name.bytes().all(legal) && !dots {
            Ok(Self(name))
        } else {
            Err(InvalidRoleName)
        }
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn role_names_are_those_that_iam_allows() {
        for good in ["a", "my-role", "A_z+=,.@-9", &"r".repeat(64)] {
            assert!(RoleName::try_from(good.to_owned()).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "rôle", "a\n", "a?b", "<html>", &"r".repeat(65)] {
            assert_eq!(RoleName::try_from(bad.to_owned()), Err(InvalidRoleName), "{bad}");
        }
    }
}
