//! The workload that is declared to start with the exporter, and its client.
//!
//! Owns when the client is created. Must not know processes.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumMessage, EnumString, IntoStaticStr, VariantArray};

use super::boto3::BoundCredentials;
use super::moment::{Moment, SinceBoot};
use super::resolution::Creation;

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

/// What is known of the client of the declared workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkloadClient {
    /// No workload is declared.
    NotDeclared,
    /// The workload started, but the exporter did not see what its client got.
    Unseen,
    /// The workload creates its client with the first poll (or the first success, if it waits for that).
    NotCreated,
    /// The exporter was stopped in an orderly way, and started again: perhaps the workload was too.
    PerhapsRestarted {
        /// What its client held before.
        credentials: BoundCredentials,
    },
    /// The workload started.
    Created {
        /// When it started.
        started_at: SinceBoot,
        /// What its client holds.
        credentials: BoundCredentials,
    },
}

impl WorkloadClient {
    /// Before the first poll.
    #[must_use]
    pub const fn new(workload: Workload) -> Self {
        match workload {
            Workload::Independent => Self::NotDeclared,
            Workload::StartsWithExporter | Workload::StartsWhenReady => Self::NotCreated,
        }
    }

    /// Records a poll that ended at `at`: whether a workload that waits for credentials is released since it or was before, and what
    /// happens to a client that is created then. `started_at` is when the exporter started.
    pub fn record(&mut self, workload: Workload, released: bool, creation: Creation, started_at: Moment, at: Moment) {
        let starts = match workload {
            Workload::StartsWithExporter => Some(started_at.since_boot),
            Workload::StartsWhenReady => released.then_some(at.since_boot),
            Workload::Independent => None,
        };
        let created = || BoundCredentials::created(creation, at.wall);
        *self = match (std::mem::replace(self, Self::NotCreated), starts) {
            (Self::NotCreated, Some(started_at)) => Self::Created { started_at, credentials: created() },
            (Self::PerhapsRestarted { credentials }, Some(started_at)) => {
                let credentials = credentials.after(creation, at.wall).or(created());
                Self::Created { started_at, credentials }
            }
            (Self::PerhapsRestarted { credentials }, None) => {
                Self::PerhapsRestarted { credentials: credentials.after(creation, at.wall) }
            }
            (Self::Created { started_at, credentials }, _) => {
                Self::Created { started_at, credentials: credentials.after(creation, at.wall) }
            }
            (unchanged @ (Self::NotDeclared | Self::Unseen | Self::NotCreated), _) => unchanged,
        };
    }

    /// Records that an outage began between these two polls.
    pub fn record_gap(&mut self, from: Timestamp, to: Timestamp) {
        if let Self::Created { credentials, .. } | Self::PerhapsRestarted { credentials } = self {
            *credentials = std::mem::replace(credentials, BoundCredentials::Unknown).after_gap(from, to);
        }
    }

    /// When the workload started, if it did.
    #[must_use]
    pub const fn started_at(&self) -> Option<SinceBoot> {
        match self {
            Self::Created { started_at, .. } => Some(*started_at),
            Self::NotDeclared | Self::Unseen | Self::NotCreated | Self::PerhapsRestarted { .. } => None,
        }
    }

