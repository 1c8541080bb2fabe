//! Programs from `target/tools`, and the exporter as a process.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// Longer than anything takes that goes well on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A program from `target/tools`; that it is not there is a failure.
pub(crate) fn tool(path: &str) -> PathBuf {
    let program = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/tools").join(path);
    assert!(program.exists(), "{} is missing: run tests/setup", program.display());
    program
}

/// A command that dies with the test.
pub(crate) fn command(program: PathBuf) -> Command {
    let mut command = Command::new(program);
    command.kill_on_drop(true).stdin(Stdio::null());
    command
}

/// A Python program of the tests, against an IMDS. Neither the user's AWS configuration nor a proxy is in its way.
pub(crate) struct Python {
    _child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Python {
    pub(crate) fn start(script: &str, imds: SocketAddr) -> Self {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/real").join(script);
        let mut command = command(tool("python/bin/python"));
        command.arg(script).env_clear().env("PYTHONDONTWRITEBYTECODE", "1").env("HOME", "/nonexistent");
        command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://{imds}"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("Python runs");
        let stdin = child.stdin.take().expect("it is piped");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        Self { _child: child, stdin, lines }
    }

    /// Sends a line.
    pub(crate) async fn tell(&mut self, line: &str) {
        self.stdin.write_all(format!("{line}\n").as_bytes()).await.expect("it reads");
    }

    /// Reads a line.
    pub(crate) async fn line(&mut self) -> String {
        let line = timeout(PATIENCE, self.lines.next_line()).await.expect("it answers in time");
        line.expect("it prints text").expect("it goes on")
    }

    /// Sends a line and reads one.
    pub(crate) async fn ask(&mut self, line: &str) -> String {
        self.tell(line).await;
        self.line().await
    }
}

/// The exporter as a process, on a port of the system's choice.
pub(crate) struct Exporter {
    pub(crate) address: SocketAddr,
    /// Where the probes are, if they are on.
    #[cfg_attr(not(feature = "web-config"), expect(dead_code, reason = "the tests of the feature use it"))]
    pub(crate) probes: Option<SocketAddr>,
    _child: Child,
}

impl Exporter {
    pub(crate) async fn start(imds: SocketAddr) -> Self {
        Self::start_with(imds, &[]).await
    }

    pub(crate) async fn start_with(imds: SocketAddr, more: &[(&str, &str)]) -> Self {
        let mut command = command(env!("CARGO_BIN_EXE_imds-exporter").into());
        command.env_clear().env("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://{imds}"));
        command.env("IMDS_EXPORTER_LISTEN_ADDRESS", "127.0.0.1:0").env("IMDS_EXPORTER_POLL_INTERVAL", "1s");
        command.env("IMDS_EXPORTER_LOG_FORMAT", "json").stderr(Stdio::piped());
        let mut child = command.envs(more.iter().copied()).spawn().expect("the exporter runs");
        let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let addresses = timeout(PATIENCE, async {
            loop {
                let line = lines.next_line().await.expect("its log is text").expect("it logs where it serves");
                let line: serde_json::Value = serde_json::from_str(&line).expect("its log is JSON");
                if let Some(address) = line["address"].as_str() {
                    let probes = line["probe_address"].as_str().map(|address| address.parse().expect("an address"));
                    return (address.parse().expect("an address"), probes);
                }
            }
        });
        let (address, probes) = addresses.await.expect("it tells in time");
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { address, probes, _child: child }
    }

    /// The exposition, once it holds `wanted`.
    pub(crate) async fn metrics_with(&self, wanted: &str) -> String {
        until(async || get(self.address, "/metrics").await.filter(|body| body.contains(wanted)), wanted).await
    }
}

/// The real Prometheus with this configuration; its address.
pub(crate) async fn prometheus(folder: &Path, config: &str) -> (Child, SocketAddr) {
    let file = folder.join("prometheus.yml");
    fs::write(&file, config).expect("the folder can be written");
    let mut prometheus = command(tool("debian/usr/bin/prometheus"));
    prometheus
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg("--web.listen-address=127.0.0.1:0")
        .stderr(Stdio::piped());
    let mut prometheus = prometheus.spawn().expect("Prometheus runs");
    let mut lines = BufReader::new(prometheus.stderr.take().expect("it is piped")).lines();
    let address = timeout(PATIENCE, async {
        loop {
            let line = lines.next_line().await.expect("text").expect("it tells where it serves");
            if let Some((_, address)) = line.split_once("msg=\"Listening on\" address=") {
                return address.trim().parse().expect("an address");
            }
        }
    });
    let address = address.await.expect("it starts in time");
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (prometheus, address)
}

/// Asks again until there is an answer.
pub(crate) async fn until<T>(ask: impl AsyncFn() -> Option<T>, what: &str) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("{what} does not come"))
}

/// The body of a GET that is answered 200.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.ok()?.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    (head.split(' ').nth(1) == Some("200")).then(|| body.to_owned())
}
