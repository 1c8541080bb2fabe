//! The signed call: why AWS refuses one, what is kept of it, and when the next is due.
//!
//! A variant's doc comment says what was seen, and is shown to people; the other texts about a reason are in
//! `runbook/reasons.toml`. Pure. Must not know the wire format, metrics or logs.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use strum::{EnumMessage, IntoStaticStr, VariantArray};

use super::credential::{Credential, RoleName};
use super::moment::SinceBoot;

/// The shortest interval that may be configured. A failed call is repeated, and new credentials are tried, after this time.
pub const SHORTEST_INTERVAL: Duration = Duration::from_mins(1);

/// Why a signed call failed.
#[derive(Clone, Copy, Debug, Deserialize, EnumMessage, Eq, IntoStaticStr, PartialEq, Serialize, VariantArray)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", prefix = "signed_call_")]
pub enum Reason {
    /// AWS says that the credentials have expired.
    ExpiredToken,
    /// AWS does not know the credentials: the code is `InvalidClientTokenId` or the like.
    InvalidToken,
    /// AWS computes another signature than the one that was sent.
    Signature,
    /// AWS refuses the time of the signature: it lies too far from AWS's own time.
    ClockSkew,
    /// A policy explicitly denies the call.
    AccessDenied,
    /// AWS answers that too many calls are made.
    Throttled,
    /// STS answered with a 5xx status.
    ServerError,
    /// No connection to STS or to the proxy: no such name, no route, refused, or not established in time.
    Connect,
    /// The certificate of STS is not accepted, or the TLS handshake fails.
    Tls,
    /// Connected and asked, no whole answer in time.
    Timeout,
    /// Any other answer: another code or status, a redirect, no answer of STS at all; or no call: no region is known, or the credentials cannot be sent.
    Unexpected,
}

impl Reason {
    /// The value of the `reason` label.
    #[must_use]
    pub fn label(self) -> &'static str {
        self.anchor().trim_start_matches("signed_call_")
    }

    /// The anchor of its section in the runbook.
    #[must_use]
    pub fn anchor(self) -> &'static str {
        self.into()
    }

    /// What was seen.
    #[must_use]
    pub fn observed(self) -> &'static str {
        self.get_documentation().expect("every reason has a doc comment")
    }

    /// Whether AWS has judged the credentials; otherwise STS could not be asked.
    #[must_use]
    pub const fn is_refusal(self) -> bool {
        matches!(self, Self::ExpiredToken | Self::InvalidToken | Self::Signature | Self::ClockSkew | Self::AccessDenied)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// What kept AWS from judging the credentials.
#[derive(Clone, Copy, Debug, Deserialize, EnumMessage, Eq, IntoStaticStr, PartialEq, Serialize, VariantArray)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Obstacle {
    /// Neither a variable nor IMDS names a region.
    NoRegion,
    /// The credentials hold characters that no request can hold.
    Unsignable,
    /// The host's name does not resolve.
    NoSuchName,
    /// The connection was refused.
    ConnectionRefused,
    /// There is no route, or the local system does not allow the connection.
    Unreachable,
    /// No connection in time: packets are dropped on the way.
    ConnectTimeout,
    /// The proxy does not connect to STS, or asks for a password.
    ProxyRefused,
    /// The certificate is of an unknown authority, of another host, or expired.
    Certificate,
    /// The TLS handshake failed otherwise.
    Handshake,
    /// The connection ended before the answer did.
    ConnectionClosed,
    /// The answer is not one of STS.
    NotSts,
}

impl Obstacle {
    /// Its name.
    #[must_use]
    pub fn label(self) -> &'static str {
        self.into()
    }

    /// What was seen.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        self.get_documentation().expect("every obstacle has a doc comment")
    }
}

/// The number of an AWS account: twelve digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AccountId(String);

impl AccountId {
    /// Parses the number of an account.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == 12 && text.bytes().all(|c| c.is_ascii_digit())).then(|| Self(text.to_owned()))
    }

    /// The number as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whose credentials they are, as AWS says: what is kept of its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Caller {
    /// The account.
    pub account: AccountId,
    /// The role, if they are a role's.
    pub role: Option<RoleName>,
}

