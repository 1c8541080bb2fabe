//! Build script: the commit and the compiler, for `imds_exporter_build_info`. Both are unknown rather than an error
//! where they cannot be told; `BUILD_REVISION` in the environment wins (images are built without `.git`).

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=BUILD_REVISION");
    // Cargo runs a script again each time where a file that it names is missing.
    println!("cargo::rerun-if-changed=src/build.rs");
    let given = std::env::var("BUILD_REVISION").ok().filter(|revision| !revision.is_empty());
    let revision = given.or_else(|| {
        for file in ["HEAD", "refs/heads"] {
            if let Some(path) = first_line("git", &["rev-parse", "--git-path", file]) {
                println!("cargo::rerun-if-changed={path}");
            }
        }
        first_line("git", &["rev-parse", "--short=12", "HEAD"])
    });
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = first_line(&rustc, &["--version"]);
    let version = version.as_deref().and_then(|line| line.split(' ').nth(1));
    println!("cargo::rustc-env=BUILD_REVISION={}", revision.as_deref().unwrap_or("unknown"));
    println!("cargo::rustc-env=BUILD_RUSTVERSION={}", version.unwrap_or("unknown"));
}

fn first_line(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().next().map(str::to_owned)
}
