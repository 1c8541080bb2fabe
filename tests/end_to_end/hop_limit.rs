//! The hop limit: network namespaces with a router between the exporter and the simulated IMDS, whose token responses
//! have a TTL that expires at the router; and networks that lose packets or have no route.
//!
//! Needs root or unprivileged user namespaces, and fails without them.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::network_namespace::in_network_namespace;
use crate::support::program::command;
use crate::support::repository;

/// The output of `check` in each case.
async fn cases() -> BTreeMap<String, Value> {
    let mut script = command(repository::path("tests/end_to_end/hop_limit.sh"));
    script.arg(env!("CARGO_BIN_EXE_imds-exporter"));
    let output = in_network_namespace("true", &script).output().await.expect("there is a shell");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "network namespaces cannot be made or used here (they need root or user namespaces, and the program ip of \
         the package iproute2): {stderr}"
    );
    let lines = String::from_utf8(output.stdout).expect("text");
    let case = |line: &str| {
        let (name, json) = line.split_once('\t').unwrap_or_else(|| panic!("not a case: {line}"));
        (name.to_owned(), serde_json::from_str(json).unwrap_or_else(|error| panic!("{line}: {error}\n{stderr}")))
    };
    lines.lines().map(case).collect()
}

#[tokio::test]
#[ignore = "needs tests/tools/setup: network namespaces"]
async fn hop_limits_lost_packets_and_missing_routes_are_reported_as_different_kinds() {
    let mut cases = cases().await;
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
        ("packets-again", None),
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
    assert!(cases.is_empty(), "cases without an expectation: {:?}", cases.keys());
}
