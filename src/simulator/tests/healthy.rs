//! The simulator without a fault.

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use super::client::*;
use crate::simulator::{CREDENTIAL_TOKEN_PREFIX, KEY_ID_PREFIX, SECRET_KEY_PREFIX, SESSION_TOKEN_PREFIX};

fn document(text: &str) -> Value {
    serde_json::from_str(text).expect("it is JSON")
}

#[tokio::test]
async fn a_resolution_over_one_connection_finds_credentials() {
    let simulator = simulator().await;
    let (mut stream, token) = session(&simulator).await;
    assert!(token.starts_with(SESSION_TOKEN_PREFIX));

    let role = exchange(&mut stream, &get(ROLE_LIST, &token)).await;
    assert_eq!((role.status, role.body.as_str()), (200, "simulated-role"));
    assert_eq!(role.header("server"), Some("EC2ws"));
    assert_eq!(role.header("date"), Some("Sat, 31 Jan 2026 12:00:00 GMT"));
    assert_eq!(role.header("content-type"), Some("text/plain"));

    let credentials = exchange(&mut stream, &get(DOCUMENT, &token)).await;
    let fields = document(&credentials.body);
    assert_eq!(fields["Code"], "Success");
    assert_eq!(fields["LastUpdated"], NOW);
    assert_eq!(fields["Expiration"], "2026-01-31T18:34:00Z");
    for (field, prefix) in
        [("AccessKeyId", KEY_ID_PREFIX), ("SecretAccessKey", SECRET_KEY_PREFIX), ("Token", CREDENTIAL_TOKEN_PREFIX)]
    {
        assert!(fields[field].as_str().unwrap().starts_with(prefix), "{field}");
    }

    let info = exchange(&mut stream, &get(PROFILE_INFO, &token)).await;
    assert_eq!(document(&info.body)["Code"], "Success");

    let counts = simulator.counts();
    assert_eq!(
        (counts.connections, counts.token, counts.role, counts.profile_info, counts.credentials),
        (1, 1, 1, 1, 1)
    );
}

#[tokio::test]
async fn token_requests_are_validated_like_those_of_imds() {
    let simulator = simulator().await;
    let mut stream = connect(&simulator).await;
    for (request, status) in [
        ("PUT /latest/api/token HTTP/1.1\r\n\r\n", 400),
        ("PUT /latest/api/token HTTP/1.1\r\nX-aws-ec2-metadata-token-ttl-seconds: 0\r\n\r\n", 400),
        ("PUT /latest/api/token HTTP/1.1\r\nX-aws-ec2-metadata-token-ttl-seconds: 21601\r\n\r\n", 400),
        ("PUT /latest/api/token HTTP/1.1\r\nX-aws-ec2-metadata-token-ttl-seconds: soon\r\n\r\n", 400),
        (
            "PUT /latest/api/token HTTP/1.1\r\nX-aws-ec2-metadata-token-ttl-seconds: 9\r\nX-Forwarded-For: a\r\n\r\n",
            403,
        ),
        ("PUT /2021-03-23/api/token HTTP/1.1\r\nX-aws-ec2-metadata-token-ttl-seconds: 9\r\n\r\n", 403),
        ("GET /latest/api/token HTTP/1.1\r\n\r\n", 405),
        ("PUT /latest/api/token HTTP/1.1\r\nX-aws-ec2-metadata-token-ttl-seconds: 21600\r\n\r\n", 200),
    ] {
        assert_eq!(exchange(&mut stream, request).await.status, status, "{request}");
    }
    let granted = exchange(&mut stream, PUT).await;
    assert_eq!(granted.header("x-aws-ec2-metadata-token-ttl-seconds"), Some("60"));

    apply(&simulator, "token_lifetime = '10s'").await;
    let granted = exchange(&mut stream, PUT).await;
    assert_eq!(granted.header("x-aws-ec2-metadata-token-ttl-seconds"), Some("10"));
}

