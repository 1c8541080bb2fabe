//! Resolving from the simulator over real sockets: each kind in each of its forms and steps, and recovery from it.

use std::sync::Arc;

use imds_exporter::clock::SystemClock;
use imds_exporter::imds::{Endpoint, Imds, Options};
use imds_exporter::model::{Failure, Kind, Request, Step};
use imds_exporter::simulator::{Change, Fault, Simulator, is_client_side, steps, variants};
use imds_exporter::source::Source;

use crate::support::{TIMEOUT, client, client_of, simulator, tell};

/// Every form and step in which the simulator makes a kind.
fn faults(kind: Kind) -> Vec<Fault> {
    let fault = Fault::new(kind).expect("a kind that a server makes");
    let forms: Vec<_> = match variants(kind) {
        [] => vec![fault],
        forms => forms.iter().map(|form| fault.in_variant(form.label()).expect("a form of this kind")).collect(),
    };
    let at_steps = |form: Fault| {
        let steps = steps(kind, form.variant()).iter();
        steps.map(move |step| form.at_step(*step).expect("a step of this form"))
    };
    forms.into_iter().flat_map(at_steps).collect()
}

/// At birth and in steady state, the fault is met, told as what it is, and gone with the next poll after it.
async fn met_and_mended(simulator: &Simulator, fault: Fault) {
    let (kind, step) = (fault.kind(), fault.step());
    let put_only = matches!(kind, Kind::HopLimit | Kind::TokenRejected | Kind::TokenUnsupported);
    for at_birth in [true, false] {
        let mut imds = client_of(simulator);
        if !at_birth {
            assert!(imds.resolve().await.outcome.is_ok());
        }
        let change = Change { forget_tokens: Some(put_only), ..Change::from(fault) };
        simulator.apply(&change).await.expect("the simulator can do that");
        // With a token in hand the first request is the one for the role list; connecting and the rules of the
        // token request come before any step.
        let first_asked = !at_birth && step == Step::Token && !put_only && kind != Kind::ImdsDisabled;
        let expected = Failure { kind, step: if first_asked { Step::Role } else { step } };
        assert_eq!(imds.resolve().await.outcome, Err(expected), "{fault:?}, at birth: {at_birth}");
        simulator.apply(&Change::to_health()).await.expect("the simulator can be healthy");
        assert_eq!(imds.resolve().await.outcome, Ok(simulator.credential()), "after {fault:?}");
    }
}

/// Kinds are spread over two tests so that they run beside each other.
async fn all_forms_of(kinds: impl Iterator<Item = Kind>) {
    let simulator = simulator().await;
    for kind in kinds {
        for fault in faults(kind) {
            met_and_mended(&simulator, fault).await;
        }
    }
}

fn server_side(half: usize) -> impl Iterator<Item = Kind> {
    let kinds = Kind::ALL.iter().copied().filter(|kind| !is_client_side(*kind));
    kinds.enumerate().filter(move |(index, _)| index % 2 == half).map(|(_, kind)| kind)
}

#[tokio::test]
async fn every_kind_of_the_first_half_is_met_and_mended() {
    all_forms_of(server_side(0)).await;
}

#[tokio::test]
async fn every_kind_of_the_second_half_is_met_and_mended() {
    all_forms_of(server_side(1)).await;
}

/// No server makes these; together with the tests above, every kind is covered: a new one falls into the half
/// of the server-made kinds unless it is added here.
#[test]
fn the_kinds_made_by_the_client_are_the_two_below() {
    let client_side: Vec<_> = Kind::ALL.iter().copied().filter(|kind| is_client_side(*kind)).collect();
    assert_eq!(client_side, [Kind::DisabledByEnvironment, Kind::NetworkUnreachable]);
}

