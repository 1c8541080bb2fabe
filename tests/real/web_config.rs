//! The real Prometheus at a guarded door: over TLS with a client's certificate and a password, with wrong ones of
//! each, and after the files changed.

use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use tokio::time::timeout;

use crate::support::simulator;
use crate::tools::{Exporter, PATIENCE, command, get, prometheus, until};

/// Makes certificates with openssl, in `folder`.
struct Authority<'a> {
    folder: &'a Path,
    name: &'a str,
}

impl<'a> Authority<'a> {
    fn new(folder: &'a Path, name: &'a str) -> Self {
        let (key, cert, subject) = (format!("{name}.key"), format!("{name}.pem"), format!("/CN={name}"));
        let mut arguments = vec!["req", "-x509", "-days", "2", "-subj", &subject, "-keyout", &key, "-out", &cert];
        arguments.extend(NEW_KEY);
        openssl(folder, &arguments);
        Self { folder, name }
    }

    /// `name.key` and `name.pem`, good for `usage`.
    fn issue(&self, name: &str, usage: &str) {
        let file = |ending: &str| format!("{name}.{ending}");
        let subject = format!("/CN={name}");
        let (key, request, cert, extensions) = (file("key"), file("csr"), file("pem"), file("ext"));
        let mut arguments = vec!["req", "-subj", &subject, "-keyout", &key, "-out", &request];
        arguments.extend(NEW_KEY);
        openssl(self.folder, &arguments);
        let text = format!("subjectAltName=IP:127.0.0.1\nextendedKeyUsage={usage}\n");
        fs::write(self.folder.join(&extensions), text).expect("the folder can be written");
        let (ca, ca_key) = (format!("{}.pem", self.name), format!("{}.key", self.name));
        let sign = ["x509", "-req", "-days", "2", "-in", &request, "-CA", &ca, "-CAkey", &ca_key, "-CAcreateserial"];
        openssl(self.folder, &[&sign[..], &["-extfile", &extensions, "-out", &cert]].concat());
    }
}

const NEW_KEY: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