#[tokio::test]
async fn a_get_needs_a_valid_token_unless_tokens_are_optional() {
    let simulator = simulator().await;
    let (mut stream, token) = session(&simulator).await;
    let without = format!("GET {ROLE_LIST} HTTP/1.1\r\n\r\n");
    assert_eq!(exchange(&mut stream, &without).await.status, 401);
    assert_eq!(exchange(&mut stream, &get(ROLE_LIST, "made-up")).await.status, 401);
    assert_eq!(exchange(&mut stream, &get("/latest/meta-data/other", &token)).await.status, 404);
    assert_eq!(exchange(&mut stream, &get(&format!("{ROLE_LIST}other"), &token)).await.status, 404);

    apply(&simulator, "forget_tokens = true").await;
    assert_eq!(exchange(&mut stream, &get(ROLE_LIST, &token)).await.status, 401);

    apply(&simulator, "tokens = 'optional'").await;
    assert_eq!(simulator.counts().without_token, 1);
    assert_eq!(exchange(&mut stream, &without).await.status, 200);
    assert_eq!(simulator.counts().without_token, 2);
    assert_eq!(exchange(&mut stream, &get(ROLE_LIST, "made-up")).await.status, 401);
}

#[tokio::test]
async fn requests_may_be_pipelined_and_have_a_body() {
    let simulator = simulator().await;
    let mut stream = connect(&simulator).await;
    let with_body = PUT.replace("Content-Length: 0\r\n\r\n", "Content-Length: 5\r\n\r\nabcde");
    stream.write_all(format!("{with_body}{PUT}").as_bytes()).await.unwrap();
    assert_eq!(answer(&mut stream).await.status, 200);
    assert_eq!(answer(&mut stream).await.status, 200);
}

#[tokio::test]
async fn an_invalid_request_closes_the_connection() {
    let simulator = simulator().await;
    let mut stream = connect(&simulator).await;
    assert_eq!(exchange(&mut stream, "no request\r\n\r\n").await.status, 400);
    assert_eq!(rest(&mut stream).await.0, b"");

    let mut stream = connect(&simulator).await;
    let head = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(16 * 1024));
    stream.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(rest(&mut stream).await.0, b"");
}

#[tokio::test]
async fn connections_close_on_request_and_by_setting() {
    let simulator = simulator().await;
    let mut stream = connect(&simulator).await;
    let last = exchange(&mut stream, &PUT.replace("HTTP/1.1", "HTTP/1.0")).await;
    assert_eq!((last.status, last.header("connection")), (200, Some("close")));
    assert_eq!(rest(&mut stream).await.0, b"");

    apply(&simulator, "keep_alive = false").await;
    let mut stream = connect(&simulator).await;
    assert_eq!(exchange(&mut stream, PUT).await.header("connection"), Some("close"));
    assert_eq!(rest(&mut stream).await.0, b"");
}

#[tokio::test]
async fn documents_follow_the_settings() {
    let simulator = simulator().await;
    let first = simulator.credential();

    apply(&simulator, "rotate = true").await;
    let second = simulator.credential();
    assert!(second.is_rotated(&first));

    apply(&simulator, "expires_in = '-5m'").await;
    assert_eq!(simulator.credential().expiration.to_string(), "2026-01-31T11:55:00Z");

    apply(&simulator, "lifetime = '1h'").await;
    assert_eq!(simulator.credential().expiration.to_string(), "2026-01-31T13:00:00Z");

    apply(&simulator, "role = 'other-role'").await;
    let (mut stream, token) = session(&simulator).await;
    assert_eq!(exchange(&mut stream, &get(ROLE_LIST, &token)).await.body, "other-role");
    assert_eq!(exchange(&mut stream, &get(DOCUMENT, &token)).await.status, 404);
}

