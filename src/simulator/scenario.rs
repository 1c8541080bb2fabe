//! Scenarios, which are timelines of changes, and how they and single changes are read from TOML.
//!
//! Must not know how a scenario is played.

use std::time::Duration;

use serde::Deserialize;
use serde::de::Error as _;
use toml::de::Error;

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
    ($($name:literal)+) => { &[$(($name, include_str!(concat!("scenarios/", $name, ".toml")))),+] };
}

impl Scenario {
    /// The scenarios that come with the program: name and TOML text.
    pub const BUNDLED: &[(&str, &str)] = bundled! {
        "all-kinds" "blog" "clock-skew" "flapping" "hop-limit" "kiam" "kube2iam" "not-ec2" "outage-into-expiry"
        "role-detached" "rotation-late"
    };

    /// The TOML text of the bundled scenario of this name.
    #[must_use]
    pub fn bundled(name: &str) -> Option<&'static str> {
        Self::BUNDLED.iter().find(|(known, _)| *known == name).map(|(_, toml)| *toml)
    }

    /// Reads a scenario from TOML.
    ///
    /// # Errors
    /// If the text is not TOML, a key or a value is unknown, or a step is earlier than the one above it.
    pub fn parse(toml: &str) -> Result<Self, Error> {
        let scenario: Self = toml::from_str(toml)?;
        let mut earliest = Duration::ZERO;
        for (number, step) in (1..).zip(&scenario.steps) {
            let checked = match step.at {
                None => Err("`at`: each step has one".to_owned()),
                Some(at) if at < earliest => Err("`at`: it comes before the step above it".to_owned()),
                Some(_) => step.fault(),
            };
            checked.map_err(|why| Error::custom(format_args!("step {number}: {why}")))?;
            earliest = step.at.unwrap_or_default();
        }
        if scenario.steps.is_empty() {
            return Err(Error::custom("`step`: a scenario has at least one"));
        }
        Ok(scenario)
    }
}

impl Change {
    /// Reads a change from TOML.
    ///
    /// # Errors
    /// If the text is not TOML, or a key or a value is unknown.
    pub fn parse(toml: &str) -> Result<Self, Error> {
        let change: Self = toml::from_str(toml)?;
        if change.at.is_some() || change.say.is_some() {
            return Err(Error::custom("`at` and `say` belong in a step of a scenario"));
        }
        change.fault().map_err(Error::custom)?;
        Ok(change)
    }
}
