//! The same requests with bare reqwest: no JSON is read, nothing is checked but the status.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Response};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

struct Bare {
    client: Client,
    base: String,
    token: String,
}

impl Bare {
    async fn get(&self, path: &str) -> String {
        let url = format!("{}/latest/meta-data/iam/security-credentials/{path}", self.base);
        text(self.client.get(url).header("x-aws-ec2-metadata-token", &self.token).send().await).await
    }
}

async fn text(response: reqwest::Result<Response>) -> String {
    let response = response.and_then(Response::error_for_status).expect("an answer");
    response.text().await.expect("a body")
}

/// For no connection: the client is not built without one.
fn tls() -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring supports them")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth()
}

fn main() {
    let make = async |base: String| {
        let client = Client::builder().no_proxy().tls_backend_preconfigured(tls()).timeout(Duration::from_secs(1));
        let client = client.build().expect("a client");
        let request = client.put(format!("{base}/latest/api/token"));
        let token = text(request.header("x-aws-ec2-metadata-token-ttl-seconds", "21600").send().await).await;
        Bare { client, base, token }
    };
    imds_exporter_bench::polls(make, async |bare: &mut Bare| {
        let role = bare.get("").await;
        let document = bare.get(&role).await;
        assert!(document.contains("Expiration"));
    });
}
