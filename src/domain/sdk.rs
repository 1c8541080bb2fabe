//! The clients of each SDK: could one that was created at a given time sign a request now?
//!
//! Owns the facts about each SDK, as a table; another SDK is one more entry. Must not know processes, metrics or the
//! wire format.

use jiff::{SignedDuration, Timestamp};
use strum::{EnumMessage, IntoStaticStr, VariantArray};

use super::kind::Kind;
use super::resolution::{Failure, Outcome, Resolution, Step};

/// What an SDK does with the role's credentials.
#[derive(Debug)]
pub struct Sdk {
    /// The value of the `sdk` label.
    pub label: &'static str,
    /// A client that is created while credentials cannot be resolved is bound to none permanently.
    pub binds_at_creation: bool,
    /// With `AWS_EC2_METADATA_V1_DISABLED=true`, creating a client raises an error if the token request fails.
    pub raises_if_v1_disabled: bool,
    /// Creating a client raises an error if IMDS answers with a token or a time that is none.
    pub raises_at_garbage: bool,
    /// A client refreshes when less than this remains, and fails every call from then on while it cannot.
    pub refreshes_before_expiry: SignedDuration,
    /// It ignores a refresh that ends with an error, and not only without credentials, until less than this remains.
    pub ignores_errors_until: SignedDuration,
}

/// The SDKs that are covered.
pub const SDKS: &[Sdk] = &[
    // botocore 1.44.5: `session.create_client` resolves once and swallows a failure, except that of the token request where
    // IMDSv1 is disabled, and a token that is no legal header value or a time that is none. `RefreshableCredentials`
    // refreshes from 15 minutes before the expiration, and `InstanceMetadataProvider`'s refresh fails when it gets no
    // credentials; the errors named above count only from 10 minutes before.
    Sdk {
        label: "boto3",
        binds_at_creation: true,
        raises_if_v1_disabled: true,
        raises_at_garbage: true,
        refreshes_before_expiry: SignedDuration::from_mins(15),
        ignores_errors_until: SignedDuration::from_mins(10),
    },
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
    /// When the declared workload started, and in use since then.
    #[strum(message = "created when the workload started")]
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

/// How a client's refresh ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresh {
    /// With credentials.
    Works,
    /// Without credentials.
    Fails,
    /// With an error.
    Raises,
}

impl From<Outcome> for Refresh {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Success => Self::Works,
            Outcome::Failure => Self::Fails,
        }
    }
}

/// What a client holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoundCredentials {
    /// Bound to no credentials, permanently.
    Nothing,
    /// Credentials that expire at this time.
    Until(Timestamp),
}

impl Sdk {
    /// What a client holds after its creation. `poll` is the resolution at that time; `v1_disabled` is whether
    /// `AWS_EC2_METADATA_V1_DISABLED` is true in the workload's environment.
    ///
    /// `None` is a client that got nothing and asks again: either the SDK resolves at each call, or the creation raised an
    /// error, so that the program ends or creates another one.
    #[must_use]
    pub fn bound_at_creation(&self, poll: &Resolution, v1_disabled: bool) -> Option<BoundCredentials> {
        match &poll.outcome {
            Ok(credential) => Some(BoundCredentials::Until(credential.expiration)),
            Err(failure) if self.binds_at_creation => {
                let raises = self.refresh(poll, v1_disabled) == Refresh::Raises
                    || (self.raises_at_garbage && failure.kind == Kind::InvalidTimestamp);
                (!raises).then_some(BoundCredentials::Nothing)
            }
            Err(_) => None,
        }
    }

    /// How a client's refresh ends at the time of this poll.
    #[must_use]
    pub fn refresh(&self, poll: &Resolution, v1_disabled: bool) -> Refresh {
        let Err(Failure { kind, step }) = poll.outcome else { return Refresh::Works };
        let raises = match (step, kind) {
            (Step::Role | Step::Credentials, _) | (_, Kind::TokenRejected | Kind::DisabledByEnvironment) => false,
            // It takes for a token whatever comes with a 200, and sends that, if it can be sent.
            (Step::Token, _) if poll.token_status() == Some(200) => {
                self.raises_at_garbage && kind == Kind::InvalidResponse
            }
            (Step::Token, _) => self.raises_if_v1_disabled && v1_disabled,
        };
        if raises { Refresh::Raises } else { Refresh::Fails }
    }

