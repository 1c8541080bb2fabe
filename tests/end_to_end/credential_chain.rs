//! Where a boto3 session finds its credentials, and what the exporter says of it, with each of the variables and files that
//! shadow IMDS. In a network namespace, with IMDS and the servers of the other providers at their real addresses.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;

use imds_exporter::platform::clock::SystemClock;
use imds_exporter::simulator::{self, Simulator};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::clients::{Clients, Found, VERSIONS};
use crate::support::network_namespace::{inside, ip, run_inside};
use crate::support::program::{ExporterProcess, program};
use crate::support::request::{metrics_with, read_head, try_get};
use crate::support::simulator::{CONNECT_REFUSED, apply_toml};

const KEY: (&str, &str) = ("AWS_ACCESS_KEY_ID", "AKIAMADEUP");
const SECRET: (&str, &str) = ("AWS_SECRET_ACCESS_KEY", "made-up");
const ROLE: (&str, &str) = ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/made-up");
const RELATIVE: (&str, &str) = ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v1/credentials");
const FULL: (&str, &str) = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:8001/v1/credentials");
const POD_IDENTITY: (&str, &str) = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1/credentials");
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
    /// With a role that is assumed with the credentials of IMDS, so that nothing is known of clients.
    AssumingFromImds,
}
use Ends::{AssumingFromImds, Raising, With};

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
    // Mistakes that boto3 reports at once.
    (&[FILE], Raising("InvalidConfigError", Some("web_identity"))),
    (&[FILE, empty(ROLE)], Raising("InvalidConfigError", Some("web_identity"))),
    (&[empty(FULL)], Raising("ValueError", Some("container"))),
    (&[empty(RELATIVE)], Raising("CredentialRetrievalError", Some("container"))),
];

const FILES: Option<&str> = Some("shared_credentials_file");
const STATIC: Ends = With("shared-credentials-file", FILES);
const ASSUMED: Ends = With("assume-role", FILES);

/// Contents of `credentials` and `config` in `~/.aws`.
const FILE_CASES: &[(&str, &str, Variables, Ends)] = &[
    (KEYS_OF_DEFAULT, "", &[], STATIC),
    (KEYS_OF_DEFAULT, "", &[RELATIVE], STATIC),
    (KEYS_OF_DEFAULT, "", &[FILE, ROLE], WEB_IDENTITY),
    (KEYS_OF_DEFAULT, "", &[KEY, SECRET], ENVIRONMENT),
    (KEYS_OF_DEFAULT, "", &[("AWS_PROFILE", "other")], Raising("ProfileNotFound", FILES)),
    (KEYS_OF_DEFAULT, "", &[("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")], IMDS),
    (KEYS_OF_DEFAULT, "", &[("AWS_SHARED_CREDENTIALS_FILE", "/dev/zero")], IMDS),
    ("[other]\naws_access_key_id = AKIAFILE\naws_secret_access_key = made-up\n", "", &[], IMDS),
    (
        "[other]\naws_access_key_id = AKIAFILE\naws_secret_access_key = made-up\n",
        "",
        &[("AWS_PROFILE", "other")],
        STATIC,
    ),
    (
        "[other]\naws_access_key_id = AKIAFILE\naws_secret_access_key = made-up\n[a]\nregion = x\n",
        "",
        &[("AWS_PROFILE", "other"), ("AWS_DEFAULT_PROFILE", "a")],
        IMDS,
    ),
    ("[DEFAULT]\naws_access_key_id: AKIAFILE\nAWS_SECRET_ACCESS_KEY: made-up\n[default]\n", "", &[], STATIC),
    ("[default]\naws_access_key_id = AKIAFILE\n", "", &[], Raising("PartialCredentialsError", FILES)),
    ("[default]\n# aws_access_key_id = AKIAFILE\nregion = eu-west-1\n", "", &[], IMDS),
    ("[default]\ns3 =\n  aws_access_key_id = AKIAFILE\n", "", &[], IMDS),
    ("aws_access_key_id = AKIAFILE\n", "", &[], Raising("ConfigParseError", FILES)),
    ("[default]\nregion\n", "", &[], Raising("ConfigParseError", FILES)),
    ("[default]\nregion = a\nregion = b\n", "", &[], Raising("ConfigParseError", FILES)),
    ("", KEYS_OF_DEFAULT, &[], With("config-file", FILES)),
    ("", PROCESS, &[], With("custom-process", FILES)),
    ("", "[profile other]\nregion = x\n", &[("AWS_PROFILE", "other")], IMDS),
    ("", "[other]\nregion = x\n", &[("AWS_PROFILE", "other")], Raising("ProfileNotFound", FILES)),
    ("", "[default]\nrole_arn = arn:aws:iam::1:role/x\n", &[], Raising("PartialCredentialsError", FILES)),
    (KEYS_OF_A, "[default]\nrole_arn = arn:aws:iam::1:role/x\nsource_profile = a\n", &[], ASSUMED),
    (KEYS_OF_A, "[default]\nrole_arn = arn:aws:iam::1:role/x\nsource_profile = a\n", &[FILE, ROLE], ASSUMED),
    ("", FROM_IMDS, &[], AssumingFromImds),
    ("", FROM_IMDS, &[RELATIVE], AssumingFromImds),
];

const FROM_IMDS: &str = "[default]\nrole_arn = arn:aws:iam::1:role/x\ncredential_source = Ec2InstanceMetadata\n";

