//! Resolutions from the simulator over real sockets: each failure kind in each form and step, and the recovery from it.

use imds_exporter::domain::{Failure, Kind, Request, Resolution, Source, Step};
use imds_exporter::imds::ImdsOptions;
use imds_exporter::simulator::{Change, Fault, Simulator, is_client_side};
use strum::VariantArray;

use crate::support::simulator::{
    all_faults, apply, apply_toml, imds_client, imds_client_for, imds_options, imds_options_for, server_side_kinds,
    start_simulator,
};
use crate::support::wait::all_at_once;

/// The request steps and statuses of a resolution, in their order.
fn requests(resolution: &Resolution) -> Vec<(Request, Option<u16>)> {
    resolution.requests.iter().map(|record| (record.request, record.status)).collect()
}

/// For a new client and for one whose last resolution succeeded: the next resolution reports the fault, and the one after
/// the fault succeeds.
async fn assert_reported_and_recovered_from(simulator: &Simulator, fault: Fault) {
    let expected = Failure { kind: fault.kind, step: fault.step };
    for has_succeeded in [false, true] {
        let mut imds = imds_client_for(simulator);
        if has_succeeded {
            assert!(imds.resolve().await.outcome.is_ok());
        }
        apply(simulator, &Change::from(fault)).await;
        if has_succeeded && fault.kind == Kind::HopLimit {
            // A token request that has just worked and gets no answer now may be slow.
            let slow = Failure { kind: Kind::ReadTimeout, step: Step::Token };
            assert_eq!(imds.resolve().await.outcome, Err(slow));
        }
        let before = simulator.counts().without_token;
        assert_eq!(imds.resolve().await.outcome, Err(expected), "{fault:?}, after a success: {has_succeeded}");
        let sent = simulator.counts().without_token - before;
        assert!(fault.step == Step::Token || sent == 0, "{fault:?}: no fallback after the token step");
        apply(simulator, &Change::to_healthy()).await;
        assert_eq!(imds.resolve().await.outcome, Ok(simulator.credential()), "after {fault:?}");
    }
}

/// Tests every fourth kind.
async fn assert_all_faults_of(quarter: usize) {
    let simulator = start_simulator().await;
    for kind in server_side_kinds().skip(quarter).step_by(4) {
        for fault in all_faults(kind) {
            assert_reported_and_recovered_from(&simulator, fault).await;
        }
    }
}

#[tokio::test]
async fn every_kind_in_every_form_is_reported_and_recovered_from() {
    all_at_once((0..4).map(assert_all_faults_of)).await;
}

/// These two have tests of their own below; the tests above cover every other kind, new ones included.
#[test]
fn only_two_kinds_cannot_be_produced_by_a_server() {
    let client_side: Vec<_> = Kind::VARIANTS.iter().copied().filter(|kind| is_client_side(*kind)).collect();
    assert_eq!(client_side, [Kind::DisabledByEnvironment, Kind::NetworkUnreachable]);
}

#[tokio::test]
async fn an_address_without_a_route_and_a_name_that_does_not_resolve_are_network_unreachable() {
    let simulator = start_simulator().await;
    // Linux has no TCP route to the broadcast address of loopback.
    let unreachable = format!("http://127.255.255.255:{}", simulator.address().port());
    for endpoint in [&unreachable, "http://imds.invalid"] {
        let expected = Failure { kind: Kind::NetworkUnreachable, step: Step::Token };
        assert_eq!(imds_client(imds_options(endpoint)).resolve().await.outcome, Err(expected), "{endpoint}");
    }
}

#[tokio::test]
async fn a_client_that_is_disabled_by_the_environment_sends_nothing() {
    let simulator = start_simulator().await;
    let disabled = ImdsOptions { disabled: true, ..imds_options_for(&simulator) };
    let resolution = imds_client(disabled).resolve().await;
    assert_eq!(resolution.outcome, Err(Failure { kind: Kind::DisabledByEnvironment, step: Step::Token }));
    assert_eq!(simulator.counts().connections, 0);
    assert!(imds_client_for(&simulator).resolve().await.outcome.is_ok());
}

#[tokio::test]
async fn every_resolution_sends_the_three_requests_of_botocore_on_a_connection_of_its_own() {
    let simulator = start_simulator().await;
    let mut imds = imds_client_for(&simulator);
    for expected in 1..=3 {
        let resolution = imds.resolve().await;
        let steps = [Request::Token, Request::Role, Request::Credentials];
        assert_eq!(requests(&resolution), steps.map(|step| (step, Some(200))));
        let counts = simulator.counts();
        assert_eq!((counts.token, counts.role, counts.credentials), (expected, expected, expected));
        assert_eq!(counts.connections, expected);
        // No session token is used twice.
        apply_toml(&simulator, "forget_tokens = true").await;
    }
    let counts = simulator.counts();
    assert_eq!((counts.profile_info, counts.other, counts.without_token), (0, 0, 0));
}

#[tokio::test]
async fn connections_that_close_after_each_response_are_replaced() {
    let simulator = start_simulator().await;
    apply_toml(&simulator, "keep_alive = false").await;
    let mut imds = imds_client_for(&simulator);
    for _ in 0..3 {
        assert!(imds.resolve().await.outcome.is_ok());
    }
    assert_eq!(simulator.counts().connections, 9);
}

#[tokio::test]
async fn a_hop_limit_is_distinguished_from_an_imds_that_hangs() {
    let simulator = start_simulator().await;
    let mut imds = imds_client(ImdsOptions { v1_disabled: true, ..imds_options_for(&simulator) });
    apply_toml(&simulator, "fault = \"hop_limit\"").await;
    let resolution = imds.resolve().await;
    // The probe sends an invalid token: the response is a 401, and the request does not count as IMDSv1.
    assert_eq!(requests(&resolution), [(Request::Token, None), (Request::Probe, Some(401))]);
    apply_toml(&simulator, "fault = \"read_timeout\"\nstep = \"token\"").await;
    let resolution = imds.resolve().await;
    assert_eq!(requests(&resolution), [(Request::Token, None), (Request::Probe, None)]);
    assert_eq!(simulator.counts().without_token, 0);
}

#[tokio::test]
async fn the_clock_skew_is_measured_and_is_unknown_without_a_date_header() {
    let simulator = start_simulator().await;
    let mut imds = imds_client_for(&simulator);
    apply_toml(&simulator, "clock_skew = \"90s\"").await;
    let skew = imds.resolve().await.clock_skew.expect("a Date header");
    assert!((88..=90).contains(&skew.as_secs()), "{skew:?}");
    apply_toml(&simulator, "date_header = false").await;
    assert_eq!(imds.resolve().await.clock_skew, None);
}

#[tokio::test]
async fn a_session_token_without_a_lifetime_header_is_used() {
    let simulator = start_simulator().await;
    apply_toml(&simulator, "answers.token.headers = { X-Aws-Ec2-Metadata-Token-Ttl-Seconds = '' }").await;
    assert!(imds_client_for(&simulator).resolve().await.outcome.is_ok());
}
