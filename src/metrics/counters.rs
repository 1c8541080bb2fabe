//! What is counted and measured at each poll. Every child exists at 0 from the start, so that `increase()` sees the
//! first failure.

use std::time::Duration;

use prometheus::proto::MetricFamily;
use prometheus::{Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry};
use strum::VariantArray;

use super::build_info::Build;
use super::catalog::{self, BUCKETS_SECONDS, Spec};
use crate::domain::signed_call::{Reason, SignedCall};
use crate::domain::state::PollReport;
use crate::domain::{Kind, Outcome, Step};

pub(super) struct Counters {
    registry: Registry,
    fetches: IntCounter,
    failures: IntCounterVec,
    rotations: IntCounter,
    role_changes: IntCounter,
    outages: IntCounter,
    fetch_duration: HistogramVec,
    request_duration: HistogramVec,
    /// `None` where no signed calls are made.
    signed_calls: Option<SignedCallCounters>,
}

struct SignedCallCounters {
    calls: IntCounter,
    failures: IntCounterVec,
    duration: Histogram,
}

impl SignedCallCounters {
    fn new(registry: &Registry) -> Self {
        let reasons = Reason::VARIANTS.iter().map(|reason| reason.label());
        Self {
            calls: counter(registry, catalog::SIGNED_CALLS),
            failures: counters(registry, catalog::SIGNED_CALL_FAILURES, reasons),
            duration: histograms(registry, catalog::SIGNED_CALL_DURATION, []).with_label_values::<&str>(&[]),
        }
    }
}

/// Why registration cannot fail: a test checks the catalog's names.
const CATALOGED: &str = "the catalog's names are legal and distinct";

impl Counters {
    pub(super) fn new(poll_interval: Duration, build: Build) -> Self {
        let registry = Registry::new();
        let kinds = Kind::VARIANTS.iter().map(|kind| kind.label());
        let outcomes = Outcome::VARIANTS.iter().map(|outcome| outcome.label());
        let steps = Step::VARIANTS.iter().map(|step| step.label());
        gauge(&registry, catalog::POLL_INTERVAL, &[]).set(poll_interval.as_secs_f64());
        gauge(&registry, catalog::BUILD_INFO, &[build.version, build.revision, build.rustversion]).set(1.0);
        Self {
            fetches: counter(&registry, catalog::FETCHES),
            rotations: counter(&registry, catalog::ROTATIONS),
            role_changes: counter(&registry, catalog::ROLE_CHANGES),
            outages: counter(&registry, catalog::OUTAGES),
            failures: counters(&registry, catalog::FETCH_FAILURES, kinds),
            fetch_duration: histograms(&registry, catalog::FETCH_DURATION, outcomes),
            request_duration: histograms(&registry, catalog::REQUEST_DURATION, steps),
            signed_calls: None,
            registry,
        }
    }

    pub(super) fn record(&self, report: &PollReport) {
        let resolution = &report.resolution;
        let outcome = if resolution.outcome.is_ok() { Outcome::Success } else { Outcome::Failure };
        self.fetches.inc();
        self.fetch_duration.with_label_values(&[outcome.label()]).observe(report.duration.as_secs_f64());
        if let Err(failure) = &resolution.outcome {
            self.failures.with_label_values(&[failure.kind.label()]).inc();
        }
        for record in &resolution.requests {
            if let Some(step) = record.request.measures() {
                self.request_duration.with_label_values(&[step.label()]).observe(record.duration.as_secs_f64());
            }
        }
        self.rotations.inc_by(u64::from(report.change.rotated));
        self.role_changes.inc_by(u64::from(report.change.former_role.is_some()));
        self.outages.inc_by(u64::from(report.change.outage_began));
    }

    pub(super) fn add_signed_calls(&mut self) {
        self.signed_calls = Some(SignedCallCounters::new(&self.registry));
    }

    pub(super) fn record_signed_call(&self, call: &SignedCall) {
        let Some(counters) = &self.signed_calls else { return };
        counters.calls.inc();
        counters.duration.observe(call.duration.as_secs_f64());
        if let Err(failure) = &call.outcome {
            counters.failures.with_label_values(&[failure.reason.label()]).inc();
        }
    }

    pub(super) fn gather(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }
}

fn opts(spec: Spec) -> Opts {
    Opts::new(spec.name, spec.help)
}

fn counter(registry: &Registry, spec: Spec) -> IntCounter {
    let counter = IntCounter::with_opts(opts(spec)).expect(CATALOGED);
    registry.register(Box::new(counter.clone())).expect(CATALOGED);
    counter
}

/// With a child for each value of the label.
fn counters(registry: &Registry, spec: Spec, values: impl IntoIterator<Item = &'static str>) -> IntCounterVec {
    let counters = IntCounterVec::new(opts(spec), spec.labels).expect(CATALOGED);
    for value in values {
        counters.with_label_values(&[value]);
    }
    registry.register(Box::new(counters.clone())).expect(CATALOGED);
    counters
}

/// Likewise.
fn histograms(registry: &Registry, spec: Spec, values: impl IntoIterator<Item = &'static str>) -> HistogramVec {
    let options = HistogramOpts::new(spec.name, spec.help).buckets(BUCKETS_SECONDS.to_vec());
    let histograms = HistogramVec::new(options, spec.labels).expect(CATALOGED);
    for value in values {
        histograms.with_label_values(&[value]);
    }
    registry.register(Box::new(histograms.clone())).expect(CATALOGED);
    histograms
}

fn gauge(registry: &Registry, spec: Spec, values: &[&str]) -> Gauge {
    let labels = spec.labels.iter().zip(values);
    let options = labels.fold(opts(spec), |options, (name, value)| options.const_label(*name, *value));
    let gauge = Gauge::with_opts(options).expect(CATALOGED);
    registry.register(Box::new(gauge.clone())).expect(CATALOGED);
    gauge
}
