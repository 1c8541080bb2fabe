//! The simulator on the wire: what the tests of its clients do not see. That each fault is what its kind says is proved
//! in `resolution`, flapping and slow answers in `fault_matrix`, the simulated STS in `signed_call`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use imds_exporter::platform::clock::monotonic;
use imds_exporter::simulator::{
    CREDENTIAL_TOKEN_PREFIX, Change, Health, SECRET_KEY_PREFIX, Scenario, Simulator, SimulatorOptions,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::clock::TestClock;
use crate::support::request::{Response, send};
use crate::support::simulator::{apply_toml, server_side_kinds, start_simulator};
use crate::support::wait::{DEADLINE, wait_until};

const ROLES: &str = "GET /latest/meta-data/iam/security-credentials/";
const DOCUMENT: &str = "GET /latest/meta-data/iam/security-credentials/simulated-role";
const PUT: &str = "PUT /latest/api/token";
const TTL: &str = "X-aws-ec2-metadata-token-ttl-seconds: 60\r\n";
const NOW: &str = "2026-01-31T12:00:00Z";
/// Longer than an answer over loopback takes.
const SILENCE: Duration = Duration::from_millis(400);

/// A simulator with a control interface and a clock that tests advance.
async fn with_control() -> (Simulator, Arc<TestClock>) {
    let (clock, control) = (TestClock::new(NOW), Some(([127, 0, 0, 1], 0).into()));
    let options = SimulatorOptions { control, ..SimulatorOptions::default() };
    (Simulator::start(options, Arc::clone(&clock) as Arc<_>).await.expect("loopback has free ports"), clock)
}

/// A request on a connection of its own.
async fn ask(simulator: &Simulator, line: &str, headers: &str) -> Response {
    send(simulator.address(), &format!("{line} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n")).await
}

/// The header with a new session token.
async fn session(simulator: &Simulator) -> String {
    format!("X-aws-ec2-metadata-token: {}\r\n", ask(simulator, PUT, TTL).await.body())
}

/// A connection over which an answer came.
async fn connection(simulator: &Simulator) -> TcpStream {
    let mut stream = TcpStream::connect(simulator.address()).await.expect("it listens");
    stream.write_all(format!("{PUT} HTTP/1.1\r\n{TTL}\r\n").as_bytes()).await.expect("it reads");
    assert_eq!(stream.read_u8().await.expect("an answer"), b'H');
    stream
}

/// What comes in this time, and how it ends; `None` is not at all.
async fn received(mut stream: TcpStream, within: Duration) -> (String, Option<io::Result<()>>) {
    let mut bytes = Vec::new();
    let read = async {
        while stream.read_buf(&mut bytes).await? > 0 {}
        Ok(())
    };
    let end = timeout(within, read).await.ok();
    (String::from_utf8_lossy(&bytes).into_owned(), end)
}

async fn assert_reset(stream: TcpStream) {
    let end = received(stream, DEADLINE).await.1.expect("it ends");
    assert_eq!(end.expect_err("a reset").kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn requests_are_answered_as_by_imds() {
    let (simulator, _) = with_control().await;
    let token = &*session(&simulator).await;
    let ttl = |seconds: &str| format!("X-Aws-EC2-Metadata-Token-TTL-Seconds: {seconds}\r\n");
    let dated = |path: &str| format!("{path}/iam/security-credentials?a=b");
    for (line, headers, status, text) in [
        (PUT, "", 400, "400 - Bad Request"),
        (PUT, &ttl("0"), 400, ""),
        (PUT, &ttl("21601"), 400, ""),
        (PUT, &ttl("soon"), 400, ""),
        (PUT, &ttl("21600"), 200, "Ttl-Seconds: 21600\r\n"),
        (PUT, &format!("{TTL}X-Forwarded-For: a\r\n"), 403, ""),
        ("PUT /2021-03-23/api/token", TTL, 403, ""),
        ("GET /latest/api/token", token, 405, ""),
        (ROLES, "", 401, ""),
        (ROLES, "X-aws-ec2-metadata-token: made-up\r\n", 401, ""),
        (ROLES, token, 200, "\r\n\r\nsimulated-role"),
        (ROLES, token, 200, "Server: EC2ws\r\nDate: Sat, 31 Jan 2026 12:00:0"),
        (&dated("GET /1.0/meta-data"), token, 200, "\r\n\r\nsimulated-role"),
        (&dated("HEAD /2021-03-23/meta-data"), token, 200, "Content-Length: 14\r\nConnection: close\r\n\r\n"),
        (&dated("GET /meta-data"), token, 404, ""),
        (DOCUMENT, token, 200, "{\n  \"Code\" : \"Success\",\n  \"LastUpdated\" : \"2026-01-31T12:00:00Z\","),
        (DOCUMENT, token, 200, "\"Expiration\" : \"2026-01-31T18:34:00Z\"\n}"),
        (&format!("{DOCUMENT}/other"), token, 404, ""),
        ("GET /latest/meta-data/iam/info", token, 200, "\"Code\" : \"Success\""),
        ("POST /latest/meta-data/iam/info", token, 405, ""),
        ("GET /latest/meta-data/placement/region", token, 200, "eu-central-1"),
        ("GET /latest/meta-data/", token, 404, ""),
    ] {
        let answer = ask(&simulator, line, headers).await;
        assert_eq!(answer.status, status, "{line} {headers}");
        assert!(answer.text.contains(text), "{line}: {}", answer.text);
    }
    let counts = serde_json::to_value(simulator.counts()).expect("JSON");
    let expected = json!({
        "connections": 23, "token": 7, "role": 6, "profile_info": 1, "credentials": 3, "region": 1, "other": 5,
        "without_token": 2,
    });
    assert_eq!(counts, expected);
}

#[tokio::test]
async fn session_tokens_expire_and_can_be_forgotten_or_optional() {
    let simulator = start_simulator().await;
    let token = session(&simulator).await;
    apply_toml(&simulator, "token_lifetime = '0s'").await;
    assert!(ask(&simulator, PUT, TTL).await.text.contains("Ttl-Seconds: 0\r\n"));
    let expired = session(&simulator).await;
    for (change, token, status) in [
        ("", &*token, 200),
        ("", &expired, 401),
        ("forget_tokens = true", &token, 401),
        ("tokens = 'optional'", &token, 401),
        ("tokens = 'optional'", "", 200),
        ("tokens = 'required'", "", 401),
    ] {
        apply_toml(&simulator, change).await;
        assert_eq!(ask(&simulator, ROLES, token).await.status, status, "{change} {token}");
    }
}

#[tokio::test]
async fn connections_stay_open_unless_a_side_wants_them_closed_or_a_request_is_invalid() {
    let simulator = start_simulator().await;
    let put = |version: &str, headers: &str| format!("{PUT} HTTP/{version}\r\n{TTL}{headers}\r\n");
    let last = put("1.1", "Connection: Close\r\n");
    for (setting, first, statuses) in [
        ("true", put("1.1", ""), &["200", "200"][..]),
        ("true", put("1.1", "Content-Length: 5\r\n") + "abcde", &["200", "200"]),
        ("true", put("1.0", "Connection: keep-alive\r\n"), &["200", "200"]),
        ("true", put("1.0", ""), &["200"]),
        ("false", put("1.1", ""), &["200"]),
        ("true", put("1.1", "Transfer-Encoding: chunked\r\n"), &["400"]),
        ("true", "no request\r\n\r\n".to_owned(), &["400"]),
        ("true", format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(16 * 1024)), &[]),
    ] {
        apply_toml(&simulator, &format!("keep_alive = {setting}")).await;
        let mut stream = TcpStream::connect(simulator.address()).await.expect("it listens");
        stream.write_all((first.clone() + &last).as_bytes()).await.expect("it reads");
        let (text, end) = received(stream, DEADLINE).await;
        let answers = text.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]);
        assert!(answers.eq(statuses.iter().copied()), "{first}: {text}");
        assert!(end.is_some(), "{first} leaves the connection open");
    }
    let clients: Vec<_> = simulator.requests().iter().map(|request| request.client).collect();
    assert!(clients[0] == clients[1] && clients[1] != clients[2]);
}

