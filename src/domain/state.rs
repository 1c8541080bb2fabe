//! What is known after zero or more polls: facts, from which everything that is shown is derived.
//!
//! Owns the transitions. Must not know thresholds, metrics, the wire format or a clock.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::credential::{Credential, RoleName};
use super::outage::{Outages, Window};
use super::poll_history::PollHistory;
use super::resolution::{Failure, Outcome, Resolution};
use super::sdk::{BoundCredentials, Created, SDKS, Sdk};

/// Failed polls in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureStreak {
    /// The failure of the last one.
    pub failure: Failure,
    /// When the first one ended.
    pub since: Timestamp,
    /// Their number.
    pub polls: NonZeroU32,
}

/// The result of the polls so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PollStatus {
    /// No poll has ended yet.
    Unpolled,
    /// The last poll returned credentials.
    Resolved,
    /// The last polls failed.
    Failing(FailureStreak),
}

/// Everything that is known.
#[derive(Clone, Debug)]
pub struct State {
    started_at: Timestamp,
    poll_status: PollStatus,
    document: Option<Credential>,
    role_attached: bool,
    last_attempt_at: Option<Timestamp>,
    last_success_at: Option<Timestamp>,
    clock_skew: Option<SignedDuration>,
    outages: Outages,
    bound_since_start: [Option<BoundCredentials>; SDKS.len()],
    /// What clients hold is known from an earlier run of the exporter.
    bound_before: bool,
    /// The workload creates its clients only after the first success.
    start_gated: bool,
    history: PollHistory,
}

/// What an earlier run of the exporter saved.
#[derive(Clone, Debug)]
pub struct RestoredState {
    /// The outages it saw.
    pub outages: Outages,
    /// What clients hold that were created when it started, per SDK; only within one boot.
    pub bound_since_start: Option<[Option<BoundCredentials>; SDKS.len()]>,
}

/// What a poll changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The document is newer than the one before.
    pub rotated: bool,
    /// The former role, if it changed.
    pub former_role: Option<RoleName>,
    /// An outage began.
    pub outage_began: bool,
    /// An outage ended.
    pub outage_ended: Option<Window>,
    /// The failure is not that of the poll before.
    pub failure_changed: bool,
}

impl State {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(started_at: Timestamp) -> Self {
        Self {
            started_at,
            poll_status: PollStatus::Unpolled,
            document: None,
            role_attached: false,
            last_attempt_at: None,
            last_success_at: None,
            clock_skew: None,
            outages: Outages::new(started_at),
            bound_since_start: [None; SDKS.len()],
            bound_before: false,
            start_gated: false,
            history: PollHistory::default(),
        }
    }

    /// Takes over what an earlier run saved.
    #[must_use]
    pub fn with_restored(mut self, restored: RestoredState) -> Self {
        self.outages = restored.outages;
        self.bound_before = restored.bound_since_start.is_some_and(|bound| bound.iter().any(Option::is_some));
        self.bound_since_start = restored.bound_since_start.unwrap_or(self.bound_since_start);
        self
    }

    /// A workload was told not to start yet: it creates its clients once credentials resolve, not now. Has no effect
    /// after the first success, nor if clients are known from an earlier streak.
    pub fn gate_start(&mut self) {
        if self.last_success_at.is_none() && !self.bound_before {
            self.start_gated = true;
            self.bound_since_start = [None; SDKS.len()];
        }
    }

    /// A gated workload starts: it creates its clients now, and they get what the last poll got.
    pub fn release_start(&mut self) {
        if let (PollStatus::Resolved, Some(document)) = (self.poll_status, &self.document) {
            self.bound_since_start = [Some(BoundCredentials::Until(document.expiration)); SDKS.len()];
        }
    }

    /// Takes in a poll that ended at `at`.
    pub fn record(&mut self, resolution: &Resolution, duration: Duration, at: Timestamp) -> Change {
        let mut change = Change::default();
        self.last_attempt_at = Some(at);
        self.clock_skew = resolution.clock_skew;
        let began_before = self.outages.begun();
        change.outage_ended = self.outages.record(resolution.outcome.is_ok(), at);
        change.outage_began = self.outages.begun() > began_before;

        match &resolution.outcome {
            Ok(credential) => {
                if let Some(earlier) = &self.document {
                    change.rotated = credential.is_newer_than(earlier);
                    change.former_role = (earlier.role != credential.role).then(|| earlier.role.clone());
                }
                self.document = Some(credential.clone());
                self.role_attached = true;
                self.last_success_at = Some(at);
                self.poll_status = PollStatus::Resolved;
            }
            Err(failure) => {
                if failure.kind.says_no_role() {
                    self.role_attached = false;
                }
                let streak = match self.poll_status {
                    PollStatus::Failing(streak) => {
                        FailureStreak { failure: *failure, since: streak.since, polls: streak.polls.saturating_add(1) }
                    }
                    PollStatus::Unpolled | PollStatus::Resolved => {
                        FailureStreak { failure: *failure, since: at, polls: NonZeroU32::MIN }
                    }
                };
                change.failure_changed = self.failing().is_none_or(|before| before.failure != *failure);
                self.poll_status = PollStatus::Failing(streak);
            }
        }

        let expiration = resolution.outcome.as_ref().ok().map(|credential| credential.expiration);
        let clients_exist = !self.start_gated || self.last_success_at.is_some();
        for (bound, sdk) in self.bound_since_start.iter_mut().zip(SDKS).filter(|_| clients_exist) {
            *bound = sdk.bound_after(*bound, expiration, at);
        }
        self.history.push(at, duration, resolution.outcome.as_ref().err().copied());
        change
    }

