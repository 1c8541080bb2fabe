//! Any text as a scenario and as a change: within the limits, or a mistake with its line.

#![no_main]

use std::time::Duration;

use imds_exporter::simulator::{Change, Scenario};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let lines = text.split('\n').count();
    match Scenario::parse(text) {
        Ok(scenario) => {
            assert!(!scenario.steps.is_empty() && scenario.steps.len() <= 1_000);
            assert!(scenario.steps.is_sorted_by_key(|step| step.at));
            assert!(scenario.steps.iter().all(|step| step.at <= Duration::from_hours(24 * 1_000)));
        }
        Err(error) => assert!((1..=lines).contains(&error.line()), "{error}"),
    }
    if let Err(error) = Change::parse(text) {
        assert!((1..=lines).contains(&error.line()), "{error}");
        assert!(error.to_string().len() < 16 * 1024);
    }
});
