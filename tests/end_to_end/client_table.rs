//! The table of usable clients through scripted outages, beside real clients, step by step.

use imds_exporter::domain::workload::Workload;

use crate::comparison::{Comparison, Setup, Stop};
use crate::support::simulator::{CONNECT_REFUSED, HEALTHY};

/// What happens before the next poll.
enum Step {
    /// IMDS is healthy, and its documents are complete.
    Up,
    /// IMDS refuses connections.
    Down,
    /// Another change of IMDS.
    Imds(&'static str),
    /// This many seconds pass.
    Later(i64),
    /// Time passes until the credentials of IMDS have this many seconds left.
    Remaining(i64),
    /// The exporter stops, and starts again this many seconds later.
    Restart(Stop, i64),
}
use Step::{Down, Imds, Later, Remaining, Restart, Up};

const HOUR: i64 = 3_600;

/// Steps, and whether clients can sign after each: one that is created now, before the outage, and at the start. `y` is
/// yes, `n` no, and of `-` nothing is said.
type Timeline = &'static [(Step, &'static str)];

/// Of a workload that starts with the exporter.
const DECLARED: &[Timeline] = &[
    // Clients that hold credentials stay usable in a short outage,
    &[(Up, "yyy"), (Down, "nyy"), (Later(HOUR), "nyy"), (Up, "yyy")],
    // and fail from fifteen minutes before the expiry until the outage ends.
    &[
        (Imds("rotation = 'off'"), "yyy"),
        (Down, "nyy"),
        (Remaining(15 * 60 + 20), "nyy"),
        (Later(30), "nnn"),
        (Remaining(-600), "nnn"),
        (Imds("rotate = true\nfault = 'none'"), "yyy"),
    ],
    // A client keeps the document from its creation when IMDS rotates: that of the start ends first.
    &[
        (Imds("lifetime = '6h'\nrotation = '1h'"), "yyy"),
        (Later(HOUR), "yyy"),
        (Later(HOUR), "yyy"),
        (Later(HOUR), "yyy"),
        (Down, "nyy"),
        (Later(3 * HOUR - 14 * 60), "nyn"),
        (Up, "yyy"),
        (Later(HOUR), "yyy"),
        (Down, "nyy"),
        (Later(2 * HOUR), "nyy"),
    ],
    // They stay usable when the role is detached.
    &[(Up, "yyy"), (Imds("fault = 'no_role'"), "nyy")],
    // boto3 uses an expired document since 1.22, and not before.
    &[(Up, "yyy"), (Imds("rotation = 'off'\nexpires_in = '-5m'"), "--y")],
    // A stuck client is known after a crash, and unknown after an orderly stop.
    &[
        (Down, "n-n"),
        (Up, "yyn"),
        (Restart(Stop::Killed, 5), "yyn"),
        (Restart(Stop::Orderly, 5), "yy-"),
        (Down, "ny-"),
        (Restart(Stop::Reboot, 60), "n-n"),
    ],
    // Clients that are created during each of these are bound to nothing, permanently.
    &[(Down, "n-n"), (Up, "yyn"), (Later(5 * HOUR), "yyn")],
    &[(Imds("fault = 'hop_limit'"), "n-n"), (Up, "yyn"), (Later(5 * HOUR), "yyn")],
    &[(Imds("fault = 'imds_disabled'"), "n-n"), (Up, "yyn"), (Later(5 * HOUR), "yyn")],
    &[(Imds("fault = 'server_error'"), "n-n"), (Up, "yyn"), (Later(5 * HOUR), "yyn")],
    &[(Imds("fault = 'no_role'"), "n-n"), (Up, "yyn"), (Imds("role = 'another-role'"), "yyn")],
    &[(Imds("fields = { AccessKeyId = '' }"), "n-n"), (Up, "yyn")],
    &[(Imds("fields = { SecretAccessKey = '' }"), "n-n"), (Up, "yyn")],
    &[(Imds("fields = { Token = '' }"), "n-n"), (Up, "yyn")],
    &[(Imds("fields = { Expiration = '' }"), "n-n"), (Up, "yyn")],
];

/// A client that is refused raises, and nobody knows whether the program was started again.
const V1_DISABLED: Timeline = &[(Down, "n--"), (Up, "yy-")];

const UNDECLARED: Timeline = &[(Down, "n--"), (Up, "yy-"), (Down, "ny-"), (Restart(Stop::Killed, 1), "ny-")];
/// The document that clients hold is not known after a crash.
const UNDECLARED_WITHOUT_A_FILE: Timeline =
    &[(Down, "n--"), (Up, "yy-"), (Down, "ny-"), (Restart(Stop::Killed, 1), "n--")];

async fn follow(setup: Setup, timeline: Timeline) {
    let mut comparison = Comparison::start(setup, HEALTHY).await;
    for (step, usable) in timeline {
        let change = match *step {
            Up => "fault = 'none'\nfields = {}",
            Down => CONNECT_REFUSED,
            Imds(change) => change,
            Later(seconds) => {
                comparison.advance(seconds).await;
                ""
            }
            Remaining(seconds) => {
                comparison.advance_to_remaining(seconds).await;
                ""
            }
            Restart(stop, seconds) => {
                comparison.restart(stop, seconds).await;
                ""
            }
        };
        comparison.then(change).await;
        comparison.assert_usable(usable);
    }
}

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn each_row_is_what_real_clients_do_step_by_step() {
    for timeline in DECLARED {
        follow(Setup::default(), timeline).await;
    }
    follow(Setup { v1_disabled: true, ..Setup::default() }, V1_DISABLED).await;
    for (state_file, timeline) in [(true, UNDECLARED), (false, UNDECLARED_WITHOUT_A_FILE)] {
        follow(Setup { workload: Workload::Independent, state_file, ..Setup::default() }, timeline).await;
    }
}

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn a_stuck_client_sends_nothing_and_its_session_can_create_a_usable_one() {
    let mut comparison = Comparison::start(Setup::default(), CONNECT_REFUSED).await;
    comparison.compare("the start").await;
    comparison.then(HEALTHY).await;
    let before = comparison.simulator.counts();
    let (boto3, session) = comparison.boto3();
    let session = session.to_owned();
    for _ in 0..30 {
        assert!(!boto3.signs("at-start").await);
    }
    assert_eq!(comparison.simulator.counts(), before, "neither a request nor a connection to IMDS");
    let (boto3, _) = comparison.boto3();
    boto3.create("again", &session).await;
    assert!(boto3.signs("again").await && !boto3.signs("at-start").await);
}

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn what_a_crash_before_the_first_poll_hides_is_never_claimed() {
    for start in [CONNECT_REFUSED, HEALTHY] {
        let mut comparison = Comparison::start(Setup::default(), start).await;
        comparison.start_workload_unseen().await;
        comparison.restart(Stop::Killed, 1).await;
        comparison.compare("the first poll that ends").await;
        comparison.then(HEALTHY).await;
        comparison.restart(Stop::Killed, 1).await;
        comparison.compare("after another crash").await;
        comparison.assert_usable("yy-");
    }
}
