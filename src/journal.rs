//! Which report becomes which log line: transitions are loud, repetitions quiet.
//!
//! Each line can be read alone and has fields to filter by. Must not know metrics or the wire.

use tracing::{debug, info, warn};

use crate::model::{Credential, RoleName};
use crate::outage::Window;
use crate::process::Suspect;
use crate::state::{Report, State};

/// Tells a finished poll; `state` is as it is after it.
pub fn poll(report: &Report, state: &State, expected_role: Option<&RoleName>) {
    match &report.resolution.outcome {
        Ok(credential) => success(report, credential, state, expected_role),
        Err(failure) => {
            let (kind, step) = (failure.kind.label(), failure.step.label());
            let cause = report.resolution.cause.as_deref();
            if report.change.failure_changed {
                warn!(kind, step, cause, action = failure.kind.action(), "credentials cannot be resolved");
            } else {
                debug!(kind, step, cause, "credentials still cannot be resolved");
            }
        }
    }
}

fn success(report: &Report, credential: &Credential, state: &State, expected_role: Option<&RoleName>) {
    let change = &report.change;
    let first = state.recent().polls().len() == 1;
    let (role, remaining_seconds) = (credential.role.as_str(), credential.remaining(report.at).as_secs());
    match change.outage_ended {
        Some(Window { start, end }) => {
            info!(role, remaining_seconds, since = %start, until = %end, "credentials resolve again");
            warn!(
                since = %start, until = %end,
                "a boto3 client created in this outage has no credentials until it is created again"
            );
        }
        None if first => info!(role, remaining_seconds, "credentials resolve"),
        None if change.rotated => info!(role, remaining_seconds, "credentials were rotated"),
        None => debug!(role, remaining_seconds, "credentials resolve"),
    }
    if let Some(former_role) = &change.former_role {
        warn!(role, former_role = former_role.as_str(), "the role changed");
    }
    let news = first || change.outage_ended.is_some() || change.rotated || change.former_role.is_some();
    if let Some(expected_role) = expected_role.filter(|expected| news && **expected != credential.role) {
        warn!(role, expected_role = expected_role.as_str(), "the role is not the expected one");
    }
    if news && credential.expiration <= report.at {
        warn!(role, expired_at = %credential.expiration, "IMDS gave credentials that are expired");
    }
}

/// Tells processes that came under suspicion.
pub fn suspects(before: &[Suspect], now: &[Suspect]) {
    for suspect in now.iter().filter(|suspect| !before.contains(suspect)) {
        let Suspect { pid, command, started_at, .. } = suspect;
        warn!(pid, command, %started_at, "this process started in an outage: its clients may be stuck; restart it");
    }
}
