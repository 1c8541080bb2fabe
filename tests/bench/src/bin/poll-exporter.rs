//! The exporter's own poll: everything, up to the classified outcome.

use std::sync::Arc;
use std::time::Duration;

use imds_exporter::platform::clock::SystemClock;
use imds_exporter::imds::{DEFAULT_ATTEMPTS, Endpoint, Imds, ImdsOptions};
use imds_exporter::domain::Source;

fn main() {
    let make = async |endpoint: String| {
        let endpoint = Endpoint::parse(&endpoint).expect("an endpoint");
        let timeout = Duration::from_secs(1);
        let options = ImdsOptions { endpoint, timeout, attempts: DEFAULT_ATTEMPTS, disabled: false, v1_disabled: true, region: None };
        Imds::new(options, Arc::new(SystemClock))
    };
    imds_exporter_bench::polls(make, async |imds: &mut Imds| {
        imds.resolve().await.outcome.expect("credentials");
    });
}
