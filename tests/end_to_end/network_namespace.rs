//! Tests in a network namespace of their own: this test binary, started for one test in it.
//!
//! Needs root or unprivileged user namespaces, and fails without them.

use std::process::Command as Program;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use crate::support::program::test_as_process;

/// Set in the namespace. Without it, the tests for there do nothing, so that a run of all ignored tests survives.
const INSIDE: &str = "IN_A_NETWORK_NAMESPACE";

const DEADLINE: Duration = Duration::from_mins(6);

/// Runs the test in a new network namespace, in which no link is up.
pub(crate) async fn run_inside(test: &str) {
    let root = Program::new("id").arg("-u").output().expect("id runs").stdout == b"0\n";
    let mut command = Command::new("unshare");
    command.kill_on_drop(true).args(["--net", "--fork", "--kill-child"]);
    if !root {
        command.args(["--user", "--map-root-user"]);
    }
    let inner = test_as_process(test);
    let inner = inner.as_std();
    command.arg(inner.get_program()).args(inner.get_args()).env_clear().env(INSIDE, "1").env("RUST_BACKTRACE", "0");
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let output = timeout(DEADLINE, command.output()).await.expect("the test ends in time");
    let output = output.expect("unshare (package util-linux) runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{test}, in a network namespace: {said}");
}

/// Whether this process runs in such a namespace.
pub(crate) fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Runs `ip` with these arguments.
pub(crate) fn ip(arguments: &str) {
    let output = Program::new("ip").args(arguments.split(' ')).output().expect("ip (package iproute2) runs");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}
