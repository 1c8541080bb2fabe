//! The answers that faults cause.

use std::time::Duration;

use strum::VariantArray;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::client::*;
use crate::domain::Kind;
use crate::simulator::{
    ApplyError, CREDENTIAL_TOKEN_PREFIX, Change, Fault, FaultError, SECRET_KEY_PREFIX, Simulator, is_client_side,
};

/// Longer than an answer over loopback takes.
const SILENCE: Duration = Duration::from_millis(60);

/// The statuses of the answers to a token request, and to requests for the role list and the document.
async fn statuses(stream: &mut TcpStream, token: &str) -> [u16; 3] {
    [
        exchange(stream, PUT).await.status,
        exchange(stream, &get(ROLE_LIST, token)).await.status,
        exchange(stream, &get(DOCUMENT, token)).await.status,
    ]
}

/// A new connection over which a token was asked for.
async fn after_put(simulator: &Simulator) -> TcpStream {
    let mut stream = connect(simulator).await;
    stream.write_all(PUT.as_bytes()).await.unwrap();
    stream
}

async fn assert_silent(stream: &mut TcpStream) {
    timeout(SILENCE, stream.read_u8()).await.expect_err("nothing comes, and the connection stays open");
}

#[tokio::test]
async fn faults_answer_with_their_status() {
    let simulator = simulator().await;
    let (mut stream, token) = session(&simulator).await;
    for (fault, expected) in [
        ("fault = 'token_rejected'", [400, 200, 200]),
        ("fault = 'token_unsupported'", [404, 200, 200]),
        ("fault = 'token_unsupported'\nvariant = '405'", [405, 200, 200]),
        ("fault = 'imds_disabled'", [403, 403, 403]),
        ("fault = 'token_forbidden'", [403, 200, 200]),
        ("fault = 'forbidden'", [200, 403, 403]),
        ("fault = 'forbidden'\nstep = 'credentials'", [200, 200, 403]),
        ("fault = 'unauthorized'", [200, 401, 401]),
        ("fault = 'throttled'", [429, 429, 429]),
        ("fault = 'throttled'\nstep = 'role'", [200, 429, 429]),
        ("fault = 'throttled'\nstep = 'role'\nonly_step = true", [200, 429, 200]),
        ("fault = 'server_error'", [500, 500, 500]),
        ("fault = 'server_error'\nvariant = '503'\nonly_step = true", [503, 200, 200]),
        ("fault = 'unexpected_status'", [302, 302, 302]),
        ("fault = 'unexpected_status'\nvariant = '418'", [418, 418, 418]),
        ("fault = 'intercepted'", [407, 407, 407]),
        ("fault = 'intercepted'\nvariant = '411'", [411, 411, 411]),
        ("fault = 'intercepted'\nvariant = 'via'", [502, 502, 502]),
        ("fault = 'no_role'", [200, 404, 404]),
        ("fault = 'no_role'\nvariant = 'empty'", [200, 200, 404]),
        ("fault = 'profile_without_role'", [200, 404, 404]),
        ("fault = 'profile_not_found'", [200, 404, 404]),
        ("fault = 'role_not_found'", [200, 200, 404]),
        ("fault = 'none'", [200, 200, 200]),
    ] {
        apply(&simulator, fault).await;
        assert_eq!(statuses(&mut stream, &token).await, expected, "{fault}");
    }
}

