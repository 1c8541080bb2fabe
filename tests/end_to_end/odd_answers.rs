//! What boto3 makes of odd answers, and what the exporter says that it makes of them: the same, or nothing.
//!
//! A server answers each client with what its case says, byte for byte. Real clients of boto3 in several versions, and the
//! exporter's own resolution, ask it in the same way.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use imds_exporter::domain::{Creation, Source};
use imds_exporter::imds::{DEFAULT_ATTEMPTS, ImdsOptions};
use imds_exporter::platform::clock::{Clock, SystemClock};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::support::exporter::listen;
use crate::support::request::read_head;
use crate::support::simulator::{imds_client, imds_options};
use crate::support::tools::{Python, python, tool};

/// The folders with boto3; "" is the newest, of the environment itself.
const VERSIONS: [&str; 5] = ["boto3-1.20", "boto3-1.26", "boto3-1.34", "boto3-1.40", ""];

const TIMEOUT: Duration = Duration::from_secs(1);

const ROLES: &str = "latest/meta-data/iam/security-credentials/";

/// The pieces of an answer, with a pause after each but the last.
#[derive(Clone)]
struct Answer {
    pieces: Vec<Vec<u8>>,
    pause: Duration,
    /// Whether the connection stays open, without another byte.
    hangs: bool,
}

impl Answer {
    fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self { pieces: vec![bytes.into()], pause: Duration::ZERO, hangs: false }
    }

    fn new(status: u16, content_type: &str, body: &[u8]) -> Self {
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status} Status\r\nContent-Length: {length}\r\nContent-Type: {content_type}\r\nConnection: close\r\n\r\n"
        );
        Self::raw([head.as_bytes(), body].concat())
    }

    fn ok(body: impl AsRef<[u8]>) -> Self {
        Self::new(200, "text/plain", body.as_ref())
    }

    fn status(status: u16) -> Self {
        Self::new(status, "text/html", b"<html>error</html>")
    }

    fn hang() -> Self {
        Self { hangs: true, ..Self::raw("") }
    }

    fn in_pieces(self, count: usize, pause: u64) -> Self {
        let whole = self.pieces.concat();
        let length = whole.len().div_ceil(count);
        let pieces = whole.chunks(length).map(<[u8]>::to_vec).collect();
        Self { pieces, pause: Duration::from_millis(pause), ..self }
    }
}

/// One case: the answers, in their order; the last is repeated.
#[derive(Clone)]
struct Case {
    name: String,
    token: Vec<Answer>,
    role: Vec<Answer>,
    document: Vec<Answer>,
    /// The token without which a GET is answered 401.
    required: Option<Vec<u8>>,
    /// The path under which the document is.
    path: &'static str,
    attempts: u32,
    v1_disabled: bool,
}

impl Case {
    fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            token: vec![Answer::ok("TOKEN")],
            role: vec![Answer::ok("web")],
            document: vec![Answer::ok(good().to_string())],
            required: None,
            path: "web",
            attempts: 1,
            v1_disabled: false,
        }
    }

    fn token(self, answers: impl IntoIterator<Item = Answer>) -> Self {
        Self { token: answers.into_iter().collect(), ..self }
    }

    fn role(self, answers: impl IntoIterator<Item = Answer>) -> Self {
        Self { role: answers.into_iter().collect(), ..self }
    }

    fn document(self, answers: impl IntoIterator<Item = Answer>) -> Self {
        Self { document: answers.into_iter().collect(), ..self }
    }

    fn required(self, token: &[u8]) -> Self {
        Self { required: Some(token.trim_ascii().to_vec()), ..self }
    }

    fn attempts(self, attempts: u32) -> Self {
        Self { attempts, ..self }
    }

    fn answers(&self, request: &Request) -> Vec<Answer> {
        if request.put {
            return self.token.clone();
        }
        match (&self.required, &request.token) {
            (Some(required), token) if token.as_ref() != Some(required) => vec![Answer::status(401)],
            _ => match request.path.strip_prefix(ROLES) {
                Some("") => self.role.clone(),
                Some(path) if path == self.path => self.document.clone(),
                _ => vec![Answer::status(404)],
            },
        }
    }
}