#[tokio::test]
async fn documents_are_rotated_when_due_or_told() {
    let (simulator, clock) = with_control().await;
    for (change, hours, last_updated, expiration) in [
        ("", 0, "12:00", "18:34"),
        ("", 1, "13:00", "19:34"),
        // At whole periods, however late they are asked for.
        ("rotation = '50m'", 2, "14:40", "21:14"),
        ("lifetime = '1h'", 0, "15:00", "16:00"),
        // One that expires soon looks old, and is replaced a period later.
        ("expires_in = '10m'", 0, "14:10", "15:10"),
        ("", 1, "15:50", "16:50"),
        ("rotation = 'off'\nrole = 'other-role'", 5, "16:00", "17:00"),
    ] {
        apply_toml(&simulator, change).await;
        clock.advance(hours * 60 * 60);
        let credential = simulator.credential();
        let minutes = |at: jiff::Timestamp| at.strftime("%H:%M").to_string();
        let shown = (credential.last_updated.map(minutes), minutes(credential.expiration));
        assert_eq!(shown, (Some(last_updated.to_owned()), expiration.to_owned()), "{change}");
    }
    let token = session(&simulator).await;
    assert_eq!(ask(&simulator, ROLES, &token).await.body(), "other-role");
    assert_eq!(ask(&simulator, DOCUMENT, &token).await.status, 404);

    let first = simulator.credential();
    for _ in 0..3 {
        apply_toml(&simulator, "rotate = true").await;
    }
    assert!(simulator.credential().is_rotated(&first), "documents of one second differ");
}