    /// When the exporter started.
    #[must_use]
    pub fn started_at(&self) -> Timestamp {
        self.started_at
    }

    /// The result of the polls so far.
    #[must_use]
    pub fn poll_status(&self) -> PollStatus {
        self.poll_status
    }

    /// How the last poll ended; `None` before the first one did.
    #[must_use]
    pub fn last_outcome(&self) -> Option<Outcome> {
        match self.poll_status {
            PollStatus::Unpolled => None,
            PollStatus::Resolved => Some(Outcome::Success),
            PollStatus::Failing(_) => Some(Outcome::Failure),
        }
    }

    /// The failed polls in a row, if the last poll failed.
    #[must_use]
    pub fn failing(&self) -> Option<FailureStreak> {
        match self.poll_status {
            PollStatus::Failing(streak) => Some(streak),
            PollStatus::Unpolled | PollStatus::Resolved => None,
        }
    }

    /// The last document seen, unless IMDS has said since that there is no role.
    #[must_use]
    pub fn credential(&self) -> Option<&Credential> {
        self.document.as_ref().filter(|_| self.role_attached)
    }

    /// When the last poll ended.
    #[must_use]
    pub fn last_attempt_at(&self) -> Option<Timestamp> {
        self.last_attempt_at
    }

    /// When the last successful poll of this exporter ended.
    #[must_use]
    pub fn last_success_at(&self) -> Option<Timestamp> {
        self.last_success_at
    }

    /// IMDS's clock minus the local one, at the last poll.
    #[must_use]
    pub fn clock_skew(&self) -> Option<SignedDuration> {
        self.clock_skew
    }

    /// The outages.
    #[must_use]
    pub fn outages(&self) -> &Outages {
        &self.outages
    }

    /// The polls of the last hour.
    #[must_use]
    pub fn history(&self) -> &PollHistory {
        &self.history
    }

    /// What clients hold that were created when the exporter started, per SDK.
    #[must_use]
    pub fn bound_since_start(&self) -> [Option<BoundCredentials>; SDKS.len()] {
        self.bound_since_start
    }

    /// Whether a client of the SDK, created at that time, could sign a request at `at`; unknown before the first poll
    /// ended. `sdk` is an index of [`SDKS`].
    #[must_use]
    pub fn client_usable(&self, sdk: usize, created: Created, at: Timestamp) -> Option<bool> {
        let last = self.last_outcome()?;
        let facts: &Sdk = &SDKS[sdk];
        Some(match created {
            Created::Now => last == Outcome::Success,
            Created::BeforeOutage => {
                let bound = self.document.as_ref().map(|credential| BoundCredentials::Until(credential.expiration));
                facts.can_sign(bound, last, at)
            }
            Created::AtStart => facts.can_sign(self.bound_since_start[sdk], last, at),
        })
    }

    /// Whether new clients work, but those do not that were created when the exporter started.
    #[must_use]
    pub fn clients_stuck(&self, at: Timestamp) -> bool {
        (0..SDKS.len()).any(|sdk| {
            self.client_usable(sdk, Created::Now, at) == Some(true)
                && self.client_usable(sdk, Created::AtStart, at) == Some(false)
        })
    }
}

/// A finished poll: its result, and what it changed.
#[derive(Clone, Debug)]
pub struct Report {
    /// When it ended.
    pub at: Timestamp,
    /// How long it took.
    pub duration: Duration,
    /// Its result.
    pub resolution: Resolution,
    /// What it changed.
    pub change: Change,
}

/// The state, shared between the poll loop, which writes it, and everything that shows it.
#[derive(Clone, Debug)]
pub struct Shared(Arc<Mutex<State>>);

impl Shared {
    /// Shares a state.
    #[must_use]
    pub fn new(state: State) -> Self {
        Self(Arc::new(Mutex::new(state)))
    }

    /// Locks the state; never bound across an await.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
