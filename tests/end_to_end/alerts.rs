//! The shipped alert rules over real scrapes, evaluated by promtool.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::process::Command;

use crate::support::repository;
use crate::support::tools::tool;

/// Samples of one scrape in a minute.
const SAMPLES_A_MINUTE: usize = 4;

/// Expositions in their order, and for how many minutes each one is what Prometheus scrapes.
pub(crate) type Scrapes<'a> = &'a [(&'a str, usize)];

/// Whether the alert fires in any minute of these scrapes.
pub(crate) fn fires(alert: &str, scrapes: Scrapes<'_>) -> bool {
    let mut series: BTreeMap<String, String> = BTreeMap::new();
    let mut past = String::new();
    for (exposition, minutes) in scrapes {
        let repeated = minutes * SAMPLES_A_MINUTE - 1;
        let now = samples(exposition);
        for (name, values) in &mut series {
            let value = now.get(name).map_or("_".to_owned(), ToString::to_string);
            write!(values, " {value}x{repeated}").expect("a string grows");
        }
        for (name, value) in now {
            series.entry(name).or_insert_with(|| format!("{past} {value}x{repeated}"));
        }
        write!(past, " _x{repeated}").expect("a string grows");
    }
    let minutes: usize = scrapes.iter().map(|(_, minutes)| minutes).sum();
    let mut test = format!(
        "rule_files: ['{}']\nevaluation_interval: 15s\ntests:\n- interval: 15s\n  input_series:\n",
        repository::path("deploy/prometheus/imds-alerts.yaml").display()
    );
    for (name, values) in &series {
        writeln!(test, "  - {{series: {}, values: '{}'}}", quoted(name), values.trim()).expect("a string grows");
    }
    test.push_str("  alert_rule_test:\n");
    for minute in 0..=minutes {
        writeln!(test, "  - {{eval_time: {minute}m, alertname: {alert}, exp_alerts: []}}").expect("a string grows");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    fs::write(&file, &test).expect("the folder can be written");
    let output = Command::new(tool("debian/usr/bin/promtool")).args(["test", "rules"]).arg(&file).output();
    let output = output.expect("promtool runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let fired = said.contains("got:") && said.contains(alert);
    assert!(output.status.success() != fired, "promtool can read the test: {said}\n{test}");
    fired
}

/// The series of the exporter, as Prometheus stores them.
fn samples(exposition: &str) -> BTreeMap<String, f64> {
    let target = "job=\"imds-exporter\",instance=\"10.0.0.1:10169\"";
    let lines = exposition.lines().filter(|line| line.starts_with("imds_"));
    let mut samples: BTreeMap<_, _> = lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').expect("a sample");
            let series = match series.split_once('{') {
                Some((name, labels)) => format!("{name}{{{target},{labels}"),
                None => format!("{series}{{{target}}}"),
            };
            (series, value.parse().expect("a number"))
        })
        .collect();
    samples.insert(format!("up{{{target}}}"), 1.0);
    samples
}

/// A string in YAML.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
