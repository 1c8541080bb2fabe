//! Any bytes as a state file: a past that the exporter can go on from and write again, or a reason.

#![no_main]

use imds_exporter::domain::outage::KEPT;
use imds_exporter::domain::state::State;
use imds_exporter::platform::state_file::Saved;
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;

const BOOT_ID: Option<&str> = Some("01234567-89ab-cdef-0123-456789abcdef");

fuzz_target!(|content: &[u8]| {
    let now: Timestamp = "2026-01-31T12:00:00Z".parse().expect("an instant");
    let Ok(past) = Saved::parse(content, BOOT_ID, now) else { return };
    assert!(past.outages.ended().len() <= KEPT);
    let held = past.bound_since_start;
    let state = State::new(now).with_restored(past);
    let written = serde_json::to_vec(&Saved::of(&state, BOOT_ID)).expect("it can be written");
    let again = Saved::parse(&written, BOOT_ID, now).expect("what the exporter writes it can read");
    let windows = |outages: &imds_exporter::domain::outage::Outages| outages.ended().copied().collect::<Vec<_>>();
    assert_eq!(windows(&again.outages), windows(state.outages()));
    assert_eq!(again.outages.open(), state.outages().open());
    if let Some(held) = held {
        assert_eq!(state.bound_since_start(), held);
    }
});
