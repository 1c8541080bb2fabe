//! `healthcheck` and `wait` beside an exporter with TLS or passwords, and beside other programs on its port.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;

use crate::support::exporter::listen;
use crate::support::program::{ExporterProcess, output, program_with_imds};
use crate::support::request::get_until;
use crate::support::simulator::start_simulator;
use crate::support::wait::all_at_once;
use crate::support::web_config::{WebConfigFile, users};

/// Exit code and what was printed.
async fn run(arguments: &[&str], imds: SocketAddr, listen: SocketAddr) -> (Option<i32>, String) {
    let mut command = program_with_imds(imds, arguments);
    command.env("IMDS_EXPORTER_LISTEN_ADDRESS", listen.to_string());
    let output = output(command).await;
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).expect("text"))
}

/// A server that answers each connection with these bytes, again and again.
async fn server(answer: &'static [u8], pause: Duration) -> SocketAddr {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 1024];
                let _gone = stream.read(&mut request).await;
                while stream.write_all(answer).await.is_ok() && !pause.is_zero() {
                    sleep(pause).await;
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn beside_tls_both_know_whether_the_exporter_is_healthy() {
    let simulator = start_simulator().await;
    let folder = WebConfigFile::new();
    folder.write(&folder.tls(2100));
    let mut command = program_with_imds(simulator.address(), &[]);
    command
        .env("IMDS_EXPORTER_WEB_CONFIG_FILE", folder.path())
        .env("IMDS_EXPORTER_PROBE_LISTEN_ADDRESS", "127.0.0.1:0");
    let exporter = ExporterProcess::start_with(command).await;
    let probes = exporter.probe_address.expect("they have a listener");
    get_until(probes, "/-/startup", |response| response.status == 200).await;
    let imds = simulator.address();
    assert_eq!(run(&["healthcheck"], imds, exporter.address).await, (Some(0), String::new()));
    let (code, printed) = run(&["wait", "--timeout", "20s"], imds, exporter.address).await;
    assert_eq!((code, printed.lines().count()), (Some(0), 1), "{printed}");
}

#[tokio::test]
async fn beside_passwords_both_name_the_variable_that_helps() {
    let simulator = start_simulator().await;
    let folder = WebConfigFile::new();
    folder.write(&users(4));
    let mut command = program_with_imds(simulator.address(), &[]);
    command.env("IMDS_EXPORTER_WEB_CONFIG_FILE", folder.path());
    let exporter = ExporterProcess::start_with(command).await;
    for (arguments, expected) in [(&["healthcheck"][..], 1), (&["wait", "--timeout", "20s"], 0)] {
        let (code, printed) = run(arguments, simulator.address(), exporter.address).await;
        assert_eq!(code, Some(expected), "{printed}");
        assert!(printed.contains("IMDS_EXPORTER_PROBE_LISTEN_ADDRESS"), "{printed}");
    }
}

#[tokio::test]
async fn another_program_on_the_port_is_not_taken_for_the_exporter() {
    let simulator = start_simulator().await;
    let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n";
    let stranger = server(ok, Duration::ZERO).await;
    assert_eq!(run(&["healthcheck"], simulator.address(), stranger).await.0, Some(1));
    // Returns before its time.
    assert_eq!(run(&["wait", "--timeout", "10m"], simulator.address(), stranger).await.0, Some(0));
}

#[tokio::test]
async fn a_server_that_drips_bytes_holds_neither_for_long() {
    let simulator = start_simulator().await;
    let imds = simulator.address();
    let cases = [&b"H"[..], b"HTTP/1.1 200 OK\r\nServer: imds-exporter\r\nContent-Length: 100000\r\n\r\nx"];
    let hold = |bytes| async move {
        let dripping = server(bytes, Duration::from_millis(100)).await;
        assert_eq!(run(&["healthcheck"], imds, dripping).await.0, Some(1));
        assert_eq!(run(&["wait", "--timeout", "3s"], imds, dripping).await.0, Some(0));
    };
    all_at_once(cases.map(hold)).await;
}

#[tokio::test]
async fn terminal_escapes_are_not_printed() {
    let simulator = start_simulator().await;
    let answer =
        b"HTTP/1.1 503 x\r\nServer: imds-exporter\r\nContent-Length: 9\r\nConnection: close\r\n\r\n\x1b[31mred\n";
    let (code, printed) = run(&["healthcheck"], simulator.address(), server(answer, Duration::ZERO).await).await;
    assert_eq!(code, Some(1));
    assert!(printed.contains("red") && !printed.contains('\x1b'), "{printed:?}");
}
