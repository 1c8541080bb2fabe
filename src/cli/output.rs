//! What the commands print, and the exit codes that they share.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::platform::clock::{Clock, SystemClock};

/// The exit code of usage and configuration errors (`EX_USAGE` of BSD's sysexits).
const EXIT_USAGE: u8 = 64;

/// The exit code when the result of a command cannot be written (`EX_IOERR`).
const EXIT_OUTPUT: u8 = 74;

const LONGEST_LINE: usize = 300;

/// Prints a text that may be lost.
pub(super) fn print(text: impl Display) {
    let _lost = write!(io::stdout(), "{text}");
}

/// Prints the result of a command, which ends with `exit_code` if that can be written. A reader that has gone away is not an
/// error.
pub(super) fn print_result(text: impl Display, exit_code: ExitCode) -> ExitCode {
    let mut out = io::stdout();
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            print_error(format_args!("the result cannot be written: {error}"));
            EXIT_OUTPUT.into()
        }
        _ => exit_code,
    }
}

pub(super) fn print_event(event: impl Display) {
    print(format_args!("{:.0} {event}\n", SystemClock.now()));
}

/// Prints an error, which may be lost.
pub(super) fn print_error(what: impl Display) {
    print_lines(format_args!("imds-exporter: {what}"));
}

pub(super) fn usage_error(what: impl Display) -> ExitCode {
    print_lines(what);
    EXIT_USAGE.into()
}

pub(super) fn invalid_configuration(errors: impl Display) -> ExitCode {
    usage_error(format_args!("imds-exporter: the configuration is invalid:\n{errors}"))
}

/// Writes to standard error. What is quoted can contain anything: each line is bounded, and without control characters.
fn print_lines(text: impl Display) {
    for line in text.to_string().trim_end().lines() {
        let printable = line.chars().map(|c| if c.is_control() { '?' } else { c });
        let line: String = printable.take(LONGEST_LINE).collect();
        let _lost = writeln!(io::stderr(), "{line}");
    }
}
