//! The scripted timelines: what IMDS does, and when clients call.
//!
//! When clients refresh comes from the row, so that a timeline has steps on either side of each moment at which something
//! changes.

use std::ops::Range;

use imds_exporter::domain::sdk::Refresh;
use jiff::SignedDuration;

use super::comparison::Comparison;
use crate::support::simulator::{CONNECT_REFUSED, HEALTHY};

/// States of IMDS in which a client gets no credentials.
const OUTAGES: &[&str] = &[
    CONNECT_REFUSED,
    "fault = \"hop_limit\"",
    "fault = \"read_timeout\"",
    "fault = \"token_rejected\"",
    "fault = \"imds_disabled\"",
    "fault = \"token_unsupported\"",
    "fault = \"throttled\"",
    "fault = \"server_error\"",
    "fault = \"invalid_response\"",
    "fault = \"connection_closed\"",
    "fault = \"no_role\"",
    "fault = \"no_role\"\nvariant = \"empty\"",
    "fault = \"server_error\"\nstep = \"role\"",
    "fault = \"role_not_found\"",
    "fault = \"server_error\"\nstep = \"credentials\"",
    "fault = \"read_timeout\"\nstep = \"credentials\"",
    "fault = \"assume_role_denied\"",
    "fault = \"malformed_document\"\nvariant = \"html\"",
    "fault = \"incomplete_document\"\nfield = \"AccessKeyId\"",
    "fault = \"incomplete_document\"\nfield = \"SecretAccessKey\"",
    "fault = \"invalid_timestamp\"",
];

/// Failures of the token request alone.
const TOKEN_FAILURES: &[&str] = &[
    CONNECT_REFUSED,
    "fault = \"hop_limit\"",
    "fault = \"token_rejected\"",
    "fault = \"imds_disabled\"\nonly_step = true",
    "fault = \"token_unsupported\"",
    "fault = \"throttled\"\nonly_step = true",
    "fault = \"server_error\"\nonly_step = true",
    "fault = \"invalid_response\"\nonly_step = true",
    "fault = \"connection_closed\"\nonly_step = true",
    "fault = \"unexpected_status\"\nonly_step = true",
    "fault = \"intercepted\"\nonly_step = true",
];

/// Far enough from the moments at which something changes: a call does not take longer.
const AWAY_SECONDS: i64 = 45;

/// When a client refreshes a document of this lifetime: it surely does not before the first, and surely does after the
/// second, in seconds after it was fetched.
pub(super) fn refresh_seconds(comparison: &Comparison, lifetime_minutes: i64) -> Range<i64> {
    let now = comparison.now();
    let ends_at = now + SignedDuration::from_mins(lifetime_minutes);
    let row = comparison.row();
    let [may, must] = row.refreshes_from(now, ends_at).map(|at| now.duration_until(at).as_secs());
    // go-v2 draws the age between 55 and 60 minutes; the row has the later one.
    let early = if matches!(row.refresh, Refresh::AtAge(_)) { 5 * 60 } else { 0 };
    may - early - AWAY_SECONDS..must + AWAY_SECONDS
}

/// Clients that are created in each outage, which then ends.
pub(super) async fn births(comparison: &mut Comparison) {
    comparison.begin(HEALTHY).await;
    comparison.later(3_600).await;
    for outage in OUTAGES {
        comparison.begin(outage).await;
        comparison.then(HEALTHY).await;
        comparison.later(7 * 60).await;
    }
    comparison.begin("fault = \"no_role\"").await;
    comparison.later(60).await;
    comparison.then(HEALTHY).await;
    comparison.then("fault = \"no_role\"").await;
    comparison.then("fault = \"none\"\nrole = \"another-role\"").await;
}

