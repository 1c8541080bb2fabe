//! TLS and basic authentication: Prometheus scrapes with a client certificate and a password, with wrong ones of each,
//! and after the files have changed; compressed over TLS.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::exporter::listen;
use crate::support::program::{self, ExporterProcess, output, program, program_with_imds};
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

/// A series, whatever the order of its labels.
fn key(name: &str, mut labels: Vec<(String, String)>) -> String {
    // Prometheus stores the bound of a bucket as it was written or as a number.
    labels.iter_mut().filter(|(name, _)| name == "le").for_each(|(_, bound)| {
        *bound = bound.parse::<f64>().expect("a number").to_string();
    });
    labels.sort();
    let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    if labels.is_empty() { name.to_owned() } else { format!("{name} {}", labels.join(" ")) }
}

/// Whether it has the same value at the next scrape.
fn lasts(series: &str) -> bool {
    series != "imds_credentials_remaining_seconds" && !series.starts_with("process_")
}

/// The samples by series, without what is another at each scrape.
fn samples(exposition: &str) -> BTreeMap<String, f64> {
    let samples = exposition.lines().filter(|line| !line.starts_with('#'));
    let samples = samples.map(|line| line.rsplit_once(' ').expect("a sample has a value"));
    let samples = samples.map(|(series, value)| {
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let labels = labels.trim_end_matches('}').split(',').filter_map(|label| label.split_once('='));
        let labels = labels.map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned()));
        (key(name, labels.collect()), value.parse().expect("a number"))
    });
    samples.filter(|(series, _)| lasts(series)).collect()
}

/// Forwards connections to the exporter; the number is that of the bytes that came back.
async fn counting_proxy(exporter: SocketAddr) -> (SocketAddr, Arc<AtomicU64>) {
    let (listener, address) = listen().await;
    let bytes = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&bytes);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let counted = Arc::clone(&counted);
            tokio::spawn(async move {
                let server = TcpStream::connect(exporter).await.expect("the exporter listens");
                let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
                    (client.into_split(), server.into_split());
                let forth = tokio::io::copy(&mut from_client, &mut to_server);
                let back = async {
                    let mut buffer = [0; 4096];
                    while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
                        counted.fetch_add(read as u64, Ordering::Relaxed);
                        let _closed = to_client.write_all(&buffer[..read]).await;
                    }
                };
                let _closed = tokio::join!(forth, back);
            });
        }
    });
    (address, bytes)
}

/// What curl writes of a scrape.
async fn curl(folder: &Path, exporter: SocketAddr, arguments: &[&str]) -> String {
    let mut curl = program::command("curl");
    curl.args(["-sS", "-f", "--noproxy", "*", "--cacert", "ca.pem"]).args(arguments).current_dir(folder);
    curl.arg(format!("https://{exporter}/metrics"));
    let answer = output(curl).await;
    assert!(answer.status.success(), "curl: {}", String::from_utf8_lossy(&answer.stderr));
    String::from_utf8(answer.stdout).expect("it is text")
}

#[tokio::test]
#[ignore = "needs Prometheus: tests/run fetches it"]
async fn prometheus_and_curl_get_the_same_samples_compressed_over_tls() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    Authority::new(folder, "ca").issue("server", "serverAuth");
    fs::write(folder.join("web.yml"), "tls_server_config: {cert_file: server.pem, key_file: server.key}")
        .expect("the folder can be written");
    let simulator = start_simulator().await;
    let mut command = program_with_imds(simulator.address(), &[]);
    command.env("IMDS_EXPORTER_WEB_CONFIG_FILE", folder.join("web.yml"));
    command.env("IMDS_EXPORTER_PROBE_LISTEN_ADDRESS", "127.0.0.1:0").env("IMDS_EXPORTER_POLL_INTERVAL", "1h");
    let exporter = ExporterProcess::start_with_default_interval(command).await;
    let probes = exporter.probe_address.expect("the probe listener is on");
    eventually("the first poll", async || try_get(probes, "/-/ready").await).await;

    let curl = async |arguments: &[&str]| curl(folder, exporter.address, arguments).await;
    let plain = curl(&[]).await;
    let compressed = curl(&["--compressed"]).await;
    assert_eq!(samples(&compressed), samples(&plain));
    let size = |text: &str| text.parse::<usize>().expect("a number");
    let downloaded = ["-o", "/dev/null", "-w", "%{size_download}"];
    let on_the_wire = size(&curl(&[&downloaded[..], &["--compressed"]].concat()).await);
    assert!(on_the_wire * 4 <= plain.len(), "{on_the_wire} of {}", plain.len());

    let (proxy, bytes) = counting_proxy(exporter.address).await;
    let config = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: imds\n  scheme: https\n  tls_config: {{ca_file: ca.pem}}\n  \
         static_configs: [{{targets: ['{proxy}']}}]\n"
    );
    let (_prometheus, address) = start_prometheus(folder, &config).await;
    let answer = eventually("a scrape", async || {
        let query = "/api/v1/query?query=%7Bjob%3D%22imds%22%2C__name__%3D~%22imds_.*%7Cprocess_.*%22%7D";
        let answer: Value = serde_json::from_str(&try_get(address, query).await?).ok()?;
        answer["data"]["result"].as_array().filter(|series| !series.is_empty()).cloned()
    });
    let stored: BTreeMap<String, f64> = answer
        .await
        .iter()
        .map(|series| {
            let labels = series["metric"].as_object().expect("labels").iter();
            let text = |value: &Value| value.as_str().expect("a string").to_owned();
            let own = labels.filter(|(name, _)| !["__name__", "job", "instance"].contains(&name.as_str()));
            let own: Vec<_> = own.map(|(name, value)| (name.clone(), text(value))).collect();
            (key(&text(&series["metric"]["__name__"]), own), text(&series["value"][1]).parse().expect("a number"))
        })
        .filter(|(series, _)| lasts(series))
        .collect();
    assert_eq!(stored, samples(&plain));
    let two_more = async |read: u64| {
        eventually("two scrapes", async || Some(bytes.load(Ordering::Relaxed)).filter(|now| *now > read)).await
    };
    let first = two_more(bytes.load(Ordering::Relaxed)).await;
    let second = two_more(first).await;
    // A scrape may be counted in parts, so that this is an upper bound.
    assert!(second - first < plain.len() as u64 / 2, "{} of {}", second - first, plain.len());
    exporter.stop().await;
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
