//! The fallback to IMDSv1, as botocore has it: which token failures lead to it, what it is tried for, and how rarely.

use std::time::Duration;

use imds_exporter::domain::{Failure, Kind, Source, Step};
use imds_exporter::imds::{Imds, ImdsOptions};
use imds_exporter::simulator::Simulator;
use tokio::time::{advance, pause, resume};

use crate::support::simulator::{HEALTHY, apply_toml, imds_client, imds_options_for, start_simulator};
use crate::support::wait::all_at_once;

/// What follows from a token failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// Requests without a token follow, and arrive.
    FallsBack,
    /// They follow, and never arrive.
    Unreachable,
    /// The resolution ends.
    GivesUp,
}

/// Token failures while everything else works, with what follows from them.
const TOKEN_FAILURES: [(&str, Kind, Then); 12] = [
    ("fault = 'connect_refused'", Kind::ConnectRefused, Then::Unreachable),
    ("fault = 'hop_limit'", Kind::HopLimit, Then::FallsBack),
    ("fault = 'token_forbidden'", Kind::TokenForbidden, Then::FallsBack),
    ("fault = 'token_unsupported'", Kind::TokenUnsupported, Then::FallsBack),
    ("fault = 'token_unsupported'\nvariant = '405'", Kind::TokenUnsupported, Then::FallsBack),
    ("fault = 'throttled'\nonly_step = true", Kind::Throttled, Then::FallsBack),
    ("fault = 'server_error'\nonly_step = true", Kind::ServerError, Then::FallsBack),
    ("fault = 'invalid_response'\nonly_step = true", Kind::InvalidResponse, Then::FallsBack),
    ("fault = 'connection_closed'\nonly_step = true", Kind::ConnectionClosed, Then::FallsBack),
    ("fault = 'unexpected_status'\nonly_step = true", Kind::UnexpectedStatus, Then::FallsBack),
    ("fault = 'token_rejected'", Kind::TokenRejected, Then::GivesUp),
    // A 200 with something that is no token.
    ("fault = 'invalid_response'\nvariant = 'page'\nonly_step = true", Kind::InvalidResponse, Then::GivesUp),
];

/// A simulator with this fault and policy, and a client of it.
async fn pair(fault: &str, tokens: &str, v1_disabled: bool) -> (Simulator, Imds) {
    let simulator = start_simulator().await;
    apply_toml(&simulator, &format!("tokens = '{tokens}'\n{fault}")).await;
    let imds = imds_client(ImdsOptions { v1_disabled, ..imds_options_for(&simulator) });
    (simulator, imds)
}

#[tokio::test]
async fn every_token_failure_falls_back_as_in_botocore() {
    let policies = [("optional", false), ("optional", true), ("required", false), ("required", true)];
    let cases = TOKEN_FAILURES.into_iter().flat_map(|failure| policies.map(|policy| falls_back(failure, policy)));
    all_at_once(cases).await;
}

async fn falls_back((fault, kind, then): (&str, Kind, Then), (tokens, v1_disabled): (&str, bool)) {
    let what = format!("{fault}, tokens {tokens}, v1 disabled: {v1_disabled}");
    let (simulator, mut imds) = pair(fault, tokens, v1_disabled).await;
    let works = then == Then::FallsBack && tokens == "optional" && !v1_disabled;
    // The role list and the document at each poll where that works; where it is refused, the role list once.
    let sent = match then {
        Then::FallsBack if works => [2, 4, 6],
        Then::FallsBack if !v1_disabled => [1, 1, 1],
        _ => [0, 0, 0],
    };
    for sent in sent {
        let resolution = imds.resolve().await;
        let failed = (Err(Failure { kind, step: Step::Token }), None);
        let expected = if works { (Ok(simulator.credential()), Some(kind)) } else { failed };
        assert_eq!((resolution.outcome, resolution.v1_fallback), expected, "{what}");
        assert_eq!(simulator.counts().without_token, sent, "{what}");
    }
    apply_toml(&simulator, HEALTHY).await;
    let resolution = imds.resolve().await;
    assert_eq!((resolution.outcome, resolution.v1_fallback), (Ok(simulator.credential()), None), "{what}");
    assert_eq!(simulator.counts().without_token, sent[2], "{what}");
}

