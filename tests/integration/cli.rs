//! The commands, as a user runs them.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStringExt;
use std::process::Stdio;
use std::time::Duration;

use imds_exporter::config::VARIABLES;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::program::{ExporterProcess, Lines, exit_status, output, program, program_with_imds, send_signal};
use crate::support::request::get;
use crate::support::simulator::{HEALTHY, apply_toml, start_simulator};
use crate::support::wait::{DEADLINE, wait_until};

/// The longest text that a usage error may write, in bytes.
const LONGEST_USAGE_ERROR: usize = 3_000;

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("text")
}

#[tokio::test]
async fn sigterm_and_ctrl_c_stop_the_exporter_within_a_second_even_during_a_hanging_poll() {
    let simulator = start_simulator().await;
    apply_toml(&simulator, "fault = \"read_timeout\"").await;
    for signal in ["-TERM", "-INT"] {
        let asked = simulator.counts().token;
        let mut command = program_with_imds(simulator.address(), &[]);
        command.env("IMDS_EXPORTER_TIMEOUT", "1s");
        let ExporterProcess { mut child, address, .. } = ExporterProcess::start_with(command).await;
        wait_until("a poll begins", || simulator.counts().token > asked).await;
        // A connection that is open must not delay the stop.
        let _open = TcpStream::connect(address).await.expect("it listens");
        send_signal(&child, signal).await;
        let status =
            timeout(Duration::from_secs(1), child.wait()).await.expect("it ends within a second").expect("it ran");
        assert!(status.success(), "{signal}: {status}");
    }
}

#[tokio::test]
async fn configuration_errors_are_all_listed_and_exit_with_64_before_a_port_is_bound() {
    for arguments in [&[][..], &["check"], &["wait"], &["healthcheck"]] {
        let mut command = program(arguments);
        command.env("IMDS_EXPORTER_POLL_INTERVAL", "soon").env("IMDS_EXPORTER_STATEFILE", "x");
        command.env("IMDS_EXPORTER_\x1b[31m", "x");
        // An address that cannot be bound has another exit code.
        command.env("IMDS_EXPORTER_LISTEN_ADDRESS", "192.0.2.1:1");
        let output = output(command).await;
        let text = text(output.stderr);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {text}");
        for name in ["IMDS_EXPORTER_POLL_INTERVAL: ", "IMDS_EXPORTER_STATEFILE: ", "IMDS_EXPORTER_STATE_FILE"] {
            assert!(text.contains(name), "{arguments:?}: {text}");
        }
        assert!(!text.contains('\x1b'), "{arguments:?}: {text:?}");
    }
}

#[tokio::test]
async fn help_exits_with_0_and_names_the_variables() {
    for command in ["", "check", "wait", "healthcheck", "demo", "simulate"] {
        let arguments: Vec<_> = [command, "--help"].into_iter().filter(|argument| !argument.is_empty()).collect();
        let output = output(program(&arguments)).await;
        assert_eq!(output.status.code(), Some(0));
        let text = text(output.stdout);
        for variable in VARIABLES.iter().filter(|_| !["demo", "simulate"].contains(&command)) {
            assert!(text.contains(variable.name), "{command:?} does not name {}", variable.name);
        }
    }
    assert_eq!(output(program(&["--version"])).await.status.code(), Some(0));
}

/// Usage errors, and what helps: the nearest name, or the variable that stands for a flag of other exporters.
const USAGE_ERRORS: [(&[&str], &str); 11] = [
    (&["serv"], "'serve'"),
    (&["chekc"], "'check'"),
    (&["healthchek"], "'healthcheck'"),
    (&["wait", "--timout", "1s"], "'--timeout'"),
    (&["check", "--jsn"], "'--json'"),
    (&["--port", "1"], ""),
    (&["wait", "--timeout", "soon"], ""),
    (&["check", "x"], ""),
    (&["--web.listen-address=:9100"], "IMDS_EXPORTER_LISTEN_ADDRESS"),
    (&["-web.config.file"], "IMDS_EXPORTER_WEB_CONFIG_FILE"),
    (&["--log.level=debug"], "IMDS_EXPORTER_LOG"),
];

