//! The signed call, against an STS of the tests' own that checks signatures itself.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use imds_exporter::domain::signed_call::{CallFailure, Obstacle, Reason};
use imds_exporter::domain::{Region, SigningCredentials};
use imds_exporter::http::Route;
use imds_exporter::platform::clock::SystemClock;
use imds_exporter::simulator::{
    self, CREDENTIAL_TOKEN_PREFIX, Change, Counts, KEY_ID_PREFIX, SECRET_KEY_PREFIX, SESSION_TOKEN_PREFIX, Simulator,
};
use imds_exporter::sts::{CaBundle, CallerIdentity, Endpoint, Sts, StsOptions};
use jiff::SignedDuration;
use serde_json::Value;
use strum::VariantArray;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use crate::support::exporter::{Exporter, config, listen};
use crate::support::program::{ExporterProcess, output, program, program_with_imds};
use crate::support::request::{get, get_until, metrics_with};
use crate::support::simulator::{CONNECT_REFUSED, HEALTHY, apply_toml, start_simulator};
use crate::support::sts::{ACCOUNT, ARN, Authority, Behavior, TestSts, USER_ID, error_body};
use crate::support::wait::wait_until;

const REGION: &str = "eu-central-1";

fn region() -> Region {
    Region::parse(REGION).expect("a region")
}

/// The credentials of the simulator's first document.
fn credentials() -> SigningCredentials {
    let secret = |text: String| Zeroizing::new(text);
    SigningCredentials {
        access_key_id: secret(format!("{KEY_ID_PREFIX}0000001")),
        secret_access_key: secret(format!("{SECRET_KEY_PREFIX}-0000001")),
        session_token: Some(secret(format!("{CREDENTIAL_TOKEN_PREFIX}-0000001=="))),
    }
}

/// A client that asks at `url`, and accepts the authority in `bundle`.
fn client(url: &str, bundle: Option<&Path>) -> Sts {
    let ca_bundles = bundle.map(|path| CaBundle { variable: "AWS_CA_BUNDLE", path: path.to_owned() });
    let endpoint = Some(Endpoint::parse(url).expect("an endpoint"));
    let options = StsOptions { endpoint, ca_bundles: ca_bundles.into_iter().collect(), ..StsOptions::default() };
    Sts::new(&options, Arc::new(SystemClock)).expect("the bundle can be read")
}

async fn call(sts: &Sts) -> Result<CallerIdentity, CallFailure> {
    sts.call(&region(), credentials()).await
}

async fn reason(sts: &Sts) -> Reason {
    call(sts).await.expect_err("the call fails").reason
}

/// Why a call fails without an answer that could be judged.
async fn obstacle(sts: &Sts) -> (Reason, Option<Obstacle>) {
    let failure = call(sts).await.expect_err("the call fails");
    (failure.reason, failure.obstacle)
}

