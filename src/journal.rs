//! Which report becomes which log line: transitions are loud, repetitions quiet.
//!
//! Each line can be read alone and has fields to filter by. Must not know metrics or the wire.

use tracing::{debug, info, warn};

use crate::clock::unix_seconds;
use crate::model::RoleName;
use crate::process::Suspect;
use crate::state::{Report, State};

/// Tells a finished poll; `state` is as it is after it.
pub fn poll(report: &Report, state: &State, expected_role: Option<&RoleName>) {
    let change = &report.change;
    match &report.resolution.outcome {
        Ok(credential) => {
            let remaining_seconds = credential.remaining(report.at).as_secs();
            let role = credential.role.as_str();
            if let Some(window) = change.outage_ended {
                let outage_seconds = window.start.duration_until(window.end).as_secs();
                info!(role, remaining_seconds, outage_seconds, "credentials resolve again");
                if state.clients_stuck(report.at) {
                    warn!(
                        since = %window.start, until = %window.end,
                        "a boto3 client created in the outage has no credentials until it is created again"
                    );
                }
            } else if state.recent().polls().len() == 1 {
                info!(role, remaining_seconds, "credentials resolve");
            } else if change.rotated {
                info!(role, remaining_seconds, "credentials were rotated");
            } else {
                debug!(role, remaining_seconds, "credentials resolve");
            }
            if let Some(former_role) = &change.former_role {
                warn!(role, former_role = former_role.as_str(), "the role changed");
            }
            let expected = expected_role.filter(|expected| **expected != credential.role);
            if let Some(expected_role) = expected.filter(|_| {
                change.former_role.is_some() || change.outage_ended.is_some() || state.recent().polls().len() == 1
            }) {
                warn!(role, expected_role = expected_role.as_str(), "the role is not the expected one");
            }
            if credential.expiration <= report.at && (change.rotated || change.outage_ended.is_some()) {
                warn!(
                    role,
                    expired_at_unix = unix_seconds(credential.expiration),
                    "IMDS gave credentials that are expired"
                );
            }
        }
        Err(failure) => {
            let (kind, step) = (failure.kind.label(), failure.step.label());
            let cause = report.resolution.cause.as_deref().unwrap_or_default();
            if change.failure_changed {
                warn!(kind, step, cause, action = failure.kind.action(), "credentials cannot be resolved");
            } else {
                debug!(kind, step, cause, "credentials still cannot be resolved");
            }
        }
    }
}

/// Tells processes that came under suspicion.
pub fn suspects(before: &[Suspect], now: &[Suspect]) {
    for suspect in now.iter().filter(|suspect| !before.contains(suspect)) {
        let Suspect { pid, command, started_at, .. } = suspect;
        warn!(pid, command, %started_at, "this process started in an outage: its clients may be stuck; restart it");
    }
}
