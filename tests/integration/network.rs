//! Addresses and signals: IPv6 alone, IPv4 alone, both at once; what is sent to IMDS; proxies; SIGHUP.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::Stdio;
use std::sync::Arc;

use imds_exporter::config::DEFAULT_PORT;
use imds_exporter::platform::clock::SystemClock;
use imds_exporter::simulator::{Simulator, SimulatorOptions};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::support::exporter::listen;
use crate::support::network_namespace::{inside, ip, run_inside};
use crate::support::program::{ExporterProcess, exit_status, output, program, program_with_imds, send_signal};
use crate::support::request::{get, metrics_with, read_head};
use crate::support::scrape::{Scrape, polls_after, scrape_until};
use crate::support::simulator::{CONNECT_REFUSED, apply_toml, start_simulator};
use crate::support::wait::wait_until;

/// Of the family of addresses that loopback has, and of the other.
fn loopback(family: &str) -> [SocketAddr; 2] {
    let (v4, v6) = ((Ipv4Addr::LOCALHOST, DEFAULT_PORT).into(), (Ipv6Addr::LOCALHOST, DEFAULT_PORT).into());
    if family == "ipv6" { [v6, v4] } else { [v4, v6] }
}

/// The process that the other tests start in a network namespace: it has loopback of one family alone.
#[tokio::test]
#[ignore = "a process that other tests start"]
async fn child() {
    let Some(family) = inside() else { return };
    let [here, not_here] = loopback(&family);
    let options = SimulatorOptions { listen: SocketAddr::new(here.ip(), 0), ..SimulatorOptions::default() };
    let simulator = Simulator::start(options, Arc::new(SystemClock)).await.expect("loopback is up");
    assert!(TcpListener::bind(SocketAddr::new(not_here.ip(), 0)).await.is_err(), "the other family is not there");

    let run = |arguments: &[&str]| {
        let mut command = program_with_imds(simulator.address(), arguments);
        // The default address: in this namespace its port is free.
        command.env_remove("IMDS_EXPORTER_LISTEN_ADDRESS");
        command
    };
    assert_eq!(output(run(&["healthcheck"])).await.status.code(), Some(1), "nothing listens yet");
    let exporter = ExporterProcess::start_with(run(&[])).await;
    assert_eq!(exporter.address.port(), DEFAULT_PORT);
    metrics_with(here, "\nimds_up 1\n").await;
    let scrape = Scrape::of(here).await;
    let scrape = polls_after(&scrape, 1, here).await;
    assert_eq!(scrape.all_failures(), 0);
    assert!(TcpStream::connect(not_here).await.is_err());

    assert_eq!(output(run(&["healthcheck"])).await.status.code(), Some(0));
    let check = output(run(&["check", "--json"])).await;
    assert_eq!(check.status.code(), Some(0), "{}", String::from_utf8_lossy(&check.stdout));
    let wait = output(run(&["wait", "--timeout", "10s"])).await;
    assert_eq!(wait.status.code(), Some(0));
    apply_toml(&simulator, CONNECT_REFUSED).await;
    assert_eq!(output(run(&["check"])).await.status.code(), Some(1));
    scrape_until(here, "a failure", |scrape| scrape.value("imds_up") == 0).await;
    exporter.stop().await;
}

/// The process of a host that boots: its network comes up after the exporter's first polls.
#[tokio::test]
#[ignore = "a process that another test starts"]
async fn child_that_boots() {
    if inside().is_none() {
        return;
    }
    let simulator = start_simulator().await;
    ip("link set lo down");
    let mut command = program_with_imds(simulator.address(), &[]);
    command.env("IMDS_EXPORTER_LISTEN_ADDRESS", format!(":{DEFAULT_PORT}"));
    let exporter = ExporterProcess::start_with(command).await;
    let failed = || exporter.logged(|line| line["kind"].is_string() && line["step"] == "token").is_some();
    wait_until("a poll fails", failed).await;
    ip("link set lo up");
    let [address, _] = loopback("ipv4");
    let scrape = scrape_until(address, "a success", |scrape| scrape.value("imds_up") == 1).await;
    assert!(scrape.all_failures() >= 1 && scrape.value("imds_outages_total") == 1, "{}", scrape.0);
    // Clients created now work; nobody is said to have started in the outage.
    assert_eq!(scrape.value("imds_client_usable{sdk=\"boto3\",created=\"now\"}"), 1);
    assert!(!scrape.0.contains("created=\"at_start\""), "{}", scrape.0);
    let status: Value = serde_json::from_str(get(address, "/api/v1/status").await.body()).expect("JSON");
    assert_eq!((&status["clients_stuck"], &status["workload_started_at"]), (&false.into(), &Value::Null));
    assert_eq!(get(address, "/-/clients").await.status, 200);
    exporter.stop().await;
}

