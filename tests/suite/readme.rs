//! What is generated from the code is current. `UPDATE=1 cargo test` writes it anew.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use imds_exporter::config::VARIABLES;
use imds_exporter::http::{Limits, Page};
use imds_exporter::metrics::catalog;
use imds_exporter::model::Kind;

/// The committed file is `text`; with `UPDATE=1` it becomes so.
pub(crate) fn current(path: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&file, text).unwrap_or_else(|error| panic!("{path}: {error}"));
    }
    let committed = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{path}: {error}"));
    assert!(committed == text, "{path} is not current: run UPDATE=1 cargo test, and look at the difference");
}

fn metrics() -> String {
    let mut table = "| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n".to_owned();
    for spec in catalog::ALL {
        let labels: Vec<_> = spec.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, metric_type, help) = (spec.name, spec.metric_type.label(), spec.help);
        writeln!(table, "| `{name}` | {metric_type} | {} | {help} |", labels.join(", ")).expect("a String takes all");
    }
    table
}

fn kinds() -> String {
    let mut table = "| kind | when | likely cause | what to do |\n| --- | --- | --- | --- |\n".to_owned();
    for kind in Kind::ALL {
        writeln!(table, "| `{kind}` | {} | {} | {} |", kind.when(), kind.cause(), kind.action())
            .expect("a String takes all");
    }
    table
}

fn variables() -> String {
    let mut table = "| variable | default | meaning |\n| --- | --- | --- |\n".to_owned();
    for variable in VARIABLES {
        writeln!(table, "| `{}` | `{}` | {} |", variable.name, variable.default, variable.meaning)
            .expect("a String takes all");
    }
    table
}

fn routes() -> String {
    let mut table = "| path | answer |\n| --- | --- |\n".to_owned();
    for page in Page::ALL {
        writeln!(table, "| `{}` | {} |", page.path(), page.meaning()).expect("a String takes all");
    }
    table
}

fn bounds() -> String {
    let Limits { connections, handshake, head_bytes, headers, quiet, drain } = Limits::default();
    let [handshake, quiet, drain] = [handshake, quiet, drain].map(humantime::format_duration);
    let head_kib = head_bytes / 1024;
    format!(
        "| bound | value | beyond it |\n| --- | --- | --- |\n\
         | connections | {connections} | the one that was quiet for longest is closed |\n\
         | time for a request's head, and from there to the next one's, the taking of the answer included | {quiet} | closed |\n\
         | a request's head | {head_kib} KiB, {headers} headers | 431 or closed |\n\
         | TLS handshake | {handshake} | closed |\n\
         | answers that are being written at the end | {drain} | cut off |\n"
    )
}

/// The text between the markers of `name` is replaced.
fn with_section(readme: &str, name: &str, text: &str) -> String {
    let (open, close) = (format!("<!-- generated: {name} -->\n"), "<!-- end -->");
    let start = readme.find(&open).unwrap_or_else(|| panic!("README.md has no section {name}")) + open.len();
    let end = start + readme[start..].find(close).expect("every section has an end");
    format!("{}{text}{}", &readme[..start], &readme[end..])
}

#[test]
fn the_readmes_tables_are_current() {
    let text = |path| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("it is committed");
    let tables = [
        ("metrics", metrics()),
        ("kinds", kinds()),
        ("variables", variables()),
        ("routes", routes()),
        ("bounds", bounds()),
        ("cost", text("tests/bench/RESULT.md")),
    ];
    let readme = text("README.md");
    let wanted = tables.iter().fold(readme, |readme, (name, table)| with_section(&readme, name, table));
    current("README.md", &wanted);
}
