//! The same requests with the IMDS client of the official SDK: `poll-sdk ENDPOINT POLLS [new]`. It keeps the session token by
//! itself; with `new`, each poll has a new client, which asks for one.

use aws_config::imds::Client;
use aws_config::provider_config::ProviderConfig;
use aws_smithy_http_client::Builder;

const ROLES: &str = "/latest/meta-data/iam/security-credentials/";

fn client(provider: &ProviderConfig, endpoint: &str) -> Client {
    Client::builder().configure(provider).endpoint(endpoint).expect("an endpoint").build()
}

fn main() {
    let each_new = std::env::args().nth(3).is_some();
    let make = async |endpoint: String| {
        let provider = ProviderConfig::without_region().with_http_client(Builder::new().build_http());
        let kept = client(&provider, &endpoint);
        (provider, endpoint, kept)
    };
    imds_exporter_bench::polls(make, async |(provider, endpoint, kept)| {
        let new;
        let client = if each_new {
            new = client(provider, endpoint);
            &new
        } else {
            kept
        };
        let role = client.get(ROLES).await.expect("a role");
        let document = client.get(format!("{ROLES}{}", role.as_ref())).await.expect("a document");
        assert!(document.as_ref().contains("Expiration"));
    });
}
