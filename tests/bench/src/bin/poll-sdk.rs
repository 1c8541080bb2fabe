//! The same requests with the IMDS client of the official SDK; it keeps the session token by itself.

use aws_config::imds::Client;
use aws_config::provider_config::ProviderConfig;
use aws_smithy_http_client::Builder;

const ROLES: &str = "/latest/meta-data/iam/security-credentials/";

fn main() {
    let make = async |endpoint: String| {
        let provider = ProviderConfig::without_region().with_http_client(Builder::new().build_http());
        Client::builder().configure(&provider).endpoint(endpoint).expect("an endpoint").build()
    };
    imds_exporter_bench::polls(make, async |client: &mut Client| {
        let role = client.get(ROLES).await.expect("a role");
        let document = client.get(format!("{ROLES}{}", role.as_ref())).await.expect("a document");
        assert!(document.as_ref().contains("Expiration"));
    });
}
