//! Real boto3 clients, which `boto3_clients.py` creates in a separate process.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::tools::{Python, python, tool};

/// The versions that claims are compared with: the newest, which is in the environment of the tests, and older ones in folders
/// of their own.
pub(crate) const VERSIONS: [&str; 4] = ["newest", "1.34", "1.26", "1.20"];

/// boto3 in a process.
pub(crate) struct Clients {
    python: Python,
    created: u32,
    /// Where libfaketime reads how far the clock is ahead.
    _folder: TempDir,
}

/// What came of the creation of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Creation {
    /// It holds credentials.
    Bound,
    /// It holds no credentials, and nobody was told.
    BoundToNothing,
    /// `client()` raised this error.
    Raised(String),
}

/// Where a session gets its credentials from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The provider's name, as botocore has it.
    Method(String),
    /// Nowhere.
    Nothing,
    /// The search ended with this error.
    Raised(String),
}

impl Clients {
    /// One of [`VERSIONS`] with an IMDS, and these variables beside.
    pub(crate) fn start_version(version: &str, imds: SocketAddr, environment: &[(&str, &str)]) -> Self {
        let endpoint = format!("http://{imds}");
        let own = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint.as_str())];
        Self::start_with(version, &[&own, environment].concat())
    }

    /// One of [`VERSIONS`] with these variables alone.
    pub(crate) fn start_with(version: &str, environment: &[(&str, &str)]) -> Self {
        let packages = tool("python").parent().expect("a folder").join(format!("boto3-{version}"));
        let folder = TempDir::new().expect("a temporary folder");
        let ahead = folder.path().join("ahead");
        fs::write(&ahead, "+0\n").expect("the folder can be written");
        let mut python = python("boto3_clients.py");
        python.env("LD_PRELOAD", libfaketime()).env("FAKETIME_TIMESTAMP_FILE", ahead);
        python.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        python.envs(environment.iter().copied());
        if version != VERSIONS[0] {
            python.env("PYTHONPATH", packages);
        }
        Self { python: Python::start(python), created: 0, _folder: folder }
    }

    /// The version of boto3.
    pub(crate) async fn version(&mut self) -> String {
        self.ask(json!({"do": "version"})).await["version"].as_str().expect("a version").to_owned()
    }

    async fn ask(&mut self, command: Value) -> Value {
        serde_json::from_str(&self.python.ask(command).await).expect("JSON")
    }

    /// Creates a client of this session, which is created if it does not exist.
    pub(crate) async fn create(&mut self, client: &str, session: &str) -> Creation {
        let answer = self.ask(json!({"do": "create", "client": client, "session": session})).await;
        match (answer["bound"].as_bool(), answer["raised"].as_str()) {
            (Some(true), _) => Creation::Bound,
            (Some(false), _) => Creation::BoundToNothing,
            (None, Some(error)) => Creation::Raised(error.to_owned()),
            (None, None) => panic!("no answer: {answer}"),
        }
    }

    /// Creates a client in a session of its own, and returns its name.
    pub(crate) async fn create_new(&mut self) -> (String, Creation) {
        self.created += 1;
        let name = format!("client-{}", self.created);
        let creation = self.create(&name, &name).await;
        (name, creation)
    }

    /// Whether the client can sign a call.
    pub(crate) async fn signs(&mut self, client: &str) -> bool {
        self.sign(client).await.is_ok()
    }

    /// Makes the client sign a call, or returns the name of its error.
    pub(crate) async fn sign(&mut self, client: &str) -> Result<(), String> {
        let answer = self.ask(json!({"do": "sign", "client": client})).await;
        if let Some(error) = answer["error"].as_str() {
            return Err(error.to_owned());
        }
        assert_eq!(answer["signed"], true, "{answer}");
        Ok(())
    }

    /// Where a new session gets its credentials from, with these variables beside.
    pub(crate) async fn find_credentials(&mut self, environment: &[(&str, &str)]) -> Found {
        let environment: HashMap<_, _> = environment.iter().copied().collect();
        let answer = self.ask(json!({"do": "find", "environment": environment})).await;
        match (answer["method"].as_str(), answer["raised"].as_str()) {
            (Some(method), _) => Found::Method(method.to_owned()),
            (None, Some(error)) => Found::Raised(error.to_owned()),
            (None, None) => Found::Nothing,
        }
    }

    /// Moves the clock of all clients.
    pub(crate) async fn advance(&mut self, seconds: i64) {
        self.ask(json!({"do": "advance", "seconds": seconds})).await;
    }
}

/// The library where Debian puts it: in a folder of the architecture's name.
fn libfaketime() -> PathBuf {
    let folders = fs::read_dir(tool("debian/usr/lib")).expect("a folder");
    let libraries = folders.map(|folder| folder.expect("an entry").path().join("faketime/libfaketimeMT.so.1"));
    libraries.into_iter().find(|library| library.exists()).expect("libfaketime: run tests/tools/setup")
}
