//! The commands, as a user runs them.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::Stdio;
use std::time::Duration;

use imds_exporter::config::VARIABLES;
use imds_exporter::domain::Kind;
use imds_exporter::domain::place::Circumstances;
use imds_exporter::runbook::explanation;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::support::program::{ExporterProcess, Lines, exit_status, output, program, program_with_imds, send_signal};
use crate::support::request::{get, metrics_with};
use crate::support::simulator::{CONNECT_REFUSED, HEALTHY, apply_toml, start_simulator};
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
    let mut command = program(&[]);
    command.env("IMDS_EXPORTER_POLL_INTERVAL", "soon").env("IMDS_EXPORTER_STATEFILE", "x");
    // An address that cannot be bound has another exit code.
    command.env("IMDS_EXPORTER_LISTEN_ADDRESS", "192.0.2.1:1");
    let output = output(command).await;
    assert_eq!(output.status.code(), Some(64));
    let text = text(output.stderr);
    assert!(text.contains("IMDS_EXPORTER_POLL_INTERVAL: ") && text.contains("IMDS_EXPORTER_STATEFILE: "), "{text}");
    assert!(text.contains("IMDS_EXPORTER_STATE_FILE"), "{text}");
}

#[tokio::test]
async fn usage_errors_exit_with_64_and_help_exits_with_0() {
    for wrong in [&["serv"][..], &["--port", "1"], &["wait", "--timeout", "soon"], &["check", "x"]] {
        assert_eq!(output(program(wrong)).await.status.code(), Some(64), "{wrong:?}");
    }
    for command in [
        &["--help"][..],
        &["check", "--help"],
        &["wait", "--help"],
        &["healthcheck", "--help"],
        &["demo", "--help"],
        &["simulate", "--help"],
    ] {
        let output = output(program(command)).await;
        assert_eq!(output.status.code(), Some(0));
        let text = text(output.stdout);
        for variable in VARIABLES.iter().filter(|_| !["demo", "simulate"].contains(&command[0])) {
            assert!(text.contains(variable.name), "{command:?} does not name {}", variable.name);
        }
    }
    assert_eq!(output(program(&["--version"])).await.status.code(), Some(0));
}

