//! Any bytes as a state file: a past that the exporter can go on from and write again, or a reason.

use imds_exporter::domain::boto3::BoundCredentials;
use imds_exporter::domain::outage::{KEPT, Outage};
use imds_exporter::domain::saved_state::SavedState;
use imds_exporter::domain::state::{RestoredState, State, WorkloadEnvironment};
use imds_exporter::domain::workload::{Workload, WorkloadClient};
use imds_exporter::domain::{Moment, SinceBoot};
use jiff::{SignedDuration, Timestamp};

const BOOT_ID: Option<&str> = Some("01234567-89ab-cdef-0123-456789abcdef");

fn windows(restored: &RestoredState) -> Vec<Outage> {
    restored.outages.all_past(Timestamp::UNIX_EPOCH)
}

/// The property.
pub(crate) fn check(content: &[u8]) {
    let wall: Timestamp = "2026-01-31T12:00:00Z".parse().expect("an instant");
    let now = Moment { wall, since_boot: SinceBoot(SignedDuration::from_hours(24)) };
    let Ok(past) = SavedState::restore(content, BOOT_ID, now.since_boot) else { return };
    assert!(windows(&past).len() <= KEPT);
    let in_boot = past.of_this_boot.clone();
    // An outage that was open ended with its boot.
    assert!(in_boot.is_some() || past.outages.ongoing_since().is_none());
    for workload in [Workload::Independent, Workload::StartsWithExporter, Workload::StartsWhenReady] {
        let state = State::new(WorkloadEnvironment { workload, ..WorkloadEnvironment::default() }, now)
            .with_restored(past.clone());
        for orderly_stop in [false, true] {
            let saved = SavedState::of(&state, BOOT_ID, orderly_stop);
            assert!(!saved.is_worth_writing_after(&saved));
            let written = serde_json::to_vec(&saved).expect("it can be written");
            let again =
                SavedState::restore(&written, BOOT_ID, now.since_boot).expect("what the exporter writes it can read");
            assert_eq!(windows(&again), windows(&past));
            assert_eq!(again.outages.ongoing_since(), past.outages.ongoing_since());
            let (again, Some(before)) = (again.of_this_boot.expect("the same boot"), &in_boot) else { continue };
            assert_eq!((again.document, again.role_attached), (before.document.clone(), before.role_attached));
            assert_eq!(again.resolved, before.resolved);
            // What has started may have been restarted with the exporter, and is not known to be the same.
            let known = |client: &WorkloadClient| match client {
                WorkloadClient::Created { credentials, .. } => Some(credentials.clone()),
                _ => None,
            };
            match (known(&again.workload_client), known(state.workload_client())) {
                (Some(again), Some(before)) => assert!(again == before && !orderly_stop),
                (None, Some(before)) => {
                    assert!(orderly_stop);
                    assert_eq!(again.workload_client, WorkloadClient::PerhapsRestarted { credentials: before });
                }
                (Some(_), None) => panic!("nothing becomes known"),
                (None, None) => {}
            }
            let unknown = Some(&BoundCredentials::Unknown);
            assert!(
                known(state.workload_client()).is_some()
                    || state.workload_client().credentials().is_none_or(|held| Some(held) == unknown)
            );
        }
    }
}
