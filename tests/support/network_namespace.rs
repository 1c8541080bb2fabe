//! Tests in a network namespace of their own: this test binary, started for one test in it.
//!
//! Needs root or unprivileged user namespaces, and fails without them.

use std::process::Command as Program;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::program::{in_shell, test_as_process};

/// Set in the namespace. Without it, the tests for there do nothing, so that a run of all ignored tests survives.
const INSIDE: &str = "IN_A_NETWORK_NAMESPACE";

const DEADLINE: Duration = Duration::from_mins(6);

/// The command in a new network namespace, in which no link is up, after this command of the shell.
pub(crate) fn in_network_namespace(before: &str, inner: &Command) -> Command {
    let is_root = Program::new("id").arg("-u").output().expect("id runs").stdout == b"0\n";
    let user = if is_root { "" } else { "--user --map-root-user" };
    let unshare = format!("exec unshare --net --mount --fork --kill-child {user}");
    let mut command = in_shell(&format!("{unshare} sh -c '{before} && exec \"$0\" \"$@\"'"), inner);
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command
}

/// Runs the test there; `inside` gives it this word.
pub(crate) async fn run_inside(test: &str, word: &str, before: &str) {
    let mut inner = test_as_process(test);
    inner.env(INSIDE, word).env("RUST_BACKTRACE", "0");
    let output = timeout(DEADLINE, in_network_namespace(before, &inner).output()).await;
    let output = output.expect("the test ends in time").expect("there is a shell");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{test}, in a network namespace: {said}");
}

/// The word, in such a namespace.
pub(crate) fn inside() -> Option<String> {
    std::env::var(INSIDE).ok()
}

/// Runs `ip` with these arguments.
pub(crate) fn ip(arguments: &str) {
    let output = Program::new("ip").args(arguments.split(' ')).output().expect("ip (package iproute2) runs");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}
