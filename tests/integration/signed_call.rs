//! The signed call, against an STS of the tests' own that checks signatures itself.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use imds_exporter::domain::signed_call::{CallFailure, Obstacle, Reason};
use imds_exporter::domain::{Region, Signing, SigningCredentials};
use imds_exporter::http::Route;
use imds_exporter::platform::clock::SystemClock;
use imds_exporter::simulator::{
    self, CREDENTIAL_TOKEN_PREFIX, Change, Counts, KEY_ID_PREFIX, SECRET_KEY_PREFIX, SESSION_TOKEN_PREFIX, Simulator,
};
use imds_exporter::sts::{CaBundle, CallerIdentity, Endpoint, Sts, StsOptions};
use serde_json::Value;
use strum::VariantArray;
use tempfile::TempDir;
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use crate::support::exporter::{Exporter, config, listen};
use crate::support::program::{ExporterProcess, output, program, program_with_imds};
use crate::support::request::{get, metrics_with, read_head};
use crate::support::scrape::{Scrape, polls_after, scrape_until};
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
    call_with(sts, credentials()).await
}

async fn call_with(sts: &Sts, credentials: SigningCredentials) -> Result<CallerIdentity, CallFailure> {
    sts.call(Signing { credentials, region: Some(region()) }).await
}

async fn reason(sts: &Sts) -> Reason {
    call(sts).await.expect_err("the call fails").reason
}

/// Why a call fails without an answer that could be judged.
async fn obstacle(sts: &Sts) -> (Reason, Option<Obstacle>) {
    let failure = call(sts).await.expect_err("the call fails");
    (failure.reason, failure.obstacle)
}

/// An authority, and a folder with its certificate in a bundle.
fn authority() -> (Authority, TempDir, PathBuf) {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().expect("a folder"));
    let bundle = folder.path().join("ca.pem");
    authority.write(&bundle);
    (authority, folder, bundle)
}

#[tokio::test]
async fn a_call_over_tls_is_judged_by_its_answer() {
    let (authority, _folder, bundle) = authority();
    let server = TestSts::start_tls(REGION, &authority, "127.0.0.1").await;
    let client = client(&server.url(), Some(&bundle));
    let identity = call(&client).await.expect("an identity");
    assert_eq!((identity.caller.account.as_str(), identity.arn.as_str()), (ACCOUNT, ARN));
    assert_eq!(identity.caller.role.expect("a role").as_str(), "canary-role");

    let error = |reason, status, code| CallFailure { reason, status: Some(status), code, obstacle: None };
    server.forget_all();
    let refused = error(Reason::InvalidToken, 403, Some("InvalidClientTokenId"));
    assert_eq!(call(&client).await.expect_err("an error"), refused);
    let calls = server.calls().len();
    for (behavior, reason) in [
        (Behavior::Answer(503, error_body("ServiceUnavailable", "")), Reason::ServerError),
        (Behavior::Answer(200, "<html>portal</html>".to_owned()), Reason::Unexpected),
        (Behavior::Answer(200, "x".repeat(1024 * 1024)), Reason::Unexpected),
        (Behavior::CutOff, Reason::Unexpected),
        (Behavior::Redirect, Reason::Unexpected),
    ] {
        server.set(behavior.clone());
        assert_eq!(self::reason(&client).await, reason, "{behavior:.99?}");
    }
    assert_eq!(server.calls().len(), calls + 5, "a redirect is not followed");
    server.set(Behavior::NotTls);
    assert_eq!(reason(&client).await, Reason::Tls);
}

