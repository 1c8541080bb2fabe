//! TLS and basic authentication: Prometheus scrapes with a client certificate and a password, with wrong ones of each,
//! and after the files have changed.

use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::program::{ExporterProcess, output, program, program_with_imds};
use crate::support::request::try_get;
use crate::support::simulator::start_simulator;
use crate::support::tools::{eventually, start_prometheus};

/// A certificate authority that openssl runs in `folder`.
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

    /// Writes `name.key` and `name.pem`, a certificate for `usage`.
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

/// One scrape job for each combination of certificate and password, valid or not.
fn prometheus_config(target: SocketAddr) -> String {
    let tls = |ca: &str, client: &str| format!("ca_file: {ca}.pem, cert_file: {client}.pem, key_file: {client}.key");
    let jobs = [
        ("valid", "https", tls("ca", "client"), Some("first")),
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

/// A target of Prometheus, as its API describes it.
async fn target(prometheus: SocketAddr, job: &str) -> Option<Value> {
    let response: Value = serde_json::from_str(&try_get(prometheus, "/api/v1/targets").await?).ok()?;
    let targets = response["data"]["activeTargets"].as_array()?;
    targets.iter().find(|target| target["labels"]["job"] == job).cloned()
}

/// Waits until the job has this health, and an error that contains `error`.
async fn assert_becomes(prometheus: SocketAddr, job: &str, health: &str, error: &str) {
    let wanted = async || {
        let target = target(prometheus, job).await?;
        (target["health"] == health && target["lastError"].as_str()?.contains(error)).then_some(())
    };
    eventually(&format!("{job} {health} {error}"), wanted).await;
}

#[tokio::test]
#[ignore = "needs Prometheus: tests/run fetches it"]
async fn prometheus_can_scrape_only_with_a_valid_certificate_and_password() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let (ca, other) = (Authority::new(folder, "ca"), Authority::new(folder, "other"));
    ca.issue("server", "serverAuth");
    ca.issue("renewed", "serverAuth");
    ca.issue("client", "clientAuth");
    other.issue("stranger", "clientAuth");
    write_web_config(folder, "server", "first");

    let simulator = start_simulator().await;
    let file = folder.join("web.yml").display().to_string();
    let mut command = program_with_imds(simulator.address(), &[]);
    command.env("IMDS_EXPORTER_WEB_CONFIG_FILE", file).env("IMDS_EXPORTER_PROBE_LISTEN_ADDRESS", "127.0.0.1:0");
    let exporter = ExporterProcess::start_with(command).await;

    // The probe listener needs neither TLS nor a password, and serves only probes.
    let probes = exporter.probe_address.expect("the probe listener is on");
    eventually("readiness", async || try_get(probes, "/-/ready").await).await;
    assert!(try_get(probes, "/-/healthy").await.is_some());
    for page in ["/metrics", "/", "/api/v1/status"] {
        assert!(try_get(probes, page).await.is_none(), "{page} is not served without a password");
    }
    let mut healthcheck = program(&["healthcheck"]);
    healthcheck.env("IMDS_EXPORTER_LISTEN_ADDRESS", exporter.address.to_string());
    healthcheck.env("IMDS_EXPORTER_PROBE_LISTEN_ADDRESS", probes.to_string());
    assert!(output(healthcheck).await.status.success());

    let (_prometheus, address) = start_prometheus(folder, &prometheus_config(exporter.address)).await;

    assert_becomes(address, "valid", "up", "").await;
    assert_becomes(address, "later", "down", "401").await;
    assert_becomes(address, "wrong_password", "down", "401").await;
    assert_becomes(address, "no_password", "down", "401").await;
    assert_becomes(address, "wrong_certificate", "down", "tls").await;
    assert_becomes(address, "no_certificate", "down", "tls").await;
    assert_becomes(address, "other_authority", "down", "x509").await;
    assert_becomes(address, "no_tls", "down", "").await;

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

    // New keys take effect without a restart, for open connections too.
    write_web_config(folder, "renewed", "second");
    assert_becomes(address, "later", "up", "").await;
    assert_becomes(address, "valid", "down", "401").await;
    assert_eq!(serial(), known("renewed"));

    // An invalid file changes nothing.
    fs::write(folder.join("web.yml"), "tls_server_config: {}").expect("the folder can be written");
    let before = eventually("a scrape", async || last_scrape(address).await).await;
    eventually("another scrape", async || last_scrape(address).await.filter(|at| *at > before)).await;
    assert_becomes(address, "later", "up", "").await;
    assert_becomes(address, "valid", "down", "401").await;
}

/// The time of the last scrape with the second password.
async fn last_scrape(prometheus: SocketAddr) -> Option<String> {
    target(prometheus, "later").await?["lastScrape"].as_str().map(str::to_owned)
}

#[tokio::test]
async fn an_invalid_web_config_exits_with_64_before_a_port_is_bound() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("web.yml");
    fs::write(&file, "basic_auth_user: {a: b}").expect("the folder can be written");
    let mut command = program(&[]);
    command.env("IMDS_EXPORTER_WEB_CONFIG_FILE", &file).env("IMDS_EXPORTER_LISTEN_ADDRESS", "192.0.2.1:1");
    let output = output(command).await;
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&output.stderr).contains("IMDS_EXPORTER_WEB_CONFIG_FILE: "));
}
