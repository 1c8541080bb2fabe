//! What is known after zero or more polls: facts, from which everything shown is derived.
//!
//! Owns the transitions. Pure: it is told the time. Must not know thresholds, metrics, the wire or a clock.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::client::{Created, Held, SDKS, Sdk};
use crate::model::{Credential, Failure, Outcome, Resolution, RoleName};
use crate::outage::{Outages, Window};
use crate::recent::Recent;

/// A run of failed polls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// What the last of them met.
    pub failure: Failure,
    /// When the first of them ended.
    pub since: Timestamp,
    /// How many.
    pub polls: NonZeroU32,
}

/// How things stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// No poll has ended yet.
    Unpolled,
    /// The last poll returned credentials.
    Resolved,
    /// The last polls failed.
    Failing(Run),
}

/// All that is known.
#[derive(Clone, Debug)]
pub struct State {
    started_at: Timestamp,
    standing: Standing,
    document: Option<Credential>,
    role_attached: bool,
    last_attempt_at: Option<Timestamp>,
    last_success_at: Option<Timestamp>,
    clock_skew: Option<SignedDuration>,
    outages: Outages,
    held_since_start: [Option<Held>; SDKS.len()],
    /// What clients hold is known from an earlier run.
    held_before: bool,
    /// The workload waits for the first success before it creates clients.
    held_back: bool,
    recent: Recent,
}

/// What an earlier run of the exporter left.
#[derive(Clone, Debug)]
pub struct Past {
    /// The outages it saw.
    pub outages: Outages,
    /// What clients that were created when it started held, per SDK; only within one boot.
    pub held_since_start: Option<[Option<Held>; SDKS.len()]>,
}

/// What a poll changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// A newer document was seen.
    pub rotated: bool,
    /// The role's name before, where it changed.
    pub former_role: Option<RoleName>,
    /// An outage began.
    pub outage_began: bool,
    /// An outage ended.
    pub outage_ended: Option<Window>,
    /// The failure is another one than that of the poll before.
    pub failure_changed: bool,
}

impl State {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(started_at: Timestamp) -> Self {
        Self {
            started_at,
            standing: Standing::Unpolled,
            document: None,
            role_attached: false,
            last_attempt_at: None,
            last_success_at: None,
            clock_skew: None,
            outages: Outages::new(started_at),
            held_since_start: [None; SDKS.len()],
            held_before: false,
            held_back: false,
            recent: Recent::default(),
        }
    }

    /// What an earlier run left is known.
    #[must_use]
    pub fn with_past(mut self, past: Past) -> Self {
        self.outages = past.outages;
        self.held_before = past.held_since_start.is_some_and(|held| held.iter().any(Option::is_some));
        self.held_since_start = past.held_since_start.unwrap_or(self.held_since_start);
        self
    }

    /// Somebody who asked was told not to start yet: its clients are created once credentials resolve, not now.
    /// Without effect after that, and where an earlier run knows of clients.
    pub fn hold_back(&mut self) {
        if self.last_success_at.is_none() && !self.held_before {
            self.held_back = true;
            self.held_since_start = [None; SDKS.len()];
        }
    }

    /// A workload that was held back is let go: its clients are created now, and get what the last poll got.
    pub fn let_start(&mut self) {
        if let (Standing::Resolved, Some(document)) = (self.standing, &self.document) {
            self.held_since_start = [Some(Held::Until(document.expiration)); SDKS.len()];
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
                self.standing = Standing::Resolved;
            }
            Err(failure) => {
                if failure.kind.says_no_role() {
                    self.role_attached = false;
                }
                let run = match self.standing {
                    Standing::Failing(run) => {
                        Run { failure: *failure, since: run.since, polls: run.polls.saturating_add(1) }
                    }
                    Standing::Unpolled | Standing::Resolved => {
                        Run { failure: *failure, since: at, polls: NonZeroU32::MIN }
                    }
                };
                change.failure_changed = self.failing().is_none_or(|before| before.failure != *failure);
                self.standing = Standing::Failing(run);
            }
        }

        let expiration = resolution.outcome.as_ref().ok().map(|credential| credential.expiration);
        let clients_exist = !self.held_back || self.last_success_at.is_some();
        for (held, sdk) in self.held_since_start.iter_mut().zip(SDKS).filter(|_| clients_exist) {
            *held = sdk.held_after(*held, expiration, at);
        }
        self.recent.push(at, duration, resolution.outcome.as_ref().err().copied());
        change
    }

    /// When the exporter started.
    #[must_use]
    pub fn started_at(&self) -> Timestamp {
        self.started_at
    }

    /// How things stand.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// How the last poll went; `None` before the first ended.
    #[must_use]
    pub fn last_outcome(&self) -> Option<Outcome> {
        match self.standing {
            Standing::Unpolled => None,
            Standing::Resolved => Some(Outcome::Success),
            Standing::Failing(_) => Some(Outcome::Failure),
        }
    }

    /// The run of failures in force.
    #[must_use]
    pub fn failing(&self) -> Option<Run> {
        match self.standing {
            Standing::Failing(run) => Some(run),
            Standing::Unpolled | Standing::Resolved => None,
        }
    }

    /// The last document seen, unless IMDS itself said since that there is no role.
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
    pub fn recent(&self) -> &Recent {
        &self.recent
    }

    /// What clients that were created when the exporter started hold, per SDK.
    #[must_use]
    pub fn held_since_start(&self) -> [Option<Held>; SDKS.len()] {
        self.held_since_start
    }

    /// Would a client of the SDK that was created then have credentials to sign with at `at`? Unknown before the
    /// first poll ended.
    #[must_use]
    pub fn client_usable(&self, sdk: usize, created: Created, at: Timestamp) -> Option<bool> {
        let last = self.last_outcome()?;
        let facts: &Sdk = &SDKS[sdk];
        Some(match created {
            Created::Now => last == Outcome::Success,
            Created::BeforeOutage => {
                let held = self.document.as_ref().map(|credential| Held::Until(credential.expiration));
                facts.can_sign(held, last, at)
            }
            Created::AtStart => facts.can_sign(self.held_since_start[sdk], last, at),
        })
    }

    /// IMDS is fine, but clients that were created when the exporter started are not.
    #[must_use]
    pub fn clients_stuck(&self, at: Timestamp) -> bool {
        (0..SDKS.len()).any(|sdk| {
            self.client_usable(sdk, Created::Now, at) == Some(true)
                && self.client_usable(sdk, Created::AtStart, at) == Some(false)
        })
    }
}

/// A finished poll: what came of it, and what it changed.
#[derive(Clone, Debug)]
pub struct Report {
    /// When it ended.
    pub at: Timestamp,
    /// How long it took.
    pub duration: Duration,
    /// What came of it.
    pub resolution: Resolution,
    /// What it changed.
    pub change: Change,
}

/// The state, shared between the poll loop, which writes, and those who show it.
#[derive(Clone, Debug)]
pub struct Shared(Arc<Mutex<State>>);

impl Shared {
    /// Shares a state.
    #[must_use]
    pub fn new(state: State) -> Self {
        Self(Arc::new(Mutex::new(state)))
    }

    /// The state, for a moment: never held across an await.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