#[tokio::test]
async fn each_reason_by_its_real_answer_over_tls() {
    let folder = tempfile::tempdir().expect("a folder");
    let (authority, bundle) = (Authority::new(), folder.path().join("ca.pem"));
    authority.write(&bundle);
    let server = TestSts::start_tls(REGION, &authority, "127.0.0.1").await;
    let client = client(&server.url(), Some(&bundle));

    let identity = call(&client).await.expect("the signature is right");
    assert_eq!((identity.caller.account.as_str(), identity.arn.as_str()), (ACCOUNT, ARN));
    assert_eq!(identity.caller.role.expect("a role").as_str(), "canary-role");

    // What a check of the signature finds.
    server.set_clock_ahead(SignedDuration::from_secs(290));
    assert!(call(&client).await.is_ok());
    for skew in [310, -310] {
        server.set_clock_ahead(SignedDuration::from_secs(skew));
        let failure = call(&client).await.expect_err("the time is refused");
        assert_eq!((failure.reason, failure.code), (Reason::ClockSkew, Some("SignatureDoesNotMatch")));
    }
    server.set_clock_ahead(SignedDuration::ZERO);
    server.knows(&credentials().access_key_id, "another secret", &credentials().session_token.expect("a token"));
    let failure = call(&client).await.expect_err("the secret is another");
    assert_eq!((failure.reason, failure.status), (Reason::Signature, Some(403)));
    server.forget_all();
    assert_eq!(reason(&client).await, Reason::InvalidToken);

    // What AWS answers otherwise.
    let expired = "The security token included in the request is expired";
    let denied = format!("User: {ARN} is not authorized to perform: sts:GetCallerIdentity with an explicit deny");
    for (status, code, message, reason, refused) in [
        (403, "ExpiredToken", expired, Reason::ExpiredToken, true),
        (400, "ExpiredTokenException", expired, Reason::ExpiredToken, true),
        (403, "AccessDenied", &denied, Reason::AccessDenied, true),
        (400, "RequestExpired", "Request has expired.", Reason::ClockSkew, true),
        (400, "Throttling", "Rate exceeded", Reason::Throttled, false),
        (503, "ServiceUnavailable", "Service Unavailable", Reason::ServerError, false),
        (500, "InternalFailure", "An internal error has occurred.", Reason::ServerError, false),
        (403, "RegionDisabledException", "STS is not activated in this region", Reason::Unexpected, false),
    ] {
        server.set(Behavior::Answer(status, error_body(code, message)));
        let failure = call(&client).await.expect_err("an error");
        assert_eq!(failure, CallFailure { reason, status: Some(status), code: Some(code), obstacle: None });
        assert_eq!(reason.is_refusal(), refused);
    }
    for (status, body, reason) in [
        (200, "<html>portal</html>".to_owned(), Reason::Unexpected),
        (200, String::new(), Reason::Unexpected),
        (429, String::new(), Reason::Throttled),
        (502, "<html>Bad Gateway</html>".to_owned(), Reason::ServerError),
        (404, "not found".to_owned(), Reason::Unexpected),
    ] {
        server.set(Behavior::Answer(status, body.clone()));
        assert_eq!(self::reason(&client).await, reason, "{status} {body}");
    }
    server.set(Behavior::Large(1024 * 1024));
    assert_eq!(reason(&client).await, Reason::Unexpected);
    let calls = server.calls().len();
    server.set(Behavior::Redirect);
    assert_eq!(reason(&client).await, Reason::Unexpected);
    assert_eq!(server.calls().len(), calls + 1, "a redirect is not followed");
    server.set(Behavior::CutOff);
    assert_eq!(reason(&client).await, Reason::Unexpected);
    server.set(Behavior::NotTls);
    assert_eq!(reason(&client).await, Reason::Tls);
}

#[tokio::test]
async fn a_certificate_of_another_name_or_authority_is_not_accepted() {
    let folder = tempfile::tempdir().expect("a folder");
    let (authority, bundle) = (Authority::new(), folder.path().join("ca.pem"));
    authority.write(&bundle);
    let other_name = TestSts::start_tls(REGION, &authority, "sts.example").await;
    let certificate = (Reason::Tls, Some(Obstacle::Certificate));
    assert_eq!(obstacle(&client(&other_name.url(), Some(&bundle))).await, certificate);
    let other_authority = TestSts::start_tls(REGION, &Authority::new(), "127.0.0.1").await;
    assert_eq!(obstacle(&client(&other_authority.url(), Some(&bundle))).await, certificate);
    assert_eq!(obstacle(&client(&other_authority.url(), None)).await, certificate);
    assert!(other_name.calls().is_empty() && other_authority.calls().is_empty());
}

#[tokio::test]
async fn an_sts_that_cannot_be_reached_or_does_not_answer_in_time() {
    let (listener, refusing) = listen().await;
    drop(listener);
    let refused = obstacle(&client(&format!("http://{refusing}"), None)).await;
    assert_eq!(refused, (Reason::Connect, Some(Obstacle::ConnectionRefused)));
    let unknown = obstacle(&client("https://sts.invalid", None)).await;
    assert_eq!(unknown, (Reason::Connect, Some(Obstacle::NoSuchName)));

    let (hanging, dripping) = (TestSts::start(REGION).await, TestSts::start(REGION).await);
    hanging.set(Behavior::Hang);
    dripping.set(Behavior::Drip);
    let (hanging_client, dripping_client) = (client(&hanging.url(), None), client(&dripping.url(), None));
    let reasons = tokio::join!(reason(&hanging_client), reason(&dripping_client));
    assert_eq!(reasons, (Reason::Timeout, Reason::Timeout));
}

