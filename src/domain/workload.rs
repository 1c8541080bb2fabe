//! The workload that is declared to start with the exporter, and what its clients hold.
//!
//! Owns when its clients are created and what follows from each poll. Must not know processes.

use jiff::Timestamp;
use strum::{Display, EnumMessage, EnumString, IntoStaticStr, VariantArray};

use super::resolution::Resolution;
use super::sdk::{BoundCredentials, Refresh, SDKS, Sdk};

/// Which workload starts with the exporter: declared by the user, never guessed.
#[derive(Clone, Copy, Debug, Default, Display, EnumMessage, EnumString, Eq, IntoStaticStr, PartialEq, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Workload {
    /// None: hosts and `DaemonSet`s.
    #[default]
    Independent,
    /// A workload that starts together with the exporter: a sidecar that holds nothing back.
    StartsWithExporter,
    /// A workload that waits for `/-/startup` or `wait`: it starts when credentials resolved once.
    StartsWhenReady,
}

/// What is known of the clients of the declared workload, per SDK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkloadClients {
    /// No workload is declared.
    NotDeclared,
    /// The workload started, but the exporter did not see what its clients got.
    Unknown,
    /// The workload creates its clients with the first poll (or the first success, if it waits for that).
    NotCreated,
    /// The workload started at `started_at`; `None` is a client that got nothing yet and asks again at each call.
    Created {
        /// When the workload started.
        started_at: Timestamp,
        /// What the clients hold, in the order of [`SDKS`].
        bound: [Option<BoundCredentials>; SDKS.len()],
    },
}

impl WorkloadClients {
    /// Before the first poll.
    #[must_use]
    pub const fn new(workload: Workload) -> Self {
        match workload {
            Workload::Independent => Self::NotDeclared,
            Workload::StartsWithExporter | Workload::StartsWhenReady => Self::NotCreated,
        }
    }

    /// Records a poll that ended at `at`. `started_at` is when the exporter started.
    pub fn record(
        &mut self,
        workload: Workload,
        poll: &Resolution,
        v1_disabled: bool,
        started_at: Timestamp,
        at: Timestamp,
    ) {
        let credentials = poll.outcome.as_ref().ok().map(|credential| credential.expiration);
        if matches!(self, Self::NotCreated) {
            let started_at = match workload {
                Workload::StartsWithExporter => started_at,
                Workload::StartsWhenReady if credentials.is_some() => at,
                Workload::StartsWhenReady | Workload::Independent => return,
            };
            *self = Self::Created { started_at, bound: [None; SDKS.len()] };
            if let Self::Created { bound, .. } = self {
                for (bound, sdk) in bound.iter_mut().zip(SDKS) {
                    *bound = sdk.bound_at_creation(poll, v1_disabled);
                }
            }
        } else if let Self::Created { bound, .. } = self {
            // Whether a program that failed at its start was started again just now is not known here.
            let may_be_bound = |(bound, sdk): (&Option<BoundCredentials>, &Sdk)| {
                bound.is_none() && sdk.bound_at_creation(poll, v1_disabled) == Some(BoundCredentials::Nothing)
            };
            if bound.iter().zip(SDKS).any(may_be_bound) {
                *self = Self::Unknown;
                return;
            }
            for (bound, sdk) in bound.iter_mut().zip(SDKS) {
                *bound = sdk.bound_after(*bound, credentials, at);
            }
        }
    }

    /// When the workload started, if it did.
    #[must_use]
    pub const fn started_at(&self) -> Option<Timestamp> {
        match self {
            Self::Created { started_at, .. } => Some(*started_at),
            Self::NotDeclared | Self::Unknown | Self::NotCreated => None,
        }
    }

    /// Whether the client of the SDK could sign at `at`, if that is known; `refresh` is how its refresh would end.
    /// `sdk` is an index of [`SDKS`].
    #[must_use]
    pub fn can_sign(&self, sdk: usize, refresh: Refresh, at: Timestamp) -> Option<bool> {
        let facts: &Sdk = &SDKS[sdk];
        match self {
            Self::Created { bound, .. } => Some(facts.can_sign(bound[sdk], refresh, at)),
            Self::NotDeclared | Self::Unknown | Self::NotCreated => None,
        }
    }
}
