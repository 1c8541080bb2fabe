//! moto's server as the IMDS.

use crate::support::program::ExporterProcess;
use crate::support::request::metrics_with;
use crate::support::tools::start_moto;

#[tokio::test]
#[ignore = "needs moto: tests/run fetches it"]
async fn credentials_resolve_from_moto() {
    let (_moto, address) = start_moto().await;
    let exporter = ExporterProcess::start(address).await;
    let metrics = metrics_with(exporter.address, "imds_up 1").await;
    // moto's role expires in a day; moto sends neither `Code` nor `LastUpdated`, nor the lifetime of the session token.
    assert!(metrics.contains("imds_role_info{role=\"default-role\"} 1"));
    let remaining = metrics.lines().find_map(|line| line.strip_prefix("imds_credentials_remaining_seconds "));
    let remaining: f64 = remaining.expect("it has an expiry").parse().expect("a number");
    assert!((86_000.0..=86_400.0).contains(&remaining), "{remaining}");
    assert!(!metrics.contains("imds_credentials_last_updated"));
}
