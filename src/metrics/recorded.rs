//! What is counted and measured as polls happen. Every child exists at 0 from the start, so that `increase()` sees
//! the first failure.

use prometheus::process_collector::ProcessCollector;
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry};

use super::catalog::{self, BUCKETS_SECONDS, Spec};
use super::{Build, Options};
use crate::model::{Kind, Outcome, Step};
use crate::state::Report;

pub(super) struct Recorded {
    registry: Registry,
    fetches: IntCounter,
    failures: Vec<(Kind, IntCounter)>,
    rotations: IntCounter,
    role_changes: IntCounter,
    token_renewals: IntCounter,
    outages: IntCounter,
    fetch_duration: Vec<(Outcome, Histogram)>,
    request_duration: Vec<(Step, Histogram)>,
}

/// Registration cannot fail: the catalogue's names are checked by its tests to be legal and distinct.
const CATALOGUED: &str = "the catalogue's names are legal and distinct";

impl Recorded {
    pub(super) fn new(options: &Options, build: Build) -> Self {
        let registry = Registry::new();
        let failures = counters(&registry, catalog::FETCH_FAILURES);
        let fetch_duration = histograms(&registry, catalog::FETCH_DURATION);
        let request_duration = histograms(&registry, catalog::REQUEST_DURATION);
        gauge(&registry, catalog::POLL_INTERVAL, &[]).set(options.poll_interval.as_secs_f64());
        gauge(&registry, catalog::BUILD_INFO, &[build.version, build.revision, build.rustversion]).set(1.0);
        if options.process_metrics {
            registry.register(Box::new(ProcessCollector::for_self())).expect(CATALOGUED);
        }
        Self {
            fetches: counter(&registry, catalog::FETCHES),
            rotations: counter(&registry, catalog::ROTATIONS),
            role_changes: counter(&registry, catalog::ROLE_CHANGES),
            token_renewals: counter(&registry, catalog::TOKEN_RENEWALS),
            outages: counter(&registry, catalog::OUTAGES),
            failures: Kind::ALL.iter().map(|kind| (*kind, failures.with_label_values(&[kind.label()]))).collect(),
            fetch_duration: (Outcome::ALL.iter())
                .map(|outcome| (*outcome, fetch_duration.with_label_values(&[outcome.label()])))
                .collect(),
            request_duration: (Step::ALL.iter())
                .map(|step| (*step, request_duration.with_label_values(&[step.label()])))
                .collect(),
            registry,
        }
    }

    pub(super) fn record(&self, report: &Report) {
        let resolution = &report.resolution;
        let outcome = if resolution.outcome.is_ok() { Outcome::Success } else { Outcome::Failure };
        self.fetches.inc();
        of(&self.fetch_duration, outcome).observe(report.duration.as_secs_f64());
        if let Err(failure) = &resolution.outcome {
            of(&self.failures, failure.kind).inc();
        }
        for exchange in &resolution.exchanges {
            if let Some(step) = exchange.request.measures() {
                of(&self.request_duration, step).observe(exchange.duration.as_secs_f64());
            }
        }
        self.token_renewals.inc_by(u64::from(resolution.tokens_obtained));
        self.rotations.inc_by(u64::from(report.change.rotated));
        self.role_changes.inc_by(u64::from(report.change.former_role.is_some()));
        self.outages.inc_by(u64::from(report.change.outage_began));
    }

    pub(super) fn gather(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }
}

/// The child of a label's value: there is one for each value.
fn of<K: Copy + PartialEq, M>(children: &[(K, M)], key: K) -> &M {
    &children.iter().find(|(child, _)| *child == key).expect("there is a child for each value").1
}

fn opts(spec: Spec) -> Opts {
    Opts::new(spec.name, spec.help)
}

fn counter(registry: &Registry, spec: Spec) -> IntCounter {
    let counter = IntCounter::with_opts(opts(spec)).expect(CATALOGUED);
    registry.register(Box::new(counter.clone())).expect(CATALOGUED);
    counter
}

fn counters(registry: &Registry, spec: Spec) -> IntCounterVec {
    let counters = IntCounterVec::new(opts(spec), spec.labels).expect(CATALOGUED);
    registry.register(Box::new(counters.clone())).expect(CATALOGUED);
    counters
}

fn histograms(registry: &Registry, spec: Spec) -> HistogramVec {
    let options = HistogramOpts::new(spec.name, spec.help).buckets(BUCKETS_SECONDS.to_vec());
    let histograms = HistogramVec::new(options, spec.labels).expect(CATALOGUED);
    registry.register(Box::new(histograms.clone())).expect(CATALOGUED);
    histograms
}

fn gauge(registry: &Registry, spec: Spec, values: &[&str]) -> Gauge {
    let labels = spec.labels.iter().zip(values);
    let options = labels.fold(opts(spec), |options, (name, value)| options.const_label(*name, *value));
    let gauge = Gauge::with_opts(options).expect(CATALOGUED);
    registry.register(Box::new(gauge.clone())).expect(CATALOGUED);
    gauge
}
