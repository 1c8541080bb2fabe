//! `simulate`: serves a simulated IMDS until SIGTERM or Ctrl-C.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use super::output::{print, print_error, print_event, usage_error};
use super::runtime::{block_on, stop_signal};
use crate::platform::clock::SystemClock;
use crate::simulator::{Scenario, Simulator, SimulatorOptions};

#[derive(Args)]
pub(super) struct Arguments {
    /// Address and port of the simulated IMDS.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:1338")]
    listen: SocketAddr,
    /// Address and port of the control interface.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:1339")]
    control: SocketAddr,
    /// Address and port of a simulated STS, which checks the signatures of signed calls; none by default.
    #[arg(long, value_name = "ADDRESS:PORT")]
    sts: Option<SocketAddr>,
    /// A scenario to play: the name of a bundled one, or a file.
    #[arg(long, value_name = "NAME|FILE")]
    scenario: Option<String>,
    /// List the bundled scenarios.
    #[arg(long)]
    list: bool,
    /// Listen on addresses that other machines can reach, and serve made-up credentials to them.
    #[arg(long)]
    expose_to_the_network: bool,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    if arguments.list {
        list();
        return ExitCode::SUCCESS;
    }
    let scenario = match arguments.scenario.as_deref().map(scenario).transpose() {
        Ok(scenario) => scenario,
        Err(error) => return usage_error(format_args!("imds-exporter: {error}")),
    };
    block_on(async {
        let options = SimulatorOptions {
            listen: arguments.listen,
            control: Some(arguments.control),
            sts: arguments.sts,
            allow_any_address: arguments.expose_to_the_network,
        };
        let simulator = Simulator::start(options, Arc::new(SystemClock)).await.map_err(|error| {
            let refused = error.kind() == io::ErrorKind::InvalidInput;
            let hint = if refused { "; see --expose-to-the-network" } else { "" };
            io::Error::new(error.kind(), format!("the simulator cannot start: {error}{hint}"))
        })?;
        print("This is a simulated IMDS; its credentials are made up.\n");
        print(format_args!("  IMDS     http://{}  (AWS_EC2_METADATA_SERVICE_ENDPOINT)\n", simulator.address()));
        if let Some(address) = simulator.sts_address() {
            print(format_args!("  STS      http://{address}  (AWS_ENDPOINT_URL_STS)\n"));
        }
        if let Some(address) = simulator.control_address() {
            print(format_args!("  control  http://{address}  (GET / explains it)\n"));
        }
        let stop = stop_signal()?;
        let play = async {
            if let Some(scenario) = &scenario {
                print(format_args!("{}\n", scenario.title));
                let played = simulator.play(scenario, |step| {
                    if let Some(say) = &step.say {
                        print_event(say);
                    }
                });
                if let Err(error) = played.await {
                    print_error(format_args!("the scenario stops: {error}"));
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
    for (name, toml) in Scenario::BUNDLED {
        let title = Scenario::parse(toml).map(|scenario| scenario.title).unwrap_or_default();
        print(format_args!("{name:<20} {title}\n"));
    }
}

fn scenario(name: &str) -> Result<Scenario, String> {
    if let Some(toml) = Scenario::bundled(name) {
        return Scenario::parse(toml).map_err(|error| error.to_string());
    }
    let text = fs::read_to_string(name)
        .map_err(|error| format!("{name}: neither a bundled scenario (see --list) nor a readable file: {error}"))?;
    Scenario::parse(&text).map_err(|error| format!("{name}: {error}"))
}
