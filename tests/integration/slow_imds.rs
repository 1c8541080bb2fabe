//! An IMDS that answers slowly: at every delay up to twice the time-out it is slow, and never a hop limit that is too low.

use std::time::Duration;

use imds_exporter::domain::{Failure, Kind, Source, Step};
use imds_exporter::imds::ImdsOptions;
use tokio::task::JoinSet;

use crate::support::simulator::{apply_toml, imds_client, imds_options_for, start_simulator};

/// As long as that of the SDKs, so that a loaded machine does not blur the delays.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Delays between none and twice the time-out.
const STEPS: u32 = 16;
const POLLS: u32 = 3;

/// Polls an IMDS with this delay: never a hop limit.
async fn assert_slow(delay: Duration, of: &[&str], tokens: &str, has_succeeded: bool) {
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
    let mut cases = JoinSet::new();
    for step in 0..=STEPS {
        let delay = TIMEOUT * 2 * step / STEPS;
        for of in [&["token_delay"][..], &["get_delay"], &["token_delay", "get_delay"]] {
            for (tokens, has_succeeded) in [("required", false), ("required", true), ("optional", false)] {
                cases.spawn(assert_slow(delay, of, tokens, has_succeeded));
            }
        }
    }
    while let Some(ended) = cases.join_next().await {
        ended.expect("the case passes");
    }
}

#[tokio::test]
async fn a_hop_limit_is_found_although_other_answers_take_a_while() {
    for delay in [0, 250] {
        let simulator = start_simulator().await;
        apply_toml(&simulator, &format!("fault = 'hop_limit'\nget_delay = '{delay}ms'")).await;
        let mut imds = imds_client(ImdsOptions { timeout: TIMEOUT, ..imds_options_for(&simulator) });
        for _ in 0..POLLS {
            let outcome = imds.resolve().await.outcome;
            assert_eq!(outcome, Err(Failure { kind: Kind::HopLimit, step: Step::Token }), "{delay} ms");
        }
    }
}

#[tokio::test]
async fn a_hop_limit_that_is_lowered_in_steady_state_is_named_from_the_second_poll_on() {
    let simulator = start_simulator().await;
    let mut imds = imds_client(imds_options_for(&simulator));
    for _ in 0..2 {
        assert!(imds.resolve().await.outcome.is_ok());
        apply_toml(&simulator, "fault = 'hop_limit'").await;
        for kind in [Kind::ReadTimeout, Kind::HopLimit, Kind::HopLimit] {
            // The very first poll is a failure, as for a client that is created now.
            assert_eq!(imds.resolve().await.outcome, Err(Failure { kind, step: Step::Token }));
        }
        apply_toml(&simulator, "fault = 'none'").await;
    }
}
