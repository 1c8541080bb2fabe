//! Real clients of one SDK, in a process of its own: `sdk_clients/` has the programs.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use std::{env, fs};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::network_namespace;
use crate::support::program::{Lines, command};
use crate::support::repository;
use crate::support::tools::tool;

/// Longer than a call takes in any outage, on a loaded machine.
const DEADLINE: Duration = Duration::from_mins(2);

/// The process.
pub(crate) struct SdkClients {
    _process: Child,
    stdin: ChildStdin,
    lines: Lines<ChildStdout>,
    /// Where libfaketime reads how far the clock is ahead.
    _folder: TempDir,
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Signed {
    /// It was signed with the key of this id.
    With(String),
    /// It was not signed, for this reason.
    Not(String),
}

impl SdkClients {
    /// The SDK of this label, with the endpoint of IMDS that all SDKs have by default, and these variables beside.
    ///
    /// Some SDKs obey no variable that names another endpoint, so this is for a network namespace alone.
    pub(crate) fn start(label: &str, environment: &[(&str, &str)]) -> Self {
        assert!(network_namespace::is_inside(), "an SDK with its default endpoint, outside of a network namespace");
        let folder = TempDir::new().expect("a temporary folder");
        let mut command = program(label, &folder);
        command.env("HOME", "/nonexistent").envs(environment.iter().copied());
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the program runs");
        let stdin = process.stdin.take().expect("it is piped");
        let lines = Lines::of(process.stdout.take());
        Self { _process: process, stdin, lines, _folder: folder }
    }

    async fn ask(&mut self, command: Value) -> Value {
        self.stdin.write_all(format!("{command}\n").as_bytes()).await.expect("the program reads its input");
        let answer = self.lines.find(DEADLINE, |line| Some(line.to_owned())).await;
        serde_json::from_str(&answer).expect("JSON")
    }

    /// The version of the SDK.
    pub(crate) async fn version(&mut self) -> String {
        self.ask(json!({"do": "version"})).await["version"].as_str().expect("a version").to_owned()
    }

    /// Creates a client in the way its users do; the error is the one that the creation raised.
    pub(crate) async fn create(&mut self, client: &str) -> Result<(), String> {
        self.create_by("create", client).await
    }

    /// Creates a client with an explicit provider of credentials, which only the program for Ruby knows.
    pub(crate) async fn create_with_provider(&mut self, client: &str) -> Result<(), String> {
        self.create_by("create_with_provider", client).await
    }

    async fn create_by(&mut self, command: &str, client: &str) -> Result<(), String> {
        let answer = self.ask(json!({"do": command, "client": client, "session": client})).await;
        answer["raised"].as_str().map_or(Ok(()), |raised| Err(raised.to_owned()))
    }

    /// One call of the client, as far as its signature.
    pub(crate) async fn sign(&mut self, client: &str) -> Signed {
        let answer = self.ask(json!({"do": "sign", "client": client})).await;
        match (answer["key"].as_str(), answer["error"].as_str()) {
            (Some(key), None) => Signed::With(key.to_owned()),
            (None, Some(error)) => Signed::Not(error.to_owned()),
            _ => panic!("no answer: {answer}"),
        }
    }

    /// Moves the clock of all clients.
    pub(crate) async fn advance(&mut self, seconds: i64) {
        self.ask(json!({"do": "advance", "seconds": seconds})).await;
    }
}

/// The program of an SDK, with nothing in its environment but what it needs to run.
fn program(label: &str, folder: &TempDir) -> Command {
    match label {
        "boto3" => python("boto3_clients.py"),
        "ruby" => ruby(),
        "go-v2" | "minio-go" => {
            let mut go = command(tool("go/bin/sdk_clients"));
            go.arg(label).env_clear();
            go
        }
        _ => {
            let mut native = python("sdk_clients/python_sdks.py");
            let ahead = folder.path().join("ahead");
            fs::write(&ahead, "+0\n").expect("the folder can be written");
            native.arg(label).env("PYTHONPATH", tool("sdks"));
            native.env("LD_PRELOAD", debian("usr/lib/*/faketime/libfaketimeMT.so.1"));
            native.env("FAKETIME_TIMESTAMP_FILE", ahead).env("FAKETIME_NO_CACHE", "1");
            native
        }
    }
}

fn python(script: &str) -> Command {
    let mut python = command(tool("python/bin/python"));
    python.arg(repository::path("tests/end_to_end").join(script)).env_clear().env("PYTHONDONTWRITEBYTECODE", "1");
    python
}

/// Debian's Ruby from where it was unpacked.
fn ruby() -> Command {
    let mut ruby = command(debian("usr/bin/ruby[0-9]*"));
    ruby.args(["--disable-gems"]).arg(repository::path("tests/end_to_end/sdk_clients/ruby.rb")).env_clear();
    let libraries = [
        "usr/lib/ruby/[0-9]*",
        "usr/lib/*/ruby/[0-9]*",
        "usr/lib/ruby/vendor_ruby",
        "usr/share/rubygems-integration/all/gems/*/lib",
        "usr/lib/ruby/gems/*/gems/*/lib",
    ];
    ruby.env("RUBYLIB", env::join_paths(libraries.iter().flat_map(|pattern| unpacked(pattern))).expect("no colons"));
    ruby.env("LD_LIBRARY_PATH", env::join_paths(unpacked("usr/lib/*-linux-gnu")).expect("no colons"));
    ruby
}

/// The one path in the unpacked Debian packages that matches.
fn debian(pattern: &str) -> PathBuf {
    let found = unpacked(pattern).into_iter().next();
    found.unwrap_or_else(|| panic!("{pattern} is missing in the Debian packages: run tests/tools/setup"))
}

/// All paths in the unpacked Debian packages that match: `*` stands for any text, `[0-9]*` for one that begins with a digit.
fn unpacked(pattern: &str) -> Vec<PathBuf> {
    let root = tool("debian");
    pattern.split('/').fold(vec![root], |folders, part| {
        let Some((before, after)) = part.split_once("[0-9]*").or_else(|| part.split_once('*')) else {
            return folders.into_iter().map(|folder| folder.join(part)).filter(|path| path.exists()).collect();
        };
        let digit = part.contains("[0-9]*");
        let matches = |name: &str| {
            let rest = name.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
            rest.is_some_and(|rest| !digit || rest.starts_with(|first: char| first.is_ascii_digit()))
        };
        let entries = folders.into_iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten();
        let names = entries.map(|entry| entry.expect("the folder can be read"));
        let mut found: Vec<_> =
            names.filter(|entry| entry.file_name().to_str().is_some_and(matches)).map(|entry| entry.path()).collect();
        found.sort();
        found
    })
}