#[tokio::test]
async fn fields_and_parts_of_answers_can_be_replaced() {
    let simulator = start_simulator().await;
    let token = &*session(&simulator).await;
    let team = format!("{ROLES}team/app");
    for (change, line, headers, text) in [
        ("fields = { Expiration = 'null', X = '[1]' }", DOCUMENT, token, "\"Expiration\" : null,\n  \"X\" : [1]\n}"),
        ("fields = { Type = '' }", DOCUMENT, token, "Z\",\n  \"AccessKeyId\""),
        ("server = ''", ROLES, token, "200 OK\r\nContent-Type: text/plain\r\nDate:"),
        ("server = 'a'\nanswers.role.headers.Date = 'now'", ROLES, token, "\r\nDate: now\r\nServer: a\r\n"),
        // A body replaces that of an answer with status 200; the token is still needed.
        ("answers.role.body = \"team/app\\u0000\\r\\n\"", ROLES, token, "\r\n\r\nteam/app\0\r\n"),
        ("answers.role.body = 'team/app'", ROLES, "", "401 - Unauthorized"),
        ("", &team, token, "Success"),
        ("", DOCUMENT, token, "404 - Not Found"),
        // A status is that of each answer; what is said of one of them goes before what is said of any.
        ("answers = { role = { status = 418, body = '' }, any.headers.Via = 'p' }", ROLES, "", "HTTP/1.1 418 "),
        ("", PUT, TTL, "Via: p\r\n"),
        // A fault comes first.
        ("fault = 'throttled'", ROLES, token, "429 - Too Many Requests"),
        ("fault = 'none'\nanswers = {}", ROLES, token, "simulated-role"),
    ] {
        apply_toml(&simulator, change).await;
        let answer = ask(&simulator, line, headers).await.text;
        assert!(answer.contains(text), "{change}: {answer}");
    }
}

#[tokio::test]
async fn faults_begin_at_their_step_and_can_affect_it_alone() {
    let simulator = start_simulator().await;
    let token = session(&simulator).await;
    for (change, statuses) in [
        ("fault = 'throttled'", [429, 429, 429]),
        ("fault = 'throttled'\nstep = 'role'", [200, 429, 429]),
        ("fault = 'throttled'\nstep = 'role'\nonly_step = true", [200, 429, 200]),
        ("fault = 'token_unsupported'\nvariant = '405'", [405, 200, 200]),
        ("fault = 'no_role'\nvariant = 'empty'", [200, 200, 404]),
    ] {
        apply_toml(&simulator, change).await;
        for ((line, headers), status) in [(PUT, TTL), (ROLES, &token), (DOCUMENT, &token)].into_iter().zip(statuses) {
            assert_eq!(ask(&simulator, line, headers).await.status, status, "{change}: {line}");
        }
    }
    // What is tested for leaks has something to leak.
    apply_toml(&simulator, "fault = 'malformed_document'").await;
    let half = ask(&simulator, DOCUMENT, &token).await;
    assert!(half.text.contains(SECRET_KEY_PREFIX) && half.text.contains(CREDENTIAL_TOKEN_PREFIX));
}

#[tokio::test]
async fn faults_below_http_differ_on_the_wire() {
    let simulator = start_simulator().await;
    let request = format!("{PUT} HTTP/1.1\r\n{TTL}\r\n");
    for (change, first, end) in [
        ("fault = 'hop_limit'", "", None),
        ("fault = 'read_timeout'", "", None),
        ("fault = 'read_timeout'\nvariant = 'drip'", "H", None),
        ("fault = 'connection_closed'\nvariant = 'before_answer'", "", Some(true)),
        ("fault = 'connection_closed'\nvariant = 'mid_body'", "HTTP/1.1 200 OK\r\n", Some(true)),
        ("fault = 'connection_closed'\nvariant = 'reset'", "", Some(false)),
        ("fault = 'invalid_response'", "SSH-2.0", Some(true)),
    ] {
        apply_toml(&simulator, change).await;
        let mut stream = TcpStream::connect(simulator.address()).await.expect("it listens");
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let (text, ended) = received(stream, if end.is_some() { DEADLINE } else { SILENCE }).await;
        assert_eq!(ended.map(|end| end.is_ok()), end, "{change}");
        assert!(text.starts_with(first) && text.is_empty() == first.is_empty(), "{change}: {text}");
    }
}

