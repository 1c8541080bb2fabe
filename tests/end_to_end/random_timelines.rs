//! Random timelines: faults of all kinds at all steps, recoveries, roles that come and go, tokens that become optional, time,
//! clocks that are set, restarts of the exporter between the steps, and state files that are spoiled; with attempts, time-outs
//! and proxies. After each step, everything that the exporter says of clients is compared with real boto3 clients in four
//! versions.
//!
//! A timeline follows from its seed. A failing one prints itself; `TIMELINES=17..18` runs that of seed 17 alone, and
//! `TIMELINES=0..1000` looks for more.

use std::num::NonZeroU32;
use std::ops::Range;

use fastrand::Rng;
use imds_exporter::domain::workload::Workload;
use imds_exporter::domain::{Kind, Step};
use imds_exporter::simulator::{Change, Fault};
use strum::VariantArray;
use tokio::task::JoinSet;

use crate::clients::VERSIONS;
use crate::comparison::{Compared, Comparison, Setup, Stop};
use crate::support::simulator::{HEALTHY, REQUEST_TIMEOUT, all_faults, server_side_kinds};

const STEPS: usize = 14;

/// As many at a time as this, each with four Python programs.
const AT_A_TIME: usize = 4;

/// The timelines of each run of the tests, and with `THOROUGH=1`.
const SEEDS: [Range<u64>; 2] = [0..14, 0..300];

/// So many values are compared in [`SEEDS`] at least, in all versions together.
const LEAST_COMPARED: usize = 1_500;

/// The faults in which a key that a client signs with is one that AWS would accept; `creation.rs` has the others.
fn faults() -> Vec<Fault> {
    let comparable = |fault: &Fault| match (fault.kind, fault.variant) {
        (Kind::Refused, _) => false,
        (Kind::IncompleteDocument, variant) => variant == "missing",
        (Kind::InvalidTimestamp, variant) => variant == "expiration",
        (Kind::MalformedDocument, variant) => variant != "number",
        (Kind::InvalidResponse, variant) => variant != "too_large",
        (_, variant) => variant != "drip",
    };
    server_side_kinds().flat_map(all_faults).filter(comparable).collect()
}

/// One of so many values may be absent, where requests go to IMDS: most are of clients of a start that nobody has seen.
const MOST_ABSENT: usize = 6;

struct Timeline {
    rng: Rng,
    comparison: Comparison,
    faults: Vec<Fault>,
    tokens_optional: bool,
    roles: u32,
}

impl Timeline {
    async fn start(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let workload = Workload::VARIANTS[rng.usize(..Workload::VARIANTS.len())];
        // Both at once would be minutes of waiting.
        let (attempts, timeout) = [(1, 1), (1, 1), (1, 1), (1, 2), (2, 1), (3, 1)][rng.usize(..6)];
        let attempts = NonZeroU32::new(attempts).expect("it is one of these");
        let setup = Setup {
            workload,
            v1_disabled: rng.u8(..3) == 0,
            state_file: workload != Workload::Independent || rng.bool(),
            timeout: REQUEST_TIMEOUT * timeout,
            timeout_of_boto3: timeout,
            attempts,
            proxied: rng.u8(..12) == 0,
            versions: &VERSIONS,
        };
        let tokens_optional = rng.bool();
        let tokens = if tokens_optional { "optional" } else { "required" };
        let comparison = Comparison::start(setup, &format!("tokens = \"{tokens}\"")).await;
        let mut timeline = Self { rng, comparison, faults: faults(), tokens_optional, roles: 0 };
        timeline.comparison.timeline.push(format!("seed {seed}"));
        if timeline.rng.bool() {
            timeline.fault().await;
        } else {
            timeline.comparison.compare("the start").await;
        }
        timeline
    }

    async fn step(&mut self) {
        match self.rng.u8(..20) {
            0..5 => self.fault().await,
            5..9 => {
                self.comparison.then(HEALTHY).await;
            }
            9 => {
                self.healthy_before_another_failure().await;
                self.comparison.then("fault = \"no_role\"").await;
            }
            10 => {
                self.roles += 1;
                self.comparison.then(&format!("{HEALTHY}\nrole = \"role-{}\"", self.roles)).await;
            }
            11 => {
                self.comparison.then("rotate = true").await;
            }
            12 => self.change_tokens().await,
            13 => {
                let seconds = self.rng.i64(-3_600..=3_600);
                self.comparison.set_clock(seconds).await;
                self.comparison.compare("the clock").await;
            }
            14..17 => self.time().await,
            _ => self.restart().await,
        }
    }

