//! The command line: commands, options, help and exit codes. One module per command.

mod check;
#[cfg(feature = "simulator")]
mod demo;
mod healthcheck;
mod loopback_client;
mod output;
mod report;
mod runtime;
mod serve;
#[cfg(feature = "simulator")]
mod simulate;
mod wait;

use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser, Subcommand};

use crate::config::{Config, VARIABLES, duration, environment};
use crate::platform::{logging, process_memory};

/// Watches EC2 role credentials and tells Prometheus when they expire, why they cannot be fetched, and which clients are
/// stuck.
#[derive(Parser)]
#[command(name = "imds-exporter", version, after_help = environment_help())]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Poll IMDS and serve metrics (default).
    #[command(after_help = environment_help())]
    Serve,
    /// Resolve credentials once, step by step, and say what is wrong and what to do.
    ///
    /// Exit code 0: usable; 1: failing, or refused by AWS; 2: usable with a warning (expired, rotation late, clock skew,
    /// slow, unexpected role, IMDSv1 only, through a proxy, clients stuck, STS cannot be asked).
    #[command(after_help = environment_help())]
    Check {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        /// Sign a call to STS with the credentials too: whose they are, or why AWS refuses them.
        #[arg(long)]
        signed: bool,
    },
    /// Return as soon as credentials resolve: for an init container or `ExecStartPre`.
    ///
    /// Exit code 0: they resolve; 1: the timeout is over.
    #[command(after_help = environment_help())]
    Wait {
        /// How long to wait, such as 30s or 2m.
        #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = duration)]
        timeout: Duration,
    },
    /// Ask the exporter on this machine whether it is healthy: for images without a shell.
    ///
    /// Exit code 0: healthy; 1: unhealthy, or not running.
    #[command(after_help = environment_help())]
    Healthcheck,
    /// See it work without AWS: a simulated IMDS, an outage, and clients that get stuck in it.
    #[cfg(feature = "simulator")]
    Demo {
        /// Exit at the end of the story, instead of serving until Ctrl-C.
        #[arg(long)]
        once: bool,
    },
    /// Serve a simulated IMDS with made-up credentials and faults on demand: for tests and game days.
    #[cfg(feature = "simulator")]
    Simulate(simulate::Arguments),
}

/// The command line with all its commands and options: for man pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the command that the command line names.
#[must_use]
pub fn run() -> ExitCode {
    logging::exit_on_panic();
    if let Err(error) = process_memory::make_private() {
        output::print_error(format_args!("a debugger or a core dump can read the memory of this process: {error}"));
    }
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command.unwrap_or(Command::Serve),
        Err(error) => {
            if error.use_stderr() {
                let hints = std::env::args_os().filter_map(|argument| hint(&argument.to_string_lossy()));
                return output::usage_error(format_args!("{}{}", error.render(), hints.collect::<String>()));
            }
            output::print(error.render());
            return ExitCode::SUCCESS;
        }
    };
    match command {
        Command::Serve => with_config(serve::run),
        Command::Check { json, signed } => with_config(|config| check::run(&config, json, signed)),
        Command::Wait { timeout } => with_config(|config| wait::run(&config, timeout)),
        Command::Healthcheck => with_config(|config| healthcheck::run(&config)),
        #[cfg(feature = "simulator")]
        Command::Demo { once } => demo::run(once),
        #[cfg(feature = "simulator")]
        Command::Simulate(arguments) => simulate::run(&arguments),
    }
}

/// Flags that other exporters have, and the variables that do the same here.
const FLAGS_OF_OTHERS: [(&str, &str); 4] = [
    ("web.listen-address", "IMDS_EXPORTER_LISTEN_ADDRESS"),
    ("web.config.file", "IMDS_EXPORTER_WEB_CONFIG_FILE"),
    ("log.level", "IMDS_EXPORTER_LOG"),
    ("log.format", "IMDS_EXPORTER_LOG_FORMAT"),
];

/// What to use in place of a flag that other exporters have.
fn hint(argument: &str) -> Option<String> {
    let flag = argument.strip_prefix('-')?.trim_start_matches('-').split('=').next()?;
    let (flag, variable) = FLAGS_OF_OTHERS.into_iter().find(|(known, _)| *known == flag)?;
    Some(format!("--{flag} is the environment variable {variable} here\n"))
}

fn with_config(command: impl FnOnce(Config) -> ExitCode) -> ExitCode {
    match Config::from_environment(environment()) {
        Ok(config) => command(config),
        Err(errors) => output::invalid_configuration(errors),
    }
}

fn environment_help() -> String {
    let variables = VARIABLES
        .iter()
        .map(|variable| format!("  {} [default: {}]\n      {}\n", variable.name, variable.default, variable.meaning));
    format!("Environment variables (an empty one counts as unset):\n{}", variables.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_declared_consistently() {
        command().debug_assert();
    }
}
