//! The closed list of failure kinds: the `kind` label, a contract with rules and dashboards.
//!
//! A variant's doc comment says what was seen on the wire, and is shown to people; the other texts about a kind are
//! in `runbook/kinds.toml`.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumMessage, EnumString, IntoStaticStr, VariantArray};

/// Why a poll failed, in the order in which a resolution meets the kinds.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
#[derive(Display, EnumMessage, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Kind {
    /// `AWS_EC2_METADATA_DISABLED=true` in the exporter's own environment: nothing is sent.
    DisabledByEnvironment,
    /// The TCP connection was refused.
    ConnectRefused,
    /// No TCP connection in time.
    ConnectTimeout,
    /// No route, host or network unreachable, or the local system refused to send.
    NetworkUnreachable,
    /// Connected and asked, no whole answer in time.
    ReadTimeout,
    /// The token request times out after connecting, while another request is answered at once: the answer to the token request dies on the way.
    HopLimit,
    /// The connection was reset or ended in the middle of an answer.
    ConnectionClosed,
    /// What came is not HTTP, or its body is too large, not text, or not what the step asked for.
    InvalidResponse,
    /// The answer is not IMDS's: status 407 or 411, or an error with a proxy's `Via` header.
    Intercepted,
    /// The token request was answered 400.
    TokenRejected,
    /// The token request was answered 404 or 405.
    TokenUnsupported,
    /// The token request was answered 403, and so was whatever else was asked without a session token.
    ImdsDisabled,
    /// The token request was answered 403, but a GET was answered otherwise.
    TokenForbidden,
    /// A GET was answered 403 although the token request went well.
    Forbidden,
    /// A GET was answered 401 with a fresh session token.
    Unauthorized,
    /// The role list is 404 or empty, and so is the instance profile.
    NoRole,
    /// The role list is 404 or empty, but an instance profile is attached.
    ProfileWithoutRole,
    /// IMDS answers with the code `InstanceProfileNotFound`.
    ProfileNotFound,
    /// The role that was listed is answered 404.
    RoleNotFound,
    /// The credential document has the code `AssumeRoleUnauthorizedAccess`.
    AssumeRoleDenied,
    /// The credential document has another code that is not `Success`.
    Refused,
    /// The credential document or `iam/info` is not a JSON object.
    MalformedDocument,
    /// A field of the credential document is missing, empty, null or not a string.
    IncompleteDocument,
    /// `Expiration` or `LastUpdated` is no RFC 3339 instant.
    InvalidTimestamp,
    /// IMDS answered 429.
    Throttled,
    /// IMDS answered with a 5xx status.
    ServerError,
    /// Any other status, redirects among them.
    UnexpectedStatus,
}

impl Kind {
    /// The value of the `kind` label.
    #[must_use]
    pub fn label(self) -> &'static str {
        self.into()
    }

    /// What was seen on the wire.
    #[must_use]
    pub fn observed(self) -> &'static str {
        self.get_documentation().expect("every kind has a doc comment")
    }

    /// Whether no connection comes about.
    pub(crate) const fn is_unreachable(self) -> bool {
        matches!(self, Self::ConnectRefused | Self::ConnectTimeout | Self::NetworkUnreachable)
    }

    /// Whether IMDS itself says with this kind that no role is attached.
    pub(crate) const fn says_no_role(self) -> bool {
        matches!(self, Self::NoRole | Self::ProfileWithoutRole | Self::ProfileNotFound)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_kind_has_a_label_and_a_meaning_of_its_own() {
        assert_eq!(Kind::ConnectRefused.label(), "connect_refused");
        let labels: BTreeSet<_> = Kind::VARIANTS.iter().map(|kind| kind.label()).collect();
        let meanings: BTreeSet<_> = Kind::VARIANTS.iter().map(|kind| kind.observed()).collect();
        assert_eq!((labels.len(), meanings.len()), (Kind::VARIANTS.len(), Kind::VARIANTS.len()));
    }

    #[test]
    fn three_kinds_say_that_there_is_no_role_and_three_that_no_connection_comes_about() {
        let those = |is: fn(Kind) -> bool| Kind::VARIANTS.iter().copied().filter(|kind| is(*kind)).collect::<Vec<_>>();
        assert_eq!(those(Kind::says_no_role), [Kind::NoRole, Kind::ProfileWithoutRole, Kind::ProfileNotFound]);
        let unreachable = [Kind::ConnectRefused, Kind::ConnectTimeout, Kind::NetworkUnreachable];
        assert_eq!(those(Kind::is_unreachable), unreachable);
    }
}