/// An exporter that polls every second, and signs a call every second.
async fn exporter(simulator: &Simulator, sts: &TestSts, more: &[(&str, &str)]) -> Exporter {
    let (imds, url) = (format!("http://{}", simulator.address()), sts.url());
    let own = [
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds.as_str()),
        ("AWS_ENDPOINT_URL_STS", &url),
        ("IMDS_EXPORTER_POLL_INTERVAL", "1s"),
        ("IMDS_EXPORTER_SIGNED_CALL_INTERVAL", "1m"),
    ];
    let mut config = config(&[&own, more].concat());
    config.signed_call_interval = Some(Duration::from_secs(1));
    Exporter::start_config(config).await
}

#[tokio::test]
async fn the_result_is_in_metrics_page_and_json() {
    let (simulator, sts) = (start_simulator().await, TestSts::start(REGION).await);
    let exporter = exporter(&simulator, &sts, &[]).await;
    let metrics = metrics_with(exporter.address, "\nimds_signed_call_up 1\n").await;
    assert!(metrics.contains("\nimds_signed_call_failures_total{reason=\"tls\"} 0\n"), "{metrics}");
    assert!(!metrics.contains("imds_signed_call_failure_active"), "{metrics}");
    let page = get(exporter.address, "/").await.text;
    assert!(page.contains("AWS accepts them") && page.contains(ACCOUNT), "{page}");
    let status =
        async || -> Value { serde_json::from_str(get(exporter.address, "/api/v1/status").await.body()).expect("JSON") };
    let accepted = status().await;
    assert_eq!(accepted["signed_call"]["account"], ACCOUNT);
    assert_eq!(accepted["signed_call"]["role"], "canary-role");
    assert_eq!(accepted["signed_call"]["failure"], Value::Null);

    sts.forget_all();
    let metrics =
        metrics_with(exporter.address, "\nimds_signed_call_failure_active{reason=\"invalid_token\"} 1\n").await;
    assert!(metrics.contains("\nimds_signed_call_up 0\n") && metrics.contains("\nimds_up 1\n"), "{metrics}");
    assert!(metrics.contains("\nimds_signed_call_last_success_timestamp_seconds "), "{metrics}");
    let refused = status().await;
    assert_eq!(refused["signed_call"]["up"], false);
    assert_eq!(refused["signed_call"]["account"], Value::Null);
    assert_eq!(refused["signed_call"]["failure"]["reason"], "invalid_token");
    assert_eq!(refused["signed_call"]["failure"]["refused"], true);
    let page = get(exporter.address, "/").await.text;
    assert!(
        page.contains("AWS refuses the credentials") && page.contains("runbook#signed_call_invalid_token"),
        "{page}"
    );
    assert!(get(exporter.address, "/runbook").await.text.contains("id=\"signed_call_invalid_token\""));

    // After a failure the next call comes by itself.
    sts.set(Behavior::Answer(503, error_body("ServiceUnavailable", "")));
    metrics_with(exporter.address, "\nimds_signed_call_failure_active{reason=\"server_error\"} 1\n").await;
    let page = get(exporter.address, "/").await.text;
    assert!(page.contains("whether AWS accepts them is unknown"), "{page}");

    // While IMDS fails, no call is made.
    apply_toml(&simulator, CONNECT_REFUSED).await;
    metrics_with(exporter.address, "\nimds_up 0\n").await;
    let failed = async || polls(&get(exporter.address, "/metrics").await.text);
    let (before, calls) = (failed().await, sts.calls().len());
    get_until(exporter.address, "/metrics", |response| polls(response.body()) >= before + 3).await;
    assert!(sts.calls().len() <= calls + 1, "a call that was in flight may end");
    exporter.stop().await;
}

fn polls(metrics: &str) -> u32 {
    let value = metrics.lines().find_map(|line| line.strip_prefix("imds_fetches_total "));
    value.expect("the counter exists").parse().expect("a number")
}

