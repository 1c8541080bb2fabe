//! A token request that breaks after healthy polls: the very next poll and a boto3 client that is created then agree.

use imds_exporter::domain::Kind;

use crate::comparison::{Comparison, Setup};
use crate::support::simulator::{HEALTHY, REQUEST_TIMEOUT};

/// After three healthy polls.
async fn steady(tokens: &str, v1_disabled: bool) -> Comparison {
    let setup = Setup { v1_disabled, timeout: REQUEST_TIMEOUT, ..Setup::default() };
    let mut comparison = Comparison::start(setup, &format!("tokens = \"{tokens}\"")).await;
    for _ in 0..2 {
        comparison.advance(15).await;
        comparison.compare("a healthy poll").await;
    }
    comparison.assert_all_usable(true, true, true);
    comparison
}

/// With tokens required, and then optional: whether a client that is created now is usable.
const POLICIES: [(&str, bool); 2] = [("required", false), ("optional", true)];

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn the_poll_after_the_hop_limit_was_lowered_and_a_new_client_agree() {
    for (tokens, usable) in POLICIES {
        let mut comparison = steady(tokens, false).await;
        let first = comparison.then("fault = \"hop_limit\"").await;
        comparison.assert_all_usable(usable, true, true);
        // A token request that worked at the last poll: a slow IMDS is as likely.
        let kind = |failure: Option<Kind>, fallback: Option<Kind>| failure.or(fallback);
        let failure = first.outcome.as_ref().err().map(|failure| failure.kind);
        assert_eq!(kind(failure, comparison.v1_fallback()), Some(Kind::ReadTimeout), "tokens {tokens}");

        let second = comparison.compare("the second poll").await;
        comparison.assert_all_usable(usable, true, true);
        let failure = second.outcome.as_ref().err().map(|failure| failure.kind);
        assert_eq!(kind(failure, comparison.v1_fallback()), Some(Kind::HopLimit), "tokens {tokens}");

        comparison.then(HEALTHY).await;
        comparison.assert_all_usable(true, true, true);
        assert_eq!(comparison.v1_fallback(), None);
    }
}

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn the_poll_after_put_was_filtered_and_a_new_client_agree() {
    for (tokens, v1_disabled, usable) in
        [("required", false, false), ("optional", false, true), ("optional", true, false)]
    {
        let mut comparison = steady(tokens, v1_disabled).await;
        for (fault, kind) in [
            ("imds_disabled", Kind::TokenForbidden),
            ("token_unsupported", Kind::TokenUnsupported),
            ("throttled", Kind::Throttled),
            ("server_error", Kind::ServerError),
            ("connection_closed", Kind::ConnectionClosed),
            ("invalid_response", Kind::InvalidResponse),
            ("intercepted", Kind::Intercepted),
            ("read_timeout", Kind::ReadTimeout),
        ] {
            let filter = format!("fault = \"{fault}\"\nstep = \"token\"\nonly_step = true");
            let poll = comparison.then(&filter).await;
            // boto3 may read what the exporter does not, and versions that do not know the variable ask without a token.
            let is_known = kind != Kind::InvalidResponse && (!v1_disabled || kind.is_unreachable());
            let now = (usable || is_known).then_some(usable);
            comparison.assert_usable([("now", now), ("before_outage", Some(true)), ("at_start", Some(true))]);
            let failure = poll.outcome.as_ref().err().map(|failure| failure.kind);
            assert_eq!(
                (failure, comparison.v1_fallback()),
                if usable { (None, Some(kind)) } else { (Some(kind), None) }
            );
            comparison.then(HEALTHY).await;
            comparison.assert_all_usable(true, true, true);
        }
        if v1_disabled {
            assert_eq!(comparison.simulator.counts().without_token, 0);
        }
    }
}

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn after_a_400_neither_falls_back() {
    for (tokens, _) in POLICIES {
        let mut comparison = steady(tokens, false).await;
        comparison.then("fault = \"token_rejected\"").await;
        comparison.assert_all_usable(false, true, true);
        assert_eq!(comparison.simulator.counts().without_token, 0);
    }
}
