//! Something that is not ours answers: moto's server as the IMDS.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::timeout;

use crate::tools::{Exporter, PATIENCE, command, tool};

#[tokio::test]
#[ignore = "needs moto: tests/run fetches it"]
async fn the_exporter_resolves_from_moto() {
    let mut moto = command(tool("python/bin/moto_server"));
    moto.args(["-H", "127.0.0.1", "-p", "0"]).env("PYTHONUNBUFFERED", "1").stderr(Stdio::piped()).stdout(Stdio::null());
    let mut moto = moto.spawn().expect("moto runs");
    let mut lines = BufReader::new(moto.stderr.take().expect("it is piped")).lines();
    let address = timeout(PATIENCE, async {
        loop {
            let line = lines.next_line().await.expect("text").expect("it tells where it serves");
            if let Some((_, address)) = line.split_once("Running on http://") {
                return address.trim().parse().expect("an address");
            }
        }
    });
    let address = address.await.expect("it starts in time");
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });

    let exporter = Exporter::start(address).await;
    let metrics = exporter.metrics_with("imds_up 1").await;
    // moto's role, and an expiry a day ahead; it tells neither `Code` nor `LastUpdated`, nor the token's lifetime.
    assert!(metrics.contains("imds_role_info{role=\"default-role\"} 1"));
    let remaining = metrics.lines().find_map(|line| line.strip_prefix("imds_credentials_remaining_seconds "));
    let remaining: f64 = remaining.expect("it has an expiry").parse().expect("a number");
    assert!((86_000.0..=86_400.0).contains(&remaining), "{remaining}");
    assert!(!metrics.contains("imds_credentials_last_updated"));
}
