//! A client of an SDK: what it holds, how that changes with each poll, and whether it could sign a request now.
//!
//! Pure functions of a row of [`SDKS`](super::sdk::SDKS), what the client held before, and a poll. A client is assumed to be in
//! use all the time: each poll is a call of it. Must not know which clients are tracked.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use strum::{EnumMessage, IntoStaticStr, VariantArray};

use super::kind::Kind;
use super::resolution::Resolution;
use super::sdk::{Attempt, FailedRefresh, RaisesAt, Sdk, later};

/// When the client was created: the `created` label.
#[derive(Clone, Copy, Debug, EnumMessage, Eq, IntoStaticStr, PartialEq, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Created {
    /// At this moment.
    #[strum(message = "created at this moment")]
    Now,
    /// When credentials were available: at the last success, and in use since then. After an outage, it is still the client
    /// from before the outage until its pause is over.
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

/// What a client holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holds {
    /// No credentials, permanently.
    Nothing,
    /// No credentials yet: it asks again. Either the SDK resolves at each call, or the creation raised an error, so that the
    /// program ends or creates another client.
    NotYet,
    /// The exporter cannot know.
    Unknown,
    /// A document.
    Document(HeldDocument),
}

/// A document that a client holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldDocument {
    /// When the client fetched it.
    pub fetched_at: Timestamp,
    /// When it ends.
    pub ends_at: Timestamp,
    /// The pause after a refresh that failed.
    pub pause: Option<Pause>,
}

/// When a client tries again to refresh, after an attempt that failed. SDKs draw this at random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// It does not try again before this.
    pub not_before: Timestamp,
    /// By this time it has tried again.
    pub until: Timestamp,
}

impl HeldDocument {
    /// Whether it may still wait.
    fn is_paused(&self, at: Timestamp) -> bool {
        self.pause.is_some_and(|pause| at < pause.until)
    }

    /// Whether it waits for sure.
    fn surely_pauses(&self, at: Timestamp) -> bool {
        self.pause.is_some_and(|pause| at < pause.not_before)
    }
}

impl Sdk {
    /// What a client holds that is created at `at`, the time of this poll.
    #[must_use]
    pub fn created(&self, poll: &Resolution, v1_disabled: bool, at: Timestamp) -> Holds {
        match self.attempt(poll, v1_disabled) {
            Attempt::Works(ends_at) => Holds::Document(self.fetched(ends_at, at)),
            Attempt::Useless => Holds::Unknown,
            _ if !self.binds_at_creation => Holds::NotYet,
            Attempt::Unknown => Holds::Unknown,
            Attempt::Raises => Holds::NotYet,
            Attempt::Fails => {
                let invalid_time = poll.outcome.as_ref().is_err_and(|failure| failure.kind == Kind::InvalidTimestamp);
                if invalid_time && self.raises_at == RaisesAt::TokenOrTime { Holds::NotYet } else { Holds::Nothing }
            }
        }
    }

    /// What a client holds that was created at an earlier poll, after this one, which ended at `at`.
    #[must_use]
    pub fn after(&self, before: Holds, poll: &Resolution, v1_disabled: bool, at: Timestamp) -> Holds {
        let attempt = self.attempt(poll, v1_disabled);
        match before {
            Holds::Nothing | Holds::Unknown => before,
            Holds::NotYet => match self.created(poll, v1_disabled, at) {
                // Whether a program that failed at its start was started again just now is not known here.
                Holds::Nothing => Holds::Unknown,
                now => now,
            },
            Holds::Document(held) => self.used(held, attempt, at),
        }
    }

    /// What a client holds after a call at `at`.
    fn used(&self, held: HeldDocument, attempt: Attempt, at: Timestamp) -> Holds {
        let [may_refresh, refreshes] = self.refreshes_from(held.fetched_at, held.ends_at);
        match (attempt, self.failed_refresh) {
            (Attempt::Works(ends_at), _) if at >= refreshes && !held.is_paused(at) => {
                Holds::Document(self.fetched(ends_at, at))
            }
            (Attempt::Works(_), _) => Holds::Document(held),
            _ if at < may_refresh || held.surely_pauses(at) => Holds::Document(held),
            // It is not known when the useless document ends.
            (Attempt::Useless, _) | (Attempt::Unknown, FailedRefresh::KeepsTheOld { .. }) => Holds::Unknown,
            (Attempt::Raises, _) | (_, FailedRefresh::FailsTheCall { .. }) => Holds::Document(held),
            (Attempt::Fails, FailedRefresh::KeepsTheOld { shortest_pause, longest_pause, .. }) => {
                // From the end of the shortest pause on, it may have tried at any time, at this one too.
                let not_before = held.pause.map_or(later(at, shortest_pause), |pause| pause.not_before);
                let pause = Pause { not_before, until: later(at, longest_pause) };
                Holds::Document(HeldDocument { pause: Some(pause), ..held })
            }
        }
    }

