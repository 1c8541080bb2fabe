//! `check`, `/api/v1/status`, the status page and `imds_state` say the same, in every state that there is.

use imds_exporter::domain::ImdsState;
use serde_json::Value;
use strum::VariantArray;

use crate::support::program::{ExporterProcess, output, program_with_imds};
use crate::support::request::{get, get_until};
use crate::support::scrape::{Scrape, scrape_until};
use crate::support::simulator::{CONNECT_REFUSED, HEALTHY, apply_toml, start_simulator};
use crate::support::sts::TestSts;

/// Facts of one poll, which are the same in `check` and in the status: all but times, and what an exporter alone has followed.
const SAME: [&str; 10] = [
    "state",
    "up",
    "role",
    "expiration",
    "endpoint",
    "chain_shadowed",
    "imds_through_proxy",
    "v1_fallback",
    "v1_fallback_advice",
    "clients_stuck",
];

struct Case {
    name: &'static str,
    state: ImdsState,
    exit_code: i32,
    /// Of the simulator, one after the other; a poll follows each.
    changes: &'static [&'static str],
    variables: &'static [(&'static str, &'static str)],
}

const PROXY: (&str, &str) = ("HTTP_PROXY", "http://127.0.0.1:1");
const V1_DISABLED: (&str, &str) = ("AWS_EC2_METADATA_V1_DISABLED", "true");
const FALLBACK: &str = "fault = \"hop_limit\"\ntokens = \"optional\"";
const EXPIRED: &str = "expires_in = \"-5m\"\nrotation = \"off\"";

const CASES: [Case; 12] = [
    Case { name: "fine", state: ImdsState::Fine, exit_code: 0, changes: &[HEALTHY], variables: &[] },
    Case { name: "IMDSv1 only", state: ImdsState::Fine, exit_code: 2, changes: &[FALLBACK], variables: &[] },
    Case {
        name: "after an outage",
        state: ImdsState::Fine,
        exit_code: 0,
        changes: &[CONNECT_REFUSED, HEALTHY],
        variables: &[V1_DISABLED],
    },
    Case { name: "failing", state: ImdsState::Failing, exit_code: 1, changes: &[CONNECT_REFUSED], variables: &[] },
    Case {
        name: "IMDSv1 only, but disabled",
        state: ImdsState::Failing,
        exit_code: 1,
        changes: &[FALLBACK],
        variables: &[V1_DISABLED],
    },
    Case { name: "expired", state: ImdsState::Expired, exit_code: 2, changes: &[EXPIRED], variables: &[] },
    Case { name: "refused", state: ImdsState::Refused, exit_code: 1, changes: &[HEALTHY], variables: &[] },
    Case {
        name: "stuck",
        state: ImdsState::Stuck,
        exit_code: 2,
        changes: &[CONNECT_REFUSED, HEALTHY],
        variables: &[("IMDS_EXPORTER_WORKLOAD", "starts-with-exporter")],
    },
    Case { name: "proxied", state: ImdsState::Proxied, exit_code: 2, changes: &[HEALTHY], variables: &[PROXY] },
    Case {
        name: "proxied and failing",
        state: ImdsState::Proxied,
        exit_code: 1,
        changes: &[CONNECT_REFUSED],
        variables: &[PROXY],
    },
    Case {
        name: "shadowed",
        state: ImdsState::Unused,
        exit_code: 0,
        changes: &[HEALTHY],
        variables: &[("AWS_ACCESS_KEY_ID", "AKIACANARY")],
    },
    Case {
        name: "disabled",
        state: ImdsState::Unused,
        exit_code: 1,
        changes: &[HEALTHY],
        variables: &[("AWS_EC2_METADATA_DISABLED", "true")],
    },
];

#[tokio::test]
async fn check_says_what_status_page_and_metric_say_in_every_state() {
    for case in &CASES {
        agree(case).await;
    }
    let tested = |state: &ImdsState| *state == ImdsState::Starting || CASES.iter().any(|case| case.state == *state);
    assert!(ImdsState::VARIANTS.iter().all(tested));
}

