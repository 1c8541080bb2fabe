//! Secrets: canaries in every secret field and in the session token, in good and in broken documents. None of them
//! may show in a log at TRACE, on a page, in an error or in `{:?}` of any value.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use imds_exporter::imds::{Session, SessionToken, parse_document, parse_profile_info};
use imds_exporter::simulator::{
    CREDENTIAL_TOKEN_PREFIX, Fault, KEY_ID_PREFIX, SECRET_KEY_PREFIX, SESSION_TOKEN_PREFIX, steps, variants,
};
use imds_exporter::simulator::{Change, Content, is_client_side};
use imds_exporter::{http::Page, model::Kind, source::Source};
use tracing_subscriber::fmt::MakeWriter;

use crate::http::Exporter;
use crate::support::{client_of, simulator, tell};

const CANARIES: [&str; 6] =
    [KEY_ID_PREFIX, SECRET_KEY_PREFIX, CREDENTIAL_TOKEN_PREFIX, SESSION_TOKEN_PREFIX, "CANARY", "canary"];

fn assert_clean(text: &str, what: &str) {
    for canary in CANARIES {
        assert!(!text.contains(canary), "{what} shows {canary}");
    }
}

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("no test panics while it holds this")).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no test panics while it holds this").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Documents in which secrets stand in the wrong places, or in the right places of wrong documents.
fn wrong_documents() -> Vec<String> {
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
async fn no_secret_is_logged_shown_or_put_into_a_value() {
    let log = Log::default();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false).with_writer(log.clone());
    let _logging = tracing::subscriber::set_default(subscriber.finish());

    let simulator = simulator().await;
    let exporter = Exporter::start(&simulator, &[("IMDS_EXPORTER_WATCH_PROCESSES", "canary")]).await;
    exporter.until("/-/startup", |status, _| status == 200).await;
    let mut imds = client_of(&simulator);
    let resolution = imds.resolve().await;
    assert!(resolution.outcome.is_ok());
    assert_clean(&format!("{resolution:?}"), "a good resolution");

    for kind in Kind::ALL.iter().filter(|kind| !is_client_side(**kind)) {
        let labels: Vec<_> = variants(*kind).iter().map(|form| form.label()).collect();
        for form in labels.iter().map(Some).chain(labels.is_empty().then_some(None)) {
            let fault = Fault::new(*kind).expect("a kind that a server makes");
            let fault = form.map_or(Ok(fault), |form| fault.in_variant(form)).expect("a form of this kind");
            // Time-outs show nothing, and take long; the token's step is where the others need no time.
            if *kind == Kind::ReadTimeout || *kind == Kind::ConnectTimeout || *kind == Kind::HopLimit {
                continue;
            }
            for step in steps(*kind, fault.variant()) {
                let fault = fault.at_step(*step).expect("a step of this form");
                simulator.apply(&Change::from(fault)).await.expect("the simulator can do that");
                assert_clean(&format!("{:?}", imds.resolve().await), kind.label());
            }
        }
    }
    tell(&simulator, "fault = \"none\"").await;
    for document in wrong_documents() {
        let change = Change { document: Some(Content::Raw(document.clone())), ..Change::default() };
        simulator.apply(&change).await.expect("the simulator can do that");
        let resolution = imds.resolve().await;
        assert!(resolution.outcome.is_err(), "{document}");
        assert_clean(&format!("{resolution:?}"), &document);
        assert_clean(
            &format!("{:?}{:?}", parse_document(document.as_bytes()), parse_profile_info(document.as_bytes())),
            &document,
        );
    }
    exporter.until("/metrics", |_, body| body.contains("imds_up 0")).await;
    for page in Page::ALL {
        assert_clean(&exporter.get(page.path()).await.1, page.path());
    }
    exporter.stop().await;

    let token = SessionToken::parse(b"CANARY").expect("a legal token");
    assert_clean(&format!("{:?}", Session::new(token, None, imds_exporter::clock::monotonic())), "a session");
    let log = log.text();
    assert!(log.contains("credentials cannot be resolved"), "the log is listened to");
    assert!(log.contains("TRACE"), "the log is listened to at TRACE");
    assert_clean(&log, "the log");
}