    /// A document that a client has just fetched.
    fn fetched(&self, ends_at: Timestamp, at: Timestamp) -> HeldDocument {
        let pause = match self.failed_refresh {
            FailedRefresh::KeepsTheOld { shortest_pause, longest_pause, pauses_after_ended: true } if ends_at <= at => {
                Some(Pause { not_before: later(at, shortest_pause), until: later(at, longest_pause) })
            }
            FailedRefresh::KeepsTheOld { .. } | FailedRefresh::FailsTheCall { .. } => None,
        };
        HeldDocument { fetched_at: at, ends_at, pause }
    }

    /// What a client holds that was created at the last success, after this poll, which ended at `at`: see
    /// [`Created::BeforeOutage`]. `None` is that there was no success.
    #[must_use]
    pub fn before_outage(
        &self,
        before: Option<Holds>,
        poll: &Resolution,
        v1_disabled: bool,
        at: Timestamp,
    ) -> Option<Holds> {
        let is_paused = matches!(before, Some(Holds::Document(held)) if held.is_paused(at));
        match self.attempt(poll, v1_disabled) {
            Attempt::Works(_) if !is_paused => Some(self.created(poll, v1_disabled, at)),
            _ => before.map(|before| self.after(before, poll, v1_disabled, at)),
        }
    }

    /// Whether a client that holds this could sign a request at `at` with a key that has not ended, or the newest that IMDS
    /// has; `None` is unknown. `attempt` is how a refresh would end.
    #[must_use]
    pub fn can_sign(&self, holds: Holds, attempt: Attempt, at: Timestamp) -> Option<bool> {
        match holds {
            Holds::Nothing => Some(false),
            Holds::Unknown => None,
            Holds::NotYet => match attempt {
                Attempt::Works(_) => Some(true),
                Attempt::Fails | Attempt::Raises | Attempt::Useless => Some(false),
                Attempt::Unknown => None,
            },
            Holds::Document(held) => self.can_sign_with(held, attempt, at),
        }
    }

    fn can_sign_with(&self, held: HeldDocument, attempt: Attempt, at: Timestamp) -> Option<bool> {
        let ended = held.ends_at <= at;
        let [may_refresh, refreshes] = self.refreshes_from(held.fetched_at, held.ends_at);
        match (attempt, self.failed_refresh) {
            (Attempt::Works(newest), _) => {
                let asks = at >= refreshes && !held.is_paused(at);
                Some(!ended || asks || newest <= held.ends_at)
            }
            _ if at < may_refresh || held.surely_pauses(at) => Some(!ended),
            (Attempt::Unknown, FailedRefresh::KeepsTheOld { .. }) if !ended => Some(true),
            (Attempt::Unknown, _) => None,
            (Attempt::Raises, _) if at < self.heeds_errors_from(held.fetched_at, held.ends_at) => Some(!ended),
            (Attempt::Raises | Attempt::Useless, _) | (_, FailedRefresh::FailsTheCall { .. }) => Some(false),
            (_, FailedRefresh::KeepsTheOld { .. }) => Some(!ended),
        }
    }
}

/// What the present state means for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outlook", rename_all = "snake_case")]
pub enum Outlook {
    /// It can sign.
    Works,
    /// It can sign for now.
    WorksUntil {
        /// It fails from then on, if IMDS does not answer before.
        until: Timestamp,
    },
    /// It cannot sign, and can once IMDS answers: its next call asks again.
    Fails,
    /// It cannot sign, and goes on with credentials that have ended for a while after IMDS answers.
    FailsAndLags {
        /// For how long at most, in seconds.
        lag_seconds: i64,
    },
    /// It takes the incomplete document that it gets for whole, and signs no call until it refreshes that.
    FailsUntilRefresh,
    /// IMDS answers, but it goes on with credentials that have ended.
    RecoversBy {
        /// Until then at the latest.
        until: Timestamp,
    },
    /// It has no credentials, permanently: it must be created again.
    MustBeCreatedAgain,
    /// Its creation raises an error.
    CreationRaises,
    /// The exporter cannot know.
    Unknown,
}

