//! The exposition under a fixed clock: byte for byte after a script that touches every metric, and its rules.

use std::time::Duration;

use imds_exporter::domain::signed_call::{AccountId, CallFailure, Caller, Reason, SignedCall};
use imds_exporter::domain::state::{PollReport, State, WorkloadEnvironment};
use imds_exporter::domain::workload::Workload;
use imds_exporter::domain::{Kind, Moment, Resolution, Step};
use imds_exporter::metrics::{Build, Metrics, MetricsOptions, catalog};
use imds_exporter::workload::{Candidate, Owner, Watched, suspects};
use jiff::{SignedDuration, Timestamp};
use strum::VariantArray;

use crate::support::repository::assert_current;
use crate::support::source::{START, credential, failed, resolved, success};

const BUILD: Build = Build { version: "1.2.3", revision: "0123456789ab", rustversion: "1.95.0" };

fn start() -> Timestamp {
    START.parse().expect("an instant")
}

fn metrics() -> Metrics {
    Metrics::new(
        MetricsOptions {
            poll_interval: Duration::from_secs(15),
            expected_role: Some("web".to_owned().try_into().expect("a role name")),
            process_metrics: false,
        },
        BUILD,
    )
}

/// The series that begin with the prefix.
fn with_prefix<'a>(exposition: &'a str, prefix: &str) -> Vec<&'a str> {
    series(exposition).into_iter().filter(|line| line.starts_with(prefix)).collect()
}

/// Names of the series of an exposition.
fn series(exposition: &str) -> Vec<&str> {
    exposition.lines().filter(|line| !line.starts_with('#')).collect()
}

#[test]
fn the_exposition_of_a_scripted_outage_matches_the_committed_file() {
    let declared = WorkloadEnvironment { workload: Workload::StartsWithExporter, ..WorkloadEnvironment::default() };
    let mut state = State::new(declared, start()).with_signed_calls(Duration::from_mins(15));
    let metrics = metrics().with_signed_calls();
    let old = credential("old", "2026-01-31T11:50:00Z", "2026-01-31T18:20:00Z");
    let new = credential("web", "2026-01-31T12:00:40Z", "2026-01-31T18:35:00Z");
    let polls = [
        (2, failed(Kind::NoRole, Step::Role)),
        (10, resolved(old)),
        (25, failed(Kind::ConnectRefused, Step::Token)),
        (30, failed(Kind::HopLimit, Step::Token)),
        (45, resolved(new)),
        (60, failed(Kind::ReadTimeout, Step::Credentials)),
    ];
    for (second, resolution) in polls {
        let at = start() + SignedDuration::from_secs(second);
        let duration = Duration::from_millis(35);
        let change = state.record(&resolution, duration, at);
        metrics.record(&PollReport { at, duration, resolution, change });
    }
    let account = AccountId::parse("123456789012").expect("an account");
    let accepted = Ok(Caller { account, role: None });
    for (second, outcome) in [(11, accepted), (46, Err(CallFailure::from(Reason::ClockSkew)))] {
        let at = start() + SignedDuration::from_secs(second);
        record_signed_call(&metrics, &mut state, SignedCall { at, duration: Duration::from_millis(82), outcome });
    }
    let started = Moment::from(start() + SignedDuration::from_secs(28)).since_boot;
    let candidates =
        (0..40).map(|n| Candidate { pid: 100 + n, command: "python3".to_owned(), started, start_ticks: 1 });
    let windows: Vec<_> = state.outages().past().copied().collect();
    let mut suspects = suspects(candidates.collect(), &windows, state.booted_at());
    assert_eq!(suspects.len(), 40);
    let container_id = "0123456789abcdef".repeat(4);
    suspects[0].owner = Owner { unit: "orders.service".to_owned(), ..Owner::default() };
    suspects[1].owner = Owner { container_id: container_id.clone(), ..Owner::default() };
    let pod_uid = "4c2d1e5f-6a7b-4c8d-9e0f-1a2b3c4d5e6f".to_owned();
    suspects[2].owner = Owner { container_id, pod_uid, ..Owner::default() };
    let watched = Watched { processes: 45, sees_others: true, suspects, ..Watched::default() };

    let exposition = metrics.render(&state, Some(&watched), start() + SignedDuration::from_secs(61));
    assert_current("tests/integration/golden/scrape.txt", &exposition);

    let has = |name: &str| exposition.lines().any(|line| line.starts_with(&format!("# TYPE {name} ")));
    // The clock skew is known only if IMDS sent a Date header in the last poll; the tests below show the others, and
    // `network.rs` the proxy.
    let absent = [catalog::CLOCK_SKEW, catalog::V1_FALLBACK_ACTIVE, catalog::CHAIN_SHADOWED, catalog::REQUESTS_PROXIED];
    for spec in catalog::ALL {
        assert_eq!(has(spec.name), !absent.contains(spec), "{}", spec.name);
    }
}

