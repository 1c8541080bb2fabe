//! The command line: commands, options, exit codes.

mod commands;
mod local;
#[cfg(feature = "simulator")]
mod simulated;

use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config::{Config, VARIABLES, environment};
use crate::log;

/// Usage and configuration errors (`EX_USAGE` of BSD's sysexits).
pub const EXIT_USAGE: u8 = 64;

/// Watches EC2 role credentials and tells Prometheus when they run out, why they cannot be fetched, and which
/// clients are stuck.
#[derive(Parser)]
#[command(name = "imds-exporter", version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Poll IMDS and serve metrics: the default.
    Serve,
    /// Resolve credentials once, step by step, and tell what is wrong and what to do.
    ///
    /// Exit code 0: usable; 1: failing; 2: usable with a warning (expired, rotation late, clock skew, slow,
    /// unexpected role).
    Check(CheckOptions),
    /// Return as soon as credentials resolve: for an init container or `ExecStartPre`.
    ///
    /// Exit code 0: they resolve; 1: the time is up.
    Wait(WaitOptions),
    /// Ask the exporter that runs here whether it is healthy: for images without a shell.
    ///
    /// Exit code 0: healthy; 1: not, or not running.
    Healthcheck,
    /// See it work without AWS: a simulated IMDS, an outage, and clients that get stuck in it.
    #[cfg(feature = "simulator")]
    Demo(DemoOptions),
    /// Serve a simulated IMDS with made-up credentials and faults to order: for tests and game days.
    #[cfg(feature = "simulator")]
    Simulate(SimulateOptions),
}

#[derive(Args)]
struct CheckOptions {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct WaitOptions {
    /// How long to wait, such as 30s or 2m.
    #[arg(long, default_value = "2m", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

#[cfg(feature = "simulator")]
#[derive(Args)]
struct DemoOptions {
    /// End when the story is told, instead of serving on until Ctrl-C.
    #[arg(long)]
    once: bool,
}

#[cfg(feature = "simulator")]
#[derive(Args)]
struct SimulateOptions {
    /// Address and port of the simulated IMDS.
    #[arg(long, default_value = "127.0.0.1:1338")]
    listen: std::net::SocketAddr,
    /// Address and port of the control interface.
    #[arg(long, default_value = "127.0.0.1:1339")]
    control: std::net::SocketAddr,
    /// A scenario to play: the name of a bundled one, or a file.
    #[arg(long)]
    scenario: Option<String>,
    /// List the bundled scenarios.
    #[arg(long)]
    list: bool,
    /// Let it listen on addresses that other machines reach, where it would hand out made-up credentials.
    #[arg(long)]
    expose_to_the_network: bool,
}

/// Runs what the command line asks for.
#[must_use]
pub fn run() -> ExitCode {
    log::end_on_panic();
    let command = Cli::command().after_help(variables_help()).mut_subcommands(|sub| sub.after_help(variables_help()));
    let cli = match command.try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => {
            let _broken_pipe = error.print();
            return if error.use_stderr() { EXIT_USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    match cli.command {
        None | Some(Command::Serve) => configured(commands::serve),
        Some(Command::Check(options)) => configured(|config| commands::check(&config, options.json)),
        Some(Command::Wait(options)) => configured(|config| commands::wait(&config, options.timeout)),
        Some(Command::Healthcheck) => configured(|config| commands::healthcheck(&config)),
        #[cfg(feature = "simulator")]
        Some(Command::Demo(options)) => simulated::demo(options.once),
        #[cfg(feature = "simulator")]
        Some(Command::Simulate(options)) => simulated::simulate(&options),
    }
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

fn variables_help() -> String {
    let mut help = "Environment variables (an empty one counts as unset):".to_owned();
    for variable in VARIABLES {
        let _infallible = write!(help, "\n  {} [{}]\n      {}", variable.name, variable.default, variable.meaning);
    }
    help
}