impl Sdk {
    /// What the state means for a client that holds this at `at`. `attempt` is how a refresh would end.
    #[must_use]
    pub fn outlook(&self, holds: Holds, attempt: Attempt, at: Timestamp) -> Outlook {
        let held = match holds {
            Holds::Nothing => return Outlook::MustBeCreatedAgain,
            Holds::Unknown => return Outlook::Unknown,
            Holds::NotYet => None,
            Holds::Document(held) => Some(held),
        };
        match (self.can_sign(holds, attempt, at), attempt, held) {
            (None, ..) => Outlook::Unknown,
            (Some(true), Attempt::Works(_), _) | (Some(true), _, None) => Outlook::Works,
            (Some(false), _, None) if self.binds_at_creation => Outlook::CreationRaises,
            (Some(true), _, Some(held)) => Outlook::WorksUntil { until: self.works_until(held, attempt) },
            (Some(false), Attempt::Works(_), Some(held)) => {
                let [_, refreshes] = self.refreshes_from(held.fetched_at, held.ends_at);
                Outlook::RecoversBy { until: held.pause.map_or(refreshes, |pause| pause.until.max(refreshes)) }
            }
            (Some(false), _, held) => match self.failed_refresh {
                FailedRefresh::KeepsTheOld { longest_pause, .. } if held.is_some() && attempt != Attempt::Raises => {
                    Outlook::FailsAndLags { lag_seconds: longest_pause.as_secs() }
                }
                FailedRefresh::KeepsTheOld { .. } | FailedRefresh::FailsTheCall { .. } => Outlook::Fails,
            },
        }
    }

