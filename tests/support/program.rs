//! The program as a process, and this test binary as one.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::wait::{DEADLINE, answer_within};

/// Names another build of the program, to be tested in place of the one that Cargo has built with the tests.
const TESTED_PROGRAM: &str = "TESTED_PROGRAM";

/// A command that is killed when the test ends.
pub(crate) fn command(program: impl Into<PathBuf>) -> Command {
    let mut command = Command::new(program.into());
    command.kill_on_drop(true).stdin(Stdio::null());
    command
}

/// The program with nothing in its environment but an endpoint on loopback at which nothing answers, and no home folder.
pub(crate) fn program(arguments: &[&str]) -> Command {
    let tested = std::env::var_os(TESTED_PROGRAM).unwrap_or_else(|| env!("CARGO_BIN_EXE_imds-exporter").into());
    let mut command = command(tested);
    command
        .args(arguments)
        .env_clear()
        .env("HOME", "/nonexistent")
        .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.255.255.255:9");
    command
}

/// The program with an IMDS; its server gets a free port.
pub(crate) fn program_with_imds(imds: SocketAddr, arguments: &[&str]) -> Command {
    let mut command = program(arguments);
    command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://{imds}"));
    command.env("IMDS_EXPORTER_LISTEN_ADDRESS", "127.0.0.1:0");
    command
}

/// The same command, as the last arguments of what a shell runs, such as `ulimit -n 9; exec`.
pub(crate) fn in_shell(shell: &str, inner: &Command) -> Command {
    let inner = inner.as_std();
    let mut outer = command("sh");
    outer.args(["-c", &format!("{shell} \"$0\" \"$@\"")]).arg(inner.get_program()).args(inner.get_args()).env_clear();
    outer.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    outer
}

/// This test binary with an empty environment, for one test that is ignored otherwise.
pub(crate) fn test_as_process(name: &str) -> Command {
    let mut command = command(std::env::current_exe().expect("this binary has a path"));
    command.args(["--exact", name, "--ignored", "--nocapture", "--test-threads=1"]).env_clear();
    command
}

/// Runs the command to its end.
pub(crate) async fn output(mut command: Command) -> Output {
    timeout(DEADLINE, command.output()).await.expect("the process ends in time").expect("the process runs")
}

/// Waits for the end of the process.
pub(crate) async fn exit_status(child: &mut Child) -> ExitStatus {
    timeout(DEADLINE, child.wait()).await.expect("the process ends in time").expect("the process ran")
}

/// Sends a signal, such as `-TERM`.
pub(crate) async fn send_signal(child: &Child, signal: &str) {
    let pid = child.id().expect("the process runs").to_string();
    let status = Command::new("kill").args([signal, &pid]).status().await.expect("kill runs");
    assert!(status.success());
}

/// The lines that a process writes.
pub(crate) struct Lines<R>(tokio::io::Lines<BufReader<R>>);

impl<R: AsyncRead + Unpin + Send + 'static> Lines<R> {
    pub(crate) fn of(stream: Option<R>) -> Self {
        Self(BufReader::new(stream.expect("the stream is piped")).lines())
    }

    pub(crate) async fn next(&mut self) -> String {
        self.find(DEADLINE, |line| Some(line.to_owned())).await
    }

    /// Reads on to the first line in which there is what `find` looks for.
    pub(crate) async fn find<T>(&mut self, deadline: Duration, find: impl Fn(&str) -> Option<T>) -> T {
        let reading = async {
            loop {
                let line = self.0.next_line().await.expect("the process writes text");
                if let Some(found) = find(&line.expect("the process writes the line before it ends")) {
                    return found;
                }
            }
        };
        timeout(deadline, reading).await.expect("the process writes the line in time")
    }

    /// Keeps reading, so that the pipe does not fill up.
    pub(crate) fn read_on(mut self, mut with: impl FnMut(String) + Send + 'static) {
        tokio::spawn(async move {
            while let Ok(Some(line)) = self.0.next_line().await {
                with(line);
            }
        });
    }
}

/// The program while it serves, with its log.
pub(crate) struct ExporterProcess {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
    /// The address of the probes, if they have one of their own.
    pub(crate) probe_address: Option<SocketAddr>,
    log: Arc<Mutex<Vec<Value>>>,
}

impl ExporterProcess {
    /// Starts an exporter that polls the IMDS every second.
    pub(crate) async fn start(imds: SocketAddr) -> Self {
        Self::start_with(program_with_imds(imds, &[])).await
    }

    /// Starts the command with a poll every second, and reads the addresses from its log.
    pub(crate) async fn start_with(mut command: Command) -> Self {
        command.env("IMDS_EXPORTER_POLL_INTERVAL", "1s");
        Self::start_with_default_interval(command).await
    }

    /// As [`Self::start_with`], with the interval of the command.
    pub(crate) async fn start_with_default_interval(mut command: Command) -> Self {
        command.env("IMDS_EXPORTER_LOG_FORMAT", "json");
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the exporter runs");
        let log = Arc::new(Mutex::new(Vec::<Value>::new()));
        let kept = Arc::clone(&log);
        Lines::of(child.stderr.take()).read_on(move |line| {
            let line = serde_json::from_str(&line).expect("the log is JSON");
            kept.lock().expect("no test panics while it holds this").push(line);
        });
        let serving = async || {
            let log = log.lock().expect("no test panics while it holds this");
            log.iter().find(|line| line["address"].is_string()).cloned()
        };
        let serving = answer_within(DEADLINE, serving).await;
        let serving = serving.unwrap_or_else(|| panic!("the exporter does not serve: {:?}", log.lock()));
        let address = |field: &str| serving[field].as_str().map(|address| address.parse().expect("an address"));
        Self {
            child,
            address: address("address").expect("it is a string"),
            probe_address: address("probe_address"),
            log,
        }
    }

    /// The first line of the log that is as wanted.
    pub(crate) fn logged(&self, wanted: impl Fn(&Value) -> bool) -> Option<Value> {
        let log = self.log.lock().expect("no test panics while it holds this");
        log.iter().find(|line| wanted(line)).cloned()
    }

    /// How many lines of the log are as wanted.
    pub(crate) fn count_logged(&self, wanted: impl Fn(&Value) -> bool) -> usize {
        let log = self.log.lock().expect("no test panics while it holds this");
        log.iter().filter(|line| wanted(line)).count()
    }

    /// Whether the log has a warning with this field.
    pub(crate) fn has_warning_with(&self, field: &str) -> bool {
        self.logged(|line| line["level"] == "WARN" && line[field].is_string()).is_some()
    }

    /// Stops the process in order, by SIGTERM.
    pub(crate) async fn stop(mut self) {
        send_signal(&self.child, "-TERM").await;
        assert!(exit_status(&mut self.child).await.success());
    }

    /// Kills the process, which can save nothing.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.expect("the process ran");
    }
}
