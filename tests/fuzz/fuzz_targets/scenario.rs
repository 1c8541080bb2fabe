//! Any text as a scenario and as a change: a timeline, or a mistake with its line.

#![no_main]

use imds_exporter::simulator::{Change, Scenario};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
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
});
