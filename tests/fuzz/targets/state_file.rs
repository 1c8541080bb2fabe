//! Any bytes as a state file: a past that the exporter can go on from and write again, or a reason.

use imds_exporter::domain::outage::{KEPT, Outages};
use imds_exporter::domain::state::{State, WorkloadEnvironment};
use imds_exporter::domain::workload::{Workload, WorkloadClient};
use imds_exporter::platform::state_file::Saved;
use jiff::Timestamp;

const BOOT_ID: Option<&str> = Some("01234567-89ab-cdef-0123-456789abcdef");

fn windows(outages: &Outages) -> Vec<(Timestamp, Timestamp)> {
    outages.ended().map(|window| (window.start, window.end)).collect()
}

/// The property.
pub(crate) fn check(content: &[u8]) {
    let now: Timestamp = "2026-01-31T12:00:00Z".parse().expect("an instant");
    let Ok(past) = Saved::parse(content, BOOT_ID, now) else { return };
    assert!(past.outages.ended().len() <= KEPT);
    let in_boot = past.of_this_boot.clone();
    // An outage that was open ended with its boot.
    assert!(in_boot.is_some() || past.outages.open().is_none());
    for workload in [Workload::Independent, Workload::StartsWithExporter, Workload::StartsWhenReady] {
        let state = State::new(WorkloadEnvironment { workload, ..WorkloadEnvironment::default() }, now)
            .with_restored(past.clone());
        for orderly_stop in [false, true] {
            let saved = Saved::of(&state, BOOT_ID, orderly_stop);
            assert!(!saved.is_worth_writing_after(&saved));
            let written = serde_json::to_vec(&saved).expect("it can be written");
            let again = Saved::parse(&written, BOOT_ID, now).expect("what the exporter writes it can read");
            assert_eq!(windows(&again.outages), windows(&past.outages));
            assert_eq!(again.outages.open(), past.outages.open());
            let (again, Some(before)) = (again.of_this_boot.expect("the same boot"), &in_boot) else { continue };
            assert_eq!((again.document, again.role_attached), (before.document.clone(), before.role_attached));
            assert_eq!((again.resolved, again.fetched_at), (before.resolved, before.fetched_at));
            if orderly_stop || workload == Workload::Independent {
                assert_eq!(again.workload_client, None);
            } else if let Some(client) = &before.workload_client {
                // What waits for nothing may have started before the first poll ended.
                let unseen = *client == WorkloadClient::NotCreated && workload == Workload::StartsWithExporter;
                let expected = if unseen { &WorkloadClient::Unseen } else { client };
                assert_eq!(again.workload_client.as_ref(), Some(expected));
            }
        }
    }
}