    /// Until when a client can sign with a document while attempts to refresh it end like this.
    fn works_until(&self, held: HeldDocument, attempt: Attempt) -> Timestamp {
        let HeldDocument { fetched_at, ends_at, .. } = held;
        let [may_refresh, _] = self.refreshes_from(fetched_at, ends_at);
        match (self.failed_refresh, attempt) {
            (FailedRefresh::KeepsTheOld { .. }, Attempt::Raises) => ends_at.min(may_refresh),
            (FailedRefresh::KeepsTheOld { .. }, _) => ends_at,
            (FailedRefresh::FailsTheCall { .. }, Attempt::Raises) => {
                ends_at.min(self.heeds_errors_from(fetched_at, ends_at))
            }
            (FailedRefresh::FailsTheCall { .. }, _) => ends_at.min(may_refresh),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::credential::{Credential, RoleName};
    use super::super::resolution::{Failure, Request, RequestRecord, Step};
    use super::super::sdk::SDKS;
    use super::*;

    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;

    fn sdk(label: &str) -> &'static Sdk {
        SDKS.iter().find(|sdk| sdk.label == label).expect("it has a row")
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a small number of seconds")
    }

    fn poll(outcome: Result<i64, (Kind, Step)>, token_status: Option<u16>, v1_fallback: Option<Kind>) -> Resolution {
        let outcome = match outcome {
            Ok(ends_at) => Ok(Credential {
                role: RoleName::try_from("web".to_owned()).expect("a legal name"),
                last_updated: None,
                expiration: at(ends_at),
            }),
            Err((kind, step)) => Err(Failure { kind, step }),
        };
        let token = RequestRecord { request: Request::Token, duration: Duration::ZERO, status: token_status };
        Resolution { requests: vec![token], v1_fallback, ..Resolution::from(outcome) }
    }

    /// A success with a document that ends at this second.
    fn up(ends_at: i64) -> Resolution {
        poll(Ok(ends_at), Some(200), None)
    }

    /// A failure of the token request; `token_status` is the status of its answer.
    fn token_failure(kind: Kind, token_status: Option<u16>) -> Resolution {
        poll(Err((kind, Step::Token)), token_status, None)
    }

    fn down() -> Resolution {
        token_failure(Kind::ConnectRefused, None)
    }

    /// The client after these polls, at the first of which it is created, and the last one's attempt.
    fn replay(sdk: &Sdk, polls: &[(i64, Resolution)]) -> (Holds, Attempt) {
        let ((second, first), others) = polls.split_first().expect("there is a poll");
        let created = sdk.created(first, false, at(*second));
        let holds = others.iter().fold(created, |holds, (second, poll)| sdk.after(holds, poll, false, at(*second)));
        (holds, sdk.attempt(&polls.last().expect("there is one").1, false))
    }

    fn signs(sdk: &Sdk, polls: &[(i64, Resolution)], second: i64) -> Option<bool> {
        let (holds, attempt) = replay(sdk, polls);
        sdk.can_sign(holds, attempt, at(second))
    }

    /// An outage from the second poll on, which ends at `end`: polls every 5 seconds.
    fn outage(document_ends_at: i64, from: i64, to: i64) -> Vec<(i64, Resolution)> {
        let polls = (from..to).step_by(5).map(|second| (second, down()));
        std::iter::once((0, up(document_ends_at))).chain(polls).collect()
    }

    #[test]
    fn ruby_raises_at_a_document_that_it_cannot_read_and_does_not_pause() {
        let ruby = sdk("ruby");
        for kind in [Kind::MalformedDocument, Kind::InvalidTimestamp] {
            let unreadable = || poll(Err((kind, Step::Credentials)), Some(200), None);
            assert_eq!(ruby.created(&unreadable(), false, at(0)), Holds::NotYet, "{kind}");
            let early = [(0, up(HOUR)), (54 * MINUTE, unreadable())];
            assert_eq!(signs(ruby, &early, 54 * MINUTE), Some(true), "{kind}");
            let (holds, attempt) = replay(ruby, &early);
            let until = at(55 * MINUTE);
            assert_eq!(ruby.outlook(holds, attempt, at(54 * MINUTE)), Outlook::WorksUntil { until }, "{kind}");
            assert_eq!(
                ruby.outlook(holds, attempt, at(56 * MINUTE)),
                Outlook::Fails,
                "{kind}: its next call asks again"
            );
            let late = [(0, up(HOUR)), (56 * MINUTE, unreadable())];
            assert_eq!(signs(ruby, &late, 56 * MINUTE), Some(false), "{kind}");
            let recovered = [(0, up(HOUR)), (56 * MINUTE, unreadable()), (61 * MINUTE, up(7 * HOUR))];
            assert_eq!(signs(ruby, &recovered, 61 * MINUTE), Some(true), "{kind}");
            // While it pauses after another failure, it does not ask.
            let paused = [(0, up(HOUR)), (56 * MINUTE, down()), (57 * MINUTE, unreadable())];
            assert_eq!(signs(ruby, &paused, 57 * MINUTE), Some(true), "{kind}");
        }
    }

    #[test]
    fn a_refresh_with_a_document_that_cannot_be_read_raises_in_ruby_only() {
        for kind in [Kind::MalformedDocument, Kind::InvalidTimestamp] {
            let unreadable = poll(Err((kind, Step::Credentials)), Some(200), None);
            let raises = |sdk: &&Sdk| sdk.attempt(&unreadable, false) == Attempt::Raises;
            assert_eq!(SDKS.iter().filter(raises).map(|sdk| sdk.label).collect::<Vec<_>>(), ["ruby"], "{kind}");
            assert!(
                SDKS.iter().filter(|sdk| !raises(sdk)).all(|sdk| sdk.attempt(&unreadable, false) == Attempt::Fails)
            );
        }
    }

    #[test]
    fn ruby_does_not_go_on_without_a_token_after_the_end_of_a_connection() {
        for (kind, works) in [
            (Kind::ImdsDisabled, true),
            (Kind::HopLimit, true),
            (Kind::ConnectionClosed, false),
            (Kind::InvalidResponse, false),
        ] {
            let by_v1 = poll(Ok(HOUR), None, Some(kind));
            assert_eq!(signs(sdk("ruby"), &[(0, by_v1.clone())], 0), Some(works), "{kind}");
            assert_eq!(signs(sdk("go-v2"), &[(0, by_v1)], 0), Some(true), "{kind}");
        }
    }

    #[test]
    fn an_incomplete_document_is_no_document_fails_a_call_or_is_kept() {
        let incomplete = || poll(Err((Kind::IncompleteDocument, Step::Credentials)), Some(200), None);
        let born = |label: &str| sdk(label).created(&incomplete(), false, at(0));
        assert_eq!(["ruby", "go-v2", "minio-go"].map(born), [Holds::Nothing, Holds::NotYet, Holds::Unknown]);
        let live = |label: &str, second: i64| {
            let polls = [(0, up(2 * HOUR)), (second, incomplete())];
            let (holds, _) = replay(sdk(label), &polls);
            (signs(sdk(label), &polls, second), holds)
        };
        assert_eq!(live("ruby", 2 * HOUR - MINUTE).0, Some(true));
        assert_eq!(live("go-v2", HOUR + MINUTE).0, Some(false));
        assert_eq!(live("minio-go", HOUR).0, Some(true));
        assert_eq!(live("minio-go", 2 * HOUR - MINUTE).1, Holds::Unknown);
        assert_eq!(sdk("minio-go").can_sign(Holds::NotYet, Attempt::Useless, at(0)), Some(false));
    }

    #[test]
    fn boto3_keeps_a_document_that_had_ended_when_it_was_fetched() {
        let polls = [(HOUR, up(HOUR - MINUTE)), (HOUR + MINUTE, up(7 * HOUR))];
        assert_eq!(signs(sdk("boto3"), &polls[..1], HOUR), Some(true), "IMDS has nothing newer");
        assert_eq!(signs(sdk("boto3"), &polls, HOUR + MINUTE), Some(false));
        let (holds, attempt) = replay(sdk("boto3"), &polls);
        let until = at(HOUR + 10 * MINUTE);
        assert_eq!(sdk("boto3").outlook(holds, attempt, at(HOUR + MINUTE)), Outlook::RecoversBy { until });
        let later = [polls[0].clone(), (HOUR + 11 * MINUTE, up(7 * HOUR))];
        assert_eq!(signs(sdk("boto3"), &later, HOUR + 11 * MINUTE), Some(true));
    }

    #[test]
    fn what_a_creation_without_credentials_leaves() {
        for (label, binds) in [
            ("boto3", true),
            ("ruby", true),
            ("go-v2", false),
            ("minio-go", false),
            ("aws-crt", false),
            ("object-store", false),
        ] {
            let sdk = sdk(label);
            for failure in [down(), poll(Err((Kind::NoRole, Step::Role)), Some(200), None)] {
                let polls = [(0, failure), (5, up(6 * HOUR))];
                assert_eq!(signs(sdk, &polls[..1], 0), Some(false), "{label}");
                assert_eq!(signs(sdk, &polls, 5), Some(!binds), "{label}");
                let outlook = if binds { Outlook::MustBeCreatedAgain } else { Outlook::Fails };
                let (holds, attempt) = replay(sdk, &polls[..1]);
                assert_eq!(sdk.outlook(holds, attempt, at(0)), outlook, "{label}");
            }
        }
    }

    #[test]
    fn where_imdsv1_is_disabled_a_failed_token_request_raises_in_boto3_and_all_else_binds() {
        let boto3 = sdk("boto3");
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
            let poll = poll(Err((kind, step)), token_status, None);
            let expected = if raises { Holds::NotYet } else { Holds::Nothing };
            assert_eq!(boto3.created(&poll, true, at(0)), expected, "{kind} {step}");
            assert_eq!(boto3.created(&poll, false, at(0)), Holds::Nothing, "{kind} {step}");
        }
        let raised = boto3.created(&down(), true, at(0));
        assert_eq!(boto3.outlook(raised, boto3.attempt(&down(), true), at(0)), Outlook::CreationRaises);
        let created = boto3.after(raised, &up(6 * HOUR), true, at(5));
        assert_eq!(boto3.can_sign(created, Attempt::Fails, at(5)), Some(true));
        let no_role = poll(Err((Kind::NoRole, Step::Role)), Some(200), None);
        assert_eq!(boto3.after(raised, &no_role, true, at(5)), Holds::Unknown, "was it started again just now?");
    }

