//! The real boto3 against the simulator, and the three programs of the story that this exporter exists for.

use crate::support::{simulator, tell};
use crate::tools::Python;

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn boto3_resolves_from_the_simulator_over_imdsv2() {
    let simulator = simulator().await;
    let mut clients = Python::start("clients.py", simulator.address());
    let bound = clients.ask(r#"{"do": "create", "client": "a", "session": "a"}"#).await;
    assert_eq!(bound, r#"{"bound": true}"#);
    let counts = simulator.counts();
    // Without a token the simulator answers 401: that a document was given proves version 2.
    assert_eq!((counts.token, counts.role, counts.credentials), (1, 1, 1));
    assert_eq!(clients.ask(r#"{"do": "sign", "client": "a"}"#).await, r#"{"signed": true}"#);
}

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn call_once_fails_in_an_outage_and_works_after_it() {
    let simulator = simulator().await;
    tell(&simulator, "fault = \"connect_refused\"").await;
    assert_eq!(Python::start("programs/call_once.py", simulator.address()).line().await, "NoCredentialsError");
    tell(&simulator, "fault = \"none\"").await;
    assert_eq!(Python::start("programs/call_once.py", simulator.address()).line().await, "signed");
}

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn retry_the_call_only_never_recovers_and_sends_nothing() {
    let simulator = simulator().await;
    tell(&simulator, "fault = \"connect_refused\"").await;
    let mut program = Python::start("programs/retry_the_call.py", simulator.address());
    assert_eq!(program.ask("try").await, "NoCredentialsError");
    tell(&simulator, "fault = \"none\"").await;
    let before = simulator.counts();
    for _ in 0..30 {
        assert_eq!(program.ask("try").await, "NoCredentialsError");
    }
    assert_eq!(simulator.counts(), before, "thirty calls, and not a single request or connection to IMDS");
}

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn retry_with_a_new_client_recovers() {
    let simulator = simulator().await;
    tell(&simulator, "fault = \"connect_refused\"").await;
    let mut program = Python::start("programs/retry_with_a_new_client.py", simulator.address());
    assert_eq!(program.ask("try").await, "NoCredentialsError");
    tell(&simulator, "fault = \"none\"").await;
    assert_eq!(program.ask("try").await, "signed");
}