#[tokio::test]
async fn a_hanging_sts_delays_neither_polls_nor_scrapes_and_calls_do_not_pile_up() {
    let (simulator, sts) = (start_simulator().await, TestSts::start(REGION).await);
    sts.set(Behavior::Hang);
    let exporter = exporter(&simulator, &sts, &[]).await;
    wait_until("a call", || sts.calls().len() == 1).await;
    let began = simulator.counts().credentials;
    // Four polls at least in the five seconds that the call may take.
    let in_flight = async || {
        wait_until("four more polls", || simulator.counts().credentials >= began + 4).await;
        sts.calls().len()
    };
    let metrics = get(exporter.address, "/metrics").await.text;
    assert!(!metrics.contains("\nimds_signed_call_up"), "no call has ended");
    assert_eq!(in_flight().await, 1, "one call at a time");
    metrics_with(exporter.address, "\nimds_signed_call_failure_active{reason=\"timeout\"} 1\n").await;
    let metrics = get(exporter.address, "/metrics").await.text;
    assert!(!metrics.contains("imds_failure_active"), "{metrics}");
    let slow = metrics.lines().filter(|line| line.starts_with("imds_fetch_failures_total") && !line.ends_with(" 0"));
    assert_eq!(slow.count(), 0, "{metrics}");
    exporter.stop().await;
}

#[tokio::test]
async fn without_the_variable_no_call_is_made_and_nothing_is_shown() {
    let (simulator, sts) = (start_simulator().await, TestSts::start(REGION).await);
    let exporter = Exporter::start_with(&simulator, &[("AWS_ENDPOINT_URL_STS", &sts.url())]).await;
    wait_until("three polls", || simulator.counts().credentials >= 3).await;
    assert!(!get(exporter.address, "/metrics").await.text.contains("signed_call"));
    let status: Value = serde_json::from_str(get(exporter.address, "/api/v1/status").await.body()).expect("JSON");
    assert_eq!(status["signed_call"], Value::Null);
    assert!(!get(exporter.address, "/").await.text.contains("Signed call"));
    exporter.stop().await;
    assert!(sts.calls().is_empty());
    let Counts { region, other, .. } = simulator.counts();
    assert_eq!((region, other), (0, 0));
}

#[tokio::test]
async fn imds_is_asked_for_the_region_once_and_only_if_none_is_configured() {
    let (simulator, sts) = (start_simulator().await, TestSts::start(REGION).await);
    let exporter = exporter(&simulator, &sts, &[]).await;
    wait_until("three calls", || sts.calls().len() >= 3).await;
    exporter.stop().await;
    assert_eq!(simulator.counts().region, 1);
    assert_eq!(simulator.counts().without_token, 0);

    for (name, expected) in [("AWS_REGION", 200), ("AWS_DEFAULT_REGION", 200)] {
        let (simulator, sts) = (start_simulator().await, TestSts::start("us-gov-west-1").await);
        let exporter = self::exporter(&simulator, &sts, &[(name, "us-gov-west-1")]).await;
        metrics_with(exporter.address, "\nimds_signed_call_up 1\n").await;
        exporter.stop().await;
        assert_eq!((simulator.counts().region, expected), (0, 200), "{name}");
    }
}

/// A proxy that tunnels to wherever it is asked, or refuses.
async fn start_proxy(refuses: bool) -> (SocketAddr, Arc<std::sync::Mutex<Vec<String>>>) {
    let (listener, address) = listen().await;
    let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let seen = Arc::clone(&seen);
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { return };
                    head.push(byte);
                }
                let head = String::from_utf8(head).expect("the head is text");
                seen.lock().expect("no test panics while it holds this").push(head.clone());
                if refuses {
                    let _gone = stream.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await;
                    return;
                }
                let target = head.split(' ').nth(1).expect("a target");
                let mut upstream = TcpStream::connect(target).await.expect("the target listens");
                stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.expect("the client reads");
                let _gone = copy_bidirectional(&mut stream, &mut upstream).await;
            });
        }
    });
    (address, asked)
}