#[tokio::test]
async fn delays_add_up_and_pauses_separate_the_pieces() {
    let simulator = start_simulator().await;
    let token = session(&simulator).await;
    let unit = Duration::from_millis(50);
    for (change, put, get) in [
        ("delay = '50ms'\ntoken_delay = '50ms'", 2, 1),
        ("delay = '0s'\ntoken_delay = '0s'\nget_delay = '50ms'", 0, 1),
        ("get_delay = '0s'\npieces = 3\npause = '25ms'", 1, 1),
    ] {
        apply_toml(&simulator, change).await;
        for (line, headers, units) in [(PUT, TTL, put), (ROLES, &token, get)] {
            let start = monotonic();
            assert_eq!(ask(&simulator, line, headers).await.status, 200);
            assert!(start.elapsed() >= unit * units, "{change}: {line}");
        }
    }
}

#[tokio::test]
async fn an_outage_and_the_end_of_the_simulator_reset_connections() {
    let (simulator, _) = with_control().await;
    for fault in ["connect_refused", "connect_timeout", "connect_refused"] {
        let stream = connection(&simulator).await;
        apply_toml(&simulator, &format!("fault = '{fault}'")).await;
        assert_reset(stream).await;
        let connected = timeout(SILENCE, TcpStream::connect(simulator.address())).await;
        assert!(!matches!(connected, Ok(Ok(_))), "{fault}");
        apply_toml(&simulator, "fault = 'none'").await;
    }
    let stream = connection(&simulator).await;
    let addresses = [simulator.address(), simulator.control_address().expect("it has one")];
    simulator.shutdown().await;
    assert_reset(stream).await;
    for address in addresses {
        let refused = TcpStream::connect(address).await.expect_err("it is closed");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }
    let simulator = start_simulator().await;
    let stream = connection(&simulator).await;
    drop(simulator);
    assert_reset(stream).await;
}

#[tokio::test]
async fn the_control_interface_takes_changes_and_scenarios() {
    let (simulator, _) = with_control().await;
    let control = simulator.control_address().expect("it has one");
    let request = async |line: &str, headers: &str, body: &str| {
        let head =
            format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {}", body.len());
        send(control, &format!("{head}\r\n\r\n{body}")).await
    };
    let (web_page, too_large) = ("Origin: http://example.com\r\n", "#".repeat(64 * 1024 + 1));
    let played = "title = 'a'\n[[step]]\nat = '0s'\nrole = 'played'";
    for (line, headers, body, status, text) in [
        ("POST /", "", "fault = 'throttled'", 204, ""),
        ("POST /", "", "falt = 1", 400, "falt"),
        ("POST /", "", "flap = '1s'\nfault = 'none'", 400, "`flap`"),
        ("POST /", web_page, "fault = 'none'", 403, ""),
        ("POST /", "", &too_large, 413, ""),
        ("GET /", "", "", 200, &simulator.address().to_string()),
        ("GET /", "", "", 200, "  read_timeout           drip           token, role, credentials\n"),
        ("HEAD /", "", "", 200, "text/plain"),
        ("GET /state", "", "", 200, "\"fault\": \"throttled\""),
        ("GET /state", "", "", 200, "\"last_updated\": \"2026-01-31T12:00:00Z\""),
        ("GET /state", "", "", 200, "\"connections\": 0"),
        ("GET /requests", "", "", 200, "[]"),
        ("GET /other", "", "", 404, ""),
        ("DELETE /", "", "", 405, ""),
        ("GET /play/blog", "", "", 405, ""),
        ("POST /play/unknown", "", "", 404, "role-detached"),
        ("POST /play", "", "title = 1", 400, "line 1"),
        ("POST /play", "", played, 202, "plays: a"),
    ] {
        let answer = request(line, headers, body).await;
        assert!(answer.status == status && answer.text.contains(text), "{line} {}: {}", answer.status, answer.text);
    }
    wait_until("the scenario is played", || simulator.credential().role.as_str() == "played").await;
    assert_eq!(request("POST /play/role-detached", "", "").await.status, 202);
    wait_until("the other is played", || simulator.credential().role.as_str() == "first-role").await;
    ask(&simulator, PUT, TTL).await;
    let requests: Value = serde_json::from_str(request("GET /requests", "", "").await.body()).expect("JSON");
    assert_eq!((&requests[0]["method"], &requests[0]["path"]), (&json!("PUT"), &json!("/latest/api/token")));
}