#[tokio::test]
async fn network_unreachable_at_an_address_without_a_route() {
    let simulator = simulator().await;
    // Linux has no TCP route to loopback's broadcast address, and says so at once.
    let unreachable = format!("http://127.255.255.255:{}", simulator.address().port());
    let expected = Failure { kind: Kind::NetworkUnreachable, step: Step::Token };
    assert_eq!(client(&unreachable).resolve().await.outcome, Err(expected));
    assert_eq!(client_of(&simulator).resolve().await.outcome, Ok(simulator.credential()));
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_unreachable() {
    let outcome = client("http://imds.invalid").resolve().await.outcome;
    assert_eq!(outcome, Err(Failure { kind: Kind::NetworkUnreachable, step: Step::Token }));
}

#[tokio::test]
async fn disabled_by_environment_sends_nothing() {
    let simulator = simulator().await;
    let endpoint = Endpoint::parse(&format!("http://{}", simulator.address())).expect("a good endpoint");
    let options = |disabled| Options { endpoint: endpoint.clone(), timeout: TIMEOUT, disabled };
    let new = |disabled| Imds::new(options(disabled), Arc::new(SystemClock)).expect("a client");
    let resolution = new(true).resolve().await;
    assert_eq!(resolution.outcome, Err(Failure { kind: Kind::DisabledByEnvironment, step: Step::Token }));
    assert_eq!(simulator.counts().connections, 0);
    assert!(new(false).resolve().await.outcome.is_ok());
}

#[tokio::test]
async fn three_requests_then_two_on_one_connection() {
    let simulator = simulator().await;
    let mut imds = client_of(&simulator);
    for expected in [(1, 1, 1), (1, 2, 2), (1, 3, 3)] {
        assert!(imds.resolve().await.outcome.is_ok());
        let counts = simulator.counts();
        assert_eq!((counts.token, counts.role, counts.credentials), expected);
    }
    assert_eq!(simulator.counts().connections, 1);
    assert_eq!((simulator.counts().profile_info, simulator.counts().other), (0, 0));
}

#[tokio::test]
async fn a_connection_that_is_closed_after_each_answer_is_fine() {
    let simulator = simulator().await;
    tell(&simulator, "keep_alive = false").await;
    let mut imds = client_of(&simulator);
    for _ in 0..3 {
        assert!(imds.resolve().await.outcome.is_ok());
    }
    assert_eq!(simulator.counts().connections, 7);
}

#[tokio::test]
async fn a_token_that_is_not_accepted_any_more_is_replaced_once() {
    let simulator = simulator().await;
    let mut imds = client_of(&simulator);
    assert!(imds.resolve().await.outcome.is_ok());
    tell(&simulator, "forget_tokens = true").await;
    let resolution = imds.resolve().await;
    assert!(resolution.outcome.is_ok());
    assert_eq!(resolution.tokens_obtained, 1);
    let requests: Vec<_> = resolution.exchanges.iter().map(|exchange| (exchange.request, exchange.status)).collect();
    let expected = [
        (Request::Role, Some(401)),
        (Request::Token, Some(200)),
        (Request::Role, Some(200)),
        (Request::Credentials, Some(200)),
    ];
    assert_eq!(requests, expected);
}

#[tokio::test]
async fn a_token_of_short_life_is_renewed_before_its_end() {
    let simulator = simulator().await;
    tell(&simulator, "token_lifetime = \"1s\"").await;
    let mut imds = client_of(&simulator);
    assert!(imds.resolve().await.outcome.is_ok());
    let began = imds_exporter::clock::monotonic();
    let renewed = loop {
        let resolution = imds.resolve().await;
        assert!(
            resolution.exchanges.iter().all(|exchange| exchange.status == Some(200)),
            "no request meets a dead token"
        );
        if resolution.tokens_obtained == 1 {
            break began.elapsed();
        }
        tokio::task::yield_now().await;
    };
    assert!(renewed.as_millis() >= 400);
}

#[tokio::test]
async fn imds_switched_off_is_told_with_an_old_token_too() {
    let simulator = simulator().await;
    let mut imds = client_of(&simulator);
    assert!(imds.resolve().await.outcome.is_ok());
    tell(&simulator, "fault = \"imds_disabled\"").await;
    let expected = Failure { kind: Kind::ImdsDisabled, step: Step::Token };
    assert_eq!(imds.resolve().await.outcome, Err(expected));
    tell(&simulator, "fault = \"forbidden\"").await;
    let expected = Failure { kind: Kind::Forbidden, step: Step::Role };
    assert_eq!(imds.resolve().await.outcome, Err(expected));
}

#[tokio::test]
async fn the_hop_limit_is_told_from_an_imds_that_hangs() {
    let simulator = simulator().await;
    let mut imds = client_of(&simulator);
    tell(&simulator, "fault = \"hop_limit\"").await;
    let resolution = imds.resolve().await;
    let requests: Vec<_> = resolution.exchanges.iter().map(|exchange| (exchange.request, exchange.status)).collect();
    // The probe's made-up token is rejected: an answer all the same, and none that counts as version 1.
    assert_eq!(requests, [(Request::Token, None), (Request::HopLimitProbe, Some(401))]);
    tell(&simulator, "fault = \"read_timeout\"\nstep = \"token\"").await;
    let resolution = imds.resolve().await;
    let requests: Vec<_> = resolution.exchanges.iter().map(|exchange| (exchange.request, exchange.status)).collect();
    assert_eq!(requests, [(Request::Token, None), (Request::HopLimitProbe, None)]);
}

#[tokio::test]
async fn an_expired_document_is_a_success() {
    let simulator = simulator().await;
    tell(&simulator, "expires_in = \"-5m\"").await;
    let resolution = client_of(&simulator).resolve().await;
    let credential = resolution.outcome.expect("an expired document is a document");
    let now = imds_exporter::clock::Clock::now(&SystemClock);
    assert!((-310..=-300).contains(&credential.remaining(now).as_secs()));
}

#[tokio::test]
async fn clock_skew_is_told_and_unknown_without_the_header() {
    let simulator = simulator().await;
    let mut imds = client_of(&simulator);
    tell(&simulator, "clock_skew = \"90s\"").await;
    let skew = imds.resolve().await.clock_skew.expect("a Date header");
    assert!((88..=90).contains(&skew.as_secs()), "{skew:?}");
    tell(&simulator, "date_header = false").await;
    assert_eq!(imds.resolve().await.clock_skew, None);
}

#[tokio::test]
async fn without_a_word_of_the_tokens_lifetime_it_resolves() {
    let simulator = simulator().await;
    tell(&simulator, "token_ttl_header = false").await;
    assert!(client_of(&simulator).resolve().await.outcome.is_ok());
}

#[tokio::test]
async fn the_simulator_may_be_an_ipv6_address() {
    let options =
        imds_exporter::simulator::Options { listen: ([0, 0, 0, 0, 0, 0, 0, 1], 0).into(), ..Default::default() };
    let simulator = Simulator::start(options, Arc::new(SystemClock)).await.expect("loopback has IPv6");
    assert!(client_of(&simulator).resolve().await.outcome.is_ok());
}
