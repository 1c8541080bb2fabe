//! Scenarios, which are timelines of changes, and how they and single changes are read from TOML.
//!
//! Must not know how a scenario is played.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use serde::Deserialize;
use toml::de::DeTable;

use super::change::Change;

/// A timeline of changes.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What happens, in one line.
    pub title: String,
    /// Its purpose.
    #[serde(default)]
    pub description: String,
    /// The changes, in the order of their times.
    #[serde(rename = "step")]
    pub steps: Vec<Change>,
}

macro_rules! bundled {
    ($($name:literal,)+) => {
        &[$(($name, include_str!(concat!("scenarios/", $name, ".toml"))),)+]
    };
}

impl Scenario {
    /// The scenarios that come with the program: name and TOML text.
    pub const BUNDLED: &[(&str, &str)] = bundled![
        "all-kinds",
        "blog",
        "clock-skew",
        "flapping",
        "hop-limit",
        "kiam",
        "kube2iam",
        "not-ec2",
        "outage-into-expiry",
        "role-detached",
        "rotation-late",
    ];

    /// The TOML text of the bundled scenario of this name.
    #[must_use]
    pub fn bundled(name: &str) -> Option<&'static str> {
        Self::BUNDLED.iter().find(|(known, _)| *known == name).map(|(_, toml)| *toml)
    }

    /// Reads a scenario from TOML.
    ///
    /// # Errors
    /// If the text is not TOML, a key or a value is unknown, or a step is earlier than the one above it.
    pub fn parse(toml: &str) -> Result<Self, ScenarioError> {
        let scenario: Self = toml::from_str(toml).map_err(|error| ScenarioError::read(toml, &error))?;
        let mut earliest = Duration::ZERO;
        for (index, step) in scenario.steps.iter().enumerate() {
            let wrong = |key, reason: &dyn fmt::Display| ScenarioError::in_key(toml, Some(index), key, reason);
            let at = step.at.ok_or_else(|| wrong("at", &"each step has one"))?;
            if at < earliest {
                return Err(wrong("at", &"it comes before the step above it"));
            }
            earliest = at;
            step.fault().map_err(|error| wrong(error.key(), &error))?;
        }
        if scenario.steps.is_empty() {
            return Err(ScenarioError::at(toml, None, "`step`: a scenario has at least one"));
        }
        Ok(scenario)
    }
}

impl Change {
    /// Reads a change from TOML.
    ///
    /// # Errors
    /// If the text is not TOML, or a key or a value is unknown.
    pub fn parse(toml: &str) -> Result<Self, ScenarioError> {
        let change: Self = toml::from_str(toml).map_err(|error| ScenarioError::read(toml, &error))?;
        let wrong = |key, reason: &dyn fmt::Display| ScenarioError::in_key(toml, None, key, reason);
        let only_in_scenarios = [("at", change.at.is_some()), ("say", change.say.is_some())];
        if let Some((key, _)) = only_in_scenarios.into_iter().find(|(_, is_set)| *is_set) {
            return Err(wrong(key, &"it belongs in a step of a scenario"));
        }
        change.fault().map_err(|error| wrong(error.key(), &error))?;
        Ok(change)
    }
}

/// A mistake in the text of a scenario or a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScenarioError {
    line: usize,
    shown: String,
    reason: String,
}

impl ScenarioError {
    fn read(toml: &str, error: &toml::de::Error) -> Self {
        Self::at(toml, error.span(), error.message())
    }

    /// A mistake in the value of a key: of the step with this index, or of a change.
    fn in_key(toml: &str, step: Option<usize>, key: &str, reason: &dyn fmt::Display) -> Self {
        let find = || {
            let table = DeTable::parse(toml).ok()?.into_inner();
            let Some(index) = step else { return Some(table.get(key)?.span()) };
            let step = table.get("step")?.get_ref().as_array()?.get(index)?;
            Some(step.get_ref().as_table()?.get(key).unwrap_or(step).span())
        };
        Self::at(toml, find(), format_args!("`{key}`: {reason}"))
    }

    fn at(toml: &str, span: Option<Range<usize>>, reason: impl fmt::Display) -> Self {
        let before = span.and_then(|span| toml.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let shown = toml.lines().nth(line - 1).unwrap_or_default().trim();
        Self { line, shown: shown.chars().take(100).collect(), reason: reason.to_string() }
    }

    /// The line, counted from one.
    #[must_use]
    pub const fn line(&self) -> usize {
        self.line
    }
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {} (in: {})", self.line, self.reason, self.shown)
    }
}

impl std::error::Error for ScenarioError {}
