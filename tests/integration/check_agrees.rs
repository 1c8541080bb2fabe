//! `check`, `/api/v1/status`, the status page and `imds_state` say the same, in every state that there is.

use imds_exporter::domain::ImdsState::{self, Expired, Failing, Fine, Proxied, Refused, Starting, Stuck, Unused};
use serde_json::{Value, json};
use strum::VariantArray;

use crate::support::program::{ExporterProcess, output, program_with_imds};
use crate::support::request::{get, metrics_with};
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

/// A name; the state, the exit code of `check` and its warnings; what it says of a client that is created now; changes of the
/// simulator, one after the other, each of which a poll follows; and the environment.
type Case = (
    &'static str,
    (ImdsState, i32, &'static [&'static str], Option<&'static str>),
    &'static [&'static str],
    &'static [(&'static str, &'static str)],
);

const PROXY: (&str, &str) = ("HTTP_PROXY", "http://127.0.0.1:1/CANARY");
const V1_DISABLED: (&str, &str) = ("AWS_EC2_METADATA_V1_DISABLED", "true");
const DECLARED: (&str, &str) = ("IMDS_EXPORTER_WORKLOAD", "starts-with-exporter");
const KEYS: &[(&str, &str)] = &[("AWS_ACCESS_KEY_ID", "AKIACANARY"), ("AWS_SECRET_ACCESS_KEY", "CANARY")];
const IRSA: &[(&str, &str)] =
    &[("AWS_WEB_IDENTITY_TOKEN_FILE", "/CANARY"), ("AWS_ROLE_ARN", "arn:aws:iam::1:role/CANARY")];
const CONTAINER: &[(&str, &str)] = &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/CANARY")];

const FALLBACK: &str = "fault = 'hop_limit'\ntokens = 'optional'";
const EXPIRED: &str = "expires_in = '-5m'\nrotation = 'off'";
const LATE: &str = "expires_in = '3h'\nrotation = 'off'";
const SKEWED: &str = "clock_skew = '-2m'";
const DENIED: &str = "fault = 'assume_role_denied'";
const THROTTLED: &str = "fault = 'throttled'";
const NO_ROLE: &str = "fault = 'no_role'";

const SIGNS: Option<&str> = Some("signs");
const BOUND: Option<&str> = Some("bound_to_nothing");
/// Versions of boto3 differ.
const UNKNOWN: Option<&str> = Some("unknown");
const RAISES: Option<&str> = Some("creation_raises");

const CASES: [Case; 20] = [
    ("fine", (Fine, 0, &[], SIGNS), &[HEALTHY], &[]),
    // The lost token request takes a second, as it does for an SDK: that is no slow request of its own.
    ("IMDSv1 only", (Fine, 2, &["v1_fallback"], SIGNS), &[FALLBACK], &[]),
    ("after an outage", (Fine, 0, &[], SIGNS), &[CONNECT_REFUSED, HEALTHY], &[V1_DISABLED]),
    ("rotation late", (Fine, 2, &["rotation_late"], SIGNS), &[LATE], &[]),
    ("clock skew", (Fine, 2, &["clock_skew"], SIGNS), &[SKEWED], &[]),
    ("failing", (Failing, 1, &[], BOUND), &[CONNECT_REFUSED], &[]),
    ("denied", (Failing, 1, &[], BOUND), &[DENIED], &[]),
    ("throttled, IMDSv1 disabled", (Failing, 1, &[], UNKNOWN), &[THROTTLED], &[V1_DISABLED]),
    ("refused, IMDSv1 disabled", (Failing, 1, &[], RAISES), &[CONNECT_REFUSED], &[V1_DISABLED]),
    ("no role, IMDSv1 disabled", (Failing, 1, &[], BOUND), &[NO_ROLE], &[V1_DISABLED]),
    ("IMDSv1 only, but disabled", (Failing, 1, &[], UNKNOWN), &[FALLBACK], &[V1_DISABLED]),
    ("expired", (Expired, 2, &["expired", "rotation_late"], Some("expired")), &[EXPIRED], &[]),
    ("refused", (Refused, 1, &[], SIGNS), &[HEALTHY], &[("IMDS_EXPORTER_SIGNED_CALL_INTERVAL", "1m")]),
    ("stuck", (Stuck, 2, &["clients_stuck"], SIGNS), &[CONNECT_REFUSED, HEALTHY], &[DECLARED]),
    ("proxied", (Proxied, 2, &["imds_through_proxy"], None), &[HEALTHY], &[PROXY]),
    ("proxied and failing", (Proxied, 1, &[], None), &[CONNECT_REFUSED], &[PROXY]),
    // Shadowed, by what is the name.
    ("environment", (Unused, 0, &[], None), &[HEALTHY], KEYS),
    ("web_identity", (Unused, 0, &[], None), &[HEALTHY], IRSA),
    ("container", (Unused, 0, &[], None), &[HEALTHY], CONTAINER),
    ("disabled", (Unused, 1, &[], BOUND), &[HEALTHY], &[("AWS_EC2_METADATA_DISABLED", "true")]),
];

