//! The commands that simulate IMDS.

use std::fs;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::net::TcpListener;

use super::commands::{block_on, stop_signal};
use super::{EXIT_USAGE, SimulateOptions};
use crate::clock::{Clock, SystemClock};
use crate::demo;
use crate::simulator::{Options, Scenario, Simulator};

/// Tells the story until its end and serves on, or ends with it.
pub(super) fn demo(once: bool) -> ExitCode {
    block_on(async {
        let listener = match TcpListener::bind(demo::ADDRESS).await {
            Ok(listener) => listener,
            Err(_) => TcpListener::bind((demo::ADDRESS.0, 0)).await?,
        };
        demo::run(listener, Arc::new(SystemClock), once, stop_signal()?, |line| println!("{line}")).await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Serves the simulated IMDS until SIGTERM or Ctrl-C.
pub(super) fn simulate(options: &SimulateOptions) -> ExitCode {
    if options.list {
        list();
        return ExitCode::SUCCESS;
    }
    let scenario = match options.scenario.as_deref().map(scenario).transpose() {
        Ok(scenario) => scenario,
        Err(mistake) => {
            eprintln!("imds-exporter: {mistake}");
            return EXIT_USAGE.into();
        }
    };
    block_on(async {
        let (listen, control) = (options.listen, Some(options.control));
        let options = Options { listen, control, allow_any_address: options.expose_to_the_network };
        let simulator = Simulator::start(options, Arc::new(SystemClock)).await.map_err(|error| {
            let hint = if error.kind() == io::ErrorKind::InvalidInput { "; see --expose-to-the-network" } else { "" };
            io::Error::new(error.kind(), format!("the simulator cannot start: {error}{hint}"))
        })?;
        println!("This is a simulated IMDS; its credentials are made up.");
        println!("  IMDS     http://{}  (AWS_EC2_METADATA_SERVICE_ENDPOINT)", simulator.address());
        if let Some(address) = simulator.control_address() {
            println!("  control  http://{address}  (GET / tells how)");
        }
        let stop = stop_signal()?;
        let play = async {
            if let Some(scenario) = &scenario {
                println!("{}", scenario.title);
                let played = simulator.play(scenario, |step| {
                    if let Some(say) = &step.say {
                        println!("{:.0}  {say}", SystemClock.now());
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
        println!("{name:<20} {title}");
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
