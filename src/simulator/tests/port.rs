//! The port during outages.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::client::*;
use crate::platform::clock::SystemClock;
use crate::simulator::{Simulator, SimulatorOptions};

/// A connection over loopback takes far less.
const CONNECT_DEADLINE: Duration = Duration::from_millis(200);

#[tokio::test]
async fn a_refusing_port_resets_connections_and_keeps_its_address() {
    let simulator = simulator().await;
    let address = simulator.address();
    for _ in 0..3 {
        let (mut stream, _) = session(&simulator).await;
        apply(&simulator, "fault = 'connect_refused'").await;
        assert_eq!(rest(&mut stream).await.1.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        let refused = TcpStream::connect(address).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);

        apply(&simulator, "fault = 'none'").await;
        assert_eq!(simulator.address(), address);
        session(&simulator).await;
    }
}

#[tokio::test]
async fn a_silent_port_resets_connections_and_keeps_its_address() {
    let simulator = simulator().await;
    let (mut stream, _) = session(&simulator).await;
    apply(&simulator, "fault = 'connect_timeout'").await;
    assert_eq!(rest(&mut stream).await.1.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    for _ in 0..2 {
        timeout(CONNECT_DEADLINE, TcpStream::connect(simulator.address()))
            .await
            .expect_err("no connection is established");
    }
    apply(&simulator, "fault = 'connect_refused'").await;
    assert!(TcpStream::connect(simulator.address()).await.is_err());
    apply(&simulator, "fault = 'none'").await;
    session(&simulator).await;
}

#[tokio::test]
async fn a_flapping_port_alternates_between_refusing_and_accepting() {
    let simulator = simulator().await;
    apply(&simulator, "fault = 'connect_refused'\nflap = '20ms'").await;
    for up in [true, false, true] {
        while TcpStream::connect(simulator.address()).await.is_ok() != up {}
    }
}

#[tokio::test]
async fn ipv6_loopback_is_supported() {
    let listen: SocketAddr = "[::1]:0".parse().unwrap();
    let options = SimulatorOptions { listen, ..SimulatorOptions::default() };
    let Ok(simulator) = Simulator::start(options, Arc::new(SystemClock)).await else {
        // Not every machine that builds this has IPv6.
        return;
    };
    session(&simulator).await;
    apply(&simulator, "fault = 'connect_timeout'").await;
    timeout(CONNECT_DEADLINE, TcpStream::connect(simulator.address())).await.expect_err("no connection is established");
}

#[tokio::test]
async fn only_loopback_is_bound_unless_other_addresses_are_allowed() {
    let any: SocketAddr = "0.0.0.0:0".parse().unwrap();
    let listens = SimulatorOptions { listen: any, ..SimulatorOptions::default() };
    let controlled = SimulatorOptions { control: Some(any), ..SimulatorOptions::default() };
    for options in [listens, controlled] {
        let refused = Simulator::start(options, Arc::new(SystemClock)).await.err().expect("it is refused");
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
        let allowed = SimulatorOptions { allow_any_address: true, ..options };
        assert!(Simulator::start(allowed, Arc::new(SystemClock)).await.is_ok());
    }
}

#[tokio::test]
async fn a_shutdown_closes_ports_and_connections() {
    let simulator = simulator().await;
    let (mut stream, _) = session(&simulator).await;
    let (address, control) = (simulator.address(), simulator.control_address().unwrap());
    simulator.shutdown().await;
    assert!(rest(&mut stream).await.1.is_err());
    for address in [address, control] {
        assert_eq!(TcpStream::connect(address).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}

#[tokio::test]
async fn a_dropped_simulator_stops() {
    let simulator = simulator().await;
    let (mut stream, _) = session(&simulator).await;
    drop(simulator);
    assert!(rest(&mut stream).await.1.is_err());
}
