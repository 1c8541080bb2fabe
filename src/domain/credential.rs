//! A credential document without its secrets, and the role that it belongs to.
//!
//! Owns plain values. Must not know I/O or the wire format.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// What is kept of a credential document: no secret is a field of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

    /// Whether IMDS has rotated the credentials since `earlier`. An emulator may write another `LastUpdated` into each answer.
    #[must_use]
    pub fn is_rotated(&self, earlier: &Credential) -> bool {
        self.expiration != earlier.expiration
    }
}

/// What IMDS calls the role: its name, or from some proxies its path and name, or its ARN. 1 to 1024 letters, digits and
/// `_+=,.@-/:`, and so safe in a URL path, in a label and on a terminal.
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

impl TryFrom<String> for RoleName {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, &'static str> {
        let legal = |c: u8| c.is_ascii_alphanumeric() || b"_+=,.@-/:".contains(&c);
        // Empty parts, `.` and `..` would change the path that the name is put into.
        let unsafe_part = |part: &str| matches!(part, "" | "." | "..");
        if name.len() <= 1024 && name.bytes().all(legal) && !name.split('/').any(unsafe_part) {
            Ok(Self(name))
        } else {
            Err("a role is its name, path and name, or ARN: letters, digits and _+=,.@-/:")
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

    fn document(last_updated: Option<&str>, expiration: &str) -> Credential {
        let instant = |text: &str| text.parse::<Timestamp>().expect("an instant");
        let role = RoleName::try_from("web".to_owned()).expect("a role name");
        Credential { role, last_updated: last_updated.map(instant), expiration: instant(expiration) }
    }

    #[test]
    fn the_time_that_remains_is_negative_after_the_expiration() {
        let credential = document(None, "2026-01-31T18:00:00Z");
        for (at, seconds) in [("2026-01-31T17:59:00Z", 60), ("2026-01-31T18:00:00Z", 0), ("2026-01-31T18:00:30Z", -30)]
        {
            let at = at.parse().expect("an instant");
            assert_eq!(credential.remaining(at), SignedDuration::from_secs(seconds));
        }
    }

    #[test]
    fn a_rotation_is_another_expiration_whatever_was_updated() {
        let (early, late) = ("2026-01-31T12:00:00Z", "2026-01-31T13:00:00Z");
        let (ends_early, ends_late) = ("2026-01-31T18:00:00Z", "2026-01-31T19:00:00Z");
        let first = document(Some(early), ends_early);
        assert!(!first.is_rotated(&first) && !document(Some(late), ends_early).is_rotated(&first));
        for other in [document(Some(late), ends_late), document(Some(early), ends_late), document(None, ends_late)] {
            assert!(other.is_rotated(&first) && first.is_rotated(&other), "{other:?}");
        }
    }

    #[test]
    fn roles_are_named_as_iam_and_its_proxies_name_them() {
        let arn = "arn:aws:iam::123456789012:role/team/app";
        for good in ["a", "my-role", "A_z+=,.@-9", &"r".repeat(64), "team/app", arn] {
            let name = RoleName::try_from(good.to_owned()).expect("a legal name");
            assert_eq!((name.as_str(), name.to_string().as_str()), (good, good));
        }
        let long = "r".repeat(1025);
        for bad in ["", ".", "..", "a/../b", "/a", "a/", "a//b", "a b", "rôle", "a\n", "a?b", "a%62", "<html>", &long]
        {
            assert!(RoleName::try_from(bad.to_owned()).is_err_and(|what| what.contains("letters")), "{bad}");
        }
    }
}
