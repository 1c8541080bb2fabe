//! Exporters that start before IMDS can be reached, where no workload starts with them: nothing claims that clients are
//! stuck.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use imds_exporter::platform::clock::SystemClock;
use imds_exporter::simulator::{self, Simulator};
use tokio::time::sleep;

use crate::alerts::fires;
use crate::claims::{Claims, log_says_stuck};
use crate::network_namespace::{ip, is_inside, run_inside};
use crate::support::program::{ExporterProcess, command, program_with_imds};
use crate::support::simulator::{CONNECT_REFUSED, HEALTHY, apply_toml, start_simulator};

/// Nothing is said of clients that were created at the start, and an outage is all there was.
fn assert_only_an_outage(before: Option<&Claims>, after: &Claims, exporter: &ExporterProcess) {
    assert_eq!(after.usable("now"), Some(true));
    assert_eq!(after.usable("at_start"), None);
    assert_eq!(after.usable("before_outage"), Some(true));
    assert!(!after.stuck());
    assert_eq!(after.status["workload"], "independent");
    assert_eq!(after.status["outages"].as_array().map(Vec::len), Some(1), "{}", after.status);
    assert!(!log_says_stuck(exporter));
    let failing: Vec<_> = before.map(|before| (before.metrics.as_str(), 1)).into_iter().collect();
    let scrapes = [&failing[..], &[(after.metrics.as_str(), 15)]].concat();
    assert!(!fires("ImdsClientsStuck", &scrapes));
}

#[tokio::test]
#[ignore = "needs promtool and network namespaces: tests/run fetches it"]
async fn a_host_whose_link_comes_up_after_the_exporter_has_no_stuck_clients() {
    run_inside("host_boot::in_the_namespace").await;
}

#[tokio::test]
#[ignore = "the test above starts it"]
async fn in_the_namespace() {
    if !is_inside() {
        return;
    }
    // As on a host: nothing is configured, so that it polls every 15 s, and every 5 s while that fails.
    let mut by_default = command("/usr/bin/env");
    by_default.env_clear().args(["-u", "IMDS_EXPORTER_POLL_INTERVAL", env!("CARGO_BIN_EXE_imds-exporter")]);
    let exporter = ExporterProcess::start_with(by_default).await;
    assert_eq!(exporter.address.port(), 10_169);
    sleep(Duration::from_secs(2)).await;
    let failure = exporter.logged(|line| line["level"] == "WARN" && line.to_string().contains("network_unreachable"));
    assert!(failure.is_some(), "the first poll fails");

    ip("link add eth0 type veth peer name switch");
    for link in ["lo", "eth0", "switch"] {
        ip(&format!("link set {link} up"));
    }
    ip("address add 169.254.169.254/32 dev eth0");
    let options = simulator::SimulatorOptions {
        listen: SocketAddr::from(([169, 254, 169, 254], 80)),
        control: None,
        sts: None,
        allow_any_address: true,
    };
    let _imds = Simulator::start(options, Arc::new(SystemClock)).await.expect("the address is there");
    let local = SocketAddr::from(([127, 0, 0, 1], 10_169));
    let before = Claims::once_up_is(0, local).await;
    assert_eq!(before.usable("at_start"), None);
    assert_eq!(before.usable("before_outage"), None);
    let after = Claims::once_up_is(1, local).await;
    assert_only_an_outage(Some(&before), &after, &exporter);
}

#[tokio::test]
#[ignore = "needs promtool: tests/run fetches it"]
async fn the_pod_of_a_daemonset_that_is_replaced_in_a_blip_has_no_stuck_clients() {
    let simulator = start_simulator().await;
    apply_toml(&simulator, CONNECT_REFUSED).await;
    let exporter = ExporterProcess::start(simulator.address()).await;
    let before = Claims::once_up_is(0, exporter.address).await;
    assert_eq!(before.usable("at_start"), None);
    apply_toml(&simulator, HEALTHY).await;
    let after = Claims::once_up_is(1, exporter.address).await;
    assert_only_an_outage(Some(&before), &after, &exporter);

    // The next pod of the same node meets a healthy IMDS.
    exporter.stop().await;
    let exporter = ExporterProcess::start_with(program_with_imds(simulator.address(), &[])).await;
    assert!(!Claims::once_up_is(1, exporter.address).await.stuck());
}
