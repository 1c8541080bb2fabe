//! What is wrong with a scenario, or with a single change.
//!
//! Owns how a mistake is shown: its line, the line's text and the reason. Must not know the keys.

use std::fmt;
use std::ops::Range;

/// A mistake in a scenario's text or a change's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScenarioError {
    line: usize,
    shown: String,
    reason: String,
}

impl ScenarioError {
    /// A mistake that is about the text as a whole.
    pub(super) fn whole(reason: impl fmt::Display) -> Self {
        Self { line: 1, shown: String::new(), reason: reason.to_string() }
    }

    /// A mistake at this place of the text.
    pub(super) fn at(text: &str, span: Range<usize>, reason: impl fmt::Display) -> Self {
        let before = text.get(..span.start).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let shown = text.lines().nth(line - 1).unwrap_or_default().trim();
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
        write!(f, "line {}: {}", self.line, self.reason)?;
        if !self.shown.is_empty() {
            write!(f, " (in: {})", self.shown)?;
        }
        Ok(())
    }
}

impl std::error::Error for ScenarioError {}