#[tokio::test]
async fn flags_of_other_exporters_are_answered_with_the_variable() {
    for (flag, variable) in [
        ("--web.listen-address=:9100", "IMDS_EXPORTER_LISTEN_ADDRESS"),
        ("-web.config.file", "IMDS_EXPORTER_WEB_CONFIG_FILE"),
        ("--log.level=debug", "IMDS_EXPORTER_LOG"),
    ] {
        let output = output(program(&[flag])).await;
        assert_eq!(output.status.code(), Some(64));
        let text = text(output.stderr);
        assert!(text.split_whitespace().any(|word| word == variable), "{text}");
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
async fn usage_errors_quote_arguments_without_control_characters_and_in_bounded_length() {
    let escapes = OsString::from("\x1b[31m".repeat(3_000));
    let long = OsString::from_vec(b"\xff\x1b[31m".repeat(1_000));
    let not_utf8 = OsStr::from_bytes(b"\xff\x1b[31m\xfe").to_owned();
    for (name, argument) in [("escape sequences", escapes), ("not UTF-8", not_utf8), ("both", long)] {
        for before in [&[][..], &["wait", "--timeout"], &["check"]] {
            let mut command = program(before);
            command.arg(&argument);
            let output = output(command).await;
            let what = format!("{before:?}, {name}: {}", output.stderr.escape_ascii());
            assert_eq!(output.status.code(), Some(64), "{what}");
            assert!(!output.stderr.contains(&0x1b), "{what}");
            assert!(!output.stderr.is_empty() && output.stderr.len() < LONGEST_USAGE_ERROR, "{what}");
        }
    }
}

#[tokio::test]
async fn misspelt_commands_and_options_are_answered_with_the_nearest_name() {
    for (misspelt, nearest) in [
        (&["serv"][..], "'serve'"),
        (&["chekc"], "'check'"),
        (&["healthchek"], "'healthcheck'"),
        (&["wait", "--timout", "1s"], "'--timeout'"),
        (&["check", "--jsn"], "'--json'"),
    ] {
        let output = output(program(misspelt)).await;
        assert_eq!(output.status.code(), Some(64), "{misspelt:?}");
        let text = text(output.stderr);
        assert!(text.contains(nearest), "{misspelt:?}: {text}");
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
async fn check_exits_with_0_when_usable_1_when_failing_and_2_with_a_warning() {
    let simulator = start_simulator().await;
    let check = async || {
        let output = output(program_with_imds(simulator.address(), &["check", "--json"])).await;
        let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        (output.status.code().expect("it exits"), json)
    };
    let (code, json) = check().await;
    assert_eq!((code, &json["verdict"]), (0, &"usable".into()));
    assert_eq!(json["steps"].as_array().map(Vec::len), Some(3));

    for (change, warning) in [
        ("expires_in = \"-5m\"\nrotation = \"off\"", "expired"),
        ("expires_in = \"3h\"\nrotation = \"off\"", "rotation_late"),
        ("rotate = true\nrotation = \"1h\"\nlifetime = \"6h\"\nclock_skew = \"-2m\"", "clock_skew"),
    ] {
        apply_toml(&simulator, change).await;
        let (code, json) = check().await;
        assert_eq!((code, &json["verdict"]), (2, &"warning".into()), "{json}");
        assert!(json["warnings"].as_array().expect("a list").contains(&warning.into()), "{json}");
    }
    apply_toml(&simulator, "fault = \"assume_role_denied\"").await;
    let (code, json) = check().await;
    assert_eq!(
        (code, &json["failure"]["kind"], &json["failure"]["step"]),
        (1, &"assume_role_denied".into(), &"credentials".into())
    );

    // Without --json, the texts about the kind are printed.
    let output = output(program_with_imds(simulator.address(), &["check"])).await;
    let text = text(output.stdout);
    let kind = Kind::AssumeRoleDenied;
    let texts = explanation(kind, Circumstances::default());
    for part in [kind.label(), kind.observed(), &texts.cause, &texts.action, "HTTP 200"] {
        assert!(text.contains(part), "{text}");
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
async fn healthcheck_asks_the_exporter_on_this_machine() {
    let simulator = start_simulator().await;
    let ExporterProcess { child: _child, address, .. } = ExporterProcess::start(simulator.address()).await;
    let healthcheck = async |listen: String| {
        let mut command = program(&["healthcheck"]);
        command.env("IMDS_EXPORTER_LISTEN_ADDRESS", listen);
        output(command).await.status.code()
    };
    assert_eq!(healthcheck(address.to_string()).await, Some(0));
    assert_eq!(healthcheck(format!("0.0.0.0:{}", address.port())).await, Some(0));
    assert_eq!(healthcheck("127.0.0.1:1".to_owned()).await, Some(1));
}

#[tokio::test]
async fn the_exporter_serves_on_ipv6_and_uses_no_proxy() {
    let simulator = start_simulator().await;
    let mut command = program_with_imds(simulator.address(), &[]);
    command.env("IMDS_EXPORTER_LISTEN_ADDRESS", "[::1]:0");
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        command.env(name, "http://127.0.0.1:1");
    }
    let exporter = ExporterProcess::start_with(command).await;
    assert!(exporter.address.is_ipv6());
    metrics_with(exporter.address, "\nimds_up 1\n").await;
}

#[tokio::test]
async fn an_address_in_use_exits_with_1_and_names_the_variable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
    let mut command = program(&[]);
    command.env("IMDS_EXPORTER_LISTEN_ADDRESS", listener.local_addr().expect("it is bound").to_string());
    let output = output(command).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(output.stderr).contains("IMDS_EXPORTER_LISTEN_ADDRESS"));
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
async fn configuration_errors_quote_names_without_control_characters() {
    let mut command = program(&[]);
    command.env("IMDS_EXPORTER_\x1b[31m", "x");
    let output = output(command).await;
    assert_eq!(output.status.code(), Some(64));
    assert!(!output.stderr.contains(&0x1b) && !output.stderr.is_empty());
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

#[tokio::test]
async fn check_says_what_a_new_client_gets() {
    let simulator = start_simulator().await;
    let check = async |fault: &str, v1_disabled: &str| {
        apply_toml(&simulator, fault).await;
        let mut command = program_with_imds(simulator.address(), &["check", "--json"]);
        command.env("AWS_EC2_METADATA_V1_DISABLED", v1_disabled);
        let json: Value = serde_json::from_slice(&output(command).await.stdout).expect("JSON");
        (json["clients"][0]["prognosis"].as_str().map(str::to_owned), json["warnings"].clone())
    };
    let signs = || Some("signs".to_owned());
    assert_eq!(check("fault = \"none\"", "false").await.0, signs());
    let throttled = "fault = \"throttled\"";
    assert_eq!(check(throttled, "false").await.0.as_deref(), Some("bound_to_nothing"));
    // Versions of boto3 differ where IMDS can be reached without a token.
    assert_eq!(check(throttled, "true").await.0.as_deref(), Some("unknown"));
    assert_eq!(check(CONNECT_REFUSED, "true").await.0.as_deref(), Some("creation_raises"));
    assert_eq!(check("fault = \"no_role\"", "true").await.0.as_deref(), Some("bound_to_nothing"));
    // The lost token request takes a second, as it does for an SDK: that is no slow request of its own.
    let fallback = "fault = \"hop_limit\"\ntokens = \"optional\"";
    assert_eq!(check(fallback, "false").await, (signs(), serde_json::json!(["v1_fallback"])));
}