fn good() -> Value {
    json!({
        "Code": "Success", "LastUpdated": "2026-01-31T12:00:00Z", "Type": "AWS-HMAC", "AccessKeyId": "ASIAMADEUP",
        "SecretAccessKey": "made-up", "Token": "made-up", "Expiration": "2099-01-31T18:00:00Z",
    })
}

fn with(field: &str, value: Value) -> String {
    let mut document = good();
    document[field] = value;
    document.to_string()
}

fn token_cases() -> Vec<Case> {
    let long = vec![b'T'; 70_000];
    let bodies: [(&str, &[u8]); 15] = [
        ("empty", b""),
        ("a blank", b" "),
        ("blanks and a tab", b" \t "),
        ("a leading blank", b" TOKEN"),
        ("a trailing blank", b"TOKEN "),
        ("two words", b"TO KEN"),
        ("Latin-1", b"TOK\xe9N"),
        ("a trailing newline", b"TOKEN\n"),
        ("a trailing CRLF", b"TOKEN\r\n"),
        ("two lines", b"TO\nKEN"),
        ("a CR", b"TO\rKEN"),
        ("a page", b"<html>\n<body>\n</body></html>"),
        ("an indented page", b"<html>\n <body>\n </body></html>"),
        ("a NUL", b"TO\0KEN"),
        ("64 KiB and more", &long),
    ];
    let mut cases = Vec::new();
    for (name, body) in bodies {
        let case = Case::new(format!("token: {name}")).token([Answer::ok(body)]);
        cases.push(case.clone().required(b"another"));
        cases.push(Case { name: format!("{}, tokens optional", case.name), ..case });
    }
    for (name, content_type, body) in [
        ("Latin-1 without a type", "", &b"TOK\xe9N"[..]),
        ("UTF-8 beyond Latin-1", "text/plain; charset=utf-8", "€".as_bytes()),
        ("a charset of Python", "text/plain; charset=utf-16", b"TOKEN"),
        ("an octet stream", "application/octet-stream", b"TOKEN"),
    ] {
        cases.push(Case::new(format!("token: {name}")).token([Answer::new(200, content_type, body)]));
    }
    for status in [204, 302, 400, 401, 403, 404, 405, 411, 429, 500, 503] {
        let case = Case::new(format!("token: {status}")).token([Answer::status(status)]);
        cases.push(Case { name: format!("{}, tokens optional", case.name), ..case.clone() });
        cases.push(case.required(b"TOKEN"));
    }
    cases
}

fn role_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for list in [
        "web\n",
        "web\r\n",
        "web\nother",
        " web",
        "web ",
        "we b",
        "wéb",
        "",
        "\n",
        " ",
        "/web",
        "web/",
        "..",
        "<html>\n<body/></html>",
        "web?x",
        "web#x",
        "we%62",
        "w\"[b]",
    ] {
        cases.push(Case::new(format!("role: {list:?}")).role([Answer::ok(list)]));
    }
    for path in ["arn:aws:iam::123456789012:role/team/app", "team/app", "A_z+=,.@-9"] {
        cases.push(Case { path, ..Case::new(format!("role: {path}")).role([Answer::ok(path)]) });
    }
    cases.push(Case::new("role: no text").role([Answer::new(200, "", b"w\xffb")]));
    for status in [204, 302, 401, 403, 404, 429, 500] {
        cases.push(Case::new(format!("role: {status}")).role([Answer::status(status)]));
    }
    cases
}