    #[test]
    fn a_token_or_a_time_that_is_none_raises_in_boto3() {
        for v1_disabled in [false, true] {
            let page = token_failure(Kind::InvalidResponse, Some(200));
            let no_time = poll(Err((Kind::InvalidTimestamp, Step::Credentials)), Some(200), None);
            for (poll, ruby) in [(page, Holds::Nothing), (no_time, Holds::NotYet)] {
                assert_eq!(sdk("boto3").created(&poll, v1_disabled, at(0)), Holds::NotYet);
                assert_eq!(sdk("ruby").created(&poll, v1_disabled, at(0)), ruby);
            }
        }
    }

    /// In an outage, with a document that lasts six hours: the last second at which each signs.
    #[test]
    fn in_an_outage_each_fails_from_its_refresh_on_or_from_the_end() {
        for (label, last) in [
            ("boto3", 6 * HOUR - 15 * MINUTE),
            ("ruby", 6 * HOUR),
            ("go-v2", 6 * HOUR),
            ("minio-go", 6 * HOUR - 72 * MINUTE),
            ("aws-crt", 6 * HOUR - 5 * MINUTE),
            ("object-store", 6 * HOUR - 5 * MINUTE),
        ] {
            let sdk = sdk(label);
            let polls = [(0, up(6 * HOUR)), (5, down())];
            assert_eq!(signs(sdk, &polls, last - 1), Some(true), "{label}");
            assert_eq!(signs(sdk, &polls, last), Some(false), "{label}");
            let (holds, attempt) = replay(sdk, &polls);
            assert_eq!(sdk.outlook(holds, attempt, at(10)), Outlook::WorksUntil { until: at(last) }, "{label}");
        }
    }

