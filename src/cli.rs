//! The commands, their options and exit codes.

mod commands;
mod line;
mod local;
#[cfg(feature = "simulator")]
mod simulated;

use std::env;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::config::{Config, environment};
use crate::log;
use crate::metrics::Build;
use line::{Asked, Command, Given, Help, Mistake, Opt, Value};

/// Usage and configuration errors (`EX_USAGE` of BSD's sysexits).
pub const EXIT_USAGE: u8 = 64;

const ABOUT: &str = "Watches EC2 role credentials and tells Prometheus when they run out, why they cannot be fetched, \
    and which clients are stuck.";

type Run = fn(&Given) -> ExitCode;

/// The commands; the first is the default.
const COMMANDS: &[Command<Run>] = &[
    Command {
        name: "serve",
        about: "Poll IMDS and serve metrics: the default.",
        more: "",
        configured: true,
        options: &[],
        run: |_| configured(commands::serve),
    },
    Command {
        name: "check",
        about: "Resolve credentials once, step by step, and tell what is wrong and what to do.",
        more: "Exit code 0: usable; 1: failing; 2: usable with a warning (expired, rotation late, clock skew, slow, \
            unexpected role).",
        configured: true,
        options: &[Opt { name: "json", about: "Print JSON.", value: None }],
        run: |given| configured(|config| commands::check(&config, given.has("json"))),
    },
    Command {
        name: "wait",
        about: "Return as soon as credentials resolve: for an init container or ExecStartPre.",
        more: "Exit code 0: they resolve; 1: the time is up.",
        configured: true,
        options: &[Opt {
            name: "timeout",
            about: "How long to wait, such as 30s or 2m.",
            value: Some(Value {
                shown: "DURATION",
                default: Some("2m"),
                is_good: |text| humantime::parse_duration(text).is_ok(),
            }),
        }],
        run: |given| configured(|config| commands::wait(&config, given.value("timeout", humantime::parse_duration))),
    },
    Command {
        name: "healthcheck",
        about: "Ask the exporter that runs here whether it is healthy: for images without a shell.",
        more: "Exit code 0: healthy; 1: not, or not running.",
        configured: true,
        options: &[],
        run: |_| configured(|config| commands::healthcheck(&config)),
    },
    #[cfg(feature = "simulator")]
    Command {
        name: "demo",
        about: "See it work without AWS: a simulated IMDS, an outage, and clients that get stuck in it.",
        more: "",
        configured: false,
        options: &[Opt {
            name: "once",
            about: "End when the story is told, instead of serving on until Ctrl-C.",
            value: None,
        }],
        run: |given| simulated::demo(given.has("once")),
    },
    #[cfg(feature = "simulator")]
    Command {
        name: "simulate",
        about: "Serve a simulated IMDS with made-up credentials and faults to order: for tests and game days.",
        more: "",
        configured: false,
        options: &[
            Opt {
                name: "listen",
                about: "Address and port of the simulated IMDS.",
                value: Some(simulated::address("127.0.0.1:1338")),
            },
            Opt {
                name: "control",
                about: "Address and port of the control interface.",
                value: Some(simulated::address("127.0.0.1:1339")),
            },
            Opt {
                name: "scenario",
                about: "A scenario to play.",
                value: Some(Value { shown: "NAME|FILE", default: None, is_good: |_| true }),
            },
            Opt { name: "list", about: "List the scenarios that have a name.", value: None },
            Opt {
                name: simulated::EXPOSE,
                about: "Let it listen on addresses that other machines reach, where it would hand out made-up \
                    credentials.",
                value: None,
            },
        ],
        run: simulated::simulate,
    },
];

/// Runs what the command line asks for.
#[must_use]
pub fn run() -> ExitCode {
    log::end_on_panic();
    match line::read(env::args_os().skip(1), COMMANDS) {
        Ok(Asked::Run(command, given)) => (command.run)(&given),
        Ok(Asked::Help(command)) => {
            tell(&Help { about: ABOUT, commands: COMMANDS, command });
            ExitCode::SUCCESS
        }
        Ok(Asked::Version) => {
            tell(&format_args!("imds-exporter {}\n", Build::THIS.version));
            ExitCode::SUCCESS
        }
        Err(Mistake { what, command }) => {
            let help = command.map_or_else(String::new, |name| format!("{name} "));
            eprintln!("imds-exporter: {what}\nTry 'imds-exporter {help}--help'.");
            EXIT_USAGE.into()
        }
    }
}

/// Prints to standard output. That the reader has gone is no bug of this program.
fn tell(what: &dyn Display) {
    let _reader_gone = write!(io::stdout(), "{what}");
}

fn configured(command: impl FnOnce(Config) -> ExitCode) -> ExitCode {
    match Config::from_environment(environment()) {
        Ok(config) => command(config),
        Err(mistakes) => {
            eprint!("imds-exporter: the configuration is wrong:\n{mistakes}");
            EXIT_USAGE.into()
        }
    }
}
