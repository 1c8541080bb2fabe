//! An IMDS that answers slowly: at every delay up to twice the time-out it is slow, and never a hop limit that is too low.

use std::time::Duration;

use imds_exporter::domain::{Failure, Kind, Source, Step};
use imds_exporter::imds::ImdsOptions;

use crate::support::simulator::{apply_toml, imds_client, imds_client_for, imds_options_for, start_simulator};
use crate::support::wait::all_at_once;

/// As long as that of the SDKs, so that a loaded machine does not blur the delays.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Delays between none and twice the time-out.
const STEPS: u32 = 16;
const POLLS: u32 = 3;

/// Polls an IMDS with this delay: never a hop limit.
async fn assert_slow(delay: Duration, of: &[&str], (tokens, has_succeeded): (&str, bool)) {
    let simulator = start_simulator().await;
    apply_toml(&simulator, &format!("tokens = '{tokens}'")).await;
    let mut imds = imds_client(ImdsOptions { timeout: TIMEOUT, ..imds_options_for(&simulator) });
    if has_succeeded {
        let outcome = imds.resolve().await.outcome;
        assert!(outcome.is_ok(), "{outcome:?}");
    }
    for key in of {
        apply_toml(&simulator, &format!("{key} = '{}ms'", delay.as_millis())).await;
    }
    for poll in 0..POLLS {
        let resolution = imds.resolve().await;
        let what = format!("poll {poll}, {of:?} {delay:?}, tokens {tokens}, after a success: {has_succeeded}");
        assert_ne!(resolution.v1_fallback, Some(Kind::HopLimit), "{what}");
        if let Err(Failure { kind, step }) = resolution.outcome {
            assert_eq!(kind, Kind::ReadTimeout, "{what}");
            assert!(step == Step::Token || of.contains(&"get_delay"), "{what}: {step}");
        }
    }
}

#[tokio::test]
async fn a_slow_imds_is_never_called_a_hop_limit() {
    let delays = (0..=STEPS).map(|step| TIMEOUT * 2 * step / STEPS);
    let slow: [&[&str]; 3] = [&["token_delay"], &["get_delay"], &["token_delay", "get_delay"]];
    let before = [("required", false), ("required", true), ("optional", false)];
    let of_delay = |delay| slow.into_iter().flat_map(move |of| before.map(|before| assert_slow(delay, of, before)));
    all_at_once(delays.flat_map(of_delay)).await;
}

#[tokio::test]
async fn a_hop_limit_is_found_although_other_answers_take_a_while() {
    let is_found = |delay| async move {
        let simulator = start_simulator().await;
        apply_toml(&simulator, &format!("fault = 'hop_limit'\nget_delay = '{delay}ms'")).await;
        let mut imds = imds_client(ImdsOptions { timeout: TIMEOUT, ..imds_options_for(&simulator) });
        for _ in 0..POLLS {
            let outcome = imds.resolve().await.outcome;
            assert_eq!(outcome, Err(Failure { kind: Kind::HopLimit, step: Step::Token }), "{delay} ms");
        }
    };
    all_at_once([0, 250].map(is_found)).await;
}

/// The very first poll is like a client that is created now: it fails where tokens are required, and falls back where not.
#[tokio::test]
async fn a_hop_limit_that_is_lowered_in_steady_state_is_named_from_the_second_poll_on() {
    all_at_once(["required", "optional"].map(lowered_in_steady_state)).await;
}

async fn lowered_in_steady_state(tokens: &str) {
    let simulator = start_simulator().await;
    let mut imds = imds_client_for(&simulator);
    apply_toml(&simulator, &format!("tokens = '{tokens}'")).await;
    for _ in 0..2 {
        assert!(imds.resolve().await.outcome.is_ok());
        apply_toml(&simulator, "fault = 'hop_limit'").await;
        for kind in [Kind::ReadTimeout, Kind::HopLimit, Kind::HopLimit] {
            let resolution = imds.resolve().await;
            let expected = match tokens {
                "required" => (Err(Failure { kind, step: Step::Token }), None),
                _ => (Ok(simulator.credential()), Some(kind)),
            };
            assert_eq!((resolution.outcome, resolution.v1_fallback), expected, "tokens {tokens}");
        }
        apply_toml(&simulator, "fault = 'none'").await;
    }
}