    /// IMDS has a newer document each second: when does each ask for it?
    #[test]
    fn while_imds_works_each_keeps_its_document_until_its_refresh() {
        for (label, refresh) in [
            ("boto3", 6 * HOUR - 15 * MINUTE),
            ("ruby", 6 * HOUR - 5 * MINUTE),
            ("go-v2", HOUR),
            ("minio-go", 6 * HOUR - 72 * MINUTE),
            ("aws-crt", 6 * HOUR - 5 * MINUTE),
            ("object-store", 6 * HOUR - 5 * MINUTE),
        ] {
            let held = |second| {
                let (holds, _) = replay(sdk(label), &[(0, up(6 * HOUR)), (second, up(6 * HOUR + second))]);
                let Holds::Document(held) = holds else { panic!("{label} holds a document") };
                (held.fetched_at, held.ends_at)
            };
            assert_eq!(held(refresh - 1), (at(0), at(6 * HOUR)), "{label}");
            assert_eq!(held(refresh), (at(refresh), at(6 * HOUR + refresh)), "{label}");
        }
        // Where the end is sooner.
        let (holds, _) = replay(sdk("go-v2"), &[(0, up(600)), (599, up(9_000))]);
        assert_eq!(holds, Holds::Document(HeldDocument { fetched_at: at(0), ends_at: at(600), pause: None }));
        let (holds, _) = replay(sdk("go-v2"), &[(0, up(600)), (600, up(9_000))]);
        assert_eq!(holds, Holds::Document(HeldDocument { fetched_at: at(600), ends_at: at(9_000), pause: None }));
    }

    #[test]
    fn boto3_takes_a_document_that_ends_soon_for_valid_for_longer() {
        let boto3 = sdk("boto3");
        // Fetched with this much left; from when on it may fail, and from when on it surely asks again.
        for (left, may_fail, refreshes) in [
            (26 * MINUTE, 11 * MINUTE, 11 * MINUTE),
            (20 * MINUTE, 5 * MINUTE, 10 * MINUTE),
            (16 * MINUTE, 2 * MINUTE, 10 * MINUTE),
            (10 * MINUTE, 2 * MINUTE, 10 * MINUTE),
        ] {
            assert_eq!(boto3.refreshes_from(at(0), at(left)), [at(may_fail), at(refreshes)], "{left}");
            let polls = [(0, up(left)), (5, down())];
            assert_eq!(signs(boto3, &polls, may_fail - 1), Some(true), "{left}");
            assert_eq!(signs(boto3, &polls, may_fail), Some(false), "{left}");
            assert_eq!(signs(boto3, &[(0, up(left)), (may_fail, up(left))], may_fail), Some(true), "{left}");
        }
        // One that has ended already is used while IMDS has no newer one.
        assert_eq!(signs(boto3, &[(0, up(-300))], 1), Some(true));
        assert_eq!(signs(boto3, &[(0, up(-300)), (5, down())], 5), Some(false));
    }

    #[test]
    fn a_refresh_that_raises_is_ignored_until_ten_minutes_before_the_end() {
        let boto3 = sdk("boto3");
        let (holds, _) = replay(boto3, &[(0, up(HOUR))]);
        let [fails, raises] = [false, true].map(|v1_disabled| boto3.attempt(&down(), v1_disabled));
        assert_eq!([fails, raises], [Attempt::Fails, Attempt::Raises]);
        assert_eq!(boto3.can_sign(holds, raises, at(49 * MINUTE)), Some(true));
        assert_eq!(boto3.can_sign(holds, raises, at(50 * MINUTE)), Some(false));
        assert_eq!(boto3.can_sign(holds, fails, at(45 * MINUTE)), Some(false));
        assert_eq!(boto3.outlook(holds, raises, at(0)), Outlook::WorksUntil { until: at(50 * MINUTE) });
    }

    #[test]
    fn where_a_failed_refresh_fails_the_call_the_next_call_after_the_outage_works() {
        for label in ["boto3", "minio-go", "aws-crt", "object-store"] {
            let sdk = sdk(label);
            let mut polls = outage(30 * MINUTE, 29 * MINUTE, 31 * MINUTE);
            assert_eq!(signs(sdk, &polls, 31 * MINUTE), Some(false), "{label}");
            let (holds, attempt) = replay(sdk, &polls);
            assert_eq!(sdk.outlook(holds, attempt, at(31 * MINUTE)), Outlook::Fails, "{label}");
            polls.push((31 * MINUTE, up(6 * HOUR)));
            assert_eq!(signs(sdk, &polls, 31 * MINUTE), Some(true), "{label}");
        }
    }

