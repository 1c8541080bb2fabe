//! The program as a user runs it.

use std::net::SocketAddr;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use imds_exporter::config::VARIABLES;
use imds_exporter::simulator::Simulator;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::http::{PATIENCE, request};
use crate::support::{simulator, tell};

/// The program with nothing in its environment but what is given; the endpoint is on loopback whatever happens.
pub(crate) fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_imds-exporter"));
    command.args(arguments).env_clear().env("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.255.255.255:9");
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

pub(crate) fn against(simulator: &Simulator, arguments: &[&str]) -> Command {
    let mut command = program(arguments);
    command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://{}", simulator.address()));
    command.env("IMDS_EXPORTER_LISTEN_ADDRESS", "127.0.0.1:0");
    command
}

async fn output(mut command: Command) -> Output {
    timeout(PATIENCE, command.output()).await.expect("it ends").expect("it runs")
}

/// The program, serving, with its log.
pub(crate) struct Served {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
    log: Arc<Mutex<Vec<Value>>>,
}

impl Served {
    /// Starts to serve and reads the address off the log.
    pub(crate) async fn start(mut command: Command) -> Self {
        command.env("IMDS_EXPORTER_LOG_FORMAT", "json").env("IMDS_EXPORTER_POLL_INTERVAL", "1s");
        let mut child = command.stderr(Stdio::piped()).spawn().expect("it runs");
        let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (kept, mut address) = (Arc::clone(&log), None);
        while address.is_none() {
            let line = timeout(PATIENCE, lines.next_line()).await.expect("it tells in time").expect("its log is text");
            let line: Value = serde_json::from_str(&line.expect("it logs where it serves")).expect("its log is JSON");
            address = line["address"].as_str().map(|address| address.parse().expect("an address"));
            kept.lock().expect("no test panics while it holds this").push(line);
        }
        // Somebody must read on, or the log's pipe fills.
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let line = serde_json::from_str(&line).expect("its log is JSON");
                kept.lock().expect("no test panics while it holds this").push(line);
            }
        });
        Self { child, address: address.expect("the loop ended"), log }
    }

    /// The body, once it is as wanted.
    pub(crate) async fn until(&self, path: &str, wanted: impl Fn(&str) -> bool) -> String {
        let asking = async {
            loop {
                let (_, answer) = request(self.address, "GET", path).await;
                let body = answer.split_once("\r\n\r\n").expect("an answer has a body").1;
                if wanted(body) {
                    return body.to_owned();
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("{path} does not become as wanted"))
    }

    /// Whether there is a warning with this field.
    pub(crate) fn reported(&self, field: &str) -> bool {
        let log = self.log.lock().expect("no test panics while it holds this");
        log.iter().any(|line| line["level"] == "WARN" && line[field].is_string())
    }

    /// SIGKILL: nothing is saved on the way out.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.expect("it ran");
    }
}

pub(crate) async fn send(child: &Child, signal: &str) {
    let pid = child.id().expect("it runs").to_string();
    let status = Command::new("kill").args([signal, &pid]).status().await.expect("kill runs");
    assert!(status.success());
}

