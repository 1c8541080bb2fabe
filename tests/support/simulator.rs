//! The simulator, and IMDS clients of it.

use std::sync::Arc;
use std::time::Duration;

use imds_exporter::domain::Kind;
use imds_exporter::imds::{DEFAULT_ATTEMPTS, Endpoint, Imds, ImdsOptions};
use imds_exporter::platform::clock::SystemClock;
use imds_exporter::simulator::{self, Change, Fault, Simulator, is_client_side};
use strum::VariantArray;

/// The timeout of one request: long enough for a loaded machine, short enough to wait for in a test.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_millis(400);

pub(crate) const HEALTHY: &str = "fault = \"none\"";
pub(crate) const CONNECT_REFUSED: &str = "fault = \"connect_refused\"";

pub(crate) async fn start_simulator() -> Simulator {
    Simulator::start(simulator::SimulatorOptions::default(), Arc::new(SystemClock))
        .await
        .expect("loopback has a free port")
}

pub(crate) async fn apply(simulator: &Simulator, change: &Change) {
    simulator.apply(change).await.expect("the simulator accepts the change");
}

/// Applies a change that is written in TOML.
pub(crate) async fn apply_toml(simulator: &Simulator, toml: &str) {
    let change = Change::parse(toml).unwrap_or_else(|error| panic!("{toml}: {error}"));
    apply(simulator, &change).await;
}

/// The options of an IMDS client that asks at `endpoint`.
pub(crate) fn imds_options(endpoint: &str) -> ImdsOptions {
    let endpoint = Endpoint::parse(endpoint).expect("a valid endpoint");
    ImdsOptions {
        endpoint,
        timeout: REQUEST_TIMEOUT,
        attempts: DEFAULT_ATTEMPTS,
        disabled: false,
        v1_disabled: false,
        region: None,
    }
}

/// The options of an IMDS client that asks the simulator.
pub(crate) fn imds_options_for(simulator: &Simulator) -> ImdsOptions {
    imds_options(&format!("http://{}", simulator.address()))
}

pub(crate) fn imds_client(options: ImdsOptions) -> Imds {
    Imds::new(options, Arc::new(SystemClock))
}

pub(crate) fn imds_client_for(simulator: &Simulator) -> Imds {
    imds_client(imds_options_for(simulator))
}

/// The kinds that a server can produce.
pub(crate) fn server_side_kinds() -> impl Iterator<Item = Kind> {
    Kind::VARIANTS.iter().copied().filter(|kind| !is_client_side(*kind))
}

/// The kind at its default step and in its default form.
pub(crate) fn fault(kind: Kind) -> Fault {
    Fault::all(kind).next().expect("a kind that a server can produce")
}

/// Every form of a kind at every step at which it can begin.
pub(crate) fn all_faults(kind: Kind) -> Vec<Fault> {
    Fault::all(kind).collect()
}
