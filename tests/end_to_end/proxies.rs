//! Through which proxy variables botocore asks IMDS, and what the exporter says of the same environment.

use std::collections::BTreeMap;

use crate::support::exporter::config;
use crate::support::tools::{Python, python};
use serde_json::json;

const ENDPOINTS: [&str; 5] = [
    "http://169.254.169.254",
    "http://[fd00:ec2::254]",
    "http://127.0.0.1:1338",
    "http://imds.example.internal",
    "http://imds.example.internal:8080",
];

const PROXY: &str = "http://127.0.0.1:1";

/// Values of `NO_PROXY` beside `HTTP_PROXY`, with bars between them.
const EXEMPTED: &str = "\
    |*| * |*,x|169.254.169.254| 169.254.169.254 |x,169.254.169.254,y|x 169.254.169.254|169.254.169.254:80|\
    169.254.0.0/16|169.254.*|254|.254|9.254|169.254|[fd00:ec2::254]|fd00:ec2::254|[fd00:ec2::254]:80|127.0.0.1|\
    127.0.0.1:1338|127.0.0.1:1339|localhost|example.internal|.example.internal|*.example.internal|\
    IMDS.Example.Internal|imds.example.internal:8080,";

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
    let with_exempted = EXEMPTED.split('|').map(|exempted| vec![("HTTP_PROXY", PROXY), ("NO_PROXY", exempted)]);
    let environments: Vec<Vec<(&str, &str)>> = with_exempted.chain(VARIABLES.map(<[_]>::to_vec)).collect();
    let mut botocore = Python::start(python("programs/proxies.py"));
    let (mut compared, mut different) = (0, Vec::new());
    for url in ENDPOINTS {
        for variables in &environments {
            let environment: BTreeMap<_, _> = variables.iter().copied().collect();
            let asked = json!({"environment": environment, "url": format!("{url}/latest/api/token")});
            let proxied: bool = serde_json::from_str(&botocore.ask(asked).await).expect("JSON");
            let all = [&variables[..], &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", url)]].concat();
            let said = config(&all).environment.proxied_by.is_some();
            if said != proxied {
                different.push(format!("{url}, {variables:?}: botocore {proxied}, the exporter {said}"));
            }
            compared += 1;
        }
    }
    assert!(different.is_empty(), "{} of {compared} differ:\n{}", different.len(), different.join("\n"));
}