async fn agree(Case { name, state, exit_code, changes, variables }: &Case) {
    let simulator = start_simulator().await;
    let folder = tempfile::tempdir().expect("a folder");
    let sts = TestSts::start("eu-west-1").await;
    if *state == ImdsState::Refused {
        sts.forget_all();
    }
    let command = |arguments: &[&str]| {
        let mut command = program_with_imds(simulator.address(), arguments);
        command.env("IMDS_EXPORTER_STATE_FILE", folder.path().join("state.json")).envs(variables.iter().copied());
        command.env("IMDS_EXPORTER_POLL_INTERVAL", "1s").env("AWS_ENDPOINT_URL_STS", sts.url());
        if *state == ImdsState::Refused {
            command.env("IMDS_EXPORTER_SIGNED_CALL_INTERVAL", "1m");
        }
        command
    };
    apply_toml(&simulator, changes[0]).await;
    let exporter = ExporterProcess::start_with(command(&[])).await;
    let polled = |scrape: &Scrape| scrape.polls() > 0;
    scrape_until(exporter.address, "a poll", polled).await;
    for change in &changes[1..] {
        apply_toml(&simulator, change).await;
    }
    let label = format!("\nimds_state{{state=\"{}\"}} 1\n", state.label());
    get_until(exporter.address, "/metrics", |response| response.body().contains(&label)).await;

    let status: Value = serde_json::from_str(get(exporter.address, "/api/v1/status").await.body()).expect("JSON");
    let page = get(exporter.address, "/").await.text;
    let signed: &[&str] = if *state == ImdsState::Refused { &["--signed"] } else { &[] };
    let check = async |arguments: &[&str]| {
        let mut command = command(&[&["check"], arguments, signed].concat());
        command.env("IMDS_EXPORTER_LISTEN_ADDRESS", exporter.address.to_string());
        let output = output(command).await;
        assert_eq!(output.status.code(), Some(*exit_code), "{name}");
        String::from_utf8(output.stdout).expect("text")
    };
    let report: Value = serde_json::from_str(&check(&["--json"]).await).expect("JSON");
    let text = check(&[]).await;

    let keys = |value: &Value| value.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    assert!(keys(&status).iter().all(|key| report.get(key).is_some()), "{name}: one set of keys");
    for key in SAME {
        assert_eq!(report[key], status[key], "{name}: {key}");
    }
    assert_eq!(report["state"], state.label());
    for key in ["kind", "step", "observed", "cause", "confirm", "action"] {
        assert_eq!(report["failure"][key], status["failure"][key], "{name}: {key} of the failure");
    }
    for key in ["up", "account", "role"] {
        assert_eq!(report["signed_call"][key], status["signed_call"][key], "{name}: {key} of the signed call");
    }
    assert_eq!(report["signed_call"]["failure"]["reason"], status["signed_call"]["failure"]["reason"], "{name}");
    let claims = |value: &Value| -> Vec<[Value; 3]> {
        let rows = value["clients"].as_array().expect("a list").iter();
        let known = rows.filter(|row| !row["prognosis"].is_null());
        known.map(|row| ["created", "usable", "prognosis"].map(|key| row[key].clone())).collect()
    };
    assert_eq!(claims(&report), claims(&status), "{name}");

    // Kind, cause and remedy stand wherever a person looks.
    for advice in [&status["failure"], &status["v1_fallback_advice"]] {
        let Some(action) = advice["action"].as_str() else { continue };
        assert!(text.contains(&action.replace('`', "")), "{name}: {text}");
        assert!(text.contains(advice["cause"].as_str().expect("text")), "{name}: {text}");
    }
    if let Some(kind) = status["failure"]["kind"].as_str().or(status["v1_fallback"].as_str()) {
        assert!(text.contains(kind) && page.contains(&format!("href=\"runbook#{kind}\"")), "{name}: {text}");
    }
    if *state == ImdsState::Proxied {
        assert!(text.starts_with("PROXIED") && text.contains(PROXY.0), "{text}");
    }
    let of_clients = !claims(&status).is_empty();
    assert_eq!(text.contains("boto3 clients"), of_clients, "{name}: {text}");
}
