//! Polls and scrapes of hours in half a minute, with random faults: memory, descriptors and threads stay flat, and the
//! counters match what the simulator counts. The exporter is this test binary, started for one test: the configuration
//! does not allow so short an interval.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use imds_exporter::domain::{Kind, Step};
use imds_exporter::exporter;
use imds_exporter::platform::clock::SystemClock;
use imds_exporter::simulator::{Change, Fault, TokenPolicy};
use tokio::time::{Instant, sleep};

use crate::support::exporter::{config, listen, open};
use crate::support::program::{Lines, test_as_process};
use crate::support::resources::Resources;
use crate::support::scrape::{Scrape, scrape_until};
use crate::support::simulator::{all_faults, apply, server_side_kinds, start_simulator};
use crate::support::wait::{DEADLINE, answer_within};

/// Set for the exporter process. Without it its test does nothing.
const ENDPOINT: &str = "SOAK_TEST_ENDPOINT";
const INTERVAL: Duration = Duration::from_millis(15);
/// Four hours of polls at the default interval of 15 seconds.
const POLLS: u64 = 960;
const WARM_UP: u64 = 200;
/// What the allocator may keep after the warm-up; less than a leak of 1 KiB per poll.
const RSS_MARGIN_KIB: u64 = 768;
const SCRAPERS: usize = 2;

#[tokio::test]
#[ignore = "a process that another test starts, and that serves until it is killed"]
async fn child() {
    let Ok(endpoint) = std::env::var(ENDPOINT) else { return };
    // A timeout for a busy machine, at which faults without a response still leave time for other polls.
    let variables = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint.as_str()), ("IMDS_EXPORTER_TIMEOUT", "200ms")];
    let mut config = config(&variables);
    config.poll_interval = INTERVAL;
    let (listener, address) = listen().await;
    println!("\naddress {address}");
    exporter::run(config, open(listener), Arc::new(SystemClock), std::future::pending()).await.expect("it serves");
}

/// All faults whose requests both sides count: the simulator does not receive the requests of some, few polls fit into the
/// test when there is no response, and the exporter does not count requests that only diagnose a token request answered 403.
fn faults() -> Vec<Fault> {
    let unanswered = [Kind::ConnectRefused, Kind::ConnectTimeout, Kind::ReadTimeout, Kind::HopLimit];
    let diagnosed = [Kind::ImdsDisabled, Kind::TokenForbidden];
    let is_counted = |kind: &Kind| !unanswered.contains(kind) && !diagnosed.contains(kind);
    server_side_kinds().filter(is_counted).flat_map(all_faults).collect()
}

fn requests(scrape: &Scrape, step: Step) -> u64 {
    scrape.value(&format!("imds_request_duration_seconds_count{{step=\"{step}\"}}"))
}

#[tokio::test]
async fn resources_stay_flat_and_counters_match_over_hours_of_polls() {
    let simulator = start_simulator().await;
    let mut command = test_as_process("soak::child");
    command.env(ENDPOINT, format!("http://{}", simulator.address()));
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it runs");
    let mut lines = Lines::of(child.stdout.take());
    let address = |line: &str| line.strip_prefix("address ").map(|address| address.parse().expect("an address"));
    let address: SocketAddr = lines.find(DEADLINE, address).await;
    let scrapers: Vec<_> = (0..SCRAPERS)
        .map(|_| {
            tokio::spawn(async move {
                loop {
                    Scrape::of(address).await;
                    sleep(Duration::from_millis(5)).await;
                }
            })
        })
        .collect();

    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let faults = faults();
    let mut level = None;
    let deadline = Instant::now() + DEADLINE * 6;
    loop {
        let change = match random.u8(..8) {
            0..=2 => Change::to_healthy(),
            3 => Change { rotate: Some(true), keep_alive: Some(random.bool()), ..Change::to_healthy() },
            4 => Change { tokens: Some(TokenPolicy::Optional), ..Change::from(faults[random.usize(..faults.len())]) },
            _ => Change { tokens: Some(TokenPolicy::Required), ..Change::from(faults[random.usize(..faults.len())]) },
        };
        apply(&simulator, &change).await;
        sleep(Duration::from_millis(random.u64(10..60))).await;
        let scrape = Scrape::of(address).await;
        let polls = scrape.polls();
        if polls >= WARM_UP && level.is_none() {
            level = Some(Resources::of(&child));
        }
        if polls >= POLLS {
            break;
        }
        assert!(Instant::now() < deadline, "only {polls} polls");
    }
    for scraper in scrapers {
        scraper.abort();
    }
    let level = level.expect("the warm-up is a part of the run");
    level.assert_restored(&child, RSS_MARGIN_KIB, "after hours").await;

    // Between two polls both sides have counted every request; a request that one of them missed stays missing.
    apply(&simulator, &Change::to_healthy()).await;
    let matching = answer_within(DEADLINE, async || {
        let counts = simulator.counts();
        let scrape = Scrape::of(address).await;
        let exported = [Step::Token, Step::Role, Step::Credentials].map(|step| requests(&scrape, step));
        (exported == [counts.token, counts.role, counts.credentials]).then_some(scrape)
    });
    let Some(scrape) = matching.await else {
        panic!("the simulator counts {:?}, the exporter otherwise", simulator.counts())
    };
    let failures = scrape.outcomes("failure");
    assert!(failures > 0 && scrape.all_failures() == failures, "every failure has one kind");
    assert_eq!(scrape.polls(), scrape.outcomes("success") + failures);
    assert_eq!(simulator.counts().other, 0);
    scrape_until(address, "recovery", |scrape| scrape.value("imds_up") == 1).await;
}