/// With bars between them.
const EXPIRATIONS: &str = "\
    2099-01-31T18:00:00|2099-01-31T18:00:00.5Z|2099-01-31T18:00:00.123456789Z|2099-01-31T18:00:00+02:00|\
    2099-01-31T18:00:00+0000|2099-01-31T18:00:00-05|2099-01-31T18:00:00+25:00|2099-01-31 18:00:00Z|\
    2099-01-31t18:00:00z|2099-01-31T18:00:00Z[UTC]|2099-01-31T18:00:00 UTC| 2099-01-31T18:00:00Z\n|\
    2099-01-31T18:00:00,5Z|2099-01-31T18:00:00 EST|20990131T180000Z|20990131T180000|2099-01-31|\
    2099-13-31T18:00:00Z|2099-02-30T18:00:00Z|2099-01-31T24:00:00Z|2099-01-31T18:00:60Z|9999-12-31T23:59:59Z|\
    0001-01-01T00:00:00Z|Sat, 31 Jan 2099 18:00:00 GMT|Sat, 31 Jan 2099 18:00:00 +0000|Sat Jan 31 18:00:00 2099|\
    2020-01-31T18:00:00.5Z|soon|4073562000|4073562000000";

fn document_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for field in ["Code", "LastUpdated", "AccessKeyId", "SecretAccessKey", "Token", "Expiration"] {
        for value in [json!(null), json!(""), json!(5), json!(0), json!(true), json!(["x"]), json!({}), json!("Failed")]
        {
            let name = format!("document: {field} is {value}");
            cases.push(Case::new(name).document([Answer::ok(with(field, value))]));
        }
        let mut without = good();
        without.as_object_mut().expect("an object").remove(field);
        cases.push(Case::new(format!("document: no {field}")).document([Answer::ok(without.to_string())]));
    }
    for expiration in EXPIRATIONS.split('|') {
        let document = with("Expiration", json!(expiration));
        cases.push(Case::new(format!("expiration: {expiration:?}")).document([Answer::ok(document)]));
    }
    let good = good().to_string();
    let and = |more: &str| format!("{},\"x\":{more}}}", &good[..good.len() - 1]);
    for (name, body) in [
        ("empty", String::new()),
        ("null", "null".to_owned()),
        ("a number", "5".to_owned()),
        ("a list", "[]".to_owned()),
        ("a text", "\"x\"".to_owned()),
        ("a page", "<html></html>".to_owned()),
        ("cut off", good[..good.len() - 1].to_owned()),
        ("text behind it", format!("{good} x")),
        ("a newline around it", format!("\n{good}\n")),
        ("a comma too many", and("1,")),
        ("a control character", and("\"\u{1}\"")),
        ("NaN", and("NaN")),
        ("half a surrogate", and("\"\\ud800\"")),
        ("deep", and(&format!("{}{}", "[".repeat(200), "]".repeat(200)))),
        ("keys in lower case", good.to_ascii_lowercase()),
        ("a field twice", good.replacen('{', "{\"Token\":null,", 1)),
        ("a byte order mark", format!("\u{feff}{good}")),
        ("an error", json!({"Code": "AssumeRoleUnauthorizedAccess", "Message": "x"}).to_string()),
    ] {
        for content_type in ["text/plain", "application/json"] {
            let answer = Answer::new(200, content_type, body.as_bytes());
            cases.push(Case::new(format!("document: {name}, {content_type}")).document([answer]));
        }
    }
    let latin1 = [&good.as_bytes()[..good.len() - 1], b",\"x\":\"\xe9\"}"].concat();
    for content_type in ["text/plain", "", "text/plain; charset=utf-8"] {
        let answer = Answer::new(200, content_type, &latin1);
        cases.push(Case::new(format!("document: Latin-1 as {content_type:?}")).document([answer]));
    }
    for status in [204, 302, 401, 403, 404, 429, 500] {
        cases.push(Case::new(format!("document: {status}")).document([Answer::status(status)]));
    }
    cases
}

