//! What the commands print, and the exit code of usage errors.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::platform::clock::{Clock, SystemClock};

/// The exit code of usage and configuration errors (`EX_USAGE` of BSD's sysexits).
const EXIT_USAGE: u8 = 64;

/// The longest line of an error message, in characters.
const LONGEST_LINE: usize = 300;

/// Prints a text. A reader that has gone away is not an error.
pub(super) fn print(text: impl Display) {
    let _reader_gone = write!(io::stdout(), "{text}");
}

/// Prints a line with the time.
pub(super) fn print_event(event: impl Display) {
    print(format_args!("{:.0} {event}\n", SystemClock.now()));
}

/// Reports a usage or configuration error. What it quotes can contain anything: each line is bounded, and without
/// control characters.
pub(super) fn usage_error(what: impl Display) -> ExitCode {
    for line in what.to_string().trim_end().lines() {
        let printable = line.chars().map(|c| if c.is_control() { '?' } else { c });
        eprintln!("{}", printable.take(LONGEST_LINE).collect::<String>());
    }
    EXIT_USAGE.into()
}
