//! The signed call beside boto3's, and against moto's STS.

use std::fs;

use imds_exporter::domain::{Region, SigningCredentials};
use imds_exporter::sts::{Endpoint, signed_headers};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::support::program::{ExporterProcess, command, output, program_with_imds};
use crate::support::repository;
use crate::support::request::metrics_with;
use crate::support::simulator::start_simulator;
use crate::support::tools::{start_moto, tool};

/// The call that boto3 would send.
async fn botocore(asked: &Value) -> Value {
    let mut python = command(tool("python/bin/python"));
    python.arg(repository::path("tests/end_to_end/programs/sign.py")).arg(asked.to_string());
    python.env_clear().env("HOME", "/nonexistent").env("PYTHONDONTWRITEBYTECODE", "1");
    let output = output(python).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn the_request_and_its_signature_are_botocores_byte_for_byte() {
    let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    let token = "IQoJb3JpZ2luX2VjEXAMPLE//////////wEaDGV1LWNlbnRyYWwtMSJH+token/with=signs==";
    for region in ["eu-central-1", "cn-north-1", "us-gov-west-1"] {
        for token in [Some(token), None] {
            let asked = json!({
                "region": region, "time": "20260131T235959Z", "key_id": "ASIAEXAMPLEKEYID0000", "secret": secret, "token": token,
            });
            let theirs = botocore(&asked).await;
            let region = Region::parse(region).expect("a region");
            let endpoint = Endpoint::of_region(&region);
            let credentials = SigningCredentials {
                access_key_id: Zeroizing::new("ASIAEXAMPLEKEYID0000".to_owned()),
                secret_access_key: Zeroizing::new(secret.to_owned()),
                session_token: token.map(|token| Zeroizing::new(token.to_owned())),
            };
            let at = "2026-01-31T23:59:59Z".parse().expect("an instant");
            let ours = signed_headers(&endpoint, &region, &credentials, at).expect("headers");
            assert_eq!(theirs["url"], endpoint.as_str());
            assert_eq!(theirs["body"], "Action=GetCallerIdentity&Version=2011-06-15");
            for name in ["authorization", "x-amz-date", "x-amz-security-token", "content-type"] {
                let ours = ours.get(name).map(|value| value.to_str().expect("text"));
                assert_eq!(theirs["headers"][name].as_str(), ours, "{name} in {region}");
            }
            let signed = theirs["headers"]["authorization"].as_str().expect("text");
            assert_eq!(signed.contains("x-amz-security-token"), token.is_some(), "{signed}");
        }
    }
}

#[tokio::test]
#[ignore = "needs moto: tests/run fetches it"]
async fn moto_accepts_the_call_and_names_the_caller() {
    let (_moto, address) = start_moto().await;
    let with_moto = |imds, arguments: &[&str]| {
        let mut command = program_with_imds(imds, arguments);
        command.env("AWS_ENDPOINT_URL", format!("http://{address}")).env("AWS_REGION", "eu-central-1");
        command
    };
    // moto is the IMDS too: the whole chain is of its making.
    let output = output(with_moto(address, &["check", "--signed", "--json"])).await;
    let checked: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(checked["signed_call"]["accepted"], true, "{checked}");
    assert_eq!(checked["signed_call"]["account"], "123456789012", "{checked}");

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