fn transport_cases() -> Vec<Case> {
    let ok = || Answer::ok("TOKEN");
    let list = || Answer::ok("web");
    let document = || Answer::ok(good().to_string());
    let not_http = || Answer::raw("SSH-2.0-OpenSSH_9.6\r\n");
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nweb\r\n0\r\n\r\n";
    let closed = || Answer::raw("");
    let mut cases = vec![
        Case::new("a token that never comes, tokens optional").token([Answer::hang()]),
        Case::new("a token that never comes").token([Answer::hang()]).required(b"TOKEN"),
        Case::new("a role list that never comes").role([Answer::hang()]),
        Case::new("a document that never comes").document([Answer::hang()]),
        Case::new("a document in pieces").document([document().in_pieces(4, 500)]),
        Case::new("a role list in pieces, head included").role([list().in_pieces(5, 400)]),
        Case::new("a token in pieces").token([ok().in_pieces(3, 700)]),
        Case::new("a document with a pause that is too long").document([document().in_pieces(2, 4_000)]),
        Case::new("a role list in chunks").role([Answer::raw(chunked)]),
        Case::new("a role list until the end of the connection").role([Answer::raw("HTTP/1.0 200 OK\r\n\r\nweb")]),
        Case::new("a token connection closed, tokens optional").token([closed()]),
        Case::new("a token connection closed").token([closed()]).required(b"TOKEN"),
        Case::new("a role list connection closed").role([closed()]),
        Case::new("a document connection closed").document([closed()]),
        Case::new("a token that is not HTTP").token([not_http()]).required(b"TOKEN"),
        Case::new("a role list that is not HTTP").role([not_http()]),
    ];
    // Attempts, without a pause between them.
    for (name, case) in [
        ("token 503 twice", Case::new("").token([Answer::status(503), Answer::status(503), ok()]).required(b"TOKEN")),
        ("token 503 always", Case::new("").token([Answer::status(503)]).required(b"TOKEN")),
        ("token 403 once", Case::new("").token([Answer::status(403), ok()]).required(b"TOKEN")),
        ("token 400 once", Case::new("").token([Answer::status(400), ok()]).required(b"TOKEN")),
        ("token hangs once", Case::new("").token([Answer::hang(), ok()]).required(b"TOKEN")),
        ("token connection closed once", Case::new("").token([closed(), ok()]).required(b"TOKEN")),
        ("role list hangs once", Case::new("").role([Answer::hang(), list()])),
        ("role list empty once", Case::new("").role([Answer::ok(""), list()])),
        ("role list 404 twice", Case::new("").role([Answer::status(404), Answer::status(404), list()])),
        ("document no JSON once", Case::new("").document([Answer::ok("<html>"), document()])),
        ("document incomplete once", Case::new("").document([Answer::ok("{}"), document()])),
        ("document 500 twice", Case::new("").document([Answer::status(500), Answer::status(500), document()])),
        ("document closed three times", Case::new("").document([closed(), closed(), closed(), document()])),
    ] {
        cases.push(Case { name: format!("three attempts: {name}"), ..case.attempts(3) });
    }
    for status in [400, 403, 500] {
        let case = Case::new(format!("IMDSv1 disabled: token {status}")).token([Answer::status(status)]);
        cases.push(Case { v1_disabled: true, ..case });
    }
    cases
}

/// A request: whose it is, and what it asks for.
struct Request {
    case: usize,
    client: String,
    put: bool,
    path: String,
    token: Option<Vec<u8>>,
}

async fn read_request(stream: &mut TcpStream) -> Option<Request> {
    let head = read_head(stream).await?;
    let first = String::from_utf8_lossy(head.split(|c| *c == b'\r').next()?).into_owned();
    let mut path = first.split(' ').nth(1)?.splitn(4, '/').skip(1);
    let name: &[u8] = b"x-aws-ec2-metadata-token:";
    let header = |line: &[u8]| {
        let is_token = line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
        is_token.then(|| line[name.len()..].trim_ascii().to_vec())
    };
    let token = head.split(|c| *c == b'\n').find_map(header);
    let case = path.next()?.parse().ok()?;
    let client = path.next()?.to_owned();
    Some(Request { case, client, put: first.starts_with("PUT "), path: path.next()?.to_owned(), token })
}

/// How often each client has asked for each thing.
type Asked = Arc<Mutex<HashMap<(usize, String, String), usize>>>;

