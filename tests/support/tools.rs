//! Programs from `target/tools`, which `tests/tools/setup` fetches.

use std::fmt::Display;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::program::{Lines, command};
use super::repository;
use super::wait::answer_within;

/// Longer than these programs take to start or to answer on a loaded machine.
const TOOL_DEADLINE: Duration = Duration::from_mins(1);

/// The path of a program; a missing program is a failure.
pub(crate) fn tool(path: &str) -> PathBuf {
    let program = repository::path("target/tools").join(path);
    assert!(program.exists(), "{} is missing: run tests/tools/setup", program.display());
    program
}

/// Asks again until there is an answer; fails with `what` at the deadline.
pub(crate) async fn eventually<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    answer_within(TOOL_DEADLINE, ask).await.unwrap_or_else(|| panic!("timeout: {what}"))
}

/// Starts a server that writes its address to standard error, after `marker`.
async fn start_server(mut command: Command, marker: &str) -> (Child, SocketAddr) {
    let mut server = command.stderr(Stdio::piped()).spawn().expect("the server runs");
    let mut lines = Lines::of(server.stderr.take());
    let address = |line: &str| line.split_once(marker).map(|(_, rest)| rest.trim().parse().expect("an address"));
    let address = lines.find(TOOL_DEADLINE, address).await;
    lines.read_on(drop);
    (server, address)
}

/// Prometheus with this configuration, and its address.
pub(crate) async fn start_prometheus(folder: &Path, config: &str) -> (Child, SocketAddr) {
    let file = folder.join("prometheus.yml");
    fs::write(&file, config).expect("the folder can be written");
    let mut prometheus = command(tool("debian/usr/bin/prometheus"));
    prometheus
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg("--web.listen-address=127.0.0.1:0");
    start_server(prometheus, "msg=\"Listening on\" address=").await
}

/// moto's server, and its address.
pub(crate) async fn start_moto() -> (Child, SocketAddr) {
    let mut moto = command(tool("python/bin/moto_server"));
    moto.args(["-H", "127.0.0.1", "-p", "0"]).env("PYTHONUNBUFFERED", "1").stdout(Stdio::null());
    start_server(moto, "Running on http://").await
}

/// A Python program from `tests/end_to_end`, without an AWS configuration or a proxy from outside.
pub(crate) fn python(script: &str) -> Command {
    let mut python = command(tool("python/bin/python"));
    python.arg(repository::path("tests/end_to_end").join(script));
    python.env_clear().env("PYTHONPYCACHEPREFIX", repository::path("target/tools/pycache")).env("HOME", "/nonexistent");
    python
}

/// A Python program that answers each line with a line.
pub(crate) struct Python {
    _child: Child,
    stdin: ChildStdin,
    lines: Lines<ChildStdout>,
}

impl Python {
    /// Starts one of [`python`].
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("Python runs");
        let stdin = child.stdin.take().expect("it is piped");
        let lines = Lines::of(child.stdout.take());
        Self { _child: child, stdin, lines }
    }

    pub(crate) async fn ask(&mut self, line: impl Display) -> String {
        self.stdin.write_all(format!("{line}\n").as_bytes()).await.expect("the program reads its input");
        self.lines.find(TOOL_DEADLINE, |line| Some(line.to_owned())).await
    }
}
