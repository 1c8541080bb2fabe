//! Logging: which lines, as text or JSON.

use std::io::{IsTerminal, Write};

use strum::EnumString;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use super::log_writer::LogWriter;

/// The format of log lines.
#[derive(Clone, Copy, Debug, Default, EnumString, Eq, PartialEq)]
#[strum(serialize_all = "snake_case")]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For machines.
    Json,
}

/// What is logged, and in which format.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// The modules and levels that are logged.
    pub filter: Targets,
    /// The format.
    pub format: Format,
}

/// Reads a filter: levels and `module=level`, separated by commas, in the syntax of `RUST_LOG`.
///
/// Spans and fields cannot be named. `EnvFilter` would allow it, but the exporter has neither, and matching them needs
/// a regular expression engine.
#[must_use]
pub fn filter(text: &str) -> Option<Targets> {
    // Fuzzing found filters for spans and fields on which tracing-subscriber 0.3.23 panics or takes minutes.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_:=,-".contains(&byte);
    text.bytes().all(plain).then(|| text.parse().ok()).flatten()
}

/// All lines from `info` on.
pub(crate) fn default_filter() -> Targets {
    Targets::new().with_default(LevelFilter::INFO)
}

/// The exit code after a bug (`EX_SOFTWARE` of BSD's sysexits).
pub const EXIT_BUG: u8 = 70;

/// Makes any panic end the process at once, with a line that says where it was: an exporter that is half alive would be
/// taken for healthy. A formatted panic message is withheld, since it may quote what was read.
pub fn exit_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        let reason = panic.payload().downcast_ref::<&str>().copied().unwrap_or("(withheld)");
        if tracing::dispatcher::has_been_set() {
            tracing::error!(location, reason, "a bug: the process exits so that it is restarted");
        } else {
            let _lost = writeln!(std::io::stderr(), "imds-exporter: a bug at {location}: {reason}");
        }
        std::process::exit(EXIT_BUG.into());
    }));
}

/// Sets up the log of this process; a second call changes nothing.
pub fn set_up(options: &LogOptions) {
    let dropped: fn(u64) -> String = match options.format {
        Format::Text => |lines| format!("{lines} log lines were dropped: nobody read the log\n"),
        Format::Json => |lines| {
            format!(
                "{{\"level\":\"WARN\",\"message\":\"log lines were dropped: nobody read the log\",\"lines\":{lines}}}\n"
            )
        },
    };
    let lines = fmt::layer().with_writer(move || LogWriter { dropped });
    let lines = match options.format {
        Format::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    let _set_already = tracing_subscriber::registry().with(lines).with(options.filter.clone()).try_init();
}
