//! The verdict: what metric, status page, JSON and `check` lead with, computed in one place.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use strum::{IntoStaticStr, VariantArray};

use super::state::{PollStatus, State};

/// The verdict: the `state` label, in the order of precedence.
#[derive(Clone, Copy, Debug, Eq, IntoStaticStr, PartialEq, Serialize, VariantArray)]
#[serde(into = "&'static str")]
#[strum(serialize_all = "snake_case")]
pub enum ImdsState {
    /// The first poll has not ended yet.
    Starting,
    /// No IMDS is in use: boto3 finds credentials before it would ask IMDS, or IMDS is disabled by the environment.
    Unused,
    /// boto3 would ask IMDS through a proxy, so that a poll does not stand for it.
    Proxied,
    /// The last poll failed.
    Failing,
    /// IMDS returns credentials that have expired.
    Expired,
    /// IMDS returns credentials, but AWS refuses them.
    Refused,
    /// New clients work, but those of the declared workload hold no credentials, permanently.
    Stuck,
    /// Nothing is wrong.
    Fine,
}

impl ImdsState {
    /// The value of the `state` label.
    #[must_use]
    pub fn label(self) -> &'static str {
        self.into()
    }

    /// The verdict at `at`.
    #[must_use]
    pub fn of(state: &State, at: Timestamp) -> Self {
        let environment = state.environment();
        let expired = state.credential().is_some_and(|credential| credential.remaining(at) <= SignedDuration::ZERO);
        match state.poll_status() {
            PollStatus::Unpolled => Self::Starting,
            _ if state.is_unused() => Self::Unused,
            _ if environment.proxied_by.is_some() => Self::Proxied,
            PollStatus::Failing(_) => Self::Failing,
            PollStatus::Resolved if expired => Self::Expired,
            PollStatus::Resolved if state.refusal().is_some() => Self::Refused,
            PollStatus::Resolved if state.clients_stuck(at) => Self::Stuck,
            PollStatus::Resolved => Self::Fine,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::credential::Credential;
    use super::super::kind::Kind;
    use super::super::moment::test::at;
    use super::super::resolution::{Failure, Resolution, Step};
    use super::super::shadow::Shadow;
    use super::super::signed_call::{CallFailure, Reason, SignedCall};
    use super::super::state::WorkloadEnvironment;
    use super::super::workload::Workload;
    use super::*;

    fn polled(state: &mut State, outcome: Result<i64, Kind>, second: i64) {
        let credential = |expiration| Credential {
            role: "web".to_owned().try_into().expect("a role name"),
            last_updated: None,
            expiration: at(expiration),
        };
        let outcome = outcome.map(credential).map_err(|kind| Failure { kind, step: Step::Token });
        state.record(&Resolution::from(outcome), Duration::ZERO, at(second));
    }

    fn called(state: &mut State, failure: Reason) {
        let outcome = Err(CallFailure::from(failure));
        let call = SignedCall { at: at(5), duration: Duration::ZERO, outcome };
        state.signed_calls_mut().expect("signed calls are made").finish(call);
    }

    /// Everything is wrong at once, and what comes first is repaired, one after the other.
    #[test]
    fn the_first_of_all_that_is_wrong_is_the_verdict() {
        let workload = Workload::StartsWithExporter;
        let environment = WorkloadEnvironment { workload, ..WorkloadEnvironment::default() };
        let proxied = WorkloadEnvironment { proxied_by: Some("HTTP_PROXY"), ..environment };
        let unused = WorkloadEnvironment { earlier_in_chain: Some(Shadow::WebIdentity), ..proxied };
        let state = |environment| State::new(environment, at(0)).with_signed_calls(Duration::from_mins(1));

        assert_eq!(ImdsState::of(&state(unused), at(1)), ImdsState::Starting);
        for (environment, expected) in
            [(unused, ImdsState::Unused), (proxied, ImdsState::Proxied), (environment, ImdsState::Failing)]
        {
            let mut state = state(environment);
            polled(&mut state, Err(Kind::Throttled), 1);
            called(&mut state, Reason::ExpiredToken);
            assert_eq!(ImdsState::of(&state, at(9_000)), expected);
        }
        let mut state = state(environment);
        polled(&mut state, Err(Kind::Throttled), 1);
        polled(&mut state, Ok(3_600), 6);
        called(&mut state, Reason::ExpiredToken);
        assert_eq!(ImdsState::of(&state, at(3_600)), ImdsState::Expired);
        assert_eq!(ImdsState::of(&state, at(3_599)), ImdsState::Refused);
        called(&mut state, Reason::Connect);
        assert_eq!(ImdsState::of(&state, at(3_599)), ImdsState::Stuck);
        let mut fine = State::new(environment, at(0));
        polled(&mut fine, Ok(3_600), 1);
        assert_eq!(ImdsState::of(&fine, at(2)), ImdsState::Fine);
        assert_eq!(ImdsState::Fine.label(), "fine");
    }

    #[test]
    fn an_imds_that_is_disabled_on_purpose_is_unused() {
        let mut state = State::new(WorkloadEnvironment::default(), at(0));
        polled(&mut state, Err(Kind::DisabledByEnvironment), 1);
        assert_eq!(ImdsState::of(&state, at(2)), ImdsState::Unused);
    }
}
