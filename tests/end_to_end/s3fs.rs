//! s3fs around an outage: it hands out the stuck file system again.

use crate::support::simulator::{CONNECT_REFUSED, HEALTHY, apply_toml, start_simulator};
use crate::support::tools::{Python, python};

#[tokio::test]
#[ignore = "needs s3fs: tests/run fetches it"]
async fn s3fs_hands_out_the_stuck_file_system_again_until_it_is_told_otherwise() {
    // Each cure, and whether the stuck file system itself is cured or replaced by it.
    for (cure, for_all) in [("uncached", false), ("cleared", true), ("connected", true)] {
        let simulator = start_simulator().await;
        apply_toml(&simulator, CONNECT_REFUSED).await;
        let mut command = python("programs/s3fs_file_systems.py");
        command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://{}", simulator.address()));
        let mut program = Python::start(command);
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
