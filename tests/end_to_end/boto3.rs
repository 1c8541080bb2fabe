//! boto3 with the simulator, three programs that use it in different ways around an outage, and s3fs.

use imds_exporter::simulator::Simulator;

use crate::clients::{Clients, Creation};
use crate::support::simulator::{CONNECT_REFUSED, HEALTHY, apply_toml, start_simulator};
use crate::support::tools::Python;

/// A simulator that refuses connections, and a program that uses it.
async fn start_in_an_outage(script: &str) -> (Simulator, Python) {
    let simulator = start_simulator().await;
    apply_toml(&simulator, CONNECT_REFUSED).await;
    let program = Python::start(script, simulator.address());
    (simulator, program)
}

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn boto3_resolves_from_the_simulator_over_imdsv2() {
    let simulator = start_simulator().await;
    let mut boto3 = Clients::start(simulator.address(), &[]);
    let (client, creation) = boto3.create_new().await;
    assert_eq!(creation, Creation::Bound);
    let counts = simulator.counts();
    // The simulator answers 401 without a token: a document means that boto3 used IMDSv2.
    assert_eq!((counts.token, counts.role, counts.credentials, counts.without_token), (1, 1, 1, 0));
    assert!(boto3.signs(&client).await);
}

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn call_once_fails_in_an_outage_and_works_after_it() {
    let (simulator, mut program) = start_in_an_outage("programs/call_once.py").await;
    assert_eq!(program.line().await, "NoCredentialsError");
    apply_toml(&simulator, HEALTHY).await;
    assert_eq!(Python::start("programs/call_once.py", simulator.address()).line().await, "signed");
}

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn retrying_only_the_call_never_recovers_and_sends_no_request() {
    let (simulator, mut program) = start_in_an_outage("programs/retry_the_call.py").await;
    assert_eq!(program.ask("try").await, "NoCredentialsError");
    apply_toml(&simulator, HEALTHY).await;
    let before = simulator.counts();
    for _ in 0..30 {
        assert_eq!(program.ask("try").await, "NoCredentialsError");
    }
    assert_eq!(simulator.counts(), before, "thirty calls make neither a request nor a connection to IMDS");
}

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn retrying_with_a_new_client_recovers() {
    let (simulator, mut program) = start_in_an_outage("programs/retry_with_a_new_client.py").await;
    assert_eq!(program.ask("try").await, "NoCredentialsError");
    apply_toml(&simulator, HEALTHY).await;
    assert_eq!(program.ask("try").await, "signed");
}

#[tokio::test]
#[ignore = "needs s3fs: tests/run fetches it"]
async fn s3fs_hands_out_the_stuck_file_system_again_until_it_is_told_otherwise() {
    // Each cure, and whether the stuck file system itself is cured or replaced by it.
    for (cure, for_all) in [("uncached", false), ("cleared", true), ("connected", true)] {
        let (simulator, mut program) = start_in_an_outage("programs/s3fs_file_systems.py").await;
        assert_eq!(program.ask("new").await, "NoCredentialsError");
        apply_toml(&simulator, HEALTHY).await;
        let before = simulator.counts();
        assert_eq!(program.ask("new").await, "NoCredentialsError");
        assert_eq!(simulator.counts(), before, "it sends nothing");
        assert_eq!(program.ask(cure).await, "signed", "{cure}");
        let others = if for_all { "signed" } else { "NoCredentialsError" };
        assert_eq!(program.ask("new").await, others, "{cure}");
    }
}