fn record_signed_call(metrics: &Metrics, state: &mut State, call: SignedCall) {
    metrics.record_signed_call(&call);
    state.signed_calls_mut().expect("signed calls are made").finish(call);
}

#[test]
fn the_metrics_of_signed_calls_exist_only_where_they_are_made() {
    let off = metrics().render(&State::new(WorkloadEnvironment::default(), start()), None, start());
    assert!(!off.contains("signed_call"), "{off}");

    let mut state = State::new(WorkloadEnvironment::default(), start()).with_signed_calls(Duration::from_mins(15));
    let metrics = metrics().with_signed_calls();
    let shown = |state: &State| metrics.render(state, None, start());
    let before = shown(&state);
    for reason in Reason::VARIANTS {
        let zero = format!("imds_signed_call_failures_total{{reason=\"{reason}\"}} 0");
        assert!(series(&before).contains(&zero.as_str()), "{zero}");
    }
    assert!(series(&before).contains(&"imds_signed_calls_total 0"));
    for unknown in ["imds_signed_call_up", "imds_signed_call_last", "imds_signed_call_failure_active"] {
        assert!(with_prefix(&before, unknown).is_empty(), "{unknown}");
    }
    for reason in Reason::VARIANTS {
        let outcome = Err(CallFailure::from(*reason));
        record_signed_call(&metrics, &mut state, SignedCall { at: start(), duration: Duration::ZERO, outcome });
        let active = format!("imds_signed_call_failure_active{{reason=\"{reason}\"}} 1");
        assert_eq!(with_prefix(&shown(&state), "imds_signed_call_failure_active"), [active]);
        assert_eq!(with_prefix(&shown(&state), "imds_signed_call_up"), ["imds_signed_call_up 0"]);
    }
    assert!(with_prefix(&shown(&state), "imds_signed_call_last_success").is_empty());
    let account = AccountId::parse("123456789012").expect("an account");
    let outcome = Ok(Caller { account, role: Some("web".to_owned().try_into().expect("a role name")) });
    record_signed_call(&metrics, &mut state, SignedCall { at: start(), duration: Duration::ZERO, outcome });
    assert_eq!(with_prefix(&shown(&state), "imds_signed_call_up"), ["imds_signed_call_up 1"]);
    assert!(with_prefix(&shown(&state), "imds_signed_call_failure_active").is_empty());
    assert_eq!(with_prefix(&shown(&state), "imds_signed_call_last_success").len(), 1);
    assert!(!shown(&state).contains("123456789012"), "an account is no metric");
}

