//! The hop limit for real: network namespaces with a router between the exporter and the simulated IMDS, whose answer
//! to the token request is sent with a TTL that ends at the router; and ways that are lost altogether.
//!
//! Needs root, or user namespaces that anybody may make. Where there are neither this fails and says so.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

/// What `check` said in each case.
fn cases() -> BTreeMap<String, Value> {
    let root = Command::new("id").arg("-u").output().expect("id runs").stdout == b"0\n";
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--fork", "--kill-child"]);
    if !root {
        command.args(["--user", "--map-root-user"]);
    }
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real/hop_limit.sh"));
    command.arg(env!("CARGO_BIN_EXE_imds-exporter"));
    let output = command.output().expect("unshare (package util-linux) runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "network namespaces cannot be made or used here (they need root or user namespaces, and the program ip of \
         the package iproute2): {told}"
    );
    let lines = String::from_utf8(output.stdout).expect("text");
    let case = |line: &str| {
        let (name, json) = line.split_once('\t').unwrap_or_else(|| panic!("no case: {line}"));
        (name.to_owned(), serde_json::from_str(json).unwrap_or_else(|error| panic!("{line}: {error}\n{told}")))
    };
    lines.lines().map(case).collect()
}

#[test]
#[ignore = "needs tests/setup: network namespaces"]
fn lost_answers_lost_packets_and_lost_ways_are_told_apart() {
    let mut cases = cases();
    for name in ["exporter-fine", "exporter-one-hop", "exporter-recovered"] {
        let case = cases.remove(name).unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(case["seen"], true, "{name}: {case}");
    }
    for (name, kind) in [
        ("fine", None),
        ("one-hop", Some("hop_limit")),
        ("two-hops", None),
        ("dropped-there", Some("connect_timeout")),
        ("dropped-back", Some("connect_timeout")),
        ("whole-again", None),
        ("router-unreachable", Some("network_unreachable")),
        ("router-prohibits", Some("network_unreachable")),
        ("no-route", Some("network_unreachable")),
        ("route-again", None),
        ("link-down", Some("network_unreachable")),
    ] {
        for family in ["ipv4", "ipv6"] {
            let case = cases.remove(&format!("{name}-{family}")).unwrap_or_else(|| panic!("no {name}-{family}"));
            assert_eq!(case["failure"]["kind"].as_str(), kind, "{name} over {family}: {case:#}");
            if kind.is_some() {
                assert_eq!(case["failure"]["step"], "token", "{name} over {family}");
            }
        }
    }
    assert!(cases.is_empty(), "cases that nobody looked at: {:?}", cases.keys());
}
