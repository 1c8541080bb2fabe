//! Reading values: every error is collected, with the name of its variable.

use std::fmt;

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

/// Parses values and collects errors.
pub(super) struct Reader {
    pub(super) errors: Vec<String>,
}

impl Reader {
    pub(super) fn error(&mut self, name: &str, what: impl fmt::Display) {
        self.errors.push(format!("{name}: {what}"));
    }

    pub(super) fn parse_optional<T, E: fmt::Display>(
        &mut self,
        name: &str,
        value: Option<String>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        parse(&value?).map_err(|what| self.error(name, what)).ok()
    }
}

/// As the SDKs read a truth value.
pub(super) fn is_true(text: Option<&str>) -> bool {
    text.is_some_and(|text| text.eq_ignore_ascii_case("true"))
}