#[tokio::test]
async fn the_call_goes_through_the_proxy_and_polls_never_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let (authority, bundle) = (Authority::new(), folder.path().join("ca.pem"));
    authority.write(&bundle);
    let bundle = bundle.to_str().expect("text");
    let (simulator, sts) = (start_simulator().await, TestSts::start_tls(REGION, &authority, "127.0.0.1").await);
    let (proxy, asked) = start_proxy(false).await;
    let number = || asked.lock().expect("no test panics while it holds this").len();
    let url = format!("http://user:canary-password@{proxy}");
    let base = [("AWS_CA_BUNDLE", bundle), ("HTTP_PROXY", url.as_str()), ("HTTPS_PROXY", &url)];

    let exporter = exporter(&simulator, &sts, &base).await;
    let metrics = metrics_with(exporter.address, "\nimds_signed_call_up 1\n").await;
    assert!(metrics.contains("\nimds_up 1\n"));
    for page in ["/", "/api/v1/status"] {
        assert!(!get(exporter.address, page).await.text.contains("canary-password"));
    }
    exporter.stop().await;
    let heads = asked.lock().expect("no test panics while it holds this").clone();
    assert!(heads.iter().all(|head| head.starts_with(&format!("CONNECT {}", sts.address))), "{heads:?}");
    assert!(heads[0].to_ascii_lowercase().contains("proxy-authorization: basic "), "{heads:?}");

    let before = number();
    let exporter = self::exporter(&simulator, &sts, &[&base[..], &[("NO_PROXY", "127.0.0.1")]].concat()).await;
    metrics_with(exporter.address, "\nimds_signed_call_up 1\n").await;
    exporter.stop().await;
    assert_eq!(number(), before, "exempted");

    let (refusing, _) = start_proxy(true).await;
    let url = format!("http://{refusing}");
    let exporter = self::exporter(&simulator, &sts, &[("AWS_CA_BUNDLE", bundle), ("https_proxy", &url)]).await;
    metrics_with(exporter.address, "\nimds_signed_call_failure_active{reason=\"connect\"} 1\n").await;
    exporter.stop().await;
}

/// The program that the story comes from, as a table: what `check --signed` says.
#[tokio::test]
async fn check_signed_calls_sts_only_where_imds_returned_credentials() {
    let (simulator, sts) = (start_simulator().await, TestSts::start(REGION).await);
    let check = async |arguments: &[&str]| {
        let mut command = program_with_imds(simulator.address(), arguments);
        command.env("AWS_ENDPOINT_URL_STS", sts.url()).env("IMDS_EXPORTER_TIMEOUT", "400ms");
        let output = output(command).await;
        (output.status.code(), String::from_utf8(output.stdout).expect("text"))
    };
    // IMDS off: no call is made.
    apply_toml(&simulator, CONNECT_REFUSED).await;
    let (code, text) = check(&["check", "--signed"]).await;
    assert_eq!((code, sts.calls().len()), (Some(1), 0), "{text}");
    assert!(!text.contains("sts:GetCallerIdentity"), "{text}");
    // IMDS on: account, user id, ARN.
    apply_toml(&simulator, HEALTHY).await;
    let (code, text) = check(&["check", "--signed"]).await;
    assert_eq!((code, sts.calls().len()), (Some(0), 1), "{text}");
    for shown in [ACCOUNT, USER_ID, ARN, "canary-role"] {
        assert!(text.contains(shown), "{text}");
    }
    let json = async |code: i32| -> Value {
        let (status, text) = check(&["check", "--signed", "--json"]).await;
        assert_eq!(status, Some(code), "{text}");
        serde_json::from_str(&text).expect("JSON")
    };
    let accepted = json(0).await;
    assert_eq!((&accepted["verdict"], &accepted["signed_call"]["up"]), (&"usable".into(), &true.into()));
    assert_eq!(accepted["sts"]["user_id"], USER_ID);
    // Without the option: never.
    let calls = sts.calls().len();
    assert_eq!(check(&["check"]).await.0, Some(0));
    assert_eq!(sts.calls().len(), calls);
    // AWS refuses: failing. STS cannot be asked: a warning.
    sts.forget_all();
    let refused = json(1).await;
    assert_eq!((&refused["verdict"], &refused["signed_call"]["failure"]["refused"]), (&"failing".into(), &true.into()));
    assert_eq!(refused["signed_call"]["failure"]["reason"], "invalid_token");
    let (_, text) = check(&["check", "--signed"]).await;
    assert!(text.contains("REFUSED") && text.contains("InvalidClientTokenId"), "{text}");
    sts.set(Behavior::Answer(503, error_body("ServiceUnavailable", "")));
    let unknown = json(2).await;
    assert_eq!(
        (&unknown["verdict"], &unknown["signed_call"]["failure"]["refused"]),
        (&"warning".into(), &false.into())
    );
    assert_eq!(unknown["signed_call"]["failure"]["reason"], "server_error");
    assert_eq!(unknown["warnings"][0], "signed_call_failed");
}