async fn serve(mut stream: TcpStream, cases: Arc<Vec<Case>>, asked: Asked) -> Option<()> {
    let request = read_request(&mut stream).await?;
    let mut answers = cases[request.case].answers(&request);
    let key = (request.case, request.client, request.path);
    let count = {
        let mut asked = asked.lock().expect("no panic");
        let count = asked.entry(key).or_default();
        *count += 1;
        *count - 1
    };
    let answer = answers.swap_remove(count.min(answers.len() - 1));
    for (number, piece) in answer.pieces.iter().enumerate() {
        if number > 0 {
            sleep(answer.pause).await;
        }
        stream.write_all(piece).await.ok()?;
    }
    if answer.hangs {
        sleep(TIMEOUT * 5).await;
    }
    Some(())
}

async fn start(cases: &Arc<Vec<Case>>) -> SocketAddr {
    let (listener, address) = listen().await;
    let (cases, asked) = (Arc::clone(cases), Asked::default());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&cases), Arc::clone(&asked)));
        }
    });
    address
}

/// What the clients of one version do, case by case.
async fn created_by_boto3(version: &str, cases: Arc<Vec<Case>>, imds: SocketAddr) -> Vec<String> {
    let mut program = python("programs/create_clients.py");
    program.env("PYTHONWARNINGS", "ignore");
    if !version.is_empty() {
        program.env("PYTHONPATH", tool(version));
    }
    let mut program = Python::start(program);
    let mut outcomes = Vec::new();
    for (number, Case { attempts, v1_disabled, .. }) in cases.iter().enumerate() {
        let line = format!(
            "http://{imds}/{number}/{version}x/ AWS_METADATA_SERVICE_NUM_ATTEMPTS={attempts} \
             AWS_EC2_METADATA_V1_DISABLED={v1_disabled}"
        );
        outcomes.push(program.ask(line).await);
    }
    outcomes
}

/// What the exporter says that such a client does.
async fn created_by_exporter(cases: &[Case], imds: SocketAddr) -> Vec<Creation> {
    let mut creations = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let attempts = NonZeroU32::new(case.attempts).unwrap_or(DEFAULT_ATTEMPTS);
        let options = imds_options(&format!("http://{imds}/{number}/exporter/"));
        let options = ImdsOptions { timeout: TIMEOUT, attempts, v1_disabled: case.v1_disabled, ..options };
        creations.push(imds_client(options).resolve().await.creation);
    }
    creations
}

/// What the creation allows a client to do.
fn allowed(creation: Creation) -> &'static [&'static str] {
    match creation {
        Creation::Credentials { expiration } if expiration > SystemClock.now() => &["signs"],
        Creation::Nothing => &["nothing", "fails"],
        Creation::Unusable => &["fails"],
        // Before 1.29.4, a client is bound where IMDSv1 is disabled.
        Creation::Raises => &["raises", "fails"],
        // An expired document is extended since 1.22 only.
        Creation::Credentials { .. } | Creation::Unknown => &["signs", "nothing", "raises", "fails"],
    }
}

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn the_exporter_says_what_boto3_makes_of_odd_answers_or_nothing() {
    let cases = [token_cases(), role_cases(), document_cases(), transport_cases()].concat();
    let cases = Arc::new(cases);
    let imds = start(&cases).await;
    let mut runs = JoinSet::new();
    for version in VERSIONS {
        let cases = Arc::clone(&cases);
        runs.spawn(async move { (version, created_by_boto3(version, cases, imds).await) });
    }
    let creations = created_by_exporter(&cases, imds).await;
    let outcomes: HashMap<_, _> = runs.join_all().await.into_iter().collect();

    let mut wrong = Vec::new();
    for (number, (case, creation)) in cases.iter().zip(&creations).enumerate() {
        for version in VERSIONS {
            let outcome = outcomes[version][number].as_str();
            if !allowed(*creation).contains(&outcome) {
                wrong.push(format!("{}: boto3 {version} {outcome}, the exporter says {creation:?}", case.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let unknown = cases.iter().zip(&creations).filter(|(_, creation)| allowed(**creation).len() > 2);
    let unknown: Vec<_> = unknown.map(|(case, _)| &case.name).collect();
    println!("{} cases, {} of them unknown: {unknown:?}", cases.len(), unknown.len());
    assert!(unknown.len() * 6 <= cases.len(), "{unknown:?}");
}