    /// The document ends in the first seconds of the outage; the first attempt fails at `first`, the last possible one at
    /// `last`.
    #[test]
    fn an_ended_holder_cannot_sign_until_its_pause_is_over() {
        for (label, ends, first, shortest, longest) in
            [("ruby", 30 * MINUTE, 25 * MINUTE, 300, 360), ("go-v2", 30 * MINUTE, 30 * MINUTE, 300, 900)]
        {
            let sdk = sdk(label);
            // The outage is over before the client can try again.
            let up_at = first + shortest - 5;
            let mut polls = outage(ends, first, up_at);
            polls.push((up_at, up(6 * HOUR)));
            let usable = |second| signs(sdk, &polls, second).expect("it is known");
            assert_eq!(usable(up_at), ends > up_at, "{label}: old credentials that have not ended");
            assert!(!usable(first + longest - 1) && usable(first + longest), "{label}");
            let (holds, attempt) = replay(sdk, &polls);
            let outlook = |second| sdk.outlook(holds, attempt, at(second));
            assert_eq!(outlook(ends + 1), Outlook::RecoversBy { until: at(first + longest) }, "{label}");
            assert_eq!(outlook(first + longest), Outlook::Works, "{label}");
            // A poll after that, and it holds the new document.
            polls.push((first + longest, up(6 * HOUR)));
            let held = |polls: &[_]| replay(sdk, polls).0;
            assert!(matches!(held(&polls), Holds::Document(held) if held.ends_at == at(6 * HOUR)), "{label}");

            // It may have tried again at any time after the shortest pause: at the last failed poll too.
            let up_at = first + shortest + 60;
            let mut polls = outage(ends, first, up_at);
            let (holds, attempt) = replay(sdk, &polls);
            assert_eq!(
                sdk.outlook(holds, attempt, at(up_at)),
                Outlook::FailsAndLags { lag_seconds: longest },
                "{label}"
            );
            polls.push((up_at, up(6 * HOUR)));
            let usable = |second| signs(sdk, &polls, second).expect("it is known");
            assert!(!usable(up_at - 5 + longest - 1) && usable(up_at - 5 + longest), "{label}");
        }
    }

    #[test]
    fn a_failed_poll_may_be_another_attempt_once_the_shortest_pause_is_over() {
        let first = 25 * MINUTE;
        let after = |second: i64| {
            let polls = [(0, up(30 * MINUTE)), (first, down()), (first + second, down())];
            let (Holds::Document(held), _) = replay(sdk("ruby"), &polls) else { panic!("it holds a document") };
            let pause = held.pause.expect("the refresh failed");
            [pause.not_before, pause.until].map(|until| until.as_second() - first)
        };
        assert_eq!(after(1), [300, 360]);
        assert_eq!(after(299), [300, 360]);
        assert_eq!(after(300), [300, 660]);
        assert_eq!(after(359), [300, 719]);
        assert_eq!(after(400), [300, 760]);
    }

    #[test]
    fn ruby_pauses_after_a_document_that_has_ended_and_go_does_not() {
        for (label, pauses) in [("ruby", true), ("go-v2", false)] {
            let sdk = sdk(label);
            let ended = [(0, up(-5)), (10, up(-5))];
            assert_eq!(signs(sdk, &ended, 10), Some(true), "{label}: IMDS has no newer one");
            let renewed = [(0, up(-5)), (10, up(6 * HOUR))];
            assert_eq!(signs(sdk, &renewed, 359), Some(!pauses), "{label}");
            assert_eq!(signs(sdk, &renewed, 360), Some(true), "{label}");
        }
    }

    #[test]
    fn the_client_from_before_an_outage_is_followed_until_its_pause_is_over() {
        for (label, ends, pause) in [("ruby", 5 * MINUTE, 360), ("go-v2", 5 * MINUTE, 900), ("boto3", 5 * MINUTE, 0)] {
            let sdk = sdk(label);
            let mut holds = None;
            let mut poll = |second, poll: &Resolution| {
                holds = sdk.before_outage(holds, poll, false, at(second));
                holds.and_then(|holds| sdk.can_sign(holds, sdk.attempt(poll, false), at(second)))
            };
            assert_eq!(poll(-60, &down()), None, "{label}: there is no such client");
            assert_eq!(poll(0, &up(ends)), Some(true), "{label}");
            assert_eq!(poll(ends, &down()), Some(false), "{label}");
            assert_eq!(poll(ends + 5, &up(6 * HOUR)), Some(pause == 0), "{label}");
            assert_eq!(poll(ends + pause - 1, &up(6 * HOUR)), Some(pause == 0), "{label}");
            assert_eq!(poll(ends + pause, &up(6 * HOUR)), Some(true), "{label}");
            let second = ends + pause + 5;
            poll(second, &up(6 * HOUR));
            assert_eq!(
                holds,
                Some(Holds::Document(HeldDocument { fetched_at: at(second), ends_at: at(6 * HOUR), pause: None })),
                "{label}: the next outage has another client before it"
            );
        }
    }

