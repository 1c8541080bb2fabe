//! No secret stays in the memory of the process: it is overwritten when it is freed, whichever library held it.
//!
//! That is so in an optimized program. Without optimization, the parser leaves words of the secrets on the stack, and they are
//! copied to the heap as the padding of a `None`: `TESTED_PROGRAM=target/static/imds-exporter` runs the program of the image.

use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use imds_exporter::domain::Kind;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::support::exporter::listen;
use crate::support::memory::{RUN, Secrets};
use crate::support::program::{ExporterProcess, command, output, program_with_imds, send_signal};
use crate::support::request::{get, get_until, metrics_with};
use crate::support::scrape::{Scrape, scrape_until};
use crate::support::sts::{Authority, Behavior, TestSts, error_body};
use crate::support::wait::wait_until;

/// What is wrong with the answers of [`SecretImds`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Wrong {
    #[default]
    Nothing,
    /// Two words where no token is expected.
    TokenNotText,
    /// The connection is closed in the middle of the document.
    DocumentCutOff,
    /// No JSON, after the secrets.
    DocumentMalformed,
    /// Larger than what is read.
    DocumentTooLarge,
    /// Secrets in fields that are text otherwise, with escapes that a parser has to decode.
    SecretsInOtherFields,
    /// An error with the document as its body.
    DocumentAsError,
}

/// An IMDS that remembers the secrets which it gave away, none of which is like another text.
#[derive(Default)]
struct SecretImds {
    given: Mutex<Vec<String>>,
    wrong: Mutex<Wrong>,
}

impl SecretImds {
    async fn start() -> (Arc<Self>, SocketAddr) {
        let imds = Arc::new(Self::default());
        let (listener, address) = listen().await;
        let served = Arc::clone(&imds);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let imds = Arc::clone(&served);
                tokio::spawn(async move {
                    let _closed = imds.serve(stream).await;
                });
            }
        });
        (imds, address)
    }

    /// A secret of this length.
    fn secret(&self, length: usize) -> String {
        let secret: String = std::iter::repeat_with(fastrand::alphanumeric).take(length).collect();
        self.given.lock().expect("no test panics while it holds this").push(secret.clone());
        secret
    }

    fn secrets(&self) -> Secrets {
        Secrets::of(&*self.given.lock().expect("no test panics while it holds this"))
    }

    fn set(&self, wrong: Wrong) {
        *self.wrong.lock().expect("no test panics while it holds this") = wrong;
    }

    async fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let (mut head, mut line) = (String::new(), String::new());
            while stream.read_line(&mut line).await? > 2 {
                head.push_str(&std::mem::take(&mut line));
            }
            let Some(first) = head.lines().next() else { return Ok(()) };
            let wrong = *self.wrong.lock().expect("no test panics while it holds this");
            let (status, body) = self.answer(first, wrong);
            let ttl = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds: 60";
            let cut_off = wrong == Wrong::DocumentCutOff && body.starts_with('{');
            let length = body.len() + usize::from(cut_off);
            let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: {length}\r\n{ttl}\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).await?;
            if cut_off {
                return Ok(());
            }
        }
    }

    fn answer(&self, request: &str, wrong: Wrong) -> (u16, String) {
        if request.starts_with("PUT") {
            let token = self.secret(56);
            return (200, if wrong == Wrong::TokenNotText { format!("{token} {token}") } else { format!("{token}==") });
        }
        if request.contains("security-credentials/ ") {
            return (200, "role".to_owned());
        }
        let (id, key, token) = (self.secret(20), self.secret(40), self.secret(1500));
        let code =
            if wrong == Wrong::SecretsInOtherFields { format!("\\n{}", self.secret(40)) } else { "Success".into() };
        let document = format!(
            "{{\"Code\":\"{code}\",\"LastUpdated\":\"2026-01-31T12:00:00Z\",\"Type\":\"AWS-HMAC\",\"AccessKeyId\":\"{id}\",\
             \"SecretAccessKey\":\"{key}\",\"Token\":\"{token}\",\"Expiration\":\"2099-01-31T18:00:00Z\""
        );
        match wrong {
            Wrong::DocumentMalformed | Wrong::DocumentCutOff => (200, document),
            Wrong::DocumentTooLarge => (200, format!("{document},\"More\":\"{}\"}}", self.secret(100_000))),
            Wrong::DocumentAsError => (500, format!("{document}}}")),
            _ => (200, format!("{document}}}")),
        }
    }
}

