//! What is known after zero or more polls: facts, from which everything that is shown is derived.
//!
//! Owns the transitions. Must not know thresholds, metrics, the wire format or a clock.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::client::{Created, Holds, Outlook};
use super::credential::{Credential, RoleName};
use super::kind::Kind;
use super::outage::{Outages, Window};
use super::poll_history::PollHistory;
use super::resolution::{Failure, Outcome, Resolution};
use super::sdk::{Attempt, SDKS, SdkSet};
use super::shadow::Shadow;
use super::workload::{Workload, WorkloadClients};

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

/// What the user declared of the workload and its environment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// Which workload starts with the exporter.
    pub workload: Workload,
    /// `AWS_EC2_METADATA_V1_DISABLED` is true in the environment of the workload, as in that of the exporter.
    pub v1_disabled: bool,
    /// What the SDKs' default chain finds before it would ask IMDS.
    pub shadowed: Option<Shadow>,
    /// The SDKs that the workloads use: whose clients are exported.
    pub sdks: SdkSet,
}

/// Everything that is known.
#[derive(Clone, Debug)]
pub struct State {
    declared: Declared,
    started_at: Timestamp,
    poll_status: PollStatus,
    document: Option<Credential>,
    role_attached: bool,
    last_attempt_at: Option<Timestamp>,
    last_success_at: Option<Timestamp>,
    clock_skew: Option<SignedDuration>,
    v1_fallback: Option<Kind>,
    /// How an attempt of each SDK ends since the last poll, in the order of [`SDKS`].
    attempts: [Attempt; SDKS.len()],
    /// What a client of each SDK holds that was created at the last poll, in the order of [`SDKS`].
    created_now: [Holds; SDKS.len()],
    /// What a client of each SDK holds that was created at its last success, in the order of [`SDKS`].
    before_outage: [Option<Holds>; SDKS.len()],
    outages: Outages,
    workload_clients: WorkloadClients,
    /// Credentials were resolved in this boot, by this run of the exporter or an earlier one.
    resolved_in_boot: bool,
    history: PollHistory,
}

/// What an earlier run of the exporter saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoredState {
    /// The outages that it saw.
    pub outages: Outages,
    /// What is only true within one boot of the machine, if this is the same boot.
    pub of_this_boot: Option<RestoredInBoot>,
}

/// The part of the saved state that ends with the boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoredInBoot {
    /// The last document that it saw.
    pub document: Option<Credential>,
    /// Whether a role was attached.
    pub role_attached: bool,
    /// Credentials were resolved in this boot.
    pub resolved: bool,
    /// What clients hold that were created at the last success, in the order of [`SDKS`].
    pub before_outage: [Option<Holds>; SDKS.len()],
    /// The clients of the declared workload; `None` after an orderly stop, since the workload is then restarted too.
    pub workload_clients: Option<WorkloadClients>,
}

/// What a poll changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an event of its own")]
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
    /// Credentials resolve by IMDSv1 only since this poll, or for another reason, or not any more.
    pub v1_fallback_changed: bool,
}

impl State {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(declared: Declared, started_at: Timestamp) -> Self {
        Self {
            declared,
            started_at,
            poll_status: PollStatus::Unpolled,
            document: None,
            role_attached: false,
            last_attempt_at: None,
            last_success_at: None,
            clock_skew: None,
            v1_fallback: None,
            attempts: [Attempt::Fails; SDKS.len()],
            created_now: [Holds::Unknown; SDKS.len()],
            before_outage: [None; SDKS.len()],
            outages: Outages::new(started_at),
            workload_clients: WorkloadClients::new(declared.workload),
            resolved_in_boot: false,
            history: PollHistory::default(),
        }
    }

    /// Takes over what an earlier run saved.
    #[must_use]
    pub fn with_restored(mut self, restored: RestoredState) -> Self {
        self.outages = restored.outages;
        if let Some(restored) = restored.of_this_boot {
            self.document = restored.document;
            self.role_attached = restored.role_attached;
            self.resolved_in_boot = restored.resolved;
            self.before_outage = restored.before_outage;
            if let (Some(clients), false) = (restored.workload_clients, self.declared.workload == Workload::Independent)
            {
                self.workload_clients = clients;
            }
        }
        self
    }