#[tokio::test]
async fn a_certificate_of_another_name_or_authority_is_not_accepted() {
    let (authority, _folder, bundle) = authority();
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

async fn status(exporter: &Exporter) -> Value {
    serde_json::from_str(get(exporter.address, "/api/v1/status").await.body()).expect("JSON")
}

#[tokio::test]
async fn the_result_is_in_metrics_page_and_json() {
    let (simulator, sts) = (start_simulator().await, TestSts::start(REGION).await);
    let exporter = exporter(&simulator, &sts, &[]).await;
    metrics_with(exporter.address, "\nimds_signed_call_up 1\n").await;
    assert!(get(exporter.address, "/").await.text.contains(ACCOUNT));
    let accepted = &status(&exporter).await["signed_call"];
    assert_eq!((&accepted["account"], &accepted["role"]), (&ACCOUNT.into(), &"canary-role".into()));
    assert_eq!(accepted["failure"], Value::Null);

    sts.forget_all();
    let metrics =
        metrics_with(exporter.address, "\nimds_signed_call_failure_active{reason=\"invalid_token\"} 1\n").await;
    assert!(metrics.contains("\nimds_signed_call_up 0\n") && metrics.contains("\nimds_up 1\n"), "{metrics}");
    assert!(metrics.contains("\nimds_signed_call_last_success_timestamp_seconds "), "{metrics}");
    let refused = &status(&exporter).await["signed_call"];
    assert_eq!((&refused["up"], &refused["account"]), (&false.into(), &Value::Null));
    assert_eq!(
        (&refused["failure"]["reason"], &refused["failure"]["refused"]),
        (&"invalid_token".into(), &true.into())
    );
    let page = get(exporter.address, "/").await.text;
    assert!(
        page.contains("AWS refuses the credentials") && page.contains("runbook#signed_call_invalid_token"),
        "{page}"
    );

    // After a failure the next call comes by itself.
    sts.set(Behavior::Answer(503, error_body("ServiceUnavailable", "")));
    metrics_with(exporter.address, "\nimds_signed_call_failure_active{reason=\"server_error\"} 1\n").await;

    // While IMDS fails, no call is made.
    apply_toml(&simulator, CONNECT_REFUSED).await;
    let failing = scrape_until(exporter.address, "a failure", |scrape| scrape.value("imds_up") == 0).await;
    let calls = sts.calls().len();
    polls_after(&failing, 3, exporter.address).await;
    assert!(sts.calls().len() <= calls + 1, "a call that was in flight may end");
    exporter.stop().await;
}

#[tokio::test]
async fn a_hanging_sts_delays_neither_polls_nor_scrapes_and_calls_do_not_pile_up() {
    let (simulator, sts) = (start_simulator().await, TestSts::start(REGION).await);
    sts.set(Behavior::Hang);
    let exporter = exporter(&simulator, &sts, &[]).await;
    wait_until("a call", || sts.calls().len() == 1).await;
    // Four polls at least in the five seconds that the call may take.
    let later = polls_after(&Scrape::of(exporter.address).await, 4, exporter.address).await;
    assert!(!later.0.contains("\nimds_signed_call_up"), "no call has ended");
    assert_eq!(sts.calls().len(), 1, "one call at a time");
    let metrics = metrics_with(exporter.address, "\nimds_signed_call_failure_active{reason=\"timeout\"} 1\n").await;
    assert_eq!(Scrape(metrics).all_failures(), 0);
    exporter.stop().await;
}

#[tokio::test]
async fn without_the_variable_no_call_is_made_and_nothing_is_shown() {
    let (simulator, sts) = (start_simulator().await, TestSts::start(REGION).await);
    let exporter = Exporter::start_with(&simulator, &[("AWS_ENDPOINT_URL_STS", &sts.url())]).await;
    wait_until("three polls", || simulator.counts().credentials >= 3).await;
    assert!(!get(exporter.address, "/metrics").await.text.contains("signed_call"));
    assert_eq!(status(&exporter).await["signed_call"], Value::Null);
    assert!(!get(exporter.address, "/").await.text.contains("Signed call"));
    exporter.stop().await;
    assert!(sts.calls().is_empty());
    let Counts { region, other, .. } = simulator.counts();
    assert_eq!((region, other), (0, 0));
}

#[tokio::test]
async fn imds_is_asked_for_the_region_once_and_only_if_none_is_configured() {
    let other = "us-gov-west-1";
    for (variables, region, asked) in
        [(&[][..], REGION, 1), (&[("AWS_REGION", other)], other, 0), (&[("AWS_DEFAULT_REGION", other)], other, 0)]
    {
        let (simulator, sts) = (start_simulator().await, TestSts::start(region).await);
        let exporter = exporter(&simulator, &sts, variables).await;
        wait_until("two calls", || sts.calls().len() >= 2).await;
        metrics_with(exporter.address, "\nimds_signed_call_up 1\n").await;
        exporter.stop().await;
        let counts = simulator.counts();
        assert_eq!((counts.region, counts.without_token), (asked, 0), "{variables:?}");
    }
}

/// A proxy that tunnels to wherever it is asked, or refuses.
async fn start_proxy(refuses: bool) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let (listener, address) = listen().await;
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let seen = Arc::clone(&seen);
            tokio::spawn(async move {
                let Some(head) = read_head(&mut stream).await else { return };
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
    let (authority, _folder, bundle) = authority();
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

#[tokio::test]
async fn check_signed_calls_sts_only_where_imds_returned_credentials() {
    let (simulator, sts) = (start_simulator().await, TestSts::start(REGION).await);
    let check = async |arguments: &[&str], code: i32| {
        let mut command = program_with_imds(simulator.address(), &[&["check"], arguments].concat());
        command.env("AWS_ENDPOINT_URL_STS", sts.url()).env("IMDS_EXPORTER_TIMEOUT", "400ms");
        let output = output(command).await;
        let text = String::from_utf8(output.stdout).expect("text");
        assert_eq!(output.status.code(), Some(code), "{text}");
        text
    };
    let json =
        async |code: i32| -> Value { serde_json::from_str(&check(&["--signed", "--json"], code).await).expect("JSON") };
    // IMDS off: no call is made.
    apply_toml(&simulator, CONNECT_REFUSED).await;
    assert!(!check(&["--signed"], 1).await.contains("sts:GetCallerIdentity"));
    // Without the option: never.
    apply_toml(&simulator, HEALTHY).await;
    check(&[], 0).await;
    assert!(sts.calls().is_empty());
    // IMDS on: account, user id, ARN.
    let text = check(&["--signed"], 0).await;
    assert!([ACCOUNT, USER_ID, ARN, "canary-role"].iter().all(|shown| text.contains(shown)), "{text}");
    assert_eq!(sts.calls().len(), 1);
    assert_eq!(json(0).await["sts"]["user_id"], USER_ID);
    // AWS refuses: failing. STS cannot be asked: a warning.
    sts.forget_all();
    assert_eq!(json(1).await["signed_call"]["failure"]["reason"], "invalid_token");
    let text = check(&["--signed"], 1).await;
    assert!(text.contains("REFUSED") && text.contains("InvalidClientTokenId"), "{text}");
    sts.set(Behavior::Answer(503, error_body("ServiceUnavailable", "")));
    let unknown = json(2).await;
    assert_eq!((&unknown["verdict"], &unknown["warnings"][0]), (&"warning".into(), &"signed_call_failed".into()));
    assert_eq!(unknown["signed_call"]["failure"]["reason"], "server_error");
}

#[tokio::test]
async fn every_mistake_about_sts_is_listed_before_a_port_is_bound() {
    const ON: (&str, &str) = ("IMDS_EXPORTER_SIGNED_CALL_INTERVAL", "1m");
    let run = async |arguments: &[&str], variables: &[(&str, &str)], code: i32| {
        let mut command = program(arguments);
        command.envs(variables.iter().copied());
        let output = output(command).await;
        let text = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(code), "{text}");
        text
    };
    let wrong = [
        ("AWS_REGION", "evil.example/#"),
        ("AWS_DEFAULT_REGION", "EU"),
        ("AWS_ENDPOINT_URL_STS", "http://sts.example"),
        ("HTTPS_PROXY", "no url"),
    ];
    let too_often = (ON.0, "59s");
    let serving = run(&[], &[&wrong[..], &[too_often]].concat(), 64).await;
    assert!(serving.contains(&format!("{}: ", ON.0)), "{serving}");
    for text in [serving, run(&["check", "--signed"], &wrong, 64).await] {
        for (name, value) in wrong {
            assert!(text.contains(&format!("{name}: ")) && !text.contains(value), "{name}: {text}");
        }
    }
    for (name, file) in [
        ("AWS_CA_BUNDLE", "/nonexistent/ca.pem"),
        ("SSL_CERT_FILE", "/dev/null"),
        ("AWS_CA_BUNDLE", env!("CARGO_MANIFEST_DIR")),
    ] {
        let text = run(&[], &[ON, (name, file)], 64).await;
        assert!(text.contains(&format!("{name}: {file}: ")), "{text}");
    }
    // Where no signed call is made, none of that matters.
    run(&["check"], &wrong, 1).await;
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
    assert_eq!(call_with(&client, wrong).await.expect_err("a wrong key").reason, Reason::Signature);
    let wrong = SigningCredentials { session_token: None, ..credentials() };
    assert_eq!(call_with(&client, wrong).await.expect_err("no token").reason, Reason::InvalidToken);
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
    let (authority, folder, bundle) = authority();
    let clean = |text: &str, what: &str| {
        let secrets = [KEY_ID_PREFIX, SECRET_KEY_PREFIX, CREDENTIAL_TOKEN_PREFIX, SESSION_TOKEN_PREFIX, USER_ID, ARN];
        for secret in secrets.into_iter().chain(["CANARY", "i-0canary", "canary-message", "assumed-role"]) {
            assert!(!text.contains(secret), "{what} shows {secret}: {text}");
        }
    };
    let canary = "canary-message";
    for (name, behavior, failure) in [
        ("accepted", Behavior::Check, None),
        ("denied", Behavior::Answer(403, error_body("AccessDenied", canary)), Some(("access_denied", 403))),
        ("other", Behavior::Answer(400, error_body("canary-message", canary)), Some(("unexpected", 400))),
        ("garbage", Behavior::Answer(200, canary.to_owned()), Some(("unexpected", 200))),
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
        metrics_with(exporter.address, "\nimds_signed_calls_total 1\n").await;
        // The log tells how it ended.
        let ended = || exporter.logged(|line| line["account"].is_string() || line["reason"].is_string());
        wait_until("a line", || ended().is_some()).await;
        let line = ended().expect("it is there");
        match failure {
            None => assert_eq!([&line["level"], &line["account"], &line["role"]], ["INFO", ACCOUNT, "canary-role"]),
            Some((reason, status)) => {
                assert_eq!([&line["level"], &line["reason"]], ["WARN", reason]);
                assert_eq!(line["status"], status);
            }
        }
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