    /// What its client holds, if there is one.
    #[must_use]
    pub const fn credentials(&self) -> Option<&BoundCredentials> {
        match self {
            Self::Created { credentials, .. } => Some(credentials),
            Self::Unseen | Self::PerhapsRestarted { .. } => Some(&BoundCredentials::Unknown),
            Self::NotDeclared | Self::NotCreated => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::boto3::CachedDocument;
    use super::super::moment::test::{at, since_boot};
    use super::*;

    /// The client of a workload beside an exporter that started at 1000, after these polls: each with the expiration of
    /// its document, if it succeeded.
    fn after(before: &WorkloadClient, workload: Workload, polls: &[(i64, Option<i64>)]) -> WorkloadClient {
        let mut client = before.clone();
        for (second, expiration) in polls {
            let creation =
                expiration.map_or(Creation::Nothing, |expiration| Creation::Credentials { expiration: at(expiration) });
            client.record(workload, expiration.is_some(), creation, at(1_000).into(), at(*second).into());
        }
        client
    }

    fn document(fetched_at: i64, expiration: i64) -> BoundCredentials {
        BoundCredentials::OneOf(vec![CachedDocument { fetched_at: at(fetched_at), expiration: at(expiration) }])
    }

    const OUTAGE_THEN_SUCCESS: [(i64, Option<i64>); 2] = [(1_005, None), (1_010, Some(9_000))];

    #[test]
    fn a_workload_that_waits_for_nothing_creates_its_client_at_the_first_poll() {
        let workload = Workload::StartsWithExporter;
        let new = WorkloadClient::new(workload);
        assert_eq!((&new, new.started_at(), new.credentials()), (&WorkloadClient::NotCreated, None, None));
        for polls in [&OUTAGE_THEN_SUCCESS[..1], &OUTAGE_THEN_SUCCESS] {
            let client = after(&new, workload, polls);
            assert_eq!(client.started_at(), Some(since_boot(1_000)));
            assert_eq!(client.credentials(), Some(&BoundCredentials::Nothing));
        }
    }

    #[test]
    fn a_workload_that_waits_creates_its_client_at_the_first_success() {
        let workload = Workload::StartsWhenReady;
        let new = WorkloadClient::new(workload);
        assert_eq!(after(&new, workload, &OUTAGE_THEN_SUCCESS[..1]), WorkloadClient::NotCreated);
        // A poll that fails does not release it, whatever boto3 would make of the answers.
        let mut held_back = new.clone();
        let creation = Creation::Credentials { expiration: at(9_000) };
        held_back.record(workload, false, creation, at(1_000).into(), at(1_005).into());
        assert_eq!(held_back, WorkloadClient::NotCreated);
        let client = after(&new, workload, &OUTAGE_THEN_SUCCESS);
        assert_eq!(client.started_at(), Some(since_boot(1_010)));
        assert_eq!(client.credentials(), Some(&document(1_010, 9_000)));
        // From then on the client goes its way: it asks again 15 minutes before the end.
        let client = after(&client, workload, &[(8_500, Some(20_000))]);
        assert_eq!(client.started_at(), Some(since_boot(1_010)));
        assert_eq!(client.credentials(), Some(&document(8_500, 20_000)));
    }

    #[test]
    fn a_client_that_nobody_declared_or_saw_stays_so() {
        for (client, credentials) in [
            (WorkloadClient::new(Workload::Independent), None),
            (WorkloadClient::NotDeclared, None),
            (WorkloadClient::Unseen, Some(&BoundCredentials::Unknown)),
        ] {
            let later = after(&client, Workload::StartsWithExporter, &OUTAGE_THEN_SUCCESS);
            assert_eq!((&later, later.started_at(), later.credentials()), (&client, None, credentials));
        }
    }

    /// Whoever stops the exporter may restart the workload too, or not: what holds in both cases is known.
    #[test]
    fn after_an_orderly_restart_what_holds_either_way_is_known() {
        let workload = Workload::StartsWithExporter;
        let restarted = |credentials| WorkloadClient::PerhapsRestarted { credentials };
        let held = document(500, 9_000);
        let both = |fetched_at| {
            let documents = [(500, 9_000), (fetched_at, 20_000)];
            let documents = documents.map(|(at_second, expiration)| CachedDocument {
                fetched_at: at(at_second),
                expiration: at(expiration),
            });
            BoundCredentials::OneOf(documents.into())
        };
        for (before, poll, after_it) in [
            (held.clone(), Some(20_000), both(1_005)),
            (held, None, BoundCredentials::Unknown),
            (BoundCredentials::Nothing, Some(20_000), BoundCredentials::Unknown),
            (BoundCredentials::Nothing, None, BoundCredentials::Nothing),
            (BoundCredentials::Unknown, Some(20_000), BoundCredentials::Unknown),
        ] {
            let before = restarted(before);
            assert_eq!((before.started_at(), before.credentials()), (None, Some(&BoundCredentials::Unknown)));
            let client = after(&before, workload, &[(1_005, poll)]);
            assert_eq!(client.credentials(), Some(&after_it));
        }
        // One that is held back has not started before the first success.
        let waits = after(&restarted(document(500, 9_000)), Workload::StartsWhenReady, &[(1_005, None)]);
        assert_eq!(waits, restarted(document(500, 9_000)));
        let client = after(&waits, Workload::StartsWhenReady, &[(1_010, Some(20_000))]);
        assert_eq!(client.credentials(), Some(&both(1_010)));
        // Released by an earlier run, it may have started in an outage.
        let mut released = waits;
        released.record(Workload::StartsWhenReady, true, Creation::Nothing, at(1_000).into(), at(1_005).into());
        assert_eq!(released.credentials(), Some(&BoundCredentials::Unknown));
    }
}