fn openssl(folder: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("openssl");
    let output = command.args(arguments).current_dir(folder).stdin(Stdio::null()).output();
    let output = output.expect("openssl is missing: install the package 'openssl'");
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn write_web_config(folder: &Path, server: &str, password: &str) {
    let hash = bcrypt::hash_with_salt(password, 4, [7; 16]).expect("a hash").format_for_version(bcrypt::Version::TwoY);
    let text = format!(
        "tls_server_config:\n  cert_file: {server}.pem\n  key_file: {server}.key\n  client_ca_file: ca.pem\n  \
         client_auth_type: RequireAndVerifyClientCert\n  min_version: TLS13\nbasic_auth_users:\n  prometheus: {hash}\n"
    );
    fs::write(folder.join("new.yml"), text).expect("the folder can be written");
    fs::rename(folder.join("new.yml"), folder.join("web.yml")).expect("the folder can be written");
}

/// One scrape job for each key that a client may hold, right or wrong.
fn prometheus_config(target: SocketAddr) -> String {
    let tls = |ca: &str, client: &str| format!("ca_file: {ca}.pem, cert_file: {client}.pem, key_file: {client}.key");
    let jobs = [
        ("right", "https", tls("ca", "client"), Some("first")),
        ("later", "https", tls("ca", "client"), Some("second")),
        ("wrong_password", "https", tls("ca", "client"), Some("wrong")),
        ("no_password", "https", tls("ca", "client"), None),
        ("wrong_certificate", "https", tls("ca", "stranger"), Some("first")),
        ("no_certificate", "https", "ca_file: ca.pem".to_owned(), Some("first")),
        ("other_authority", "https", tls("other", "client"), Some("first")),
        ("no_tls", "http", String::new(), Some("first")),
    ];
    let mut text = "global: {scrape_interval: 1s}\nscrape_configs:\n".to_owned();
    for (name, scheme, tls, password) in jobs {
        write!(text, "- job_name: {name}\n  scheme: {scheme}\n  static_configs: [{{targets: ['{target}']}}]\n")
            .expect("a String takes all");
        writeln!(text, "  tls_config: {{{tls}}}").expect("a String takes all");
        if let Some(password) = password {
            writeln!(text, "  basic_auth: {{username: prometheus, password: {password}}}").expect("a String takes all");
        }
    }
    text
}

/// Health and last error of a job that was scraped.
async fn scraped(prometheus: SocketAddr, job: &str) -> Option<(String, String)> {
    let answer: Value = serde_json::from_str(&get(prometheus, "/api/v1/targets").await?).ok()?;
    let targets = answer["data"]["activeTargets"].as_array()?.clone();
    let target = targets.into_iter().find(|target| target["labels"]["job"] == job)?;
    let health = target["health"].as_str().filter(|health| *health != "unknown")?;
    Some((health.to_owned(), target["lastError"].as_str()?.to_owned()))
}

async fn becomes(prometheus: SocketAddr, job: &str, health: &str, error: &str) {
    let wanted =
        async || scraped(prometheus, job).await.filter(|(seen, told)| seen == health && told.contains(error)).map(drop);
    until(wanted, &format!("{job} {health} {error}")).await;
}

#[tokio::test]
#[ignore = "needs Prometheus: tests/run fetches it"]
async fn prometheus_gets_in_with_the_right_keys_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let (ca, other) = (Authority::new(folder, "ca"), Authority::new(folder, "other"));
    ca.issue("server", "serverAuth");
    ca.issue("renewed", "serverAuth");
    ca.issue("client", "clientAuth");
    other.issue("stranger", "clientAuth");
    write_web_config(folder, "server", "first");

    let simulator = simulator().await;
    let file = folder.join("web.yml").display().to_string();
    let more =
        [("IMDS_EXPORTER_WEB_CONFIG_FILE", file.as_str()), ("IMDS_EXPORTER_PROBE_LISTEN_ADDRESS", "127.0.0.1:0")];
    let exporter = Exporter::start_with(simulator.address(), &more).await;

    // The probes need no key, and tell nothing else.
    let probes = exporter.probes.expect("they are on");
    until(async || get(probes, "/-/ready").await, "readiness").await;
    assert!(get(probes, "/-/healthy").await.is_some());
    for page in ["/metrics", "/", "/api/v1/status"] {
        assert!(get(probes, page).await.is_none(), "{page} is not for everybody");
    }
    let mut healthcheck = command(env!("CARGO_BIN_EXE_imds-exporter").into());
    healthcheck.arg("healthcheck").env_clear().env("IMDS_EXPORTER_LISTEN_ADDRESS", exporter.address.to_string());
    healthcheck.env("IMDS_EXPORTER_PROBE_LISTEN_ADDRESS", probes.to_string());
    assert!(healthcheck.status().await.expect("it runs").success());

    let (_prometheus, address) = prometheus(folder, &prometheus_config(exporter.address)).await;

    becomes(address, "right", "up", "").await;
    becomes(address, "later", "down", "401").await;
    becomes(address, "wrong_password", "down", "401").await;
    becomes(address, "no_password", "down", "401").await;
    becomes(address, "wrong_certificate", "down", "tls").await;
    becomes(address, "no_certificate", "down", "tls").await;
    becomes(address, "other_authority", "down", "x509").await;
    becomes(address, "no_tls", "down", "").await;

    let serial = || {
        let (cert, key) = (folder.join("client.pem"), folder.join("client.key"));
        let (cert, key) = (cert.display().to_string(), key.display().to_string());
        let peer = exporter.address.to_string();
        let shown = openssl(folder, &["s_client", "-connect", &peer, "-cert", &cert, "-key", &key, "-showcerts"]);
        fs::write(folder.join("shown.pem"), shown).expect("the folder can be written");
        openssl(folder, &["x509", "-in", "shown.pem", "-noout", "-serial"])
    };
    let known = |name: &str| openssl(folder, &["x509", "-in", &format!("{name}.pem"), "-noout", "-serial"]);
    assert_eq!(serial(), known("server"));

    // New keys come into force without a restart, for connections that are open already too.
    write_web_config(folder, "renewed", "second");
    becomes(address, "later", "up", "").await;
    becomes(address, "right", "down", "401").await;
    assert_eq!(serial(), known("renewed"));

    // A file that is broken leaves the door as it was.
    fs::write(folder.join("web.yml"), "tls_server_config: {}").expect("the folder can be written");
    let before = until(async || scrapes(address).await, "a scrape").await;
    until(async || scrapes(address).await.filter(|at| *at > before), "a further scrape").await;
    becomes(address, "later", "up", "").await;
    becomes(address, "right", "down", "401").await;
}

/// When the job of the later password was scraped last.
async fn scrapes(prometheus: SocketAddr) -> Option<String> {
    let answer: Value = serde_json::from_str(&get(prometheus, "/api/v1/targets").await?).ok()?;
    let targets = answer["data"]["activeTargets"].as_array()?.clone();
    let target = targets.into_iter().find(|target| target["labels"]["job"] == "later")?;
    target["lastScrape"].as_str().map(str::to_owned)
}

#[tokio::test]
#[ignore = "belongs to the feature web-config, which tests/run builds apart"]
async fn a_web_config_that_is_wrong_ends_it_before_a_port_is_bound() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("web.yml");
    fs::write(&file, "basic_auth_user: {a: b}").expect("the folder can be written");
    let mut command = command(env!("CARGO_BIN_EXE_imds-exporter").into());
    command.env_clear().env("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.255.255.255:9");
    command.env("IMDS_EXPORTER_WEB_CONFIG_FILE", &file).env("IMDS_EXPORTER_LISTEN_ADDRESS", "192.0.2.1:1");
    let output = timeout(PATIENCE, command.output()).await.expect("it ends").expect("it runs");
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&output.stderr).contains("IMDS_EXPORTER_WEB_CONFIG_FILE: "));
}