    /// Records a poll that ended at `at`.
    pub fn record(&mut self, resolution: &Resolution, duration: Duration, at: Timestamp) -> Change {
        let mut change = Change::default();
        self.last_attempt_at = Some(at);
        self.clock_skew = resolution.clock_skew;
        change.v1_fallback_changed = self.v1_fallback != resolution.v1_fallback;
        self.v1_fallback = resolution.v1_fallback;
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
                self.resolved_in_boot = true;
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

        let Declared { workload, v1_disabled, .. } = self.declared;
        self.attempts = SDKS.each_ref().map(|sdk| sdk.attempt(resolution, v1_disabled));
        self.created_now = SDKS.each_ref().map(|sdk| sdk.created(resolution, v1_disabled, at));
        for (holds, sdk) in self.before_outage.iter_mut().zip(&SDKS) {
            *holds = sdk.before_outage(*holds, resolution, v1_disabled, at);
        }
        self.workload_clients.record(workload, resolution, v1_disabled, self.started_at, at);
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

    /// What the user declared.
    #[must_use]
    pub fn declared(&self) -> Declared {
        self.declared
    }

    /// Why the token request fails, while credentials resolve only because IMDSv1 answers.
    #[must_use]
    pub fn v1_fallback(&self) -> Option<Kind> {
        self.v1_fallback
    }

    /// The last document seen, also after IMDS has said that there is no role: clients may hold it.
    #[must_use]
    pub fn document(&self) -> Option<&Credential> {
        self.document.as_ref()
    }

    /// Whether a role was attached at the last document, and IMDS has not said since that there is none.
    #[must_use]
    pub fn role_attached(&self) -> bool {
        self.role_attached
    }

    /// Whether credentials were resolved in this boot of the machine.
    #[must_use]
    pub fn resolved_in_boot(&self) -> bool {
        self.resolved_in_boot
    }

    /// The clients of the declared workload.
    #[must_use]
    pub fn workload_clients(&self) -> &WorkloadClients {
        &self.workload_clients
    }

    /// What clients hold that were created at the last success, in the order of [`SDKS`].
    #[must_use]
    pub fn before_outage(&self) -> &[Option<Holds>; SDKS.len()] {
        &self.before_outage
    }

    /// How an attempt of the SDK to resolve credentials ends since the last poll; `None` before the first one ended, and where
    /// the SDKs do not ask IMDS at all. `sdk` is an index of [`SDKS`].
    #[must_use]
    pub fn attempt(&self, sdk: usize) -> Option<Attempt> {
        let is_known = self.last_outcome().is_some() && self.declared.shadowed.is_none();
        is_known.then(|| self.attempts[sdk])
    }

    /// What a client of the SDK holds that was created at that time; `None` where there is no such client. `sdk` is an index
    /// of [`SDKS`].
    #[must_use]
    pub fn holds(&self, sdk: usize, created: Created) -> Option<Holds> {
        match created {
            Created::Now => Some(self.created_now[sdk]),
            Created::BeforeOutage => self.before_outage[sdk],
            Created::AtStart => self.workload_clients.holds(sdk),
        }
    }

    /// Whether a client of the SDK, created at that time, could sign a request at `at`; `None` is unknown: before the first
    /// poll ended, where the SDKs do not ask IMDS at all, without a document that clients could hold, without a declared
    /// workload, and where the SDK asks IMDS in a way in which the exporter does not. `sdk` is an index of [`SDKS`].
    #[must_use]
    pub fn client_usable(&self, sdk: usize, created: Created, at: Timestamp) -> Option<bool> {
        let (holds, attempt) = (self.holds(sdk, created)?, self.attempt(sdk)?);
        // Its creation and first call are one attempt.
        let holds = if created == Created::Now { Holds::NotYet } else { holds };
        SDKS[sdk].can_sign(holds, attempt, at)
    }

    /// What the state means for a client of the SDK that was created at that time; `None` where there is no such client, and
    /// before the first poll ended. `sdk` is an index of [`SDKS`].
    #[must_use]
    pub fn outlook(&self, sdk: usize, created: Created, at: Timestamp) -> Option<Outlook> {
        match (created, self.attempt(sdk)?) {
            (Created::Now, Attempt::Useless) => Some(Outlook::FailsUntilRefresh),
            (_, attempt) => Some(SDKS[sdk].outlook(self.holds(sdk, created)?, attempt, at)),
        }
    }

    /// Whether new clients of an exported SDK work, but those of the declared workload hold nothing, permanently.
    #[must_use]
    pub fn clients_stuck(&self, at: Timestamp) -> bool {
        self.declared.sdks.indices().any(|sdk| {
            self.client_usable(sdk, Created::Now, at) == Some(true)
                && self.holds(sdk, Created::AtStart) == Some(Holds::Nothing)
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