#[tokio::test]
async fn sigterm_and_ctrl_c_end_it_within_a_second_in_a_hanging_poll_too() {
    let simulator = simulator().await;
    tell(&simulator, "fault = \"read_timeout\"").await;
    for signal in ["-TERM", "-INT"] {
        let asked = simulator.counts().token;
        let mut command = against(&simulator, &[]);
        command.env("IMDS_EXPORTER_TIMEOUT", "1s");
        let Served { mut child, address, .. } = Served::start(command).await;
        timeout(PATIENCE, async {
            while simulator.counts().token == asked {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("a poll begins");
        // A connection that is open must not hold it.
        let _open = tokio::net::TcpStream::connect(address).await.expect("it listens");
        send(&child, signal).await;
        let status =
            timeout(Duration::from_secs(1), child.wait()).await.expect("it ends within a second").expect("it ran");
        assert!(status.success(), "{signal}: {status}");
    }
}

#[tokio::test]
async fn all_mistakes_are_listed_and_end_it_with_64_before_a_port_is_bound() {
    let mut command = program(&[]);
    command.env("IMDS_EXPORTER_POLL_INTERVAL", "soon").env("IMDS_EXPORTER_STATEFILE", "x");
    // A port that cannot be bound would end it with another code.
    command.env("IMDS_EXPORTER_LISTEN_ADDRESS", "192.0.2.1:1");
    let output = output(command).await;
    assert_eq!(output.status.code(), Some(64));
    let text = String::from_utf8(output.stderr).expect("text");
    assert!(text.contains("IMDS_EXPORTER_POLL_INTERVAL: ") && text.contains("IMDS_EXPORTER_STATEFILE: "), "{text}");
    assert!(text.contains("IMDS_EXPORTER_STATE_FILE"), "{text}");
}

#[tokio::test]
async fn usage_errors_end_it_with_64_and_help_with_0() {
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
        let text = String::from_utf8(output.stdout).expect("text");
        for variable in VARIABLES.iter().filter(|_| !["demo", "simulate"].contains(&command[0])) {
            assert!(text.contains(variable.name), "{command:?} does not name {}", variable.name);
        }
    }
    assert_eq!(output(program(&["--version"])).await.status.code(), Some(0));
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_bug() {
    let simulator = simulator().await;
    for arguments in [&["--help"][..], &["--version"], &["check"], &["wait"], &["simulate", "--list"]] {
        let (reader, writer) = std::io::pipe().expect("the system has pipes");
        drop(reader);
        let mut command = against(&simulator, arguments);
        let status = command.stdout(writer).stderr(Stdio::null()).status().await.expect("it runs");
        assert_eq!(status.code(), Some(0), "{arguments:?}");
    }
}

#[tokio::test]
async fn check_tells_usable_failing_and_warning_by_its_exit_code() {
    let simulator = simulator().await;
    let check = async || {
        let output = output(against(&simulator, &["check", "--json"])).await;
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
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
        tell(&simulator, change).await;
        let (code, json) = check().await;
        assert_eq!((code, &json["verdict"]), (2, &"warning".into()), "{json}");
        assert!(json["warnings"].as_array().expect("a list").contains(&warning.into()), "{json}");
    }
    tell(&simulator, "fault = \"assume_role_denied\"").await;
    let (code, json) = check().await;
    assert_eq!(
        (code, &json["failure"]["kind"], &json["failure"]["step"]),
        (1, &"assume_role_denied".into(), &"credentials".into())
    );

    // For a person: a line a step, then the kind and all that is known about it.
    let output = output(against(&simulator, &["check"])).await;
    let text = String::from_utf8(output.stdout).expect("text");
    let kind = imds_exporter::model::Kind::AssumeRoleDenied;
    for part in [kind.label(), kind.when(), kind.cause(), kind.action(), "HTTP 200"] {
        assert!(text.contains(part), "{text}");
    }
}

#[tokio::test]
async fn wait_returns_when_credentials_resolve_and_tells_changes_only() {
    let simulator = simulator().await;
    tell(&simulator, "fault = \"imds_disabled\"").await;
    let mut child = against(&simulator, &["wait", "--timeout", "60s"]).stdout(Stdio::piped()).spawn().expect("it runs");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let first = timeout(PATIENCE, lines.next_line()).await.expect("it tells").expect("text").expect("a line");
    assert!(first.contains("imds_disabled"), "{first}");
    let polled = async {
        while simulator.counts().token < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, polled).await.expect("it tries again");
    tell(&simulator, "fault = \"none\"").await;
    let second = timeout(PATIENCE, lines.next_line()).await.expect("it tells").expect("text").expect("a line");
    assert!(second.contains(simulator.credential().role.as_str()), "{second}");
    let status = timeout(PATIENCE, child.wait()).await.expect("it ends").expect("it ran");
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn wait_gives_up_with_the_last_failure() {
    let simulator = simulator().await;
    tell(&simulator, "fault = \"throttled\"").await;
    let output = output(against(&simulator, &["wait", "--timeout", "300ms"])).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stdout).expect("text").contains("throttled"));
}

#[tokio::test]
async fn healthcheck_asks_the_exporter_that_runs_here() {
    let simulator = simulator().await;
    let Served { child: _child, address, .. } = Served::start(against(&simulator, &[])).await;
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
async fn it_serves_on_ipv6_and_asks_no_proxy() {
    let simulator = simulator().await;
    let mut command = against(&simulator, &[]);
    command.env("IMDS_EXPORTER_LISTEN_ADDRESS", "[::1]:0");
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        command.env(name, "http://127.0.0.1:1");
    }
    let Served { child: _child, address, .. } = Served::start(command).await;
    assert!(address.is_ipv6());
    let up = async {
        while !request(address, "GET", "/metrics").await.1.contains("\nimds_up 1\n") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, up).await.expect("it resolves past the proxy");
}

#[tokio::test]
async fn an_address_that_is_taken_ends_it_with_a_word() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
    let mut command = program(&[]);
    command.env("IMDS_EXPORTER_LISTEN_ADDRESS", taken.local_addr().expect("it is bound").to_string());
    let output = output(command).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).expect("text").contains("IMDS_EXPORTER_LISTEN_ADDRESS"));
}

#[tokio::test]
async fn the_demo_tells_its_story_and_ctrl_c_ends_it_cleanly() {
    let mut child = program(&["demo"]).stdout(Stdio::piped()).spawn().expect("it runs");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let first = timeout(PATIENCE, lines.next_line()).await.expect("it tells").expect("text").expect("a line");
    assert!(first.contains("SIMULATION"), "{first}");
    timeout(PATIENCE, async {
        while let Some(line) = lines.next_line().await.expect("text") {
            if line.contains("imds_up 1") {
                return;
            }
        }
        panic!("it ended");
    })
    .await
    .expect("the exporter sees the simulated IMDS");
    send(&child, "-INT").await;
    let status = timeout(PATIENCE, child.wait()).await.expect("it ends").expect("it ran");
    assert!(status.success());
}

#[tokio::test]
async fn simulate_refuses_the_network_unless_told_so_and_obeys_its_control() {
    let refused = output(program(&["simulate", "--listen", "0.0.0.0:0"])).await;
    assert_eq!(refused.status.code(), Some(1));
    let listed = output(program(&["simulate", "--list"])).await;
    assert!(String::from_utf8(listed.stdout).expect("text").contains("blog"));

    let mut child = program(&["simulate", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0", "--scenario", "blog"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let mut addresses = Vec::new();
    timeout(PATIENCE, async {
        while addresses.len() < 2 {
            let line = lines.next_line().await.expect("text").expect("a line");
            let url = line.split_whitespace().find_map(|word| word.strip_prefix("http://"));
            addresses.extend(url.map(|url| url.parse::<std::net::SocketAddr>().expect("an address")));
        }
    })
    .await
    .expect("it tells its addresses");
    assert_eq!(request(addresses[1], "GET", "/state").await.0, 200);
    let wait = {
        let mut command = program(&["wait", "--timeout", "10s"]);
        command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://{}", addresses[0]));
        command
    };
    assert_eq!(output(wait).await.status.code(), Some(0));
    send(&child, "-TERM").await;
    assert!(timeout(PATIENCE, child.wait()).await.expect("it ends").expect("it ran").success());
}
