//! Each row of the table of SDKs beside real clients of that SDK, through scripted timelines; and that each parameter of
//! each row is held by them: a row with another value contradicts what the clients did.
//!
//! Each SDK runs in a network namespace of its own, with the simulator where every SDK asks by default.

mod changed_rows;
mod clients;
mod comparison;
mod drawn;
mod timelines;

use imds_exporter::domain::sdk::{FailedRefresh, SDKS};
use tokio::task::JoinSet;

use crate::network_namespace::{ip, is_inside, run_inside};
use crate::support::simulator::{CONNECT_REFUSED, HEALTHY};
use changed_rows::{changed, decides_nothing};
use comparison::{Compared, Comparison, Environment, Timeline};
use drawn::Drawn;

/// At least as many calls of each SDK are compared.
const LEAST_CONFIRMED: usize = 200;

/// At most this part of them is at a time at which the SDK draws at random, in percent.
const MOST_WITHIN_JITTER_PERCENT: usize = 5;

/// The namespace's loopback interface has the address at which every SDK asks by default.
fn own_the_address_of_imds() {
    ip("link set lo up");
    ip("address add 169.254.169.254/32 dev lo");
}

/// Compares the row with real clients, and other rows with what these did.
async fn row_is_what_its_clients_do(label: &str) {
    if !is_inside() {
        return;
    }
    own_the_address_of_imds();
    let mut compared = Compared::default();
    let mut timelines: Vec<Timeline> = Vec::new();
    let mut differences = Vec::new();
    let mut drawn = None;
    for (v1_disabled, disabled) in [(false, false), (true, false), (false, true)] {
        let mut comparison = Comparison::start(label, Environment { v1_disabled, disabled }).await;
        if disabled {
            comparison.begin(HEALTHY).await;
            comparison.later(60).await;
        } else {
            if !v1_disabled {
                timelines::births(&mut comparison).await;
                timelines::long_outages(&mut comparison).await;
                timelines::pauses(&mut comparison).await;
                timelines::refreshes(&mut comparison).await;
                timelines::short_documents(&mut comparison).await;
            }
            timelines::imdsv1(&mut comparison).await;
            if !v1_disabled {
                drawn = Drawn::from(&mut comparison).await;
            }
        }
        comparison.finish();
        let (seen, count, differing) = comparison.end().await;
        timelines.extend(seen);
        differences.extend(differing);
        compared.confirmed += count.confirmed;
        compared.within_jitter += count.within_jitter;
        compared.absent += count.absent;
        compared.silent += count.silent;
    }
    println!("{label}: {compared:?}");
    assert!(differences.is_empty(), "{label}: {} differences:\n{}", differences.len(), differences.join("\n"));
    assert!(compared.confirmed >= LEAST_CONFIRMED, "{compared:?}");
    assert!(compared.within_jitter * 100 <= compared.confirmed * MOST_WITHIN_JITTER_PERCENT, "{compared:?}");

    let row = SDKS.iter().find(|sdk| sdk.label == label).expect("it has a row");
    let is_silent = row.binds_at_creation || matches!(row.failed_refresh, FailedRefresh::KeepsTheOld { .. });
    assert_eq!(compared.silent > 0, is_silent, "{compared:?}");
    let contradicts = |row: &_| {
        let wrong_bounds = drawn.as_ref().is_some_and(|drawn| !drawn.fits(row));
        wrong_bounds || timelines.iter().any(|timeline| timeline.contradictions(row) > 0)
    };
    assert!(!contradicts(row), "{drawn:?}");
    let unnoticed: Vec<_> = changed(row)
        .into_iter()
        .filter(|(_, other)| !contradicts(other) && !decides_nothing(row, other))
        .map(|(what, _)| what)
        .collect();
    assert!(unnoticed.is_empty(), "{label}: no client contradicts {unnoticed:#?}");
}

macro_rules! rows {
    ($($name:ident: $label:literal,)*) => {
        /// The tests in namespaces, each with the SDK that it is about.
        const ROWS: &[(&str, &str)] = &[$((stringify!($name), $label),)*];

        $(
            #[tokio::test]
            #[ignore = "runs in a network namespace"]
            async fn $name() {
                row_is_what_its_clients_do($label).await;
            }
        )*
    };
}

rows! {
    boto3: "boto3",
    ruby: "ruby",
    go_v2: "go-v2",
    minio_go: "minio-go",
    aws_crt: "aws-crt",
    object_store: "object-store",
}

#[tokio::test]
#[ignore = "needs the SDKs: tests/run fetches them"]
async fn each_row_is_what_real_clients_do_and_another_row_is_not() {
    let labels: Vec<_> = ROWS.iter().map(|(_, label)| *label).collect();
    assert_eq!(labels, SDKS.each_ref().map(|sdk| sdk.label), "each SDK has its test");
    let mut running: JoinSet<()> =
        ROWS.iter().map(|(test, _)| async move { run_inside(&format!("sdks::{test}")).await }).collect();
    while let Some(ended) = running.join_next().await {
        ended.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()));
    }
}

/// The cure that the row of ruby names.
#[tokio::test]
#[ignore = "needs the SDKs: tests/run fetches them"]
async fn a_ruby_client_with_an_explicit_provider_is_never_bound_to_nothing() {
    if !is_inside() {
        return run_inside("sdks::a_ruby_client_with_an_explicit_provider_is_never_bound_to_nothing").await;
    }
    own_the_address_of_imds();
    let mut ruby = Comparison::start("ruby", Environment::default()).await;
    for outage in [CONNECT_REFUSED, "fault = \"no_role\""] {
        ruby.simulate(outage).await;
        let bound = ruby.create().await.expect("it does not raise");
        ruby.clients.create_with_provider("explicit").await.expect("it does not raise");
        for client in [&bound, "explicit"] {
            assert!(ruby.sign(client).await.is_err(), "{client}, {outage}");
        }
        ruby.simulate(HEALTHY).await;
        assert!(ruby.sign("explicit").await.is_ok(), "{outage}");
        let before = ruby.simulator.counts();
        assert_eq!(ruby.sign(&bound).await, Err("Aws::Errors::MissingCredentialsError".to_owned()));
        assert_eq!(ruby.simulator.counts(), before, "it sends nothing");
        let new = ruby.create().await.expect("it does not raise");
        assert!(ruby.sign(&new).await.is_ok(), "{outage}");
    }
}
