//! The signed call beside boto3's, and against moto's STS.

use std::fs;
use std::io::Seek;

use imds_exporter::domain::{Region, SigningCredentials};
use imds_exporter::sts::{Choice, Endpoint, signed_headers};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::support::program::{ExporterProcess, output, program_with_imds};
use crate::support::request::metrics_with;
use crate::support::simulator::start_simulator;
use crate::support::tools::{python, start_moto};

const KEY_ID: &str = "ASIAEXAMPLEKEYID0000";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const TOKEN: &str = "IQoJb3JpZ2luX2VjEXAMPLE//////////wEaDGV1LWNlbnRyYWwtMSJH+token/with=signs==";

fn asked(region: &str, token: Option<&str>, variables: &Value) -> Value {
    json!({
        "region": region, "time": "20260131T235959Z", "key_id": KEY_ID, "secret": SECRET, "token": token, "variables": variables,
    })
}

/// The calls that boto3 would send.
async fn botocore(asked: &[Value]) -> Vec<Value> {
    let mut python = python("programs/sign.py");
    let mut input = tempfile::tempfile().expect("a file");
    serde_json::to_writer(&input, asked).expect("it can be written");
    input.rewind().expect("a file can be read again");
    python.stdin(input);
    let output = output(python).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The call that the exporter would send.
fn ours(region: &str, token: Option<&str>, choice: Choice) -> (Endpoint, HeaderMap) {
    let (endpoint, region) = Endpoint::of_region(&Region::parse(region).expect("a region"), choice);
    let credentials = SigningCredentials {
        access_key_id: Zeroizing::new(KEY_ID.to_owned()),
        secret_access_key: Zeroizing::new(SECRET.to_owned()),
        session_token: token.map(|token| Zeroizing::new(token.to_owned())),
    };
    let at = "2026-01-31T23:59:59Z".parse().expect("an instant");
    let headers = signed_headers(&endpoint, &region, &credentials, at).expect("headers");
    (endpoint, headers)
}

fn assert_equal(theirs: &Value, (endpoint, headers): &(Endpoint, HeaderMap), what: &str) {
    assert_eq!(theirs["url"], endpoint.as_str(), "{what}");
    assert_eq!(theirs["body"], "Action=GetCallerIdentity&Version=2011-06-15");
    for name in ["authorization", "x-amz-date", "x-amz-security-token", "content-type"] {
        let ours = headers.get(name).map(|value| value.to_str().expect("text"));
        assert_eq!(theirs["headers"][name].as_str(), ours, "{name}: {what}");
    }
}

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn the_request_and_its_signature_are_botocores_byte_for_byte() {
    let tokens = [Some(TOKEN), None];
    let theirs = botocore(&tokens.map(|token| asked("eu-central-1", token, &json!({})))).await;
    for (theirs, token) in theirs.iter().zip(tokens) {
        assert_equal(theirs, &ours("eu-central-1", token, Choice::default()), "eu-central-1");
        let signed = theirs["headers"]["authorization"].as_str().expect("text");
        assert_eq!(signed.contains("x-amz-security-token"), token.is_some(), "{signed}");
    }
}

/// Regions of each partition, among them all that the global endpoint ever stood for.
const REGIONS: &str = "\
    ap-northeast-1 ap-northeast-3 ap-south-1 ap-southeast-1 ap-southeast-2 aws-global ca-central-1 cn-north-1 \
    cn-northwest-1 eu-central-1 eu-isoe-west-1 eu-north-1 eu-south-1 eu-west-1 eu-west-2 eu-west-3 eusc-de-east-1 \
    il-central-1 me-central-1 sa-east-1 us-east-1 us-east-2 us-gov-east-1 us-gov-west-1 us-iso-east-1 \
    us-isob-east-1 us-isof-south-1 us-west-1 us-west-2";

fn regions() -> impl Iterator<Item = &'static str> {
    REGIONS.split_whitespace()
}

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn the_endpoint_is_botocores_in_every_partition_and_for_every_choice() {
    let mut compared = 0;
    for bits in 0..8 {
        let choice = Choice { fips: bits & 1 > 0, dual_stack: bits & 2 > 0, legacy: bits & 4 > 0 };
        let variables = json!({
            "AWS_USE_FIPS_ENDPOINT": choice.fips.to_string(),
            "AWS_USE_DUALSTACK_ENDPOINT": choice.dual_stack.to_string(),
            "AWS_STS_REGIONAL_ENDPOINTS": if choice.legacy { "legacy" } else { "regional" },
        });
        let theirs = botocore(&regions().map(|region| asked(region, None, &variables)).collect::<Vec<_>>()).await;
        // boto3 refuses to speak IPv6 in partitions of which it does not know that they do.
        for (theirs, region) in theirs.iter().zip(regions()).filter(|(theirs, _)| !theirs.is_null()) {
            assert_equal(theirs, &ours(region, None, choice), &format!("{region} {choice:?}"));
            compared += 1;
        }
    }
    assert!(compared >= 24 * 8, "{compared} endpoints");
}

#[tokio::test]
#[ignore = "needs moto: tests/run fetches it"]
async fn credentials_of_moto_resolve_and_it_accepts_the_call_and_names_the_caller() {
    let (_moto, address) = start_moto().await;
    let with_moto = |imds, arguments: &[&str]| {
        let mut command = program_with_imds(imds, arguments);
        command.env("AWS_ENDPOINT_URL", format!("http://{address}")).env("AWS_REGION", "eu-central-1");
        command
    };
    // moto is the IMDS too: the whole chain is of its making. It sends neither `Code` nor `LastUpdated`, nor the lifetime of
    // the session token; its role expires in a day.
    let output = output(with_moto(address, &["check", "--signed", "--json"])).await;
    let checked: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(checked["signed_call"]["up"], true, "{checked}");
    assert_eq!(checked["signed_call"]["account"], "123456789012", "{checked}");
    assert_eq!((&checked["role"], &checked["last_updated"]), (&"default-role".into(), &Value::Null), "{checked}");
    let remaining = checked["remaining_seconds"].as_f64().expect("it has an expiry");
    assert!((86_000.0..=86_400.0).contains(&remaining), "{remaining}");

    let folder = tempfile::tempdir().expect("a folder");
    let simulator = start_simulator().await;
    let mut command = with_moto(simulator.address(), &[]);
    command
        .env("IMDS_EXPORTER_SIGNED_CALL_INTERVAL", "1m")
        .env("IMDS_EXPORTER_STATE_FILE", folder.path().join("state"));
    let exporter = ExporterProcess::start_with(command).await;
    let metrics = metrics_with(exporter.address, "\nimds_signed_call_up 1\n").await;
    assert!(metrics.contains("\nimds_signed_calls_total 1\n"), "{metrics}");
    exporter.stop().await;
    assert!(!fs::read_to_string(folder.path().join("state")).expect("it was saved").contains("123456789012"));
}
