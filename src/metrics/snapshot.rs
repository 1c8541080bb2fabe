//! Gauges that are read off the state after a poll, built anew each time: none can freeze at a former value, and
//! what is unknown is absent.

use jiff::Timestamp;
use prometheus::proto::{Gauge, LabelPair, Metric, MetricFamily, MetricType};

use super::catalog::{self, SUSPECT_SERIES, Spec};
use crate::clock::unix_seconds;
use crate::model::{Outcome, RoleName};
use crate::process::Suspect;
use crate::state::State;

pub(super) fn families(
    state: &State,
    expected_role: Option<&RoleName>,
    suspects: Option<&[Suspect]>,
) -> Vec<MetricFamily> {
    let seconds = |at: Option<Timestamp>| at.map(unix_seconds);
    let truth = |is: bool| f64::from(u8::from(is));
    let credential = state.credential();
    let failing = state.failing();
    let last_outage = state.outages().last();
    let expected = expected_role.map(|role| truth(credential.is_some_and(|credential| credential.role == *role)));
    let consecutive = failing.map_or(0.0, |run| f64::from(run.polls.get()));

    let mut families = vec![
        single(catalog::UP, state.last_outcome().map(|outcome| truth(outcome == Outcome::Success))),
        single(catalog::EXPIRATION, seconds(credential.map(|credential| credential.expiration))),
        single(catalog::LAST_UPDATED, seconds(credential.and_then(|credential| credential.last_updated))),
        single(catalog::ROLE_EXPECTED, expected.filter(|_| state.last_outcome().is_some())),
        single(catalog::LAST_ATTEMPT, seconds(state.last_attempt_at())),
        single(catalog::LAST_SUCCESS, seconds(state.last_success_at())),
        single(catalog::CONSECUTIVE_FAILURES, Some(consecutive)),
        single(catalog::OUTAGE_LAST_START, seconds(last_outage.map(|window| window.start))),
        single(catalog::OUTAGE_LAST_END, seconds(last_outage.map(|window| window.end))),
        single(catalog::CLOCK_SKEW, state.clock_skew().map(|skew| skew.as_secs_f64())),
        single(catalog::SUSPECT_PROCESSES, suspects.map(|suspects| suspects.len() as f64)),
    ];
    families.extend(credential.map(|credential| family(catalog::ROLE_INFO, [(&[credential.role.as_str()][..], 1.0)])));
    families.extend(failing.map(|run| {
        family(catalog::FAILURE_ACTIVE, [(&[run.failure.kind.label(), run.failure.step.label()][..], 1.0)])
    }));
    let shown = suspects.unwrap_or_default().iter().take(SUSPECT_SERIES);
    let shown = shown.map(|suspect| (suspect.pid.to_string(), suspect));
    let series: Vec<_> = shown
        .map(|(pid, suspect)| {
            metric(catalog::SUSPECT_START_TIME, &[&pid, &suspect.command], unix_seconds(suspect.started_at))
        })
        .collect();
    families.push(family_of(catalog::SUSPECT_START_TIME, series));
    families.retain(|family| !family.get_metric().is_empty());
    families
}

fn single(spec: Spec, value: Option<f64>) -> MetricFamily {
    family_of(spec, value.map(|value| metric(spec, &[], value)).into_iter().collect())
}

fn family<'a>(spec: Spec, series: impl IntoIterator<Item = (&'a [&'a str], f64)>) -> MetricFamily {
    family_of(spec, series.into_iter().map(|(labels, value)| metric(spec, labels, value)).collect())
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
