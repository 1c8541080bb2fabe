//! The exposition under a fixed clock: byte for byte after a script that touches every metric, and its rules.

use std::time::Duration;

use imds_exporter::domain::outage::Window;
use imds_exporter::domain::state::{Report, State};
use imds_exporter::domain::{Kind, Step};
use imds_exporter::metrics::{Build, Metrics, Options, catalog};
use imds_exporter::workload::{Candidate, suspects};
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
        Options {
            poll_interval: Duration::from_secs(15),
            expected_role: Some("web".to_owned().try_into().expect("a role name")),
            process_metrics: false,
        },
        BUILD,
    )
}

/// Names of the series of an exposition.
fn series(exposition: &str) -> Vec<&str> {
    exposition.lines().filter(|line| !line.starts_with('#')).collect()
}

#[test]
fn the_exposition_of_a_scripted_outage_matches_the_committed_file() {
    let (metrics, mut state) = (metrics(), State::new(start()));
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
        metrics.record(&Report { at, duration, resolution, change });
    }
    let started_at = start() + SignedDuration::from_secs(28);
    let candidates =
        (0..40).map(|n| Candidate { pid: 100 + n, command: "python3".to_owned(), started_at, start_ticks: 1 });
    let windows: Vec<Window> = state.outages().ended().copied().collect();
    let suspects = suspects(candidates.collect(), &windows);
    assert_eq!(suspects.len(), 40);

    let exposition = metrics.render(&state, Some(&suspects), start() + SignedDuration::from_secs(61));
    assert_current("tests/integration/golden/scrape.txt", &exposition);

    let has = |name: &str| exposition.lines().any(|line| line.starts_with(&format!("# TYPE {name} ")));
    // The clock skew is known only if IMDS sent a Date header in the last poll.
    for spec in catalog::ALL {
        assert_eq!(has(spec.name), *spec != catalog::CLOCK_SKEW, "{}", spec.name);
    }
}

#[test]
fn before_the_first_poll_unknown_values_are_absent_and_counters_are_zero() {
    let exposition = metrics().render(&State::new(start()), None, start());
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
    let (metrics, mut state) = (metrics(), State::new(start()));
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
fn the_expiry_disappears_only_when_imds_says_that_there_is_no_role() {
    let mut state = State::new(start());
    state.record(&success(), Duration::ZERO, start());
    for kind in Kind::VARIANTS {
        let (metrics, mut state) = (metrics(), state.clone());
        state.record(&failed(*kind, Step::Role), Duration::ZERO, start());
        let exposition = metrics.render(&state, None, start());
        for name in
            ["imds_credentials_expiration_timestamp_seconds ", "imds_credentials_remaining_seconds ", "imds_role_info{"]
        {
            let present = exposition.lines().any(|line| line.starts_with(name));
            let no_role = matches!(kind, Kind::NoRole | Kind::ProfileWithoutRole | Kind::ProfileNotFound);
            assert_eq!(present, !no_role, "{name} after {kind}");
        }
    }
}

#[test]
fn at_most_120_series_with_default_settings() {
    let options = Options { poll_interval: Duration::from_secs(15), expected_role: None, process_metrics: true };
    let (metrics, mut state) = (Metrics::new(options, BUILD), State::new(start()));
    let mut most = 0;
    for kind in Kind::VARIANTS {
        for resolution in [failed(*kind, Step::Role), success(), failed(*kind, Step::Token)] {
            let change = state.record(&resolution, Duration::ZERO, start());
            metrics.record(&Report { at: start(), duration: Duration::ZERO, resolution, change });
            most = most.max(series(&metrics.render(&state, None, start())).len());
        }
    }
    assert!((100..=120).contains(&most), "{most} series");
}
