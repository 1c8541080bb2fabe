//! Any text as a scenario and as a change: a timeline, or a mistake with its line.

use imds_exporter::simulator::{Change, Scenario};

/// The property.
pub(crate) fn check(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let lines = text.split('\n').count();
    match Scenario::parse(text) {
        Ok(scenario) => {
            assert!(!scenario.steps.is_empty() && scenario.steps.is_sorted_by_key(|step| step.at));
        }
        Err(error) => assert!((1..=lines).contains(&error.line()), "{error}"),
    }
    if let Err(error) = Change::parse(text) {
        assert!((1..=lines).contains(&error.line()), "{error}");
        assert!(error.to_string().len() < 16 * 1024);
    }
}
