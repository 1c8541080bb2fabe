//! Setting up the log: text or JSON lines on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For machines.
    Json,
}

/// What is logged, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// A filter in `tracing-subscriber`'s syntax, checked by [`is_filter`].
    pub filter: String,
    /// The format.
    pub format: Format,
}

/// Whether the text is a filter.
#[must_use]
pub fn is_filter(text: &str) -> bool {
    EnvFilter::builder().parse(text).is_ok()
}

/// Sets up the log of this process; a second call changes nothing.
pub fn set_up(options: &Options) {
    let filter = EnvFilter::builder().parse_lossy(&options.filter);
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let _set_already = match options.format {
        Format::Text => lines.with_ansi(std::io::stderr().is_terminal()).finish().try_init(),
        Format::Json => lines.json().flatten_event(true).finish().try_init(),
    };
}