#[tokio::test]
async fn every_mistake_about_sts_is_listed_before_a_port_is_bound() {
    let run = async |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut command = program(arguments);
        command.envs(variables.iter().copied());
        let output = output(command).await;
        (output.status.code(), String::from_utf8(output.stderr).expect("text"))
    };
    let wrong = [
        ("AWS_REGION", "evil.example/#"),
        ("AWS_DEFAULT_REGION", "EU"),
        ("AWS_ENDPOINT_URL_STS", "http://sts.example"),
        ("HTTPS_PROXY", "no url"),
    ];
    let (code, text) = run(&[], &[&wrong[..], &[("IMDS_EXPORTER_SIGNED_CALL_INTERVAL", "59s")]].concat()).await;
    assert_eq!(code, Some(64), "{text}");
    for (name, value) in [&wrong[..], &[("IMDS_EXPORTER_SIGNED_CALL_INTERVAL", "")]].concat() {
        assert!(text.contains(&format!("{name}: ")), "{name}: {text}");
        assert!(value.is_empty() || !text.contains(value), "{value} is repeated");
    }
    let (code, text) = run(&["check", "--signed"], &wrong).await;
    assert_eq!(code, Some(64), "{text}");
    assert!(wrong.iter().all(|(name, _)| text.contains(name)), "{text}");
    for file in ["/nonexistent/ca.pem", "/dev/null", env!("CARGO_MANIFEST_DIR")] {
        for name in ["AWS_CA_BUNDLE", "SSL_CERT_FILE"] {
            let (code, text) = run(&[], &[("IMDS_EXPORTER_SIGNED_CALL_INTERVAL", "1m"), (name, file)]).await;
            assert_eq!(code, Some(64), "{text}");
            assert!(text.contains(&format!("{name}: {file}: ")), "{text}");
        }
    }
    // Where no signed call is made, none of that matters.
    let (code, text) = run(&["check"], &wrong).await;
    assert_eq!(code, Some(1), "{text}");
}

#[tokio::test]
async fn the_log_tells_changes_and_neither_arn_nor_user_id() {
    let (simulator, sts) = (start_simulator().await, TestSts::start(REGION).await);
    let mut command = program_with_imds(simulator.address(), &[]);
    command.env("AWS_ENDPOINT_URL_STS", sts.url()).env("IMDS_EXPORTER_SIGNED_CALL_INTERVAL", "1m");
    let exporter = ExporterProcess::start_with(command).await;
    wait_until("a line", || exporter.logged(|line| line["account"] == ACCOUNT).is_some()).await;
    let line = exporter.logged(|line| line["account"] == ACCOUNT).expect("it is there");
    assert_eq!((&line["level"], &line["role"]), (&"INFO".into(), &"canary-role".into()));
    exporter.stop().await;

    sts.forget_all();
    let mut command = program_with_imds(simulator.address(), &[]);
    command.env("AWS_ENDPOINT_URL_STS", sts.url()).env("IMDS_EXPORTER_SIGNED_CALL_INTERVAL", "1m");
    let exporter = ExporterProcess::start_with(command).await;
    wait_until("a line", || exporter.logged(|line| line["reason"] == "invalid_token").is_some()).await;
    let line = exporter.logged(|line| line["reason"] == "invalid_token").expect("it is there");
    assert_eq!((&line["level"], &line["status"]), (&"WARN".into(), &403.into()));
    exporter.stop().await;
}

