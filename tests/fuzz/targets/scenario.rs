//! Any text as a scenario and as a change: a timeline, or a mistake that is named.

use imds_exporter::simulator::{Change, Scenario};

/// The property.
pub(crate) fn check(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    match Scenario::parse(text) {
        Ok(scenario) => {
            assert!(!scenario.steps.is_empty() && scenario.steps.is_sorted_by_key(|step| step.at));
        }
        Err(error) => assert!(!error.message().is_empty()),
    }
    if let Err(error) = Change::parse(text) {
        assert!(!error.to_string().is_empty());
    }
}
