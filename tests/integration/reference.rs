//! The generated tables of deploy/REFERENCE.md and README.md are current. `UPDATE=1 cargo test` writes them again.

use std::fmt::Write;

use imds_exporter::config::VARIABLES;
use imds_exporter::domain::Kind;
use imds_exporter::domain::boto3::Created;
use imds_exporter::domain::place::{Circumstances, Place};
use imds_exporter::domain::signed_call::Reason;
use imds_exporter::http::{Limits, Route};
use imds_exporter::metrics::catalog;
use imds_exporter::runbook::{ALERT_THRESHOLDS, ALERTS, explanation, reason_explanation};
use jiff::fmt::friendly::SpanPrinter;
use strum::VariantArray;

use crate::support::repository::{assert_current, committed};

const REFERENCE: &str = "deploy/REFERENCE.md";
const BENCHMARK: &str = "tests/bench/RESULT.md";

/// A Markdown table.
fn table<const N: usize>(headings: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = format!("| {} |\n|{}\n", headings.join(" | "), " --- |".repeat(N));
    for row in rows {
        // A bar in a command ends no cell.
        let row = row.map(|cell| cell.replace('|', "\\|"));
        writeln!(table, "| {} |", row.join(" | ")).expect("a String takes all");
    }
    table
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

fn metrics() -> String {
    let rows = catalog::ALL.iter().map(|spec| {
        let labels: Vec<_> = spec.labels.iter().map(|label| code(label)).collect();
        [code(spec.name), spec.metric_type.label().to_owned(), labels.join(", "), spec.help.to_owned()]
    });
    table(["metric", "type", "labels", "meaning"], rows)
}

fn kinds() -> String {
    let rows = Kind::VARIANTS.iter().map(|kind| {
        let texts = explanation(*kind, Circumstances::default());
        [code(kind.label()), kind.observed().to_owned(), texts.cause, texts.action]
    });
    table(["kind", "when", "likely cause", "what to do"], rows)
}

fn reasons() -> String {
    let rows = Reason::VARIANTS.iter().map(|reason| {
        let texts = reason_explanation(*reason, Place::default());
        let verdict = if reason.is_refusal() { "AWS refuses" } else { "STS cannot be asked" };
        let name = format!("[`{reason}`](prometheus/RUNBOOK.md#{})", reason.anchor());
        [name, verdict.to_owned(), reason.observed().to_owned(), texts.cause, texts.action]
    });
    table(["reason", "verdict", "when", "likely cause", "what to do"], rows)
}

fn variables() -> String {
    let rows =
        VARIABLES.iter().map(|variable| [code(variable.name), code(variable.default), variable.meaning.to_owned()]);
    table(["variable", "default", "meaning"], rows)
}

fn routes() -> String {
    table(["path", "answer"], Route::VARIANTS.iter().map(|route| [code(route.path()), route.meaning().to_owned()]))
}

fn clients() -> String {
    let rows = Created::VARIANTS.iter().map(|created| [code(created.label()), created.meaning().to_owned()]);
    table(["`created`", "a client that was"], rows)
}

fn bounds() -> String {
    let Limits { connections, handshake_timeout, head_bytes, headers, idle_timeout, drain_timeout } = Limits::default();
    let [handshake, idle, drain] = [handshake_timeout, idle_timeout, drain_timeout]
        .map(|time| SpanPrinter::new().unsigned_duration_to_string(&time));
    let rows = [
        (
            "connections",
            connections.to_string(),
            "of the client that holds the most, the one that has been idle for longest is closed",
        ),
        ("time from one request head to the next, reading the response included", idle, "closed"),
        ("request head", format!("{} KiB, {headers} headers", head_bytes / 1024), "431 or closed"),
        ("TLS handshake", handshake, "closed"),
        ("responses that are being written at the stop", drain, "cut off"),
    ];
    let rows = rows.map(|(bound, value, beyond)| [bound.to_owned(), value, beyond.to_owned()]);
    table(["bound", "value", "beyond it"], rows)
}

fn alerts() -> String {
    let rows = ALERTS.iter().flat_map(|alert| {
        ALERT_THRESHOLDS[alert.anchor].iter().rev().map(|(severity, threshold)| {
            let name = format!("[{0}](prometheus/RUNBOOK.md#{0})", alert.anchor);
            let limit = threshold.limit.as_deref().map(code).unwrap_or_default();
            [name, severity.clone(), limit, threshold.pending.clone().unwrap_or_default(), threshold.why.clone()]
        })
    });
    table(["alert", "severity", "limit", "for", "why"], rows)
}

/// What the README says of the benchmark: the exporter beside `blackbox_exporter`, and its poll beside the official SDK's.
fn cost() -> String {
    let result = committed(BENCHMARK);
    let rows: Vec<Vec<&str>> =
        result.lines().map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect();
    let column = |heading: &str| {
        let found = rows.iter().find_map(|row| row.iter().position(|cell| *cell == heading));
        found.unwrap_or_else(|| panic!("the benchmark has no column {heading}"))
    };
    let beside = |other: &str, wanted: &[&str]| {
        let other = column(other);
        let lines = wanted.iter().map(|name| {
            let row =
                rows.iter().find(|row| row[0] == *name).unwrap_or_else(|| panic!("the benchmark measures {name}"));
            [(*name).to_owned(), row[1].to_owned(), row[other].to_owned()]
        });
        lines.collect::<Vec<_>>()
    };
    let serving = [
        "start to first answer, ms",
        "CPU idle, µs/s",
        "CPU per scrape, µs",
        "RSS after 10,000 scrapes and load, KiB",
        "on disk, MB",
    ];
    let polling = ["connection kept, CPU, µs", "connection closed, CPU, µs"];
    let sdk = "official Rust SDK, session token kept";
    table(["with a poll a second", "imds-exporter", "blackbox_exporter"], beside("blackbox_exporter", &serving))
        + "\n"
        + &table(["one poll", "imds-exporter", sdk], beside(sdk, &polling))
}

/// The document with the text between the markers of each section replaced.
fn with_sections(path: &str, sections: &[(&str, String)]) -> String {
    sections.iter().fold(committed(path), |document, (name, text)| {
        let (open, close) = (format!("<!-- generated: {name} -->\n"), "<!-- end -->");
        let start = document.find(&open).unwrap_or_else(|| panic!("{path} has no section {name}")) + open.len();
        let end = start + document[start..].find(close).expect("every section has an end");
        format!("{}{text}{}", &document[..start], &document[end..])
    })
}

#[test]
fn the_reference_is_current() {
    let sections = [
        ("metrics", metrics()),
        ("clients", clients()),
        ("kinds", kinds()),
        ("reasons", reasons()),
        ("alerts", alerts()),
        ("variables", variables()),
        ("routes", routes()),
        ("bounds", bounds()),
        ("cost", committed(BENCHMARK)),
    ];
    assert_current(REFERENCE, &with_sections(REFERENCE, &sections));
}

#[test]
fn the_readme_is_current_and_short() {
    assert_current("README.md", &with_sections("README.md", &[("cost", cost())]));
    assert!(committed("README.md").lines().count() <= 240);
}
