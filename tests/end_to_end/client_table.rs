//! The table of usable clients through scripted outages: each client's row, step by step.

use crate::comparison::{Comparison, Setup, Stop};
use crate::support::simulator::{CONNECT_REFUSED, HEALTHY, apply_toml};
use imds_exporter::domain::workload::Workload;

const AT_START: &str = "at-start";

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn clients_that_hold_credentials_stay_usable_in_a_short_outage() {
    let mut comparison = Comparison::start(Setup::default(), HEALTHY).await;
    comparison.assert_all_usable(true, true, true);
    comparison.then(CONNECT_REFUSED).await;
    comparison.assert_all_usable(false, true, true);
    comparison.advance(3_600).await;
    comparison.compare("an hour of outage").await;
    comparison.then(HEALTHY).await;
    comparison.assert_all_usable(true, true, true);
}

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn a_client_created_in_an_outage_stays_stuck_but_its_session_can_create_a_usable_one() {
    for fault in [CONNECT_REFUSED, "fault = \"hop_limit\"", "fault = \"imds_disabled\"", "fault = \"server_error\""] {
        let mut comparison = Comparison::start(Setup::default(), fault).await;
        comparison.assert_usable([("now", Some(false)), ("before_outage", None), ("at_start", Some(false))]);
        comparison.then(HEALTHY).await;
        comparison.assert_all_usable(true, true, false);
        // A new client recovers, even from the session of the stuck one.
        let (boto3, session) = comparison.boto3();
        let session = session.to_owned();
        boto3.create("again", &session).await;
        assert!(boto3.signs("again").await);
        assert!(!boto3.signs(AT_START).await);
        comparison.advance(5 * 3_600).await;
        comparison.compare("five hours later").await;
        comparison.assert_all_usable(true, true, false);
    }
}

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn clients_fail_from_fifteen_minutes_before_the_expiry_until_the_outage_ends() {
    let mut comparison = Comparison::start(Setup::default(), "rotation = \"off\"").await;
    comparison.then(CONNECT_REFUSED).await;
    comparison.advance_to_remaining(15 * 60 + 20).await;
    comparison.compare("fifteen minutes and a little remain").await;
    comparison.assert_all_usable(false, true, true);
    comparison.advance(30).await;
    comparison.compare("less than fifteen minutes remain").await;
    comparison.assert_all_usable(false, false, false);
    comparison.advance_to_remaining(-600).await;
    comparison.compare("expired").await;
    apply_toml(&comparison.simulator, "rotate = true").await;
    comparison.then(HEALTHY).await;
    comparison.assert_all_usable(true, true, true);
}

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn a_client_keeps_the_document_from_its_creation_when_imds_rotates() {
    let mut comparison = Comparison::start(Setup::default(), "lifetime = \"6h\"\nrotation = \"1h\"").await;
    for hour in 1..=3 {
        comparison.advance(3_600).await;
        comparison.compare(&format!("rotation {hour}")).await;
    }
    comparison.then(CONNECT_REFUSED).await;
    // The document of the start ends in three hours, the last one in six.
    comparison.advance(3 * 3_600 - 14 * 60).await;
    comparison.compare("the last minutes of the first document").await;
    comparison.assert_all_usable(false, true, false);
    comparison.then(HEALTHY).await;
    comparison.assert_all_usable(true, true, true);
    comparison.advance(3_600).await;
    comparison.then(CONNECT_REFUSED).await;
    comparison.advance(2 * 3_600).await;
    comparison.compare("with the document from after the recovery").await;
    comparison.assert_all_usable(false, true, true);
}

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn a_client_created_without_a_role_stays_stuck_when_one_is_attached() {
    let mut comparison = Comparison::start(Setup::default(), "fault = \"no_role\"").await;
    comparison.assert_usable([("now", Some(false)), ("before_outage", None), ("at_start", Some(false))]);
    comparison.then(HEALTHY).await;
    comparison.assert_all_usable(true, true, false);
    comparison.then("role = \"another-role\"").await;
}

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn clients_stay_usable_when_the_role_is_detached() {
    let mut comparison = Comparison::start(Setup::default(), HEALTHY).await;
    comparison.then("fault = \"no_role\"").await;
    comparison.assert_all_usable(false, true, true);
}

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn a_client_created_with_an_incomplete_document_stays_stuck() {
    for field in ["AccessKeyId", "SecretAccessKey", "Token", "Expiration"] {
        let fault = format!("fields = {{ {field} = '' }}");
        let mut comparison = Comparison::start(Setup::default(), &fault).await;
        comparison.then("fields = {}").await;
        comparison.assert_all_usable(true, true, false);
    }
}

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn nothing_is_said_of_clients_that_get_an_expired_document() {
    // boto3 uses it since 1.22, and not before.
    let mut comparison = Comparison::start(Setup::default(), HEALTHY).await;
    comparison.then("rotation = \"off\"\nexpires_in = \"-5m\"").await;
    comparison.assert_usable([("now", None), ("before_outage", None), ("at_start", Some(true))]);
}

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn with_imdsv1_disabled_a_refused_client_raises_and_is_not_stuck() {
    let setup = Setup { v1_disabled: true, ..Setup::default() };
    let mut comparison = Comparison::start(setup, CONNECT_REFUSED).await;
    // Nobody knows whether the program was started again.
    comparison.assert_usable([("now", Some(false)), ("before_outage", None), ("at_start", None)]);
    comparison.then(HEALTHY).await;
    comparison.assert_usable([("now", Some(true)), ("before_outage", Some(true)), ("at_start", None)]);
}

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn a_stuck_client_is_known_after_a_crash_and_unknown_after_an_orderly_stop() {
    let mut comparison = Comparison::start(Setup::default(), CONNECT_REFUSED).await;
    comparison.then(HEALTHY).await;
    comparison.restart(Stop::Killed, 5).await;
    comparison.compare("after a crash").await;
    comparison.assert_all_usable(true, true, false);
    comparison.restart(Stop::Orderly, 5).await;
    comparison.compare("after an orderly stop").await;
    comparison.assert_usable([("now", Some(true)), ("before_outage", Some(true)), ("at_start", None)]);
    comparison.then(CONNECT_REFUSED).await;
    comparison.restart(Stop::Reboot, 60).await;
    comparison.compare("after a boot in an outage").await;
    comparison.assert_usable([("now", Some(false)), ("before_outage", None), ("at_start", Some(false))]);
}

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn what_a_crash_before_the_first_poll_hides_is_never_claimed() {
    for start in [CONNECT_REFUSED, HEALTHY] {
        let mut comparison = Comparison::before_start(Setup::default(), start).await;
        comparison.start_workload_unseen().await;
        comparison.restart(Stop::Killed, 1).await;
        comparison.compare("the first poll that ends").await;
        comparison.then(HEALTHY).await;
        comparison.restart(Stop::Killed, 1).await;
        comparison.compare("after another crash").await;
        comparison.assert_usable([("now", Some(true)), ("before_outage", Some(true)), ("at_start", None)]);
    }
}

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn nothing_is_said_of_clients_at_the_start_where_no_workload_is_declared() {
    for state_file in [true, false] {
        let setup = Setup { workload: Workload::Independent, state_file, ..Setup::default() };
        let mut comparison = Comparison::start(setup, CONNECT_REFUSED).await;
        comparison.then(HEALTHY).await;
        comparison.then(CONNECT_REFUSED).await;
        comparison.restart(Stop::Killed, 1).await;
        comparison.compare("after a crash in an outage").await;
        // Without a state file, the document that clients hold is not known.
        let held = state_file.then_some(true);
        comparison.assert_usable([("now", Some(false)), ("before_outage", held), ("at_start", None)]);
    }
}