#[tokio::test]
#[ignore = "needs root, to read the memory of another process, and takes long"]
async fn no_secret_stays_in_memory_after_polls_failures_and_reloads() {
    let folder = tempfile::tempdir().expect("a folder");
    let web_config = folder.path().join("web.yml");
    fs::write(&web_config, "").expect("the folder can be written");
    let (imds, address) = SecretImds::start().await;
    let mut command = program_with_imds(address, &[]);
    command.env("IMDS_EXPORTER_WEB_CONFIG_FILE", &web_config);
    // A failed poll is followed by the next one after 5 s.
    let exporter = ExporterProcess::start_with_default_interval(command).await;
    let pid = exporter.child.id().expect("it runs");

    get_until(exporter.address, "/-/startup", |response| response.status == 200).await;
    imds.secrets().assert_gone_from(pid, "after the first poll").await;
    for page in ["/metrics", "/", "/api/v1/status"] {
        assert_eq!(get(exporter.address, page).await.status, 200);
    }

    fs::write(&web_config, "{}").expect("the folder can be written");
    send_signal(&exporter.child, "-HUP").await;
    wait_until("a reload", || exporter.logged(|line| line["message"] == "web configuration reloaded").is_some()).await;
    imds.secrets().assert_gone_from(pid, "after a reload").await;

    for (wrong, kind) in [
        (Wrong::TokenNotText, Kind::InvalidResponse),
        (Wrong::DocumentCutOff, Kind::ConnectionClosed),
        (Wrong::DocumentMalformed, Kind::MalformedDocument),
        (Wrong::DocumentTooLarge, Kind::InvalidResponse),
        (Wrong::SecretsInOtherFields, Kind::Refused),
        (Wrong::DocumentAsError, Kind::ServerError),
    ] {
        let before = Scrape::of(exporter.address).await.failures(kind);
        imds.set(wrong);
        let what = format!("a failed poll with {wrong:?}");
        scrape_until(exporter.address, &what, |scrape| scrape.failures(kind) > before).await;
        imds.secrets().assert_gone_from(pid, &format!("after a poll with {wrong:?}")).await;
    }
    exporter.stop().await;
}

/// What of an answer of STS is kept: shown on the page.
const ACCOUNT: &str = "604837152968";
const ROLE: &str = "role-that-is-shown";

#[tokio::test]
#[ignore = "needs root, to read the memory of another process, and takes long"]
async fn nothing_of_a_signed_call_stays_in_memory_but_account_and_role() {
    let folder = tempfile::tempdir().expect("a folder");
    let (authority, bundle) = (Authority::new(), folder.path().join("ca.pem"));
    authority.write(&bundle);
    let random = |length| std::iter::repeat_with(fastrand::alphanumeric).take(length).collect::<String>();
    let (user_id, session, request_id, message) = (random(30), random(30), random(30), random(60));
    let of_answer = [
        // Runs of eight bytes that are not of the account or the role alone.
        format!("sts::{}", &ACCOUNT[..6]),
        format!("{}:assumed-role/{}", &ACCOUNT[6..], &ROLE[..6]),
        format!("{}/{session}", &ROLE[ROLE.len() - 6..]),
        user_id.clone(),
        request_id.clone(),
        message.clone(),
    ];
    let accepted = format!(
        "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:sts::{ACCOUNT}:assumed-role/{ROLE}/{session}</Arn>\
         <UserId>{user_id}</UserId><Account>{ACCOUNT}</Account></GetCallerIdentityResult><ResponseMetadata><RequestId>\
         {request_id}</RequestId></ResponseMetadata></GetCallerIdentityResponse>"
    );
    for (behavior, ended) in [
        (Behavior::Answer(200, accepted), "imds_signed_call_up 1"),
        (
            Behavior::Answer(403, error_body("ExpiredToken", &message)),
            "imds_signed_call_failure_active{reason=\"expired_token\"} 1",
        ),
        (Behavior::Answer(200, message.clone()), "imds_signed_call_failure_active{reason=\"unexpected\"} 1"),
        (Behavior::Hang, "imds_signed_call_failure_active{reason=\"timeout\"} 1"),
    ] {
        let (imds, address) = SecretImds::start().await;
        let sts = TestSts::start_tls("eu-central-1", &authority, "127.0.0.1").await;
        sts.set(behavior);
        let mut command = program_with_imds(address, &[]);
        command.env("IMDS_EXPORTER_SIGNED_CALL_INTERVAL", "1m").env("AWS_REGION", "eu-central-1");
        command.env("AWS_ENDPOINT_URL_STS", sts.url()).env("AWS_CA_BUNDLE", &bundle);
        command.env("IMDS_EXPORTER_LOG", "trace");
        let exporter = ExporterProcess::start_with_default_interval(command).await;
        let pid = exporter.child.id().expect("it runs");
        metrics_with(exporter.address, ended).await;
        assert_eq!(sts.calls().len(), 1);
        imds.secrets().assert_gone_from(pid, &format!("after a signed call, {ended}")).await;
        Secrets::of(&of_answer).assert_gone_from(pid, &format!("after a signed call, {ended}")).await;
        let signature = sts.calls()[0].header("authorization").to_owned();
        let signature = signature.split_once("Signature=").expect("it is signed").1;
        Secrets::of([signature]).assert_gone_from(pid, "the signature").await;
        exporter.stop().await;
    }
}

