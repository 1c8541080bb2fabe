//! Setting up the log: text or JSON lines on standard error.

use std::io::IsTerminal;

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::filter::{FilterId, LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::{Extensions, ExtensionsMut, LookupSpan, SpanData};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

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
    /// Which modules' lines, and from which level on.
    pub filter: Targets,
    /// The format.
    pub format: Format,
}

/// Reads a filter: levels and `module=level`, separated by commas, in the syntax of `RUST_LOG`.
///
/// Spans and fields cannot be named. The exporter has none, and what would match them is a tenth of the program.
#[must_use]
pub fn filter(text: &str) -> Option<Targets> {
    // On what is meant for spans and fields the parsers of tracing-subscriber 0.3.23 can panic or take minutes.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_:=,-".contains(&byte);
    text.bytes().all(plain).then(|| text.parse().ok()).flatten()
}

/// All lines from `info` on.
#[must_use]
pub fn default_filter() -> Targets {
    Targets::new().with_default(LevelFilter::INFO)
}

/// The exit code after a bug (`EX_SOFTWARE` of BSD's sysexits).
pub const EXIT_BUG: u8 = 70;

/// Lets any panic end the process at once, with a line that says where it was: what is half alive would be taken for
/// healthy. A text that was put together for the panic is withheld, since it may quote what was read.
pub fn end_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        let reason = panic.payload().downcast_ref::<&str>().copied().unwrap_or("(withheld)");
        if tracing::dispatcher::has_been_set() {
            tracing::error!(location, reason, "a bug: the process ends so that it is started anew");
        } else {
            eprintln!("imds-exporter: a bug at {location}: {reason}");
        }
        std::process::exit(EXIT_BUG.into());
    }));
}

/// Sets up the log of this process; a second call changes nothing.
pub fn set_up(options: &Options) {
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match options.format {
        Format::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    let _set_already = WithoutSpans.with(lines).with(options.filter.clone()).try_init();
}

/// What the layers stand on, in place of the library's registry: that would keep room for the spans of 4,096 threads,
/// and this program has none of either.
struct WithoutSpans;

impl Subscriber for WithoutSpans {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl LookupSpan<'_> for WithoutSpans {
    type Data = NoSpan;

    fn span_data(&self, _: &Id) -> Option<NoSpan> {
        None
    }
}

/// A span that is kept: there is none.
enum NoSpan {}

impl SpanData<'_> for NoSpan {
    fn id(&self) -> Id {
        match *self {}
    }

    fn metadata(&self) -> &'static Metadata<'static> {
        match *self {}
    }

    fn parent(&self) -> Option<&Id> {
        match *self {}
    }

    fn extensions(&self) -> Extensions<'_> {
        match *self {}
    }

    fn extensions_mut(&self) -> ExtensionsMut<'_> {
        match *self {}
    }

    fn is_enabled_for(&self, _: FilterId) -> bool {
        match *self {}
    }
}
