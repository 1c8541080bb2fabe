//! Through which proxy variables botocore asks IMDS, and what the exporter says of the same environment.

use std::collections::BTreeMap;
use std::process::Stdio;

use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::support::exporter::config;
use crate::support::program::command;
use crate::support::repository;
use crate::support::tools::tool;

const ENDPOINTS: [&str; 5] = [
    "http://169.254.169.254",
    "http://[fd00:ec2::254]",
    "http://127.0.0.1:1338",
    "http://imds.example.internal",
    "http://imds.example.internal:8080",
];

const PROXY: &str = "http://127.0.0.1:1";

/// Values of `NO_PROXY` beside `HTTP_PROXY`.
const EXEMPTED: [&str; 27] = [
    "",
    "*",
    " * ",
    "*,x",
    "169.254.169.254",
    " 169.254.169.254 ",
    "x,169.254.169.254,y",
    "x 169.254.169.254",
    "169.254.169.254:80",
    "169.254.0.0/16",
    "169.254.*",
    "254",
    ".254",
    "9.254",
    "169.254",
    "[fd00:ec2::254]",
    "fd00:ec2::254",
    "[fd00:ec2::254]:80",
    "127.0.0.1",
    "127.0.0.1:1338",
    "127.0.0.1:1339",
    "localhost",
    "example.internal",
    ".example.internal",
    "*.example.internal",
    "IMDS.Example.Internal",
    "imds.example.internal:8080,",
];

/// Which variables there are.
const VARIABLES: [&[(&str, &str)]; 14] = [
    &[],
    &[("HTTP_PROXY", "")],
    &[("HTTP_PROXY", PROXY), ("http_proxy", "")],
    &[("HTTP_PROXY", ""), ("http_proxy", PROXY)],
    &[("http_proxy", PROXY)],
    &[("HTTPS_PROXY", PROXY)],
    &[("ALL_PROXY", PROXY)],
    &[("all_proxy", PROXY)],
    &[("http_proxy", PROXY), ("no_proxy", "*"), ("NO_PROXY", "x")],
    &[("http_proxy", PROXY), ("no_proxy", "x"), ("NO_PROXY", "*")],
    &[("http_proxy", PROXY), ("no_proxy", ""), ("NO_PROXY", "*")],
    &[("HTTP_PROXY", PROXY), ("REQUEST_METHOD", "GET")],
    &[("http_proxy", PROXY), ("REQUEST_METHOD", "GET")],
    &[("Http_Proxy", PROXY)],
];

#[tokio::test]
#[ignore = "needs boto3: tests/run fetches it"]
async fn botocore_and_the_exporter_agree_on_which_requests_go_through_a_proxy() {
    let with_exempted = EXEMPTED.map(|exempted| vec![("HTTP_PROXY", PROXY), ("NO_PROXY", exempted)]);
    let environments: Vec<Vec<(&str, &str)>> = with_exempted.into_iter().chain(VARIABLES.map(<[_]>::to_vec)).collect();
    let cases: Vec<_> =
        ENDPOINTS.iter().flat_map(|url| environments.iter().map(move |variables| (*url, variables))).collect();
    let lines = cases.iter().map(|(url, variables)| {
        let environment: BTreeMap<_, _> = variables.iter().copied().collect();
        format!("{}\n", json!({"environment": environment, "url": format!("{url}/latest/api/token")}))
    });
    let mut python = command(tool("python/bin/python"));
    python.arg(repository::path("tests/end_to_end/programs/proxies.py")).env_clear();
    let mut child = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("Python runs");
    let mut stdin = child.stdin.take().expect("it is piped");
    let input = lines.collect::<String>();
    let writer = tokio::spawn(async move { stdin.write_all(input.as_bytes()).await });
    let output = child.wait_with_output().await.expect("it ends");
    writer.await.expect("no panic").expect("the program reads its input");
    let answers = String::from_utf8(output.stdout).expect("text");
    let answers: Vec<bool> = answers.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(answers.len(), cases.len());

    let mut different = Vec::new();
    for ((url, variables), proxied) in cases.iter().zip(answers) {
        let all = [&variables[..], &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", *url)]].concat();
        let said = config(&all).environment.proxied_by.is_some();
        if said != proxied {
            different.push(format!("{url}, {variables:?}: botocore {proxied}, the exporter {said}"));
        }
    }
    println!("{} cases compared", cases.len());
    assert!(different.is_empty(), "{} of {} differ:\n{}", different.len(), cases.len(), different.join("\n"));
}