/// Runs a child with loopback of this family, after a command of the shell.
async fn run_in_a_namespace(child: &str, family: &str, before: &str) {
    run_inside(&format!("network::{child}"), family, &format!("ip link set lo up && {before}")).await;
}

#[tokio::test]
#[ignore = "needs a network namespace"]
async fn everything_works_over_ipv6_alone_and_over_ipv4_alone() {
    run_in_a_namespace("child", "ipv6", "ip address del 127.0.0.1/8 dev lo").await;
    run_in_a_namespace("child", "ipv4", "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6").await;
}

#[tokio::test]
#[ignore = "needs a network namespace"]
async fn a_host_whose_network_comes_up_after_the_exporter_has_no_stuck_clients() {
    run_in_a_namespace("child_that_boots", "ipv4", "true").await;
}

#[tokio::test]
async fn an_address_without_a_host_is_one_of_both_families() {
    let simulator = start_simulator().await;
    let mut command = program_with_imds(simulator.address(), &[]);
    command.env("IMDS_EXPORTER_LISTEN_ADDRESS", ":0").env("IMDS_EXPORTER_PROBE_LISTEN_ADDRESS", ":0");
    let exporter = ExporterProcess::start_with(command).await;
    let probes = exporter.probe_address.expect("it has a listener for probes");
    for ip in [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()] {
        metrics_with(SocketAddr::new(ip, exporter.address.port()), "\nimds_up 1\n").await;
        assert_eq!(get(SocketAddr::new(ip, probes.port()), "/-/healthy").await.status, 200);
    }
    let port = exporter.address.port();
    for listen in [format!(":{port}"), format!("[::]:{port}"), format!("0.0.0.0:{port}")] {
        let mut command = program(&["healthcheck"]);
        command.env("IMDS_EXPORTER_LISTEN_ADDRESS", &listen);
        assert_eq!(output(command).await.status.code(), Some(0), "{listen}");
        // Neither family's port can be taken a second time.
        let mut command = program(&[]);
        command.env("IMDS_EXPORTER_LISTEN_ADDRESS", &listen);
        let refused = output(command).await;
        assert_eq!(refused.status.code(), Some(1), "{listen}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains("IMDS_EXPORTER_LISTEN_ADDRESS"), "{listen}");
    }
}

#[tokio::test]
async fn sighup_kills_nothing() {
    let simulator = start_simulator().await;
    let mut exporter = ExporterProcess::start(simulator.address()).await;
    let mut scrape = scrape_until(exporter.address, "a success", |scrape| scrape.value("imds_up") == 1).await;
    for _ in 0..3 {
        send_signal(&exporter.child, "-HUP").await;
        scrape = polls_after(&scrape, 1, exporter.address).await;
    }
    assert_eq!(scrape.all_failures(), 0);
    send_signal(&exporter.child, "-TERM").await;
    assert!(exit_status(&mut exporter.child).await.success());
}

#[tokio::test]
async fn requests_to_imds_name_the_exporter_and_its_version() {
    let (listener, imds) = listen().await;
    let mut check = program_with_imds(imds, &["check"]).stdout(Stdio::null()).spawn().expect("it runs");
    let (mut stream, _) = listener.accept().await.expect("it connects");
    let head = read_head(&mut stream).await.expect("a whole head");
    stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await.expect("it reads");
    assert_eq!(exit_status(&mut check).await.code(), Some(1));
    let head = String::from_utf8(head).expect("text").to_ascii_lowercase();
    let user_agent = concat!("user-agent: imds-exporter/", env!("CARGO_PKG_VERSION"), "\r\n");
    assert!(head.contains(user_agent) && head.contains("x-aws-ec2-metadata-token-ttl-seconds: 60\r\n"), "{head}");
}

#[tokio::test]
async fn a_workload_that_does_not_ask_imds_is_not_held_back_while_imds_is_unavailable() {
    let simulator = start_simulator().await;
    apply_toml(&simulator, "fault = \"server_error\"").await;
    let irsa = [("AWS_WEB_IDENTITY_TOKEN_FILE", "/token"), ("AWS_ROLE_ARN", "arn:aws:iam::1:role/x")];
    for variables in [&irsa[..], &[("AWS_EC2_METADATA_DISABLED", "true")]] {
        let mut command = program_with_imds(simulator.address(), &[]);
        command.envs(variables.iter().copied());
        let exporter = ExporterProcess::start_with(command).await;
        metrics_with(exporter.address, "\nimds_up 0\n").await;
        assert_eq!(get(exporter.address, "/-/startup").await.status, 200, "{variables:?}");
        let mut wait = program_with_imds(simulator.address(), &["wait", "--timeout", "1s"]);
        wait.envs(variables.iter().copied());
        assert_eq!(output(wait).await.status.code(), Some(0), "{variables:?}");
    }
    let without = program_with_imds(simulator.address(), &["wait", "--timeout", "1s"]);
    assert_eq!(output(without).await.status.code(), Some(1));
}
