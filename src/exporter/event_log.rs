//! What each poll becomes in the log: changes at `info` and `warn`, repetitions at `debug`.
//!
//! Each line can be read alone and has fields to filter by. Must not know metrics or the wire format.

use jiff::Timestamp;
use tracing::{debug, info, warn};

use crate::domain::outage::Outage;
use crate::domain::place::Place;
use crate::domain::signed_call::{CallFailure, Caller, Obstacle, SignedCall};
use crate::domain::state::{PollReport, State};
use crate::domain::{Credential, RoleName};
use crate::runbook::{explanation, reason_explanation};
use crate::workload::{Owner, SuspectProcess, Watched};

/// Logs a finished poll; `state` is the state after it.
pub(super) fn poll(report: &PollReport, state: &State, expected_role: Option<&RoleName>) {
    match &report.resolution.outcome {
        Ok(credential) => success(report, credential, state, expected_role),
        Err(failure) => {
            let (kind, step) = (failure.kind.label(), failure.step.label());
            let cause = report.resolution.cause.as_deref();
            if report.change.failure_changed {
                warn!(
                    kind,
                    step,
                    cause,
                    action = explanation(failure.kind, state.circumstances()).action,
                    "credentials cannot be resolved"
                );
            } else {
                debug!(kind, step, cause, "credentials still cannot be resolved");
            }
        }
    }
}

fn success(report: &PollReport, credential: &Credential, state: &State, expected_role: Option<&RoleName>) {
    let change = &report.change;
    let (role, remaining_seconds) = (credential.role.as_str(), credential.remaining(report.at).as_secs());
    match change.outage_ended {
        Some(Outage { start, end }) => {
            info!(role, remaining_seconds, since = %start, until = %end, "credentials resolve again");
            if state.creation().is_some() {
                warn!(
                    since = %start, until = %end,
                    "a boto3 client that was created in this outage may have no credentials until it is re-created"
                );
            }
        }
        None if change.first => info!(role, remaining_seconds, "credentials resolve"),
        None if change.rotated => info!(role, remaining_seconds, "credentials were rotated"),
        None => debug!(role, remaining_seconds, "credentials resolve"),
    }
    if change.v1_fallback_changed {
        if let Some(kind) = state.v1_fallback() {
            let action = explanation(kind, state.circumstances()).action;
            warn!(kind = kind.label(), action, "credentials resolve by IMDSv1 only: IMDSv2 does not work");
        } else {
            info!("credentials resolve by IMDSv2 again");
        }
    }
    if let Some(former_role) = &change.former_role {
        warn!(role, former_role = former_role.as_str(), "the role changed");
    }
    let changed = change.first || change.outage_ended.is_some() || change.rotated || change.former_role.is_some();
    if let Some(expected_role) = expected_role.filter(|expected| changed && **expected != credential.role) {
        warn!(role, expected_role = expected_role.as_str(), "the role is not the expected one");
    }
    if changed && credential.expiration <= report.at {
        warn!(role, expired_at = %credential.expiration, "IMDS returned credentials that have expired");
    }
}

/// Logs a finished signed call; `changed`: it ended in another way than the one before, and `failing_since` is when the
/// present failures began, before it.
pub(super) fn signed_call(call: &SignedCall, changed: bool, failing_since: Option<Timestamp>, place: Place) {
    let seconds = call.duration.as_secs_f64();
    match &call.outcome {
        Ok(Caller { account, role }) => {
            let (account, role) = (account.as_str(), role.as_ref().map(RoleName::as_str));
            if changed {
                let since = failing_since.map(tracing::field::display);
                info!(account, role, seconds, failing_since = since, "AWS accepts the credentials");
            } else {
                debug!(account, role, seconds, "AWS accepts the credentials");
            }
        }
        Err(CallFailure { reason, status, code, obstacle }) => {
            let action = reason_explanation(*reason, place).action;
            let what = if reason.is_refusal() { "AWS refuses the credentials" } else { "STS cannot be asked" };
            let (reason, obstacle) = (reason.label(), obstacle.map(Obstacle::meaning));
            if changed {
                warn!(reason, status, code, obstacle, seconds, action, "{what}");
            } else {
                debug!(reason, status, code, obstacle, seconds, "{what}");
            }
        }
    }
}

pub(super) fn watched(before: Option<&Watched>, now: &Watched) {
    if !now.sees_others && before.is_none_or(|before| before.sees_others) {
        warn!(
            "processes are watched, but only this one can be seen: share the PID namespace (shareProcessNamespace, hostPID), \
             and allow it to see other users' processes (ProtectProc, hidepid)"
        );
    }
    if now.unread > 0 && before.is_none_or(|before| before.unread == 0) {
        warn!(
            unread = now.unread,
            "the scan of the processes is incomplete: the exporter lacks file descriptors or memory (LimitNOFILE); \
             suspects may be missing"
        );
    }
    let id = |suspect: &SuspectProcess| (suspect.pid, suspect.start_ticks);
    let known: Vec<_> = before.into_iter().flat_map(|before| &before.suspects).map(id).collect();
    for suspect in now.suspects.iter().filter(|suspect| !known.contains(&id(suspect))) {
        let Owner { unit, container_id, pod_uid } = &suspect.owner;
        warn!(
            pid = suspect.pid,
            command = suspect.command,
            started_at = %suspect.started_at,
            unit,
            container_id,
            pod_uid,
            remedy = suspect.owner.remedy(),
            "this process started in an outage: its clients may be stuck"
        );
    }
}