/// Why a call failed, with what may be told of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CallFailure {
    /// The reason, from the closed list.
    pub reason: Reason,
    /// The status, if an answer came.
    pub status: Option<u16>,
    /// The error's code, if it is a known one: never text from an answer.
    pub code: Option<&'static str>,
    /// What else is known of the cause.
    pub obstacle: Option<Obstacle>,
}

impl CallFailure {
    /// A failure without an answer.
    #[must_use]
    pub const fn by(reason: Reason, obstacle: Obstacle) -> Self {
        Self { reason, status: None, code: None, obstacle: Some(obstacle) }
    }
}

impl From<Reason> for CallFailure {
    fn from(reason: Reason) -> Self {
        Self { reason, status: None, code: None, obstacle: None }
    }
}

/// A finished call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCall {
    /// When it ended.
    pub at: Timestamp,
    /// How long it took.
    pub duration: Duration,
    /// Whose credentials they are, or why AWS did not say.
    pub outcome: Result<Caller, CallFailure>,
}

/// The signed calls so far.
#[derive(Clone, Debug)]
pub struct SignedCalls {
    interval: Duration,
    /// When the last call began, and the credentials that it was signed with.
    last_started: Option<(SinceBoot, Credential)>,
    in_flight: bool,
    last: Option<SignedCall>,
    last_success_at: Option<Timestamp>,
    failing_since: Option<Timestamp>,
}

