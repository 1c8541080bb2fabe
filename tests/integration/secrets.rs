//! Secrets: every secret field and the session token contain a known text, in valid and in broken documents. None of
//! these texts may appear in a log at TRACE, on a page, in an error or in `{:?}` of any value.

use imds_exporter::domain::{Kind, Source};
use imds_exporter::http::Route;
use imds_exporter::imds::{parse_document, parse_profile_info};
use imds_exporter::simulator::{
    CREDENTIAL_TOKEN_PREFIX, Change, KEY_ID_PREFIX, Part, Resource, SECRET_KEY_PREFIX, SESSION_TOKEN_PREFIX,
};
use strum::VariantArray;

use crate::support::exporter::Exporter;
use crate::support::log::Log;
use crate::support::request::{get, get_until, metrics_with};
use crate::support::simulator::{
    HEALTHY, all_faults, apply, apply_toml, imds_client_for, server_side_kinds, start_simulator,
};

/// What every secret of the tests contains.
const SECRETS: [&str; 6] =
    [KEY_ID_PREFIX, SECRET_KEY_PREFIX, CREDENTIAL_TOKEN_PREFIX, SESSION_TOKEN_PREFIX, "CANARY", "canary"];

fn assert_clean(text: &str, what: &str) {
    for secret in SECRETS {
        assert!(!text.contains(secret), "{what} shows {secret}");
    }
}

/// Broken documents with secrets in the right fields and in wrong places.
fn broken_documents() -> Vec<String> {
    let secret = "CANARY-canary";
    let fields = ["Code", "LastUpdated", "AccessKeyId", "SecretAccessKey", "Token", "Expiration", "Message", secret];
    let mut documents = vec![
        secret.to_owned(),
        format!("\"{secret}\""),
        format!("{{\"Token\":\"{secret}"),
        format!("{{\"Token\":\"{secret}\"}}"),
        format!("{{\"Token\":{secret}}}"),
        format!("[\"{secret}\"]"),
        format!("<html>{secret}</html>"),
    ];
    let values = [
        format!("\"{secret}\""),
        format!("[\"{secret}\"]"),
        format!("{{\"{secret}\":\"{secret}\"}}"),
        secret.to_owned(),
    ];
    for wrong in fields {
        for value in &values {
            let good = |field: &&str| format!("\"{field}\":\"{secret}\"");
            let others: Vec<_> = fields[2..6].iter().filter(|field| **field != wrong).map(good).collect();
            documents.push(format!("{{{},\"{wrong}\":{value}}}", others.join(",")));
        }
    }
    documents
}

#[tokio::test]
async fn no_secret_appears_in_logs_pages_errors_or_debug_output() {
    let log = Log::default();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false).with_writer(log.clone());
    let _logging = tracing::subscriber::set_default(subscriber.finish());
    tracing::trace!("captured");

    let simulator = start_simulator().await;
    let exporter = Exporter::start_with(&simulator, &[("IMDS_EXPORTER_WATCH_PROCESSES", "canary")]).await;
    get_until(exporter.address, "/-/startup", |response| response.status == 200).await;
    let mut imds = imds_client_for(&simulator);
    let resolution = imds.resolve().await;
    assert!(resolution.outcome.is_ok());
    assert_clean(&format!("{resolution:?}"), "a successful resolution");

    // Timeouts show nothing, and take long.
    let slow = [Kind::ReadTimeout, Kind::ConnectTimeout, Kind::HopLimit];
    for kind in server_side_kinds().filter(|kind| !slow.contains(kind)) {
        for fault in all_faults(kind) {
            apply(&simulator, &Change::from(fault)).await;
            assert_clean(&format!("{:?}", imds.resolve().await), kind.label());
        }
    }
    apply_toml(&simulator, HEALTHY).await;
    for document in broken_documents() {
        let part = Part { body: Some(document.clone()), ..Part::default() };
        let change = Change { answers: Some([(Resource::Credentials, part)].into()), ..Change::default() };
        apply(&simulator, &change).await;
        let resolution = imds.resolve().await;
        assert!(resolution.outcome.is_err(), "{document}");
        assert_clean(&format!("{resolution:?}"), &document);
        assert_clean(&format!("{:?}{:?}", parse_document(&document), parse_profile_info(&document)), &document);
    }
    metrics_with(exporter.address, "imds_up 0").await;
    for page in Route::VARIANTS {
        assert_clean(&get(exporter.address, page.path()).await.text, page.path());
    }
    exporter.stop().await;

    let log = log.text();
    assert!(log.contains("credentials cannot be resolved"), "the log is captured");
    assert!(log.contains("captured"), "the log is captured at TRACE");
    assert_clean(&log, "the log");
}