#[test]
fn the_fallback_to_imdsv1_is_shown_with_its_reason_while_it_lasts() {
    let (metrics, mut state) = (metrics(), State::new(WorkloadEnvironment::default(), start()));
    let by_v1 = |kind| Resolution { v1_fallback: Some(kind), ..success() };
    for (resolution, shown) in [
        (by_v1(Kind::HopLimit), &["imds_v1_fallback_active{kind=\"hop_limit\"} 1"][..]),
        (by_v1(Kind::ImdsDisabled), &["imds_v1_fallback_active{kind=\"imds_disabled\"} 1"]),
        (failed(Kind::ImdsDisabled, Step::Token), &[]),
        (by_v1(Kind::ServerError), &["imds_v1_fallback_active{kind=\"server_error\"} 1"]),
        (success(), &[]),
    ] {
        let change = state.record(&resolution, Duration::ZERO, start());
        let up = u8::from(resolution.outcome.is_ok());
        metrics.record(&PollReport { at: start(), duration: Duration::ZERO, resolution, change });
        let exposition = metrics.render(&state, None, start());
        assert_eq!(with_prefix(&exposition, "imds_v1_fallback_active"), shown);
        assert_eq!(with_prefix(&exposition, "imds_up"), [format!("imds_up {up}")]);
    }
}

#[test]
fn before_the_first_poll_unknown_values_are_absent_and_counters_are_zero() {
    let exposition = metrics().render(&State::new(WorkloadEnvironment::default(), start()), None, start());
    let names: Vec<_> = series(&exposition);
    for unknown in [
        "imds_up",
        "imds_credentials_",
        "imds_role_info",
        "imds_role_expected",
        "imds_client_usable",
        "imds_clock",
        "imds_failure_active",
        "imds_suspect",
    ] {
        let known: Vec<_> = names.iter().filter(|line| line.starts_with(unknown) && !line.contains("_total")).collect();
        assert!(known.is_empty(), "{known:?}");
    }
    for kind in Kind::VARIANTS {
        assert!(names.contains(&format!("imds_fetch_failures_total{{kind=\"{kind}\"}} 0").as_str()), "{kind}");
    }
    assert!(names.contains(&"imds_outages_total 0"));
}

#[test]
fn relative_values_are_computed_at_the_time_of_the_scrape() {
    let (metrics, mut state) = (metrics(), State::new(WorkloadEnvironment::default(), start()));
    let resolution = resolved(credential("web", START, "2026-01-31T12:30:00Z"));
    state.record(&resolution, Duration::ZERO, start());
    state.record(&failed(Kind::ConnectTimeout, Step::Token), Duration::ZERO, start());
    let at = |seconds| {
        let exposition = metrics.render(&state, None, start() + SignedDuration::from_secs(seconds));
        let value = |name: &str| {
            let line = exposition.lines().find(|line| line.starts_with(name)).expect("the series is there");
            line.rsplit(' ').next().expect("a value").to_owned()
        };
        (
            value("imds_credentials_remaining_seconds"),
            value("imds_client_usable{sdk=\"boto3\",created=\"before_outage\"}"),
        )
    };
    assert_eq!(at(0), ("1800".to_owned(), "1".to_owned()));
    assert_eq!(at(899), ("901".to_owned(), "1".to_owned()));
    assert_eq!(at(900), ("900".to_owned(), "0".to_owned()));
    assert_eq!(at(2_000), ("-200".to_owned(), "0".to_owned()));
}

#[test]
fn at_most_160_series_whatever_happens() {
    let options = MetricsOptions { poll_interval: Duration::from_secs(15), expected_role: None, process_metrics: true };
    let declared = WorkloadEnvironment { workload: Workload::StartsWithExporter, ..WorkloadEnvironment::default() };
    let (metrics, mut state) = (Metrics::new(options, BUILD), State::new(declared, start()));
    let mut most = 0;
    for kind in Kind::VARIANTS {
        for resolution in [failed(*kind, Step::Role), success(), failed(*kind, Step::Token)] {
            let change = state.record(&resolution, Duration::ZERO, start());
            metrics.record(&PollReport { at: start(), duration: Duration::ZERO, resolution, change });
            most = most.max(series(&metrics.render(&state, None, start())).len());
        }
    }
    println!("{most} series");
    assert!((100..=160).contains(&most), "{most} series");
}
