//! Hours' worth of polls and scrapes in half a minute, with faults at random: memory, descriptors and threads stay
//! flat, and the counters agree with what the simulator was asked. The exporter is this test binary, started once
//! more: no configuration allows so short an interval.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use imds_exporter::app;
use imds_exporter::clock::SystemClock;
use imds_exporter::config::Config;
use imds_exporter::model::{Kind, Step};
use imds_exporter::simulator::{Change, Fault, is_client_side, steps, variants};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::time::{Instant, timeout};

use crate::faults::{Holdings, Scrape, until};
use crate::http::PATIENCE;
use crate::support::simulator;

/// Set for the exporter that is soaked; without it the test below is none.
const ENDPOINT: &str = "SOAKED_ENDPOINT";
const INTERVAL: Duration = Duration::from_millis(15);
/// At one poll in 15 seconds, four hours.
const POLLS: f64 = 960.0;
const WARM_UP: f64 = 200.0;
/// What an allocator may keep beyond the first polls. A leak of 1 KiB a poll would be seen.
const RSS_MARGIN_KIB: u64 = 768;
const SCRAPERS: usize = 2;

#[tokio::test]
#[ignore = "a part of a test: serves until its process is ended"]
async fn exporter() {
    let Some(endpoint) = std::env::var_os(ENDPOINT) else { return };
    let environment = [
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT".into(), endpoint),
        // Short enough that lost answers do not fill the time; long enough for a busy machine.
        ("IMDS_EXPORTER_TIMEOUT".into(), "200ms".into()),
    ];
    let mut config = Config::from_environment(environment.into_iter()).expect("a good configuration");
    config.poll_interval = INTERVAL;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
    println!("\naddress {}", listener.local_addr().expect("it is bound"));
    app::run(config, listener, Arc::new(SystemClock), std::future::pending()).await.expect("it serves");
}

/// Any form of any kind at any step, save those whose requests do not arrive or are never answered: of the former
/// the simulator knows nothing, and the latter are few in so short a time.
fn faults() -> Vec<Fault> {
    let unheard = [Kind::ConnectRefused, Kind::ConnectTimeout, Kind::ReadTimeout, Kind::HopLimit];
    let kinds = Kind::ALL.iter().filter(|kind| !is_client_side(**kind) && !unheard.contains(kind));
    let forms = kinds.flat_map(|kind| {
        let fault = Fault::new(*kind).expect("a kind that a server makes");
        let forms = variants(*kind).iter().map(move |form| fault.in_variant(form.label()).expect("a form of it"));
        forms.chain([fault])
    });
    forms
        .flat_map(|form| {
            steps(form.kind(), form.variant()).iter().map(move |step| form.at_step(*step).expect("its step"))
        })
        .collect()
}

fn asked(scrape: &Scrape, step: Step) -> f64 {
    scrape.value(&format!("imds_request_duration_seconds_count{{step=\"{step}\"}}"))
}

#[tokio::test]
async fn hours_of_polls_leave_everything_flat_and_counted() {
    let simulator = simulator().await;
    let mut command = Command::new(std::env::current_exe().expect("it runs"));
    command.args(["--exact", "soak::exporter", "--ignored", "--nocapture", "--test-threads=1"]);
    command.env_clear().env(ENDPOINT, format!("http://{}", simulator.address()));
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("it runs");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let address = async {
        loop {
            let line = lines.next_line().await.expect("text").expect("it tells its address");
            if let Some(address) = line.strip_prefix("address ") {
                return address.parse::<SocketAddr>().expect("an address");
            }
        }
    };
    let address = timeout(PATIENCE, address).await.expect("it starts");
    let scrapers: Vec<_> = (0..SCRAPERS)
        .map(|_| {
            tokio::spawn(async move {
                loop {
                    Scrape::of(address).await;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
        })
        .collect();

    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut dice = fastrand::Rng::with_seed(seed);
    let faults = faults();
    let mut level = None;
    let deadline = Instant::now() + PATIENCE * 6;
    loop {
        let change = match dice.u8(..8) {
            0..=2 => Change::to_health(),
            3 => Change { forget_tokens: Some(true), ..Change::to_health() },
            4 => Change { rotate: Some(true), keep_alive: Some(dice.bool()), ..Change::to_health() },
            _ => Change { forget_tokens: Some(dice.bool()), ..Change::from(faults[dice.usize(..faults.len())]) },
        };
        simulator.apply(&change).await.expect("the simulator can do that");
        tokio::time::sleep(Duration::from_millis(dice.u64(10..60))).await;
        let scrape = Scrape::of(address).await;
        let polls = scrape.value("imds_fetches_total");
        if polls >= WARM_UP && level.is_none() {
            level = Some(Holdings::of(&child));
        }
        if polls >= POLLS {
            break;
        }
        assert!(Instant::now() < deadline, "{polls} polls only");
    }
    for scraper in scrapers {
        scraper.abort();
    }
    let level = level.expect("the warm-up is a part of the run");
    level.return_to(&child, RSS_MARGIN_KIB, "after hours").await;

    // Between two polls all that was asked is counted on both sides; a count that went astray stays astray.
    simulator.apply(&Change::to_health()).await.expect("the simulator can be healthy");
    let agreeing = async {
        loop {
            let counts = simulator.counts();
            let scrape = Scrape::of(address).await;
            let told = [asked(&scrape, Step::Token), asked(&scrape, Step::Role), asked(&scrape, Step::Credentials)];
            let received = [counts.token, counts.role, counts.credentials].map(|count| count as f64);
            if told == received {
                return scrape;
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    };
    let Ok(scrape) = timeout(PATIENCE, agreeing).await else {
        panic!("the simulator counts {:?}, the exporter otherwise", simulator.counts())
    };
    let failed: f64 = Kind::ALL.iter().map(|kind| scrape.failures(*kind)).sum();
    let of = |outcome: &str| scrape.value(&format!("imds_fetch_duration_seconds_count{{outcome=\"{outcome}\"}}"));
    assert!(failed > 0.0 && failed == of("failure"), "every failure has one kind");
    assert!(scrape.value("imds_fetches_total") == of("success") + of("failure"));
    assert!(scrape.value("imds_token_renewals_total") <= simulator.counts().token as f64);
    assert_eq!(simulator.counts().other, 0);
    until(address, "recovery", |scrape| scrape.value("imds_up") == 1.0).await;
}
