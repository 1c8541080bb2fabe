//! SDK clients: would one that was created then have credentials to sign with now?
//!
//! Owns the facts about each SDK, as a table; a further SDK is one more entry. Pure. Must not know processes,
//! metrics or the wire.

use jiff::{SignedDuration, Timestamp};

use crate::model::Outcome;

/// What an SDK does with the role's credentials.
#[derive(Debug)]
pub struct Sdk {
    /// The value of the `sdk` label.
    pub label: &'static str,
    /// A client that is created while credentials cannot be resolved is bound to none for ever.
    pub binds_at_creation: bool,
    /// A client refreshes when less than this remains, and fails every call from then on while it cannot.
    pub refreshes_before_expiry: SignedDuration,
}

/// The SDKs that are told apart.
pub const SDKS: &[Sdk] = &[
    // botocore 1.44.5: `session.create_client` resolves once and swallows a failure; `RefreshableCredentials`
    // refreshes from 15 minutes before expiry, and `InstanceMetadataProvider`'s refresh raises when it cannot.
    Sdk { label: "boto3", binds_at_creation: true, refreshes_before_expiry: SignedDuration::from_mins(15) },
];

/// When the client was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// At this moment.
    Now,
    /// When credentials were there; it holds the last document seen.
    BeforeOutage,
    /// When the exporter started, or let the workload start, and it was in use ever since.
    AtStart,
}

impl Created {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Now, Self::BeforeOutage, Self::AtStart];

    /// The value of the `created` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Now => "now",
            Self::BeforeOutage => "before_outage",
            Self::AtStart => "at_start",
        }
    }

    /// For people: which client is meant.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Now => "created at this moment",
            Self::BeforeOutage => "created when credentials were there",
            Self::AtStart => "created when the exporter started",
        }
    }
}

/// What a client that was created when the exporter started holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Bound to no credentials, for ever.
    Nothing,
    /// Credentials that end then.
    Until(Timestamp),
}

impl Sdk {
    /// What a client holds after a poll that ended at `at`; `before` is what it held, `None` at its creation.
    /// `expiration` is that of the document that the poll returned.
    #[must_use]
    pub fn held_after(&self, before: Option<Held>, expiration: Option<Timestamp>, at: Timestamp) -> Option<Held> {
        match (before, expiration) {
            (None, None) if self.binds_at_creation => Some(Held::Nothing),
            (None, expiration) => expiration.map(Held::Until),
            (Some(Held::Until(end)), Some(newer)) if self.must_refresh(end, at) => Some(Held::Until(newer)),
            (held, _) => held,
        }
    }

    /// Whether a client that holds credentials until `end` needs IMDS for its next call.
    fn must_refresh(&self, end: Timestamp, at: Timestamp) -> bool {
        at.duration_until(end) <= self.refreshes_before_expiry
    }

    /// Whether a client that holds `held` could sign at `at`, given how the last poll went.
    #[must_use]
    pub fn can_sign(&self, held: Option<Held>, last: Outcome, at: Timestamp) -> bool {
        match held {
            Some(Held::Nothing) => false,
            Some(Held::Until(end)) => last == Outcome::Success || !self.must_refresh(end, at),
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
    fn born_in_an_outage_it_holds_nothing_for_ever() {
        let held = BOTO3.held_after(None, None, minute(0));
        assert_eq!(held, Some(Held::Nothing));
        let held = BOTO3.held_after(held, Some(minute(360)), minute(1));
        assert_eq!(held, Some(Held::Nothing));
        assert!(!BOTO3.can_sign(held, Outcome::Success, minute(1)));
    }

    #[test]
    fn born_healthy_it_signs_through_an_outage_until_fifteen_minutes_before_expiry() {
        let held = BOTO3.held_after(None, Some(minute(60)), minute(0));
        assert!(BOTO3.can_sign(held, Outcome::Failure, minute(44)));
        assert!(!BOTO3.can_sign(held, Outcome::Failure, minute(45)));
        assert!(BOTO3.can_sign(held, Outcome::Success, minute(59)));
    }

    #[test]
    fn it_keeps_its_document_until_it_must_refresh() {
        let held = BOTO3.held_after(None, Some(minute(60)), minute(0));
        let held = BOTO3.held_after(held, Some(minute(100)), minute(40));
        assert_eq!(held, Some(Held::Until(minute(60))));
        let held = BOTO3.held_after(held, None, minute(50));
        assert_eq!(held, Some(Held::Until(minute(60))));
        let held = BOTO3.held_after(held, Some(minute(120)), minute(55));
        assert_eq!(held, Some(Held::Until(minute(120))));
    }

    #[test]
    fn an_sdk_that_resolves_lazily_recovers() {
        let lazy =
            Sdk { label: "lazy", binds_at_creation: false, refreshes_before_expiry: SignedDuration::from_mins(5) };
        let held = lazy.held_after(None, None, minute(0));
        assert!(!lazy.can_sign(held, Outcome::Failure, minute(0)));
        let held = lazy.held_after(held, Some(minute(60)), minute(1));
        assert!(lazy.can_sign(held, Outcome::Failure, minute(54)));
    }
}
