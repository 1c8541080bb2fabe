//! The workload that is declared to start with the exporter, and what its clients hold.
//!
//! Owns when its clients are created and what follows from each poll. Must not know processes.

use jiff::Timestamp;
use strum::{Display, EnumMessage, EnumString, IntoStaticStr, VariantArray};

use super::client::Holds;
use super::resolution::Resolution;
use super::sdk::SDKS;

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
#[expect(clippy::large_enum_variant, reason = "there is one of it")]
pub enum WorkloadClients {
    /// No workload is declared.
    NotDeclared,
    /// The workload started, but the exporter did not see what its clients got.
    Unknown,
    /// The workload creates its clients with the first poll (or the first success, if it waits for that).
    NotCreated,
    /// The workload started.
    Created {
        /// When it started.
        started_at: Timestamp,
        /// What the clients hold, in the order of [`SDKS`].
        holds: [Holds; SDKS.len()],
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
        match self {
            Self::NotDeclared | Self::Unknown => {}
            Self::NotCreated => {
                let started_at = match workload {
                    Workload::StartsWithExporter => started_at,
                    Workload::StartsWhenReady if poll.outcome.is_ok() => at,
                    Workload::StartsWhenReady | Workload::Independent => return,
                };
                *self =
                    Self::Created { started_at, holds: SDKS.each_ref().map(|sdk| sdk.created(poll, v1_disabled, at)) };
            }
            Self::Created { holds, .. } => {
                for (holds, sdk) in holds.iter_mut().zip(&SDKS) {
                    *holds = sdk.after(*holds, poll, v1_disabled, at);
                }
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

    /// What the client of the SDK holds, if it exists; `sdk` is an index of [`SDKS`].
    #[must_use]
    pub fn holds(&self, sdk: usize) -> Option<Holds> {
        match self {
            Self::Created { holds, .. } => Some(holds[sdk]),
            Self::Unknown => Some(Holds::Unknown),
            Self::NotDeclared | Self::NotCreated => None,
        }
    }
}
