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

#[cfg(test)]
mod tests {
    use super::super::credential::Credential;
    use super::super::kind::Kind;
    use super::super::resolution::{Failure, Step};
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a small number of seconds")
    }

    fn poll(outcome: Result<i64, Kind>) -> Resolution {
        let outcome = match outcome {
            Ok(ends_at) => Ok(Credential {
                role: "web".to_owned().try_into().expect("a role name"),
                last_updated: None,
                expiration: at(ends_at),
            }),
            Err(kind) => Err(Failure { kind, step: Step::Token }),
        };
        Resolution::from(outcome)
    }

    /// The clients of a workload beside an exporter that started at 1000, after these polls.
    fn after(before: &WorkloadClients, workload: Workload, polls: &[(i64, Result<i64, Kind>)]) -> WorkloadClients {
        let mut clients = *before;
        for (second, outcome) in polls {
            clients.record(workload, &poll(*outcome), false, at(1_000), at(*second));
        }
        clients
    }

    const BOTO3: usize = 0;
    const OUTAGE_THEN_SUCCESS: [(i64, Result<i64, Kind>); 2] = [(1_005, Err(Kind::ConnectRefused)), (1_010, Ok(9_000))];

    #[test]
    fn a_workload_that_waits_for_nothing_creates_its_clients_at_the_first_poll() {
        let workload = Workload::StartsWithExporter;
        let new = WorkloadClients::new(workload);
        assert_eq!((new, new.started_at(), new.holds(BOTO3)), (WorkloadClients::NotCreated, None, None));
        for polls in [&OUTAGE_THEN_SUCCESS[..1], &OUTAGE_THEN_SUCCESS] {
            let clients = after(&new, workload, polls);
            assert_eq!((clients.started_at(), clients.holds(BOTO3)), (Some(at(1_000)), Some(Holds::Nothing)));
        }
    }

    #[test]
    fn a_workload_that_waits_creates_its_clients_at_the_first_success() {
        let workload = Workload::StartsWhenReady;
        let new = WorkloadClients::new(workload);
        assert_eq!(after(&new, workload, &OUTAGE_THEN_SUCCESS[..1]), WorkloadClients::NotCreated);
        let clients = after(&new, workload, &OUTAGE_THEN_SUCCESS);
        assert_eq!(clients.started_at(), Some(at(1_010)));
        assert!(matches!(clients.holds(BOTO3), Some(Holds::Document(held)) if held.ends_at == at(9_000)));
        // From then on, each client goes its way: this one asks again 15 minutes before the end.
        let clients = after(&clients, workload, &[(8_500, Ok(20_000))]);
        assert_eq!(clients.started_at(), Some(at(1_010)));
        assert!(matches!(clients.holds(BOTO3), Some(Holds::Document(held)) if held.ends_at == at(20_000)));
    }

    #[test]
    fn clients_that_nobody_declared_or_saw_stay_so() {
        for (clients, holds) in [
            (WorkloadClients::new(Workload::Independent), None),
            (WorkloadClients::NotDeclared, None),
            (WorkloadClients::Unknown, Some(Holds::Unknown)),
        ] {
            let later = after(&clients, Workload::StartsWithExporter, &OUTAGE_THEN_SUCCESS);
            assert_eq!((later, later.started_at(), later.holds(BOTO3)), (clients, None, holds));
        }
    }
}