impl SignedCalls {
    /// None so far.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self { interval, last_started: None, in_flight: false, last: None, last_success_at: None, failing_since: None }
    }

    /// Whether the next credentials are to be tried, where these were the last ones: the first ones at once; then when the
    /// interval is over, or after a minute if they are others or the last call failed; never while a call is in flight.
    #[must_use]
    pub fn is_due(&self, credential: Option<&Credential>, at: SinceBoot) -> bool {
        let Some((began, last)) = &self.last_started else { return true };
        let renewed = credential.is_some_and(|credential| credential.is_rotated(last) || credential.role != last.role);
        let soon = renewed || self.failing_since.is_some();
        let pause = if soon { self.interval.min(SHORTEST_INTERVAL) } else { self.interval };
        !self.in_flight && at.0 - began.0 >= SignedDuration::try_from(pause).unwrap_or(SignedDuration::MAX)
    }

    /// Records that a call begins.
    pub fn begin(&mut self, credential: &Credential, at: SinceBoot) {
        self.last_started = Some((at, credential.clone()));
        self.in_flight = true;
    }

    /// Records a finished call. Returns whether it ended in another way than the one before.
    pub fn finish(&mut self, call: SignedCall) -> bool {
        let changed = self.last.as_ref().is_none_or(|last| match (&last.outcome, &call.outcome) {
            (Ok(before), Ok(now)) => before != now,
            (Err(before), Err(now)) => (before.reason, before.obstacle) != (now.reason, now.obstacle),
            _ => true,
        });
        self.in_flight = false;
        if call.outcome.is_ok() {
            self.last_success_at = Some(call.at);
            self.failing_since = None;
        } else {
            self.failing_since.get_or_insert(call.at);
        }
        self.last = Some(call);
        changed
    }

    /// The last finished call.
    #[must_use]
    pub fn last(&self) -> Option<&SignedCall> {
        self.last.as_ref()
    }

    /// When the last successful call ended.
    #[must_use]
    pub fn last_success_at(&self) -> Option<Timestamp> {
        self.last_success_at
    }

    /// Since when calls fail, if the last one did.
    pub(crate) fn failing_since(&self) -> Option<Timestamp> {
        self.failing_since
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::moment::test::{at, since_boot};
    use super::*;

    fn credential(role: &str, updated: i64) -> Credential {
        Credential {
            role: role.to_owned().try_into().expect("a role name"),
            last_updated: Some(at(updated)),
            expiration: at(updated + 23_400),
        }
    }

    fn call(seconds: i64, outcome: Result<(), Reason>) -> SignedCall {
        let account = AccountId::parse("123456789012").expect("an account");
        let outcome = outcome.map(|()| Caller { account, role: None }).map_err(CallFailure::from);
        SignedCall { at: at(seconds), duration: Duration::from_millis(80), outcome }
    }

    fn after(outcome: Result<(), Reason>) -> SignedCalls {
        let mut calls = SignedCalls::new(Duration::from_mins(15));
        calls.begin(&credential("web", 0), since_boot(100));
        calls.finish(call(1, outcome));
        calls
    }

    #[test]
    fn a_call_is_due_at_first_then_at_the_interval_and_sooner_for_new_credentials_or_after_a_failure() {
        let same = credential("web", 0);
        assert!(SignedCalls::new(Duration::from_mins(15)).is_due(None, since_boot(0)));
        let accepted = after(Ok(()));
        for (credential, seconds, due) in [
            (&same, 15, false),
            (&same, 60, false),
            (&same, 899, false),
            (&same, 900, true),
            (&credential("web", 10), 59, false),
            (&credential("web", 10), 60, true),
            (&credential("other", 0), 60, true),
        ] {
            assert_eq!(accepted.is_due(Some(credential), since_boot(100 + seconds)), due, "{credential:?} {seconds}");
        }
        let failed = after(Err(Reason::Connect));
        assert!(!failed.is_due(Some(&same), since_boot(159)));
        assert!(failed.is_due(Some(&same), since_boot(160)));
    }

    #[test]
    fn nothing_is_due_while_a_call_is_in_flight() {
        let mut calls = SignedCalls::new(Duration::from_mins(1));
        calls.begin(&credential("web", 0), since_boot(0));
        assert!(!calls.is_due(Some(&credential("web", 3_600)), since_boot(3_600)));
        calls.finish(call(3_601, Ok(())));
        assert!(calls.is_due(Some(&credential("web", 3_600)), since_boot(3_602)));
    }

    #[test]
    fn a_change_is_another_reason_another_caller_or_the_end_of_failures() {
        let mut calls = SignedCalls::new(Duration::from_mins(15));
        assert!(calls.finish(call(0, Ok(()))));
        assert!(!calls.finish(call(60, Ok(()))));
        assert!(calls.finish(call(120, Err(Reason::Connect))));
        assert!(!calls.finish(call(180, Err(Reason::Connect))));
        assert!(calls.finish(call(240, Err(Reason::Tls))));
        assert_eq!((calls.failing_since(), calls.last_success_at()), (Some(at(120)), Some(at(60))));
        assert!(calls.finish(call(300, Ok(()))));
        assert_eq!((calls.failing_since(), calls.last_success_at()), (None, Some(at(300))));
        let role = RoleName::try_from("web".to_owned()).ok();
        let as_role = call(360, Ok(()));
        let outcome = as_role.outcome.map(|caller| Caller { role, ..caller });
        let as_role = SignedCall { outcome, ..as_role };
        assert!(calls.finish(as_role.clone()) && calls.last() == Some(&as_role));
    }

    #[test]
    fn labels_and_anchors_follow_from_the_names() {
        assert_eq!(Reason::ExpiredToken.label(), "expired_token");
        assert_eq!(Reason::ExpiredToken.anchor(), "signed_call_expired_token");
        assert_eq!(Reason::ExpiredToken.to_string(), "expired_token");
        assert_eq!(Reason::VARIANTS.len(), 11);
        let meanings: BTreeSet<_> = Reason::VARIANTS.iter().map(|reason| reason.observed()).collect();
        let obstacle = Obstacle::ConnectTimeout;
        assert_eq!(obstacle.label(), "connect_timeout");
        assert!(obstacle.meaning().starts_with("No connection in time"));
        assert_eq!(meanings.len(), 11);
    }

    #[test]
    fn five_reasons_are_what_aws_says_of_the_credentials() {
        let refusals: Vec<_> =
            Reason::VARIANTS.iter().filter(|reason| reason.is_refusal()).map(|r| r.label()).collect();
        assert_eq!(refusals, ["expired_token", "invalid_token", "signature", "clock_skew", "access_denied"]);
    }

    #[test]
    fn an_account_has_twelve_digits() {
        assert_eq!(AccountId::parse("123456789012").expect("an account").as_str(), "123456789012");
        for bad in ["", "12345678901", "1234567890123", "12345678901x", "١٢٣٤٥٦"] {
            assert_eq!(AccountId::parse(bad), None, "{bad}");
        }
    }
}
