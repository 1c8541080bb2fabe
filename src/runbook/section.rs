//! What a section of the runbook is made of.

/// The text of one part of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Prose. Back-ticks enclose code.
    Text(String),
    /// A command or a query.
    Command(String),
}

/// What is said about one alert or one kind.
#[derive(Clone, Debug)]
pub struct Section {
    /// The name of the alert, the label of the kind, or what stands for the reason.
    pub anchor: &'static str,
    /// The parts, each with its heading.
    pub parts: Vec<(&'static str, Part)>,
}