#[tokio::test]
async fn failures_after_a_fallback_are_those_of_their_step() {
    let simulator = start_simulator().await;
    let mut imds = imds_client(imds_options_for(&simulator));
    apply_toml(&simulator, "tokens = 'optional'\nfault = 'token_unsupported'\nanswers.credentials.body = '<html>'")
        .await;
    let resolution = imds.resolve().await;
    let expected = Failure { kind: Kind::MalformedDocument, step: Step::Credentials };
    assert_eq!((resolution.outcome, resolution.v1_fallback), (Err(expected), None));
}

/// Lets time pass between two polls. No socket is waited for meanwhile, so that time can be paused.
async fn pass(span: Duration) {
    pause();
    advance(span).await;
    resume();
}

async fn without_token(simulator: &Simulator, imds: &mut Imds) -> u64 {
    let before = simulator.counts().without_token;
    assert!(imds.resolve().await.outcome.is_err());
    simulator.counts().without_token - before
}

#[tokio::test]
async fn a_fallback_that_is_refused_is_tried_again_after_five_minutes_or_when_the_failure_changes() {
    let (simulator, mut imds) = pair("fault = 'token_forbidden'", "required", false).await;
    assert_eq!(without_token(&simulator, &mut imds).await, 1);
    for _ in 0..19 {
        pass(Duration::from_secs(15)).await;
        assert_eq!(without_token(&simulator, &mut imds).await, 0, "within five minutes");
    }
    pass(Duration::from_secs(15)).await;
    assert_eq!(without_token(&simulator, &mut imds).await, 1, "after five minutes");
    assert_eq!(without_token(&simulator, &mut imds).await, 0);

    apply_toml(&simulator, "fault = 'server_error'\nonly_step = true").await;
    assert_eq!(without_token(&simulator, &mut imds).await, 1, "another failure");
    assert_eq!(without_token(&simulator, &mut imds).await, 0);

    apply_toml(&simulator, HEALTHY).await;
    assert!(imds.resolve().await.outcome.is_ok());
    apply_toml(&simulator, "fault = 'server_error'\nonly_step = true").await;
    assert_eq!(without_token(&simulator, &mut imds).await, 1, "the failure did not stay");
}

#[tokio::test]
async fn a_request_that_never_arrived_is_not_one_that_was_refused() {
    let (simulator, mut imds) = pair("fault = 'connect_refused'", "required", false).await;
    for _ in 0..3 {
        assert!(imds.resolve().await.outcome.is_err());
    }
    // The tokens are optional by now, and the first answer is by version 1.
    apply_toml(&simulator, "tokens = 'optional'\nfault = 'token_forbidden'").await;
    assert_eq!(imds.resolve().await.v1_fallback, Some(Kind::TokenForbidden));
}

#[tokio::test]
async fn tokens_that_become_optional_are_noticed_when_the_pause_is_over() {
    let (simulator, mut imds) = pair("fault = 'hop_limit'", "required", false).await;
    assert_eq!(without_token(&simulator, &mut imds).await, 1);
    apply_toml(&simulator, "tokens = 'optional'").await;
    assert_eq!(without_token(&simulator, &mut imds).await, 0);
    pass(Duration::from_mins(5)).await;
    assert_eq!(imds.resolve().await.v1_fallback, Some(Kind::HopLimit));
    apply_toml(&simulator, "tokens = 'required'").await;
    assert_eq!(without_token(&simulator, &mut imds).await, 1);
    assert_eq!(without_token(&simulator, &mut imds).await, 0);
}