#[tokio::test]
async fn check_says_what_status_page_and_metric_say_in_every_state() {
    for case in CASES {
        agree(case).await;
    }
    let tested = |state: &ImdsState| *state == Starting || CASES.iter().any(|(_, (of_case, ..), ..)| of_case == state);
    assert!(ImdsState::VARIANTS.iter().all(tested));
}

async fn agree((name, (state, exit_code, warnings, new_client), changes, variables): Case) {
    let simulator = start_simulator().await;
    let folder = tempfile::tempdir().expect("a folder");
    let sts = TestSts::start("eu-central-1").await;
    if state == Refused {
        sts.forget_all();
    }
    let command = |arguments: &[&str]| {
        let mut command = program_with_imds(simulator.address(), arguments);
        command.env("IMDS_EXPORTER_STATE_FILE", folder.path().join("state.json")).envs(variables.iter().copied());
        command.env("AWS_ENDPOINT_URL_STS", sts.url());
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
    let metrics = metrics_with(exporter.address, &label).await;

    let status: Value = serde_json::from_str(get(exporter.address, "/api/v1/status").await.body()).expect("JSON");
    let page = get(exporter.address, "/").await.text;
    let signed: &[&str] = if state == Refused { &["--signed"] } else { &[] };
    let check = async |arguments: &[&str]| {
        let mut command = command(&[&["check"], arguments, signed].concat());
        command.env("IMDS_EXPORTER_LISTEN_ADDRESS", exporter.address.to_string());
        let output = output(command).await;
        assert_eq!(output.status.code(), Some(exit_code), "{name}");
        String::from_utf8(output.stdout).expect("text")
    };
    let report: Value = serde_json::from_str(&check(&["--json"]).await).expect("JSON");
    let text = check(&[]).await;

    let keys = |value: &Value| value.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    assert!(keys(&status).iter().all(|key| report.get(key).is_some()), "{name}: one set of keys");
    for key in SAME {
        assert_eq!(report[key], status[key], "{name}: {key}");
    }
    assert_eq!((report["state"].as_str(), &report["warnings"]), (Some(state.label()), &json!(warnings)), "{name}");
    assert_eq!(report["verdict"], ["usable", "failing", "warning"][usize::try_from(exit_code).expect("small")]);
    assert!(name != "fine" || report["steps"].as_array().is_some_and(|steps| steps.len() == 3), "{report}");
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
    let told = claims(&report).into_iter().find(|[created, ..]| created == "now").map(|[_, _, prognosis]| prognosis);
    assert_eq!(told, new_client.map(Value::from), "{name}");
    let usable = claims(&status).iter().any(|[_, usable, _]| !usable.is_null());
    assert_eq!(metrics.contains("\nimds_client_usable{"), usable, "{name}: {metrics}");

    let [by, variable] = [&status["chain_shadowed"], &status["imds_through_proxy"]].map(Value::as_str);
    let shadowed = metrics.lines().find_map(|line| line.strip_prefix("imds_chain_shadowed{by=\"")?.split('"').next());
    assert_eq!((shadowed, metrics.contains("\nimds_requests_proxied 1\n")), (by, variable.is_some()), "{name}");
    assert!(by.is_none_or(|by| by == name), "{name}: shadowed by {by:?}");
    for (field, value) in [("by", by), ("variable", variable)] {
        let logged = exporter.logged(|line| line["level"] == "WARN" && line[field].is_string());
        assert_eq!(logged.as_ref().and_then(|line| line[field].as_str()), value, "{name}: {field} in the log");
    }
    let shown = [&page, &metrics, &text, &status.to_string(), &report.to_string()];
    assert!(shown.iter().all(|shown| !shown.contains("CANARY")), "{name}: no value of the variables is shown");

    // Kind, cause and remedy stand wherever a person looks.
    for advice in [&status["failure"], &status["v1_fallback_advice"]] {
        let Some(action) = advice["action"].as_str() else { continue };
        assert!(text.contains(&action.replace('`', "")), "{name}: {text}");
        assert!(text.contains(advice["cause"].as_str().expect("text")), "{name}: {text}");
        assert!(text.contains(advice["observed"].as_str().unwrap_or_default()), "{name}: {text}");
    }
    assert!(name != "denied" || text.contains("HTTP 200"), "{text}");
    if let Some(kind) = status["failure"]["kind"].as_str().or(status["v1_fallback"].as_str()) {
        assert!(text.contains(kind) && page.contains(&format!("href=\"runbook#{kind}\"")), "{name}: {text}");
    }
    if state == Proxied {
        assert!(text.starts_with("PROXIED") && text.contains(PROXY.0), "{text}");
    }
    let of_clients = !claims(&status).is_empty();
    assert_eq!(text.contains("boto3 clients"), of_clients, "{name}: {text}");
}