#[tokio::test]
async fn headers_follow_the_settings() {
    let simulator = simulator().await;
    let mut stream = connect(&simulator).await;
    for (change, server, date) in [
        ("clock_skew = '-90s'", Some("EC2ws"), Some("Sat, 31 Jan 2026 11:58:30 GMT")),
        ("server = 'envoy'\ndate_header = false", Some("envoy"), None),
        ("server = ''\nanswers.token.headers.Date = 'now'", None, Some("now")),
    ] {
        apply(&simulator, change).await;
        let answer = exchange(&mut stream, PUT).await;
        assert_eq!((answer.header("server"), answer.header("date")), (server, date), "{change}");
    }
}

#[tokio::test]
async fn fields_of_the_document_can_have_any_value() {
    let simulator = simulator().await;
    let (mut stream, token) = session(&simulator).await;
    for (fields, expiration, more) in [
        ("{ Expiration = 'null' }", Some(Value::Null), None),
        ("{ Expiration = '', More = '[1]' }", None, Some(json!([1]))),
        ("{ Expiration = '\"2026-01-31 18:34:00\"' }", Some(json!("2026-01-31 18:34:00")), None),
        ("{}", Some(json!("2026-01-31T18:34:00Z")), None),
    ] {
        apply(&simulator, &format!("fields = {fields}")).await;
        let body = document(&exchange(&mut stream, &get(DOCUMENT, &token)).await.body);
        assert_eq!((body.get("Expiration"), body.get("More")), (expiration.as_ref(), more.as_ref()), "{fields}");
        assert_eq!(body["Code"], "Success");
    }
}

#[tokio::test]
async fn parts_of_answers_can_be_replaced() {
    let simulator = simulator().await;
    let (mut stream, token) = session(&simulator).await;
    let without = format!("GET {ROLE_LIST} HTTP/1.1\r\n\r\n");

    // A body replaces that of an answer with status 200; the token is still needed.
    apply(&simulator, "answers.token.body = \"a\\u0000\\r\\nb\"\nanswers.role.body = 'team/app'").await;
    let put = exchange(&mut stream, PUT).await;
    assert_eq!((put.body.as_str(), put.header("x-aws-ec2-metadata-token-ttl-seconds")), ("a\0\r\nb", Some("60")));
    assert_eq!(exchange(&mut stream, &get(ROLE_LIST, &token)).await.body, "team/app");
    assert_eq!(exchange(&mut stream, &without).await.status, 401);
    assert_eq!(exchange(&mut stream, &get(&format!("{ROLE_LIST}team/app"), &token)).await.status, 200);
    assert_eq!(exchange(&mut stream, &get(DOCUMENT, &token)).await.status, 404);

    // A status is that of each answer.
    apply(
        &simulator,
        "answers = { role = { status = 404, body = '' }, any = { status = 400, headers = { Via = 'p' } } }",
    )
    .await;
    let list = exchange(&mut stream, &without).await;
    assert_eq!((list.status, list.body.as_str(), list.header("via")), (404, "", None));
    let put = exchange(&mut stream, PUT).await;
    assert_eq!((put.status, put.header("via")), (400, Some("p")));

    // A fault comes first.
    apply(&simulator, "fault = 'throttled'").await;
    assert_eq!(exchange(&mut stream, PUT).await.status, 429);
    apply(&simulator, "fault = 'none'\nanswers = {}").await;
    assert_eq!(exchange(&mut stream, &get(ROLE_LIST, &token)).await.body, "simulated-role");
}

#[tokio::test]
async fn requests_are_remembered_with_their_connection() {
    let simulator = simulator().await;
    let (mut stream, token) = session(&simulator).await;
    exchange(&mut stream, &get(DOCUMENT, &token)).await;
    session(&simulator).await;
    let requests = simulator.requests();
    let [put, document, other] = requests.as_slice() else { panic!("{requests:?}") };
    assert_eq!((put.method.as_str(), document.path.as_str()), ("PUT", DOCUMENT));
    assert_eq!(put.client, stream.local_addr().unwrap());
    assert_eq!(document.client, put.client);
    assert_ne!(other.client, put.client);
}
