//! Gauges that are derived from the state each time: none can keep a former value, and what is unknown is absent.

use jiff::Timestamp;
use prometheus::proto::{Gauge, LabelPair, Metric, MetricFamily, MetricType};
use strum::VariantArray;

use super::catalog::{self, SUSPECT_SERIES, Spec};
use crate::domain::boto3::{Created, SDK};
use crate::domain::signed_call::SignedCalls;
use crate::domain::state::State;
use crate::domain::{ImdsState, Outcome, RoleName};
use crate::platform::clock::unix_seconds;
use crate::workload::{Owner, Watched};

/// The families after a poll.
pub(super) fn families(
    state: &State,
    expected_role: Option<&RoleName>,
    watched: Option<&Watched>,
) -> Vec<MetricFamily> {
    let seconds = |at: Option<Timestamp>| at.map(unix_seconds);
    let credential = state.credential();
    let failing = state.failing();
    let last_outage = state.past_outages().last().copied();
    let expected = expected_role.map(|role| number(credential.is_some_and(|credential| credential.role == *role)));
    let consecutive = failing.map_or(0.0, |streak| f64::from(streak.polls.get()));

    let mut families = vec![
        single(catalog::UP, state.last_outcome().map(|outcome| number(outcome == Outcome::Success))),
        single(catalog::EXPIRATION, seconds(credential.map(|credential| credential.expiration))),
        single(catalog::LAST_UPDATED, seconds(credential.and_then(|credential| credential.last_updated))),
        single(catalog::ROLE_EXPECTED, expected.filter(|_| state.last_outcome().is_some())),
        single(catalog::LAST_ATTEMPT, seconds(state.last_attempt_at())),
        single(catalog::LAST_SUCCESS, seconds(state.last_success_at())),
        single(catalog::CONSECUTIVE_FAILURES, Some(consecutive)),
        single(catalog::OUTAGE_LAST_START, seconds(last_outage.map(|window| window.start))),
        single(catalog::OUTAGE_LAST_END, seconds(last_outage.map(|window| window.end))),
        single(catalog::CLOCK_SKEW, state.clock_skew().map(|skew| skew.as_secs_f64())),
        single(catalog::REQUESTS_PROXIED, state.environment().proxied_by.map(|_| 1.0)),
        single(catalog::WATCHED_PROCESSES, watched.map(|watched| watched.processes as f64)),
        single(catalog::UNREAD_PROCESSES, watched.map(|watched| watched.unread as f64)),
        single(catalog::SUSPECT_PROCESSES, watched.map(|watched| watched.suspects.len() as f64)),
    ];
    families.extend(credential.map(|credential| info(catalog::ROLE_INFO, &[credential.role.as_str()])));
    let failure = failing.map(|streak| streak.failure);
    families
        .extend(failure.map(|failure| info(catalog::FAILURE_ACTIVE, &[failure.kind.label(), failure.step.label()])));
    families.extend(state.v1_fallback().map(|kind| info(catalog::V1_FALLBACK_ACTIVE, &[kind.label()])));
    families.extend(state.environment().earlier_in_chain.map(|by| info(catalog::CHAIN_SHADOWED, &[by.label()])));
    families.extend(state.signed_calls().into_iter().flat_map(signed_call));
    let suspects = watched.map_or(&[][..], |watched| &watched.suspects).iter().take(SUSPECT_SERIES);
    let series: Vec<_> = suspects
        .map(|suspect| {
            let Owner { unit, container_id, pod_uid } = &suspect.owner;
            let pid = suspect.pid.to_string();
            let labels = [&pid, &suspect.command, unit, container_id, pod_uid].map(String::as_str);
            metric(catalog::SUSPECT_START_TIME, &labels, unix_seconds(suspect.started_at))
        })
        .collect();
    families.push(family_of(catalog::SUSPECT_START_TIME, series));
    families.retain(|family| !family.get_metric().is_empty());
    families
}

/// The families that change with time, at `at`.
pub(super) fn families_at(state: &State, at: Timestamp) -> Vec<MetricFamily> {
    let usable = Created::VARIANTS.iter().filter_map(|created| {
        let usable = state.client_usable(*created, at)?;
        Some(metric(catalog::CLIENT_USABLE, &[SDK, created.label()], number(usable)))
    });
    let remaining = state.credential().map(|credential| credential.remaining(at).as_secs_f64());
    let verdict = ImdsState::of(state, at);
    let states = ImdsState::VARIANTS.iter().map(|of| metric(catalog::STATE, &[of.label()], number(*of == verdict)));
    let mut families = vec![
        family_of(catalog::STATE, states.collect()),
        family_of(catalog::CLIENT_USABLE, usable.collect()),
        single(catalog::REMAINING, remaining),
    ];
    families.retain(|family| !family.get_metric().is_empty());
    families
}

fn signed_call(calls: &SignedCalls) -> impl Iterator<Item = MetricFamily> {
    let outcome = calls.last().map(|last| &last.outcome);
    let seconds = |at: Option<Timestamp>| at.map(unix_seconds);
    let reason = outcome.and_then(|outcome| outcome.as_ref().err()).map(|failure| failure.reason.label());
    let failure_active = reason.map(|reason| info(catalog::SIGNED_CALL_FAILURE_ACTIVE, &[reason]));
    let single = [
        single(catalog::SIGNED_CALL_UP, outcome.map(|outcome| number(outcome.is_ok()))),
        single(catalog::SIGNED_CALL_LAST_ATTEMPT, seconds(calls.last().map(|last| last.at))),
        single(catalog::SIGNED_CALL_LAST_SUCCESS, seconds(calls.last_success_at())),
    ];
    single.into_iter().chain(failure_active)
}

fn number(is: bool) -> f64 {
    f64::from(u8::from(is))
}

fn single(spec: Spec, value: Option<f64>) -> MetricFamily {
    family_of(spec, value.map(|value| metric(spec, &[], value)).into_iter().collect())
}

/// A family of one series, which tells by its labels alone.
fn info(spec: Spec, labels: &[&str]) -> MetricFamily {
    family_of(spec, vec![metric(spec, labels, 1.0)])
}

fn family_of(spec: Spec, series: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(spec.name.to_owned());
    family.set_help(spec.help.to_owned());
    family.set_field_type(MetricType::GAUGE);
    family.set_metric(series);
    family
}

fn metric(spec: Spec, values: &[&str], value: f64) -> Metric {
    let labels = spec.labels.iter().zip(values).map(|(name, value)| {
        let mut label = LabelPair::default();
        label.set_name((*name).to_owned());
        label.set_value((*value).to_owned());
        label
    });
    let mut metric = Metric::from_label(labels.collect());
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    metric.set_gauge(gauge);
    metric
}