    /// What a client holds after a poll that ended at `at`. `before` is what it held; `expiration` is that of the document
    /// that the poll returned, `None` if the poll failed.
    #[must_use]
    pub fn bound_after(
        &self,
        before: Option<BoundCredentials>,
        expiration: Option<Timestamp>,
        at: Timestamp,
    ) -> Option<BoundCredentials> {
        match (before, expiration) {
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

    /// Whether a client that holds `bound` could sign at `at`; `refresh` is how a refresh would end.
    #[must_use]
    pub fn can_sign(&self, bound: Option<BoundCredentials>, refresh: Refresh, at: Timestamp) -> bool {
        match (bound, refresh) {
            (Some(BoundCredentials::Nothing), _) | (None, Refresh::Fails | Refresh::Raises) => false,
            (_, Refresh::Works) => true,
            (Some(BoundCredentials::Until(end)), Refresh::Fails) => !self.must_refresh(end, at),
            (Some(BoundCredentials::Until(end)), Refresh::Raises) => at.duration_until(end) > self.ignores_errors_until,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::resolution::{Request, RequestRecord};
    use super::*;

    const BOTO3: &Sdk = &SDKS[0];

    fn minute(n: i64) -> Timestamp {
        Timestamp::from_second(n * 60).expect("a small number of minutes")
    }

    fn until(minutes: i64) -> BoundCredentials {
        BoundCredentials::Until(minute(minutes))
    }

    /// A resolution that failed; `token_status` is the status of the answer to the token request.
    fn failed(kind: Kind, step: Step, token_status: Option<u16>) -> Resolution {
        let token = RequestRecord { request: Request::Token, duration: Duration::ZERO, status: token_status };
        let outcome = Err(Failure { kind, step });
        Resolution { outcome, requests: vec![token], clock_skew: None, v1_fallback: None, cause: None }
    }

    #[test]
    fn a_client_created_in_an_outage_holds_nothing_permanently() {
        let bound = BOTO3.bound_at_creation(&failed(Kind::ConnectRefused, Step::Token, None), false);
        assert_eq!(bound, Some(BoundCredentials::Nothing));
        let bound = BOTO3.bound_after(bound, Some(minute(360)), minute(1));
        assert_eq!(bound, Some(BoundCredentials::Nothing));
        assert!(!BOTO3.can_sign(bound, Refresh::Works, minute(1)));
    }

    #[test]
    fn where_imdsv1_is_disabled_a_failed_token_request_raises_and_all_else_binds() {
        for (kind, step, token_status, raises) in [
            (Kind::ConnectRefused, Step::Token, None, true),
            (Kind::ReadTimeout, Step::Token, None, true),
            (Kind::ImdsDisabled, Step::Token, Some(403), true),
            (Kind::ServerError, Step::Token, Some(500), true),
            (Kind::InvalidResponse, Step::Token, None, true),
            (Kind::TokenRejected, Step::Token, Some(400), false),
            (Kind::DisabledByEnvironment, Step::Token, None, false),
            (Kind::ConnectionClosed, Step::Token, Some(200), false),
            (Kind::NoRole, Step::Role, Some(200), false),
            (Kind::ReadTimeout, Step::Role, Some(200), false),
            (Kind::ServerError, Step::Credentials, Some(200), false),
            (Kind::IncompleteDocument, Step::Credentials, Some(200), false),
        ] {
            let poll = failed(kind, step, token_status);
            assert_eq!(BOTO3.bound_at_creation(&poll, true).is_none(), raises, "{kind} {step}");
            assert_eq!(BOTO3.bound_at_creation(&poll, false), Some(BoundCredentials::Nothing));
        }
        let bound = BOTO3.bound_after(None, Some(minute(360)), minute(1));
        assert!(BOTO3.can_sign(bound, Refresh::Works, minute(1)));
    }

    #[test]
    fn a_token_or_a_time_that_is_none_raises() {
        for v1_disabled in [false, true] {
            let page = failed(Kind::InvalidResponse, Step::Token, Some(200));
            assert_eq!(BOTO3.bound_at_creation(&page, v1_disabled), None);
            let no_time = failed(Kind::InvalidTimestamp, Step::Credentials, Some(200));
            assert_eq!(BOTO3.bound_at_creation(&no_time, v1_disabled), None);
        }
    }

    #[test]
    fn a_client_created_before_an_outage_signs_until_fifteen_minutes_before_the_expiration() {
        let bound = Some(until(60));
        assert!(BOTO3.can_sign(bound, Refresh::Fails, minute(44)));
        assert!(!BOTO3.can_sign(bound, Refresh::Fails, minute(45)));
        assert!(BOTO3.can_sign(bound, Refresh::Works, minute(59)));
    }

    #[test]
    fn a_refresh_that_raises_is_ignored_until_ten_minutes_before_the_expiration() {
        let refused = failed(Kind::ConnectRefused, Step::Token, None);
        assert_eq!(BOTO3.refresh(&refused, false), Refresh::Fails);
        assert_eq!(BOTO3.refresh(&refused, true), Refresh::Raises);
        assert!(BOTO3.can_sign(Some(until(60)), Refresh::Raises, minute(49)));
        assert!(!BOTO3.can_sign(Some(until(60)), Refresh::Raises, minute(50)));
    }

    #[test]
    fn a_client_keeps_its_document_until_it_must_refresh() {
        let bound = BOTO3.bound_after(Some(until(60)), Some(minute(100)), minute(40));
        assert_eq!(bound, Some(until(60)));
        let bound = BOTO3.bound_after(bound, None, minute(50));
        assert_eq!(bound, Some(until(60)));
        let bound = BOTO3.bound_after(bound, Some(minute(120)), minute(55));
        assert_eq!(bound, Some(until(120)));
    }

    #[test]
    fn an_sdk_that_resolves_lazily_recovers() {
        let lazy = Sdk {
            label: "lazy",
            binds_at_creation: false,
            raises_if_v1_disabled: false,
            raises_at_garbage: false,
            refreshes_before_expiry: SignedDuration::from_mins(5),
            ignores_errors_until: SignedDuration::from_mins(5),
        };
        let bound = lazy.bound_at_creation(&failed(Kind::ConnectRefused, Step::Token, None), false);
        assert!(!lazy.can_sign(bound, Refresh::Fails, minute(0)));
        let bound = lazy.bound_after(bound, Some(minute(60)), minute(1));
        assert!(lazy.can_sign(bound, Refresh::Fails, minute(54)));
    }

    #[test]
    fn every_creation_has_its_words() {
        let words: Vec<_> = Created::VARIANTS.iter().map(|created| created.meaning()).collect();
        assert_eq!(words.len(), 3);
        assert!(words.iter().all(|word| word.starts_with("created ")));
    }
}
