//! A story for the simulator: what to tell it, and when.
//!
//! Owns scenarios and the bundled ones. Must not know how one is spelled (see `spelling`) or played.

use std::time::Duration;

use super::change::Change;
use super::scenario_error::ScenarioError;
use super::spelling;

/// A timeline of changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// What happens, in one line.
    pub title: String,
    /// What it is good for.
    pub description: String,
    /// The changes, in the order of their times.
    pub steps: Vec<Step>,
}

/// One point of the timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Time since the start.
    pub at: Duration,
    /// What to tell the person who watches.
    pub say: Option<String>,
    /// What to tell the simulator.
    pub change: Change,
}

macro_rules! bundled {
    ($($name:literal,)+) => {
        &[$(($name, include_str!(concat!("scenarios/", $name, ".toml"))),)+]
    };
}

impl Scenario {
    /// Reads a scenario from TOML.
    ///
    /// # Errors
    /// If the text is not TOML, a key or a value is not known, or a step comes before the one above it; the error
    /// names the key and the line.
    pub fn parse(toml: &str) -> Result<Self, ScenarioError> {
        spelling::scenario(toml)
    }

    /// The scenarios that come with the program: name and TOML text.
    #[must_use]
    pub const fn bundled() -> &'static [(&'static str, &'static str)] {
        bundled![
            "all-kinds",
            "blog",
            "clock-skew",
            "flapping",
            "hop-limit",
            "outage-into-expiry",
            "role-detached",
            "rotation-late",
        ]
    }
}