#[test]
fn bundled_scenarios_are_valid_and_one_has_every_kind_that_a_server_can_produce() {
    for (name, text) in Scenario::BUNDLED {
        let scenario = Scenario::parse(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(scenario.steps[0].at, Some(Duration::ZERO), "{name}");
    }
    let steps = Scenario::parse(Scenario::bundled("all-kinds").expect("it is bundled")).expect("a scenario").steps;
    let played = steps.iter().filter_map(|step| step.fault).filter(|fault| *fault != Health::Healthy);
    assert!(played.eq(server_side_kinds().map(Health::Faulty)));
}

#[test]
fn mistakes_in_changes_and_scenarios_are_named() {
    for (text, words) in [
        ("\nfalt = 'none'", "line 2"),
        ("fault = 'broken'", "neither \"none\" nor a kind"),
        ("fault = 'network_unreachable'", "127.255.255.255"),
        ("fault = 'disabled_by_environment'", "AWS_EC2_METADATA_DISABLED"),
        ("fault = 'token_rejected'\nstep = 'role'", "`step`: in this form token_rejected begins at token only"),
        ("fault = 'read_timeout'\nvariant = 'slow'", "`variant`: no such form of read_timeout; its forms: hang, drip"),
        ("fault = 'throttled'\nvariant = 'slow'", "its forms: none"),
        ("answers.tokens.status = 404", "tokens"),
        ("answers.any.code = 404", "code"),
        ("step = 'token'", "`step`"),
        ("fault = 'none'\nflap = '3s'", "`flap`"),
        ("delay = '-1s'", "delay"),
        ("rotation = 'never'", "neither \"off\""),
        ("role = 'a//b'", "role"),
        ("at = '0s'", "`at`"),
        ("say = 'a'", "`say`"),
    ] {
        let error = Change::parse(text).expect_err(text).to_string();
        assert!(error.contains(words), "{text}: {error}");
    }
    for (text, words) in [
        ("title = 'a'\nstep = []", "`step`"),
        ("title = 'a'\nextra = 1", "line 2"),
        ("title = 'a'\n[[step]]\nfault = 'none'", "step 1: `at`"),
        ("title = 'a'\n[[step]]\nat = '2s'\n[[step]]\nat = '1s'", "step 2: `at`"),
        ("title = 'a'\n[[step]]\nat = '2s'\nvariant = 'a'", "step 1: `variant`"),
    ] {
        let error = Scenario::parse(text).expect_err(text).to_string();
        assert!(error.contains(words), "{text}: {error}");
    }
}

#[tokio::test]
async fn steps_are_played_at_their_time_and_what_they_set_is_shown_until_it_is_over() {
    let simulator = start_simulator().await;
    let nothing_flaps = simulator.apply(&Change::parse("flap = '1s'").expect("a fault may be set already")).await;
    assert_eq!(nothing_flaps.expect_err("there is none").kind(), io::ErrorKind::InvalidInput);
    let text = "title = 'a'
        [[step]]\nat = '0s'\nfault = 'read_timeout'\nvariant = 'drip'\nonly_step = true\nflap = '1h'\nsts = 'throttled'
        [[step]]\nat = '0s'\nfault = 'throttled'\ndelay = '800ms'\nclock_skew = '-90s'\nrotation = 'off'\nrotate = true
        [[step]]\nat = '30ms'\nsay = 'well again'\nrotation = '1h 5m'\nsts = 'checks'\nexpires_in = '1h'";
    let (start, mut said) = (monotonic(), Vec::new());
    let scenario = Scenario::parse(text).expect("a scenario");
    simulator.play(&scenario, |step| said.push(step.say.clone())).await.expect("it can be played");
    assert!(start.elapsed() >= Duration::from_millis(30));
    assert_eq!(said, [None, None, Some("well again".to_owned())]);
    let shown = json!({
        "fault": "throttled", "delay": "800ms", "clock_skew": "1m 30s ago", "rotation": "1h 5m", "sts": "checks",
    });
    assert_eq!(serde_json::to_value(simulator.settings()).expect("JSON"), shown);
}
