"""The schema of the chart and the exporter: what would end the exporter with the exit code 64, the schema refuses."""

import concurrent.futures

import pytest

from chart_cases import CASES, values
from cluster import find, render

from helpers.commands import complete
from helpers.paths import exporter

# Texts at and beyond the bounds of what a value, and the variable behind it, takes.
TEXTS = {
    "config.pollInterval": [
        "1s", "0s", "999ms", "1000ms", "1001ms", "0.5s", "1.5s", "15", "15 s", "15sec", "15seconds", "1m", "1min", "60m",
        "61m", "1m 30s", "1m30s", "59m 59s", "60m 1s", "3599s", "3600s", "3601s", "3600000ms", "3600001ms", "1h", "1 h",
        "1h 0s", "1h 1s", "2h", "1d", "-1s", "1s1s", "∞",
    ],
    "config.timeout": ["1ms", "9ms", "10ms", "11ms", "1s", "15s", "15000ms", "15001ms", "16s", "1m", "1us", "0.5s", "1", ".5s"],
    "config.expectedRole": ["a", ".", "..", "...", "a/b", "a b", "a+=,.@-_1", "ä", "a" * 64, "a" * 65, "role/a"],
    "config.watchProcesses": [
        "python", "(?i)python", "a{2,3}", r"\d+", "[[:alpha:]]", "(?P<n>a)", "a(?=b)", r"\bpython\b", r"\pL", r"\p{Greek}",
        "a++", "(?x) a", r"\x41", r"\u0041", r"\Qa\E", r"\C", "(?U)a", r"[\d&&[1]]", "a{1000}", "a{1001}", "a{3,2}", "a{,3}",
        "(", ")", "[", "*", "a**", r"\1", "a|", "^$", r"\z", "(?s).", "(?<n>a)", "[a--b]", "[a~~b]", "[a&&b]", "a{0,}",
        "[a-c-e]", r"\ca", r"\Aa",
    ],
    "config.log": [
        "info", "INFO", "Debug", "off", "loud", "imds_exporter=debug", "a=b", "=info", "info=", "a=info=b", "a::b=info",
        "debug,hyper=warn", "info,,debug", ",", "info,", "[a]=info", "a=info,b=off", "warning", "5",
    ],
    "config.logFormat": ["text", "json", "JSON", "xml"],
    "config.listenHost": [
        "0.0.0.0", "1.2.3.4", "01.2.3.4", "256.1.1.1", "1.2.3", "localhost", "::", "[::]", "[:]", "[:::]", "[1:2]",
        "[::1:2]", "[1::2]", "[1:2:3:4:5:6:7:8]", "[1:2:3:4:5:6:7:8:9]", "[1:2:3:4:5:6:7::]", "[::2:3:4:5:6:7:8]",
        "[fe80::1]", "[fe80::1%eth0]", "[::ffff:1.2.3.4]", "[12345::]", "[g::]", "[::", "::]", "[1::2::3]",
    ],
    "config.endpointMode": ["IPv4", "IPv6", "ipv4", "IPV6", "IPv5"],
    "config.signedCall.interval": [
        "59s", "60s", "1m", "90s", "1h", "24h", "25h", "1440m", "1441m", "86400s", "86401s", "99999s", "0m", "5", "1d",
        "60000ms",
    ],
}
ENV = {
    "AWS_METADATA_SERVICE_TIMEOUT": ["1", "0", "15", "16", "1.5", "1s", "-1", "01", "99999", " 1"],
    "AWS_EC2_METADATA_SERVICE_ENDPOINT": [
        "http://169.254.169.254", "http://[fd00:ec2::254]", "http://127.0.0.1:1338/", "https://127.0.0.1", "169.254.169.254",
        "http://", "http:///", "http://a b", "http://user@a", "http://a:99999", "http://a?b", "http://a#b", "http://a/b",
        "http://a:0", "http://a:65535", "http://a:65536", "http://-a", "http://a_b", "http://[::1]:80", "http://[::g]",
        "http://a..b", "http://a.", "HTTP://a",
    ],
    "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": ["IPv4", "ipv6", "IPV6", "IPv5"],
}
CANDIDATES = [
    *((path, text, {path: text}) for path, texts in TEXTS.items() for text in texts),
    *((f"extraEnv: {name}", text, {"extraEnv": [{"name": name, "value": text}]}) for name, texts in ENV.items() for text in texts),
]


def exit_code(objects):
    if isinstance(objects, str):
        return None
    (container,) = find(objects, "DaemonSet")["spec"]["template"]["spec"]["containers"]
    environment = {variable["name"]: variable["value"] for variable in container["env"]}
    return complete(exporter(), "check", env={**environment, "AWS_EC2_METADATA_DISABLED": "true"}).returncode


@pytest.fixture(scope="module")
def codes():
    """Of each candidate the exporter's exit code with the rendered environment, or None where the chart refuses the value."""
    everything = [values({**getattr(CASES.get(path), "needs", {}), **by_path}) for path, _, by_path in CANDIDATES]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        return list(pool.map(exit_code, render(everything)))


@pytest.mark.parametrize("number", range(len(CANDIDATES)), ids=[f"{path}={text}" for path, text, _ in CANDIDATES])
def test_the_exporter_starts_with_what_the_schema_accepts(codes, number):
    # 1: IMDS is switched off.
    assert codes[number] in (1, None)


@pytest.mark.parametrize("path", [*TEXTS, *(f"extraEnv: {name}" for name in ENV)])
def test_the_schema_accepts_and_refuses_some(codes, path):
    found = [code for (of, _, _), code in zip(CANDIDATES, codes) if of == path]
    assert None in found and 1 in found
