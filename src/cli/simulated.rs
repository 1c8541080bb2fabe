//! The commands that simulate IMDS.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::net::TcpListener;

use super::commands::{block_on, stop_signal};
use super::line::{Given, Value};
use super::{EXIT_USAGE, tell};
use crate::clock::{Clock, SystemClock};
use crate::demo;
use crate::simulator::{Options, Scenario, Simulator};

/// The switch that `--listen` needs for addresses that other machines reach.
pub(super) const EXPOSE: &str = "expose-to-the-network";

/// An option that takes an address.
pub(super) const fn address(default: &'static str) -> Value {
    Value { shown: "ADDRESS:PORT", default: Some(default), is_good: |text| text.parse::<SocketAddr>().is_ok() }
}

/// Tells the story until its end and serves on, or ends with it.
pub(super) fn demo(once: bool) -> ExitCode {
    block_on(async {
        let listener = match TcpListener::bind(demo::ADDRESS).await {
            Ok(listener) => listener,
            Err(_) => TcpListener::bind((demo::ADDRESS.0, 0)).await?,
        };
        demo::run(listener, Arc::new(SystemClock), once, stop_signal()?, |line| tell(&format_args!("{line}\n")))
            .await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Serves the simulated IMDS until SIGTERM or Ctrl-C.
pub(super) fn simulate(given: &Given) -> ExitCode {
    if given.has("list") {
        list();
        return ExitCode::SUCCESS;
    }
    let scenario = match given.text("scenario").map(scenario).transpose() {
        Ok(scenario) => scenario,
        Err(mistake) => {
            eprintln!("imds-exporter: {mistake}");
            return EXIT_USAGE.into();
        }
    };
    block_on(async {
        let address = |option| given.value(option, str::parse);
        let options = Options {
            listen: address("listen"),
            control: Some(address("control")),
            allow_any_address: given.has(EXPOSE),
        };
        let simulator = Simulator::start(options, Arc::new(SystemClock)).await.map_err(|error| {
            let refused = error.kind() == io::ErrorKind::InvalidInput;
            let hint = if refused { format!("; see --{EXPOSE}") } else { String::new() };
            io::Error::new(error.kind(), format!("the simulator cannot start: {error}{hint}"))
        })?;
        tell(&format_args!("This is a simulated IMDS; its credentials are made up.\n"));
        tell(&format_args!("  IMDS     http://{}  (AWS_EC2_METADATA_SERVICE_ENDPOINT)\n", simulator.address()));
        if let Some(address) = simulator.control_address() {
            tell(&format_args!("  control  http://{address}  (GET / tells how)\n"));
        }
        let stop = stop_signal()?;
        let play = async {
            if let Some(scenario) = &scenario {
                tell(&format_args!("{}\n", scenario.title));
                let played = simulator.play(scenario, |step| {
                    if let Some(say) = &step.say {
                        tell(&format_args!("{:.0}  {say}\n", SystemClock.now()));
                    }
                });
                if let Err(error) = played.await {
                    eprintln!("imds-exporter: the scenario stops: {error}");
                }
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = stop => {}
            () = play => {}
        }
        simulator.shutdown().await;
        Ok(ExitCode::SUCCESS)
    })
}

fn list() {
    for (name, toml) in Scenario::bundled() {
        let title = Scenario::parse(toml).map(|scenario| scenario.title).unwrap_or_default();
        tell(&format_args!("{name:<20} {title}\n"));
    }
}

/// A bundled scenario by its name, or one from a file.
fn scenario(name: &str) -> Result<Scenario, String> {
    if let Some((_, toml)) = Scenario::bundled().iter().find(|(bundled, _)| *bundled == name) {
        return Scenario::parse(toml).map_err(|error| error.to_string());
    }
    let text = fs::read_to_string(name)
        .map_err(|error| format!("{name}: not a bundled scenario (--list), nor a file: {error}"))?;
    Scenario::parse(&text).map_err(|error| format!("{name}: {error}"))
}