#[tokio::test]
#[ignore = "needs root, to read the memory of another process"]
async fn the_scan_finds_a_secret_that_is_there() {
    let kept: String = std::iter::repeat_with(fastrand::alphanumeric).take(24).collect();
    let (_, address) = SecretImds::start().await;
    let mut command = program_with_imds(address, &[]);
    command.env("IMDS_EXPORTER_EXPECTED_ROLE", &kept);
    let exporter = ExporterProcess::start_with_default_interval(command).await;
    let pid = exporter.child.id().expect("it runs");
    // A run of eight bytes is enough, wherever it is; seven are no run. What stands beside it is no part of a role's name.
    let other = || std::iter::repeat_with(fastrand::alphanumeric).take(2 * RUN).collect::<String>();
    let around = |run: &str| format!("{}#{run}#{}", other(), other());
    for at in [0, 5, kept.len() - RUN] {
        let found = Secrets::of([around(&kept[at..at + RUN])]).found_in(pid);
        // The C library of the image has its heap in anonymous memory.
        assert!(found.contains("[heap]") || found.contains("anonymous memory"), "{found}");
    }
    assert_eq!(Secrets::of([around(&kept[3..2 + RUN])]).found_in(pid), "");
    exporter.stop().await;
}

const AS_NOBODY: [&str; 4] = ["--reuid=65534", "--regid=65534", "--clear-groups", "--"];

#[tokio::test]
#[ignore = "needs root, to become another user"]
async fn others_cannot_read_the_memory_and_its_own_metrics_do_not_suffer() {
    let (_, address) = SecretImds::start().await;
    let program = program_with_imds(address, &[]);
    let mut nobody = command("setpriv");
    nobody.args(AS_NOBODY).arg(program.as_std().get_program()).env_clear();
    nobody.envs(program.as_std().get_envs().filter_map(|(name, value)| Some((name, value?))));
    let exporter = ExporterProcess::start_with_default_interval(nobody).await;
    let pid = exporter.child.id().expect("it runs");
    get_until(exporter.address, "/-/startup", |response| response.status == 200).await;

    let text = get(exporter.address, "/metrics").await.text;
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}: {text}"));
        line.trim().parse::<f64>().expect("a number")
    };
    for name in ["process_open_fds ", "process_max_fds ", "process_threads ", "process_resident_memory_bytes "] {
        assert!(value(name) > 1.0, "{name}: {text}");
    }
    assert!(value("process_start_time_seconds ") > 1e9, "{text}");

    for file in ["mem", "environ", "maps"] {
        let mut head = command("setpriv");
        head.args(AS_NOBODY).args(["head", "-c1", &format!("/proc/{pid}/{file}")]);
        assert!(!output(head).await.status.success(), "{file} can be read by the same user");
    }
    exporter.stop().await;
}