    /// Credentials resolve by IMDSv1 only, after this failure of the token request.
    #[test]
    fn a_fallback_to_imdsv1_works_for_those_that_have_it() {
        for (kind, working) in [
            (Kind::HopLimit, &["boto3", "ruby", "go-v2", "minio-go", "aws-crt"][..]),
            (Kind::ReadTimeout, &["boto3", "ruby", "go-v2", "minio-go", "aws-crt"]),
            (Kind::ImdsDisabled, &["boto3", "ruby", "go-v2", "aws-crt"]),
            (Kind::TokenUnsupported, &["boto3", "ruby", "go-v2", "aws-crt"]),
            (Kind::ServerError, &["boto3", "ruby", "go-v2", "aws-crt"]),
        ] {
            let poll = poll(Ok(6 * HOUR), None, Some(kind));
            let works = |sdk: &&Sdk| matches!(sdk.attempt(&poll, false), Attempt::Works(_));
            let found: Vec<_> = SDKS.iter().filter(works).map(|sdk| sdk.label).collect();
            assert_eq!(found, working, "{kind}");
        }
        let poll = poll(Ok(6 * HOUR), None, Some(Kind::TokenRejected));
        assert!(SDKS.iter().all(|sdk| sdk.attempt(&poll, false) == Attempt::Fails), "none goes on after a 400");
    }

    /// `AWS_EC2_METADATA_V1_DISABLED` is true, and the token request fails: nobody knows what a request without a token
    /// would bring, and some SDKs send it.
    #[test]
    fn what_an_sdk_gets_that_ignores_that_imdsv1_is_disabled_is_not_known() {
        let unknown = |poll: &Resolution| {
            let unknown = |sdk: &&Sdk| sdk.attempt(poll, true) == Attempt::Unknown;
            SDKS.iter().filter(unknown).map(|sdk| sdk.label).collect::<Vec<_>>()
        };
        assert_eq!(unknown(&token_failure(Kind::HopLimit, None)), ["ruby", "minio-go", "aws-crt"]);
        assert_eq!(unknown(&token_failure(Kind::ServerError, Some(500))), ["ruby", "aws-crt"]);
        assert_eq!(unknown(&token_failure(Kind::TokenRejected, Some(400))), [""; 0]);
        assert_eq!(unknown(&down()), [""; 0], "no request arrives");
        assert_eq!(unknown(&poll(Err((Kind::NoRole, Step::Role)), Some(200), None)), [""; 0]);

        let lost = token_failure(Kind::HopLimit, None);
        let ruby = sdk("ruby");
        assert_eq!(ruby.created(&lost, true, at(0)), Holds::Unknown);
        let (holds, _) = replay(ruby, &[(0, up(HOUR))]);
        assert_eq!(ruby.can_sign(holds, Attempt::Unknown, at(HOUR - 1)), Some(true), "the old ones have not ended");
        assert_eq!(ruby.can_sign(holds, Attempt::Unknown, at(HOUR)), None);
        assert_eq!(ruby.after(holds, &lost, true, at(HOUR - 301)), holds);
        assert_eq!(ruby.after(holds, &lost, true, at(HOUR - 300)), Holds::Unknown);
        let minio = sdk("minio-go");
        assert_eq!(minio.can_sign(minio.created(&lost, true, at(0)), Attempt::Unknown, at(0)), None);
    }

    #[test]
    fn metadata_that_is_disabled_is_obeyed_by_those_that_know_the_variable() {
        let poll = token_failure(Kind::DisabledByEnvironment, None);
        let obeys = |sdk: &&Sdk| sdk.attempt(&poll, false) == Attempt::Fails;
        let found: Vec<_> = SDKS.iter().filter(obeys).map(|sdk| sdk.label).collect();
        assert_eq!(found, ["boto3", "ruby", "go-v2", "aws-crt"]);
        assert!(SDKS.iter().filter(|sdk| !obeys(sdk)).all(|sdk| sdk.attempt(&poll, false) == Attempt::Unknown));
    }

    #[test]
    fn times_at_the_ends_of_what_a_timestamp_can_be_are_no_trouble() {
        for sdk in &SDKS {
            for ends_at in [Timestamp::MIN, Timestamp::MAX] {
                for fetched_at in [Timestamp::MIN, at(0), Timestamp::MAX] {
                    let holds = Holds::Document(HeldDocument { fetched_at, ends_at, pause: None });
                    for poll in [up(HOUR), down()] {
                        let after = sdk.after(holds, &poll, true, Timestamp::MAX);
                        let _may_be_either = sdk.can_sign(after, sdk.attempt(&poll, true), Timestamp::MIN);
                        let _may_be_any = sdk.outlook(after, sdk.attempt(&poll, true), Timestamp::MAX);
                    }
                }
            }
        }
    }

    #[test]
    fn every_creation_has_its_label_and_its_words() {
        let labels: Vec<_> = Created::VARIANTS.iter().map(|created| created.label()).collect();
        assert_eq!(labels, ["now", "before_outage", "at_start"]);
        let words: Vec<_> = Created::VARIANTS.iter().map(|created| created.meaning()).collect();
        assert_eq!(words.len(), 3);
        assert!(words.iter().all(|word| word.starts_with("created ")));
    }
}