/// The simulated STS, for the demo and for game days.
#[tokio::test]
async fn the_simulated_sts_checks_signatures_and_has_every_reason_that_a_server_can_have() {
    let options =
        simulator::SimulatorOptions { sts: Some(([127, 0, 0, 1], 0).into()), ..simulator::SimulatorOptions::default() };
    let simulator = Simulator::start(options, Arc::new(SystemClock)).await.expect("loopback has free ports");
    let client = client(&format!("http://{}", simulator.sts_address().expect("it has an STS")), None);
    let identity = call(&client).await.expect("the signature is right");
    assert_eq!(identity.caller.role.expect("a role").as_str(), "simulated-role");

    let wrong = SigningCredentials { secret_access_key: Zeroizing::new("another".to_owned()), ..credentials() };
    assert_eq!(client.call(&region(), wrong).await.expect_err("a wrong key").reason, Reason::Signature);
    let wrong = SigningCredentials { session_token: None, ..credentials() };
    assert_eq!(client.call(&region(), wrong).await.expect_err("no token").reason, Reason::InvalidToken);
    apply_toml(&simulator, "rotate = true").await;
    assert_eq!(reason(&client).await, Reason::InvalidToken, "other credentials are in force");

    for expected in Reason::VARIANTS {
        let change = Change::parse(&format!("sts = \"{expected}\""));
        if matches!(expected, Reason::Connect | Reason::Tls) {
            assert!(change.is_err(), "{expected}");
            continue;
        }
        simulator.apply(&change.expect("a change")).await.expect("it can be applied");
        assert_eq!(reason(&client).await, *expected);
    }
    assert!(Change::parse("sts = \"nonsense\"").is_err());
}

/// No field of a document, no session token, and nothing of an answer of STS but the account and the role, in the log at
/// TRACE, on a page, in a metric or in the state file.
#[tokio::test]
async fn nothing_secret_of_a_call_or_its_answer_is_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let (authority, bundle) = (Authority::new(), folder.path().join("ca.pem"));
    authority.write(&bundle);
    let clean = |text: &str, what: &str| {
        let secrets = [KEY_ID_PREFIX, SECRET_KEY_PREFIX, CREDENTIAL_TOKEN_PREFIX, SESSION_TOKEN_PREFIX, USER_ID, ARN];
        for secret in secrets.into_iter().chain(["CANARY", "i-0canary", "canary-message", "assumed-role"]) {
            assert!(!text.contains(secret), "{what} shows {secret}: {text}");
        }
    };
    let canary = "canary-message";
    for (name, behavior, ended) in [
        ("accepted", Behavior::Check, "imds_signed_call_up 1"),
        ("denied", Behavior::Answer(403, error_body("AccessDenied", canary)), "{reason=\"access_denied\"} 1"),
        ("other", Behavior::Answer(400, error_body("canary-message", canary)), "{reason=\"unexpected\"} 1"),
        ("garbage", Behavior::Answer(200, canary.to_owned()), "{reason=\"unexpected\"} 1"),
    ] {
        let simulator = start_simulator().await;
        let sts = TestSts::start_tls(REGION, &authority, "127.0.0.1").await;
        sts.set(behavior);
        let state = folder.path().join(name);
        let mut command = program_with_imds(simulator.address(), &[]);
        command.env("AWS_ENDPOINT_URL_STS", sts.url()).env("AWS_CA_BUNDLE", &bundle);
        command.env("IMDS_EXPORTER_SIGNED_CALL_INTERVAL", "1m").env("IMDS_EXPORTER_LOG", "trace");
        command.env("IMDS_EXPORTER_STATE_FILE", &state);
        let exporter = ExporterProcess::start_with(command).await;
        metrics_with(exporter.address, ended).await;
        for route in Route::VARIANTS {
            let text = get(exporter.address, route.path()).await.text;
            clean(&text, route.path());
            assert!(!text.contains(ACCOUNT) || matches!(route, Route::StatusPage | Route::StatusJson), "{text}");
        }
        let traced = exporter.logged(|line| line["level"] == "TRACE" || line["level"] == "DEBUG");
        assert!(traced.is_some(), "the log is that of TRACE");
        exporter.logged(|line| {
            clean(&line.to_string(), name);
            false
        });
        exporter.stop().await;
        let saved = std::fs::read_to_string(&state).expect("it was saved");
        clean(&saved, "the state file");
        assert!(!saved.contains(ACCOUNT) && !saved.contains("canary-role"), "{saved}");
    }
}