const KEYS_OF_DEFAULT: &str = "[default]\naws_access_key_id = AKIAFILE\naws_secret_access_key = made-up\n";
const KEYS_OF_A: &str = "[a]\naws_access_key_id = AKIAFILE\naws_secret_access_key = made-up\n";
const PROCESS: &str = r#"[default]
credential_process = echo '{"Version": 1, "AccessKeyId": "AKIAPROCESS", "SecretAccessKey": "made-up"}'
"#;

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn a_real_session_and_the_exporter_agree_on_where_credentials_come_from() {
    run_inside("credential_chain::in_the_namespace", "inside", "true").await;
}

#[tokio::test]
#[ignore = "the test above starts it"]
async fn in_the_namespace() {
    if inside().is_none() {
        return;
    }
    ip("link set lo up");
    for address in ["169.254.169.254", "169.254.170.2", "169.254.170.23"] {
        ip(&format!("address add {address}/32 dev lo"));
    }
    let imds = SocketAddr::from(([169, 254, 169, 254], 80));
    let options =
        simulator::SimulatorOptions { listen: imds, allow_any_address: true, ..simulator::SimulatorOptions::default() };
    let simulator = Simulator::start(options, Arc::new(SystemClock)).await.expect("the address is there");
    for address in ["169.254.170.2:80", "169.254.170.23:80", "127.0.0.1:8001"] {
        serve(address, "GET /v1/credentials ", CONTAINER_CREDENTIALS).await;
    }

    let mut boto3 = VERSIONS.map(|version| Clients::start_with(version, &[]));
    let home = TempDir::new().expect("a temporary folder");
    let [credentials, config] = ["credentials", "config"].map(|file| home.path().join(".aws").join(file));
    fs::create_dir(home.path().join(".aws")).expect("the folder can be written");
    let without_files = CASES.iter().map(|(variables, ends)| ("", "", variables, ends));
    let with_files = FILE_CASES.iter().map(|(first, second, variables, ends)| (*first, *second, variables, ends));
    for (in_credentials, in_config, variables, ends) in without_files.chain(with_files) {
        fs::write(&credentials, in_credentials).expect("the folder can be written");
        fs::write(&config, in_config).expect("the folder can be written");
        let own = [("AWS_REGION", "eu-west-1"), ("HOME", home.path().to_str().expect("UTF-8"))];
        let environment = [variables, &own[..]].concat();
        let case = format!("{in_credentials}{in_config}{variables:?}");
        let (expected, shadowed, asks_imds) = match *ends {
            With(method, shadowed) => (Found::Method(method.to_owned()), shadowed, method == "iam-role"),
            Raising(error, shadowed) => (Found::Raised(error.to_owned()), shadowed, false),
            AssumingFromImds => (Found::Method("assume-role".to_owned()), None, true),
        };
        for (version, boto3) in VERSIONS.iter().zip(&mut boto3) {
            let asked_before = simulator.counts().token;
            // Versions before 1.34 ask nobody at this address.
            let is_unknown = variables.contains(&POD_IDENTITY) && ["1.26", "1.20"].contains(version);
            let expected = if is_unknown { &Found::Raised("ValueError".to_owned()) } else { &expected };
            assert_eq!(boto3.find_credentials(&environment).await, *expected, "boto3 {version}, with {case}");
            let imds_was_asked = simulator.counts().token > asked_before;
            assert_eq!(imds_was_asked, asks_imds, "boto3 {version} asks IMDS, with {case}");
        }
        exporter_says(&environment, shadowed, matches!(ends, With("iam-role", _))).await;
    }

    // Whatever IMDS does.
    apply_toml(&simulator, CONNECT_REFUSED).await;
    exporter_says(&[KEY, SECRET], Some("environment"), false).await;
}

/// Metrics, JSON and page of an exporter with this environment.
async fn exporter_says(environment: &[(&str, &str)], shadowed: Option<&str>, of_clients: bool) {
    let mut command = program(&[]);
    command.env_remove("AWS_EC2_METADATA_SERVICE_ENDPOINT").env("IMDS_EXPORTER_LISTEN_ADDRESS", "127.0.0.1:0");
    command.envs(environment.iter().copied());
    let exporter = ExporterProcess::start_with(command).await;
    let metrics = metrics_with(exporter.address, "\nimds_up ").await;
    let series: Vec<_> = metrics.lines().filter(|line| line.starts_with("imds_chain_shadowed{")).collect();
    let expected: Vec<_> = shadowed.map(|by| format!("imds_chain_shadowed{{by=\"{by}\"}} 1")).into_iter().collect();
    assert_eq!(series, expected, "the exporter, with {environment:?}");
    assert_eq!(metrics.contains("\nimds_client_usable{"), of_clients, "{environment:?}: {metrics}");

    let json = try_get(exporter.address, "/api/v1/status").await.expect("the status");
    let status: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(status["chain_shadowed"].as_str(), shadowed, "{status}");
    let page = try_get(exporter.address, "/").await.expect("the page");
    assert_eq!(page.contains("IMDS is not used here"), shadowed.is_some(), "{page}");
    assert_eq!(exporter.has_warning_with("by"), shadowed.is_some(), "the log");
}

const CONTAINER_CREDENTIALS: &str = r#"{"AccessKeyId": "ASIACONTAINER", "SecretAccessKey": "made-up", "Token": "made-up", "Expiration": "2099-01-01T00:00:00Z"}"#;

/// A server that answers requests that begin so, and others with 404.
async fn serve(address: &str, beginning: &'static str, body: &'static str) {
    let listener = TcpListener::bind(address).await.expect("the address is there");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let Some(request) = read_head(&mut stream).await else { continue };
            let (status, body) =
                if request.starts_with(beginning.as_bytes()) { ("200 OK", body) } else { ("404 Not Found", "") };
            let length = body.len();
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
            let _client_gone = stream.write_all(answer.as_bytes()).await;
        }
    });
}