/// Outages that begin with hours left and end when what clients hold has ended.
pub(super) async fn long_outages(comparison: &mut Comparison) {
    for outage in [
        CONNECT_REFUSED,
        "fault = \"no_role\"",
        "fault = \"invalid_response\"\nvariant = \"page\"\nonly_step = true",
        "fault = \"malformed_document\"\nvariant = \"html\"",
        "fault = \"incomplete_document\"\nfield = \"AccessKeyId\"",
    ] {
        comparison.begin(HEALTHY).await;
        comparison.later(60).await;
        comparison.then(outage).await;
        let refresh = refresh_seconds(comparison, 6 * 60 + 33);
        comparison.later(refresh.start).await;
        comparison.later(refresh.end - refresh.start).await;
        for left in [13 * 60, 8 * 60, 4 * 60, 60, -60] {
            comparison.later_with_left(left).await;
        }
        comparison.then("fault = \"none\"\nrotate = true").await;
        comparison.later(4 * 60).await;
        comparison.later(20 * 60).await;
    }
}

/// One try fails shortly before the end, then IMDS is well again.
pub(super) async fn pauses(comparison: &mut Comparison) {
    for outage in [CONNECT_REFUSED, "fault = \"no_role\"", "fault = \"role_not_found\""] {
        let document = if matches!(comparison.row().refresh, Refresh::AtAge(_)) { 62 } else { 120 };
        comparison.begin(&format!("expires_in = \"{document}m\"")).await;
        let refresh = refresh_seconds(comparison, document);
        let left = (document * 60 - refresh.end).min(4 * 60);
        comparison.advance(document * 60 - left).await;
        comparison.then(outage).await;
        comparison.later(left / 2).await;
        comparison.later_with_left(-20).await;
        comparison.then("fault = \"none\"\nrotate = true").await;
        comparison.later(20).await;
        comparison.later(30 * 60).await;
    }
}

/// A newer document comes just before, or just after, clients ask for one; then an outage outlasts the older one.
pub(super) async fn refreshes(comparison: &mut Comparison) {
    for document in [70, 6 * 60] {
        let refresh = refresh_seconds(comparison, document);
        for asked_at in [refresh.start, refresh.end] {
            comparison.begin(&format!("expires_in = \"{document}m\"")).await;
            comparison.later(asked_at / 2).await;
            comparison.advance(asked_at - asked_at / 2).await;
            comparison.then("rotate = true").await;
            comparison.then(CONNECT_REFUSED).await;
            comparison.later(document * 60 - asked_at - 60).await;
            comparison.later(120).await;
            comparison.then(HEALTHY).await;
            comparison.later(30 * 60).await;
        }
    }
}

/// Documents that end soon, or have ended, when a client fetches them.
pub(super) async fn short_documents(comparison: &mut Comparison) {
    for document in ["10m", "3m", "-5m"] {
        for outage in [CONNECT_REFUSED, "fault = \"no_role\""] {
            comparison.begin(&format!("expires_in = \"{document}\"")).await;
            // Some make no second attempt within moments.
            comparison.advance(5).await;
            comparison.then(outage).await;
            comparison.later(12 * 60).await;
            comparison.then("fault = \"none\"\nrotate = true").await;
            comparison.later(30 * 60).await;
        }
        comparison.begin(&format!("expires_in = \"{document}\"")).await;
        comparison.later(30).await;
        comparison.then("rotate = true").await;
        comparison.later(30 * 60).await;
    }
}

/// IMDS answers requests without a token, and the token request fails.
pub(super) async fn imdsv1(comparison: &mut Comparison) {
    for failure in TOKEN_FAILURES {
        comparison.begin(&format!("tokens = \"optional\"\n{failure}")).await;
        comparison.then(HEALTHY).await;
    }
    comparison.begin("tokens = \"optional\"").await;
    let refresh = refresh_seconds(comparison, 6 * 60 + 34);
    comparison.then("fault = \"imds_disabled\"\nonly_step = true").await;
    comparison.simulate("rotate = true").await;
    comparison.later(refresh.end).await;
    comparison.then(HEALTHY).await;
    // An error in place of "no credentials" counts later.
    for outage in [CONNECT_REFUSED, "fault = \"token_unsupported\""] {
        comparison.begin(HEALTHY).await;
        comparison.then(outage).await;
        for left in [16, 12, 8, 4, -1] {
            comparison.later_with_left(left * 60).await;
        }
        comparison.then("fault = \"none\"\nrotate = true").await;
        comparison.later(30 * 60).await;
    }
}