    async fn fault(&mut self) {
        self.healthy_before_another_failure().await;
        let mut fault = self.faults[self.rng.usize(..self.faults.len())];
        if fault.kind == Kind::ReadTimeout || fault.kind == Kind::HopLimit {
            // Seconds of waiting: less often.
            fault = self.faults[self.rng.usize(..self.faults.len())];
        }
        let only_step = fault.step == Step::Token && self.rng.u8(..3) == 0;
        let change = Change { only_step: Some(only_step), ..Change::from(fault) };
        let what = format!("{fault:?}, only there: {only_step}");
        self.comparison.then_apply(&what, &change).await;
    }

    /// Where tokens are optional, one failure of the token request follows another only after a success: a refused
    /// request without a token is not repeated for five minutes, and time does not move for that.
    async fn healthy_before_another_failure(&mut self) {
        if self.tokens_optional && self.comparison.fails() {
            self.comparison.then(HEALTHY).await;
        }
    }

    async fn change_tokens(&mut self) {
        self.tokens_optional = !self.tokens_optional;
        let tokens = if self.tokens_optional { "optional" } else { "required" };
        self.comparison.then(&format!("{HEALTHY}\ntokens = \"{tokens}\"")).await;
    }

    async fn time(&mut self) {
        let held = self.comparison.held();
        let seconds = match held.get(self.rng.usize(..held.len().max(1))) {
            // Around the moment at which a client must refresh what it holds, while it cannot. A document that is that
            // old when IMDS returns it is another story: boto3 then makes up an expiration at random.
            Some(left) if self.comparison.fails() && self.rng.bool() => {
                left - [16 * 60, 12 * 60, 5 * 60, -600][self.rng.usize(..4)]
            }
            _ => [20, 15 * 60, 3_600, 2 * 3_600, 5 * 3_600][self.rng.usize(..5)],
        };
        let seconds = seconds.max(1);
        self.comparison.advance(seconds).await;
        self.comparison.compare(&format!("{seconds} s later")).await;
    }

    async fn restart(&mut self) {
        let stops = [Stop::Orderly, Stop::Killed, Stop::Killed, Stop::KilledBeforeSaving, Stop::Reboot];
        let stop = stops[self.rng.usize(..stops.len())];
        let seconds = match stop {
            Stop::KilledBeforeSaving => 0,
            Stop::Orderly | Stop::Killed | Stop::Reboot => [1, 60, 3_600][self.rng.usize(..3)],
        };
        if self.rng.u8(..6) == 0 {
            let (form, cut) = (self.rng.u8(..3), self.rng.usize(..10_000));
            let spoil = |content: Vec<u8>| match form {
                0 => content[..cut % content.len()].to_vec(),
                1 => vec![0; content.len()],
                _ => br#"{"version": 9000}"#.to_vec(),
            };
            self.comparison.restart_with(stop, seconds, spoil).await;
        } else {
            self.comparison.restart(stop, seconds).await;
        }
        if matches!(stop, Stop::Orderly | Stop::Reboot) && self.rng.u8(..3) == 0 {
            self.comparison.start_workload_unseen().await;
            self.comparison.restart(Stop::Killed, 1).await;
        }
        self.comparison.compare("the restart").await;
    }
}

async fn run(seed: u64) -> Compared {
    let mut timeline = Timeline::start(seed).await;
    for _ in 0..STEPS {
        timeline.step().await;
    }
    timeline.comparison.compared
}

fn seeds() -> Range<u64> {
    let Ok(seeds) = std::env::var("TIMELINES") else {
        let thorough = std::env::var("THOROUGH").is_ok_and(|thorough| thorough == "1");
        return SEEDS[usize::from(thorough)].clone();
    };
    let (from, to) = seeds.split_once("..").expect("TIMELINES is FROM..TO");
    from.parse().expect("a number")..to.parse().expect("a number")
}

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn in_random_timelines_with_restarts_each_value_is_what_a_real_client_does() {
    let mut seeds_left = seeds();
    let mut running: JoinSet<Compared> = seeds_left.by_ref().take(AT_A_TIME).map(run).collect();
    let mut compared = Compared::default();
    while let Some(one) = running.join_next().await {
        let Compared { values, absent } = one.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()));
        compared.values += values;
        compared.absent += absent;
        running.extend(seeds_left.next().map(run));
    }
    println!("{} values compared with real clients, {} left absent", compared.values, compared.absent);
    assert!(compared.absent * MOST_ABSENT <= compared.values + compared.absent, "{compared:?}");
    assert!(!SEEDS.contains(&seeds()) || compared.values >= LEAST_COMPARED, "{compared:?}");
}
