//! Where a boto3 session finds its credentials, and what the exporter says of it, with each of the variables that shadow
//! IMDS. In a network namespace, with IMDS and the servers of the other providers at their real addresses.

use std::net::SocketAddr;
use std::sync::Arc;

use imds_exporter::platform::clock::SystemClock;
use imds_exporter::simulator::{self, Simulator};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::clients::{Clients, Found};
use crate::network_namespace::{ip, is_inside, run_inside};
use crate::support::program::{ExporterProcess, program};
use crate::support::request::{metrics_with, try_get};
use crate::support::simulator::{CONNECT_REFUSED, apply_toml};

const KEY: (&str, &str) = ("AWS_ACCESS_KEY_ID", "AKIAMADEUP");
const SECRET: (&str, &str) = ("AWS_SECRET_ACCESS_KEY", "made-up");
const ROLE: (&str, &str) = ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/made-up");
const RELATIVE: (&str, &str) = ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v1/credentials");
const FULL: (&str, &str) = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:8001/v1/credentials");
const POD_IDENTITY: (&str, &str) = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1/credentials");
const STS: (&str, &str) = ("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:8002");
/// A file that exists.
const FILE: (&str, &str) = ("AWS_WEB_IDENTITY_TOKEN_FILE", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));

const fn empty(variable: (&'static str, &'static str)) -> (&'static str, &'static str) {
    (variable.0, "")
}

/// Where the chain ends.
enum Ends {
    /// With credentials of this provider, which is this to the exporter.
    With(&'static str, Option<&'static str>),
    /// With this error of the session, so that IMDS is not asked either.
    Raising(&'static str, Option<&'static str>),
}
use Ends::{Raising, With};

const IMDS: Ends = With("iam-role", None);
const ENVIRONMENT: Ends = With("env", Some("environment"));
const WEB_IDENTITY: Ends = With("assume-role-with-web-identity", Some("web_identity"));
const CONTAINER: Ends = With("container-role", Some("container"));

type Variables = &'static [(&'static str, &'static str)];

const CASES: &[(Variables, Ends)] = &[
    (&[], IMDS),
    (&[KEY, SECRET], ENVIRONMENT),
    (&[KEY], Raising("PartialCredentialsError", Some("environment"))),
    (&[SECRET], IMDS),
    (&[empty(KEY), SECRET], IMDS),
    (&[FILE, ROLE], WEB_IDENTITY),
    (&[ROLE], IMDS),
    (&[empty(FILE), ROLE], IMDS),
    (&[RELATIVE], CONTAINER),
    (&[FULL], CONTAINER),
    (&[POD_IDENTITY], CONTAINER),
    (&[RELATIVE, FULL], CONTAINER),
    (&[KEY, SECRET, FILE, ROLE, RELATIVE, FULL], ENVIRONMENT),
    (&[FILE, ROLE, RELATIVE], WEB_IDENTITY),
    (&[empty(KEY), empty(FILE), ROLE, FULL], CONTAINER),
    // Mistakes that boto3 reports at once, and that the exporter does not call shadowing: half of IRSA, and variables
    // that are set to nothing, which it takes for unset.
    (&[FILE], Raising("InvalidConfigError", None)),
    (&[FILE, empty(ROLE)], Raising("InvalidConfigError", None)),
    (&[empty(FULL)], Raising("ValueError", None)),
    (&[empty(RELATIVE)], Raising("CredentialRetrievalError", None)),
];

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn a_real_session_and_the_exporter_agree_on_where_credentials_come_from() {
    run_inside("credential_chain::in_the_namespace").await;
}

