//! Reading values: every error is collected, with the name of its variable.

use std::collections::BTreeMap;
use std::fmt;

use super::variables::VARIABLES;

/// What is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub(super) Vec<String>);

impl ConfigErrors {
    /// One text for each error.
    #[must_use]
    pub fn list(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|error| writeln!(f, "{error}"))
    }
}

impl std::error::Error for ConfigErrors {}

pub(super) type Values = BTreeMap<String, String>;

pub(super) struct Reader<'a> {
    pub(super) values: &'a Values,
    pub(super) errors: Vec<String>,
}

impl<'a> Reader<'a> {
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        debug_assert!(VARIABLES.iter().any(|variable| variable.name == name), "{name} is not documented");
        self.values.get(name).map(String::as_str)
    }

    /// As the SDKs read a truth value.
    pub(super) fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|text| text.eq_ignore_ascii_case("true"))
    }

    /// The parsed value; `None` if the variable is not set, or in error.
    pub(super) fn parse<T, E: fmt::Display>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        parse(self.get(name)?).map_err(|what| self.error(name, what)).ok()
    }

    pub(super) fn error(&mut self, name: &str, what: impl fmt::Display) {
        self.errors.push(format!("{name}: {what}"));
    }
}
