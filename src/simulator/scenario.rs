//! A scenario: a timeline of changes, and the bundled ones.
//!
//! Must not know how a scenario is written (see `toml_format`) or played.

use std::time::Duration;

use super::change::Change;

/// A timeline of changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// What happens, in one line.
    pub title: String,
    /// Its purpose.
    pub description: String,
    /// The changes, in the order of their times.
    pub steps: Vec<Step>,
}

/// One point of the timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Time since the start.
    pub at: Duration,
    /// What to tell the user.
    pub say: Option<String>,
    /// The change.
    pub change: Change,
}

macro_rules! bundled {
    ($($name:literal,)+) => {
        &[$(($name, include_str!(concat!("scenarios/", $name, ".toml"))),)+]
    };
}

impl Scenario {
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