#[tokio::test]
#[ignore = "the test above starts it"]
async fn in_the_namespace() {
    if !is_inside() {
        return;
    }
    ip("link set lo up");
    for address in ["169.254.169.254", "169.254.170.2", "169.254.170.23"] {
        ip(&format!("address add {address}/32 dev lo"));
    }
    let imds = SocketAddr::from(([169, 254, 169, 254], 80));
    let options = simulator::Options { listen: imds, allow_any_address: true, ..simulator::Options::default() };
    let simulator = Simulator::start(options, Arc::new(SystemClock)).await.expect("the address is there");
    for address in ["169.254.170.2:80", "169.254.170.23:80", "127.0.0.1:8001"] {
        serve(address, "GET /v1/credentials ", CONTAINER_CREDENTIALS).await;
    }
    serve("127.0.0.1:8002", "POST / ", STS_CREDENTIALS).await;

    for (variables, ends) in CASES {
        let environment = [variables, &[STS, ("AWS_REGION", "eu-west-1")][..]].concat();
        let asked_before = simulator.counts().token;
        let found = Clients::start_with(&environment).find_credentials().await;
        let imds_was_asked = simulator.counts().token > asked_before;
        let (expected, shadowed) = match *ends {
            With(method, shadowed) => (Found::Method(method.to_owned()), shadowed),
            Raising(error, shadowed) => (Found::Raised(error.to_owned()), shadowed),
        };
        assert_eq!(found, expected, "boto3, with {variables:?}");
        assert_eq!(imds_was_asked, matches!(ends, With("iam-role", _)), "boto3 asks IMDS, with {variables:?}");
        exporter_says(&environment, shadowed).await;
    }

    // Whatever IMDS does.
    apply_toml(&simulator, CONNECT_REFUSED).await;
    exporter_says(&[KEY, SECRET], Some("environment")).await;
}

/// Metrics, JSON and page of an exporter with this environment.
async fn exporter_says(environment: &[(&str, &str)], shadowed: Option<&str>) {
    let mut command = program(&[]);
    command.env_remove("AWS_EC2_METADATA_SERVICE_ENDPOINT").env("IMDS_EXPORTER_LISTEN_ADDRESS", "127.0.0.1:0");
    command.envs(environment.iter().copied());
    let exporter = ExporterProcess::start_with(command).await;
    let metrics = metrics_with(exporter.address, "\nimds_up ").await;
    let series: Vec<_> = metrics.lines().filter(|line| line.starts_with("imds_chain_shadowed{")).collect();
    let expected: Vec<_> = shadowed.map(|by| format!("imds_chain_shadowed{{by=\"{by}\"}} 1")).into_iter().collect();
    assert_eq!(series, expected, "the exporter, with {environment:?}");
    let of_clients = metrics.lines().filter(|line| line.starts_with("imds_client_usable{")).count();
    assert_eq!(of_clients == 0, shadowed.is_some(), "{metrics}");

    let json = try_get(exporter.address, "/api/v1/status").await.expect("the status");
    let status: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(status["chain_shadowed"].as_str(), shadowed, "{status}");
    let page = try_get(exporter.address, "/").await.expect("the page");
    assert_eq!(page.contains("IMDS is not used here"), shadowed.is_some(), "{page}");
    assert_eq!(exporter.has_warning_with("by"), shadowed.is_some(), "the log");
}

const CONTAINER_CREDENTIALS: &str = r#"{"AccessKeyId": "ASIACONTAINER", "SecretAccessKey": "made-up", "Token": "made-up", "Expiration": "2099-01-01T00:00:00Z"}"#;

const STS_CREDENTIALS: &str = r#"<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIAWEBIDENTITY</AccessKeyId><SecretAccessKey>made-up</SecretAccessKey><SessionToken>made-up</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"#;

/// A server that answers requests that begin so, and others with 404.
async fn serve(address: &str, beginning: &'static str, body: &'static str) {
    let listener = TcpListener::bind(address).await.expect("the address is there");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read_buf(&mut request).await {
                    Ok(1..) => {}
                    Ok(0) | Err(_) => break,
                }
            }
            let (status, body) =
                if request.starts_with(beginning.as_bytes()) { ("200 OK", body) } else { ("404 Not Found", "") };
            let length = body.len();
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
            let _client_gone = stream.write_all(answer.as_bytes()).await;
        }
    });
}