#[tokio::test]
async fn usage_errors_exit_with_64_and_quote_arguments_without_control_characters_and_in_bounded_length() {
    let mut cases: Vec<(Vec<OsString>, &str)> =
        USAGE_ERRORS.iter().map(|(arguments, help)| (arguments.iter().map(OsString::from).collect(), *help)).collect();
    for hostile in ["\x1b[31m".repeat(3_000).into_bytes(), b"\xff\x1b[31m\xfe".to_vec(), b"\xff\x1b[31m".repeat(1_000)]
    {
        for before in [&[][..], &["wait", "--timeout"], &["check"]] {
            let arguments = before.iter().map(OsString::from).chain([OsString::from_vec(hostile.clone())]);
            cases.push((arguments.collect(), ""));
        }
    }
    for (arguments, help) in cases {
        let mut command = program(&[]);
        command.args(&arguments);
        let output = output(command).await;
        let what = format!("{arguments:.99?}: {}", output.stderr.escape_ascii());
        assert_eq!(output.status.code(), Some(64), "{what}");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(help.is_empty() || text.split([' ', '\n', '?']).any(|word| word == help), "{what}");
        assert!(!text.contains('\x1b') && !text.is_empty() && text.len() < LONGEST_USAGE_ERROR, "{what}");
    }
}

#[tokio::test]
async fn a_result_that_cannot_be_written_is_an_error() {
    let simulator = start_simulator().await;
    for arguments in [&["check"][..], &["check", "--json"]] {
        let mut command = program_with_imds(simulator.address(), arguments);
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
        let mut child = command.stdout(full).stderr(Stdio::null()).spawn().expect("it runs");
        assert_eq!(exit_status(&mut child).await.code(), Some(74), "{arguments:?}");
    }
}

#[tokio::test]
async fn a_closed_standard_output_is_not_an_error() {
    let simulator = start_simulator().await;
    for arguments in [&["--help"][..], &["--version"], &["check"], &["wait"], &["simulate", "--list"]] {
        let (reader, writer) = std::io::pipe().expect("the system has pipes");
        drop(reader);
        let mut command = program_with_imds(simulator.address(), arguments);
        let status = command.stdout(writer).stderr(Stdio::null()).status().await.expect("it runs");
        assert_eq!(status.code(), Some(0), "{arguments:?}");
    }
}

#[tokio::test]
async fn wait_returns_when_credentials_resolve_and_prints_changes_only() {
    let simulator = start_simulator().await;
    apply_toml(&simulator, "fault = \"imds_disabled\"").await;
    let mut command = program_with_imds(simulator.address(), &["wait", "--timeout", "60s"]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it runs");
    let mut lines = Lines::of(child.stdout.take());
    let first = lines.next().await;
    assert!(first.contains("imds_disabled"), "{first}");
    wait_until("it tries again", || simulator.counts().token >= 3).await;
    apply_toml(&simulator, HEALTHY).await;
    // At most, the request in progress fails in another way, since the fault ends between its requests.
    let (role, mut others) = (simulator.credential().role, 0);
    while !lines.next().await.contains(role.as_str()) {
        others += 1;
    }
    assert!(others <= 1, "{others} lines of other failures");
    assert_eq!(exit_status(&mut child).await.code(), Some(0));
}

#[tokio::test]
async fn wait_exits_with_1_and_prints_the_last_failure_at_its_timeout() {
    let simulator = start_simulator().await;
    apply_toml(&simulator, "fault = \"throttled\"").await;
    let output = output(program_with_imds(simulator.address(), &["wait", "--timeout", "300ms"])).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(output.stdout).contains("throttled"));
}

#[tokio::test]
async fn the_demo_says_that_it_simulates_and_ctrl_c_stops_it() {
    let mut child = program(&["demo"]).stdout(Stdio::piped()).spawn().expect("it runs");
    let mut lines = Lines::of(child.stdout.take());
    let first = lines.next().await;
    assert!(first.contains("SIMULATION"), "{first}");
    lines.find(DEADLINE, |line| line.contains("imds_up 1").then_some(())).await;
    send_signal(&child, "-INT").await;
    assert!(exit_status(&mut child).await.success());
}

#[tokio::test]
async fn simulate_listens_on_loopback_only_by_default_and_serves_its_control_port() {
    for option in ["--listen", "--control", "--sts"] {
        let refused = output(program(&["simulate", option, "0.0.0.0:0"])).await;
        assert_eq!(refused.status.code(), Some(1));
        assert!(text(refused.stderr).contains("see --expose-to-the-network"), "{option}");
    }
    let listed = output(program(&["simulate", "--list"])).await;
    assert!(text(listed.stdout).contains("blog"));

    let mut child = program(&["simulate", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0", "--scenario", "blog"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut lines = Lines::of(child.stdout.take());
    let address = |line: &str| {
        let url = line.split_whitespace().find_map(|word| word.strip_prefix("http://"))?;
        Some(url.parse::<SocketAddr>().expect("an address"))
    };
    let imds = lines.find(DEADLINE, address).await;
    let control = lines.find(DEADLINE, address).await;
    assert_eq!(get(control, "/state").await.status, 200);
    assert_eq!(output(program_with_imds(imds, &["wait", "--timeout", "10s"])).await.status.code(), Some(0));
    send_signal(&child, "-TERM").await;
    assert!(exit_status(&mut child).await.success());
}
