//! The clients of each SDK: could one that was created at a given time sign a request now?
//!
//! Owns the facts about each SDK, as a table; another SDK is one more entry. Must not know processes, metrics or the
//! wire format.

use jiff::{SignedDuration, Timestamp};

use strum::{EnumMessage, IntoStaticStr, VariantArray};

use super::resolution::Outcome;

/// What an SDK does with the role's credentials.
#[derive(Debug)]
pub struct Sdk {
    /// The value of the `sdk` label.
    pub label: &'static str,
    /// A client that is created while credentials cannot be resolved is bound to none permanently.
    pub binds_at_creation: bool,
    /// A client refreshes when less than this remains, and fails every call from then on while it cannot.
    pub refreshes_before_expiry: SignedDuration,
}

/// The SDKs that are covered.
pub const SDKS: &[Sdk] = &[
    // botocore 1.44.5: `session.create_client` resolves once and swallows a failure; `RefreshableCredentials`
    // refreshes from 15 minutes before expiry, and `InstanceMetadataProvider`'s refresh raises when it cannot.
    Sdk { label: "boto3", binds_at_creation: true, refreshes_before_expiry: SignedDuration::from_mins(15) },
];

/// When the client was created: the `created` label.
#[derive(Clone, Copy, Debug, EnumMessage, Eq, IntoStaticStr, PartialEq, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Created {
    /// At this moment.
    #[strum(message = "created at this moment")]
    Now,
    /// When credentials were available; it holds the last document seen.
    #[strum(message = "created when credentials were available")]
    BeforeOutage,
    /// When the exporter started, or let the workload start, and in use since then.
    #[strum(message = "created when the exporter started")]
    AtStart,
}

impl Created {
    /// The value of the `created` label.
    #[must_use]
    pub fn label(self) -> &'static str {
        self.into()
    }

    /// For people: which client is meant.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        self.get_message().expect("every variant has a message")
    }
}

/// What a client holds that was created when the exporter started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoundCredentials {
    /// Bound to no credentials, permanently.
    Nothing,
    /// Credentials that expire at this time.
    Until(Timestamp),
}

impl Sdk {
    /// What a client holds after a poll that ended at `at`. `before` is what it bound, `None` at its creation;
    /// `expiration` is that of the document that the poll returned, `None` if the poll failed.
    #[must_use]
    pub fn bound_after(
        &self,
        before: Option<BoundCredentials>,
        expiration: Option<Timestamp>,
        at: Timestamp,
    ) -> Option<BoundCredentials> {
        match (before, expiration) {
            (None, None) if self.binds_at_creation => Some(BoundCredentials::Nothing),
            (None, expiration) => expiration.map(BoundCredentials::Until),
            (Some(BoundCredentials::Until(end)), Some(newer)) if self.must_refresh(end, at) => {
                Some(BoundCredentials::Until(newer))
            }
            (bound, _) => bound,
        }
    }

    /// Whether a client whose credentials expire at `end` needs IMDS for its next call.
    fn must_refresh(&self, end: Timestamp, at: Timestamp) -> bool {
        at.duration_until(end) <= self.refreshes_before_expiry
    }

    /// Whether a client that holds `bound` could sign at `at`; `last` is how the last poll ended.
    #[must_use]
    pub fn can_sign(&self, bound: Option<BoundCredentials>, last: Outcome, at: Timestamp) -> bool {
        match bound {
            Some(BoundCredentials::Nothing) => false,
            Some(BoundCredentials::Until(end)) => last == Outcome::Success || !self.must_refresh(end, at),
            None => last == Outcome::Success,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTO3: &Sdk = &SDKS[0];

    fn minute(n: i64) -> Timestamp {
        Timestamp::from_second(n * 60).expect("a small number of minutes")
    }

    #[test]
    fn a_client_created_in_an_outage_never_gets_credentials() {
        let bound = BOTO3.bound_after(None, None, minute(0));
        assert_eq!(bound, Some(BoundCredentials::Nothing));
        let bound = BOTO3.bound_after(bound, Some(minute(360)), minute(1));
        assert_eq!(bound, Some(BoundCredentials::Nothing));
        assert!(!BOTO3.can_sign(bound, Outcome::Success, minute(1)));
    }

    #[test]
    fn a_client_created_before_an_outage_signs_until_fifteen_minutes_before_the_expiration() {
        let bound = BOTO3.bound_after(None, Some(minute(60)), minute(0));
        assert!(BOTO3.can_sign(bound, Outcome::Failure, minute(44)));
        assert!(!BOTO3.can_sign(bound, Outcome::Failure, minute(45)));
        assert!(BOTO3.can_sign(bound, Outcome::Success, minute(59)));
    }

    #[test]
    fn a_client_keeps_its_document_until_it_must_refresh() {
        let bound = BOTO3.bound_after(None, Some(minute(60)), minute(0));
        let bound = BOTO3.bound_after(bound, Some(minute(100)), minute(40));
        assert_eq!(bound, Some(BoundCredentials::Until(minute(60))));
        let bound = BOTO3.bound_after(bound, None, minute(50));
        assert_eq!(bound, Some(BoundCredentials::Until(minute(60))));
        let bound = BOTO3.bound_after(bound, Some(minute(120)), minute(55));
        assert_eq!(bound, Some(BoundCredentials::Until(minute(120))));
    }

    #[test]
    fn an_sdk_that_resolves_lazily_recovers() {
        let lazy =
            Sdk { label: "lazy", binds_at_creation: false, refreshes_before_expiry: SignedDuration::from_mins(5) };
        let bound = lazy.bound_after(None, None, minute(0));
        assert!(!lazy.can_sign(bound, Outcome::Failure, minute(0)));
        let bound = lazy.bound_after(bound, Some(minute(60)), minute(1));
        assert!(lazy.can_sign(bound, Outcome::Failure, minute(54)));
    }
}