#[tokio::test]
async fn each_fault_of_the_document_breaks_it_in_its_own_way() {
    let simulator = simulator().await;
    let (mut stream, token) = session(&simulator).await;
    for (fault, expected) in [
        ("fault = 'assume_role_denied'", r#""Code" : "AssumeRoleUnauthorizedAccess""#),
        ("fault = 'profile_not_found'\nvariant = 'document'", r#""Code" : "InstanceProfileNotFound""#),
        ("fault = 'refused'", r#""Code" : "Failed""#),
        ("fault = 'malformed_document'\nvariant = 'html'", "<html>"),
        ("fault = 'malformed_document'\nvariant = 'array'", "[{"),
        ("fault = 'malformed_document'\nvariant = 'number'", "42"),
        ("fault = 'incomplete_document'\nvariant = 'empty'", r#""SecretAccessKey" : """#),
        ("fault = 'incomplete_document'\nvariant = 'null'", r#""SecretAccessKey" : null"#),
        ("fault = 'incomplete_document'\nvariant = 'number'", r#""SecretAccessKey" : 42"#),
        ("fault = 'incomplete_document'\nvariant = 'object'", r#""SecretAccessKey" : {}"#),
        ("fault = 'invalid_timestamp'", r#""Expiration" : "in six hours""#),
        ("fault = 'invalid_timestamp'\nvariant = 'last_updated'", r#""LastUpdated" : "a while ago""#),
    ] {
        apply(&simulator, fault).await;
        let document = exchange(&mut stream, &get(DOCUMENT, &token)).await;
        assert_eq!(document.status, 200, "{fault}");
        assert!(document.body.contains(expected), "{fault}: {}", document.body);
    }

    apply(&simulator, "fault = 'malformed_document'").await;
    let half = exchange(&mut stream, &get(DOCUMENT, &token)).await.body;
    assert!(serde_json::from_str::<serde_json::Value>(&half).is_err());
    assert!(half.contains(SECRET_KEY_PREFIX) && half.contains(CREDENTIAL_TOKEN_PREFIX));

    apply(&simulator, "fault = 'incomplete_document'").await;
    let incomplete = exchange(&mut stream, &get(DOCUMENT, &token)).await.body;
    assert!(!incomplete.contains("SecretAccessKey") && incomplete.contains(CREDENTIAL_TOKEN_PREFIX));
}

#[tokio::test]
async fn profile_info_shows_why_there_is_no_role() {
    let simulator = simulator().await;
    let (mut stream, token) = session(&simulator).await;
    for (fault, status, expected) in [
        ("fault = 'no_role'", 404, "404"),
        ("fault = 'profile_without_role'", 200, "does not contain a role"),
        ("fault = 'profile_not_found'", 200, "InstanceProfileNotFound"),
    ] {
        apply(&simulator, fault).await;
        let info = exchange(&mut stream, &get(PROFILE_INFO, &token)).await;
        assert_eq!(info.status, status, "{fault}");
        assert!(info.body.contains(expected), "{fault}: {}", info.body);
    }
}

#[tokio::test]
async fn a_hop_limit_drops_only_token_responses() {
    let simulator = simulator().await;
    let (mut stream, token) = session(&simulator).await;
    apply(&simulator, "fault = 'hop_limit'").await;
    assert_eq!(exchange(&mut stream, &get(ROLE_LIST, &token)).await.status, 200);
    stream.write_all(PUT.as_bytes()).await.unwrap();
    assert_silent(&mut stream).await;
}

#[tokio::test]
async fn a_read_timeout_hangs_from_its_step_on_or_sends_a_byte_per_second() {
    let simulator = simulator().await;
    let (mut stream, token) = session(&simulator).await;
    apply(&simulator, "fault = 'read_timeout'\nstep = 'credentials'").await;
    assert_eq!(exchange(&mut stream, &get(ROLE_LIST, &token)).await.status, 200);
    stream.write_all(get(DOCUMENT, &token).as_bytes()).await.unwrap();
    assert_silent(&mut stream).await;

    apply(&simulator, "fault = 'read_timeout'\nvariant = 'drip'").await;
    let mut stream = after_put(&simulator).await;
    assert_eq!(timeout(DEADLINE, stream.read_u8()).await.unwrap().unwrap(), b'H');
    assert_silent(&mut stream).await;
}

#[tokio::test]
async fn connections_close_before_or_within_the_response_or_are_reset() {
    let simulator = simulator().await;
    for (variant, ends_in_reset, bytes_arrive) in
        [("before_answer", false, false), ("mid_body", false, true), ("reset", true, false)]
    {
        apply(&simulator, &format!("fault = 'connection_closed'\nvariant = '{variant}'")).await;
        let (bytes, end) = rest(&mut after_put(&simulator).await).await;
        assert_eq!(end.is_err(), ends_in_reset, "{variant}");
        assert_eq!(!bytes.is_empty(), bytes_arrive, "{variant}");
    }
}

#[tokio::test]
async fn each_form_of_an_invalid_response_is_sent() {
    let simulator = simulator().await;
    apply(&simulator, "fault = 'invalid_response'").await;
    assert!(rest(&mut after_put(&simulator).await).await.0.starts_with(b"SSH-"));

    let mut stream = connect(&simulator).await;
    apply(&simulator, "fault = 'invalid_response'\nvariant = 'too_large'").await;
    assert!(exchange(&mut stream, PUT).await.body.len() > 64 * 1024);

    apply(&simulator, "fault = 'invalid_response'\nvariant = 'not_text'").await;
    assert!(exchange(&mut stream, PUT).await.body.contains('\u{fffd}'));

    apply(&simulator, "fault = 'invalid_response'\nvariant = 'page'").await;
    let page = exchange(&mut stream, PUT).await;
    assert_eq!((page.status, page.header("server")), (200, Some("nginx")));
    assert!(page.body.contains("<html"));
}

#[tokio::test]
async fn delays_add_up_and_pauses_separate_the_pieces() {
    let simulator = simulator().await;
    let (mut stream, token) = session(&simulator).await;
    let delay = Duration::from_millis(50);
    for (change, of_put, of_get) in [
        ("delay = '50ms'\ntoken_delay = '50ms'\nget_delay = '0s'", delay * 2, delay),
        ("delay = '0s'\ntoken_delay = '0s'\nget_delay = '50ms'", Duration::ZERO, delay),
        ("get_delay = '0s'\npieces = 3\npause = '25ms'", delay, delay),
    ] {
        apply(&simulator, change).await;
        for (request, least) in [(PUT.to_owned(), of_put), (get(ROLE_LIST, &token), of_get)] {
            let start = Instant::now();
            assert_eq!(exchange(&mut stream, &request).await.status, 200);
            assert!(start.elapsed() >= least, "{change}");
        }
    }
}

#[tokio::test]
async fn a_flapping_fault_alternates_with_healthy_responses() {
    let simulator = simulator().await;
    let nothing_flaps = simulator.apply(&Change::parse("flap = '1s'").unwrap()).await;
    assert!(matches!(nothing_flaps, Err(ApplyError::Fault(FaultError::WithoutFault("flap")))));

    apply(&simulator, "fault = 'server_error'\nflap = '40ms'").await;
    let mut stream = connect(&simulator).await;
    for status in [500, 200, 500, 200] {
        while exchange(&mut stream, PUT).await.status != status {}
    }
    apply(&simulator, "fault = 'none'").await;
    assert_eq!(simulator.settings().flap, None);
}

#[tokio::test]
async fn every_kind_can_be_produced_or_has_an_error_that_says_how() {
    let simulator = simulator().await;
    for kind in Kind::VARIANTS.iter().copied() {
        if is_client_side(kind) {
            assert_eq!(Fault::new(kind), Err(FaultError::ClientSide(kind)));
        }
        for fault in Fault::all(kind) {
            let change = Change::from(fault);
            simulator.apply(&change).await.unwrap();
            assert_eq!(simulator.settings(), change);
        }
    }
}
