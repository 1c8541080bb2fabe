//! The alert rules refer only to metrics, labels and label values that the exporter has. Each metric is used by a rule or
//! a panel, or is listed here with the reason why not. The runbook has the same alerts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::LazyLock;

use imds_exporter::domain::boto3::{Created, SDK};
use imds_exporter::domain::signed_call::Reason;
use imds_exporter::domain::{ImdsState, Kind, Step};
use imds_exporter::metrics::catalog;
use imds_exporter::runbook;
use regex_lite::Regex;
use serde_yaml_ng::Value;
use strum::VariantArray;

use crate::support::repository::{assert_current, committed, path};

const RULES: [&str; 3] = [
    "deploy/prometheus/imds-alerts.yaml",
    "deploy/prometheus/imds-kubernetes.yaml",
    "deploy/prometheus/imds-boto3.yaml",
];

/// Labels that a scrape or one of the rules adds.
const ADDED: &str = "\
    instance le job cluster namespace pod container uid node host machine url explained_by condition \
    imds_exporter_sdk imds_intended exported_version exported_revision exported_rustversion workload_job \
    workload_instance suspect_namespace suspect_pod suspect_container";

fn is_added(label: &str) -> bool {
    ADDED.split_whitespace().any(|added| added == label)
}

/// The labels beyond [`ADDED`] that recording rules keep.
const RECORDED: &[&str] = &["kind", "step"];

/// Metrics that no rule and no panel uses, with the reason why they exist.
const UNUSED: &[(&str, &str)] = &[
    (
        "imds_credentials_remaining_seconds",
        "for people and programs that read a single scrape; rules and panels use the time of expiry and their own clock",
    ),
    (
        "imds_fetch_consecutive_failures",
        "for people and programs that read a single scrape; rules and panels use how long fetching has failed",
    ),
    (
        "imds_signed_call_failures_total",
        "for the history of failures by reason; rules and panels use the reason that is in force",
    ),
    (
        "imds_signed_call_last_attempt_timestamp_seconds",
        "for people who ask whether calls are still made; rules and panels use the last success",
    ),
];

/// A rule with its expressions: its own, and those of queries inside its annotations.
struct Rule {
    name: String,
    severity: String,
    pending: String,
    summary: String,
    annotations: String,
    expressions: Vec<String>,
}

fn rules() -> Vec<Rule> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let documents =
        RULES.map(|file| serde_yaml_ng::from_str::<Value>(&committed(file)).expect("the rule file is YAML"));
    let groups = documents.iter().flat_map(|document| document["groups"].as_sequence().expect("there are groups"));
    let rules = groups.flat_map(|group| group["rules"].as_sequence().expect("a group has rules"));
    rules
        .map(|rule| {
            let annotations: Vec<_> =
                ["summary", "description", "runbook_url"].iter().map(|key| text(&rule["annotations"][*key])).collect();
            let annotations = annotations.join("\n");
            let mut expressions = vec![text(&rule["expr"])];
            expressions.extend(queries(&annotations));
            Rule {
                name: text(&rule["alert"]),
                severity: text(&rule["labels"]["severity"]),
                pending: text(&rule["for"]),
                summary: text(&rule["annotations"]["summary"]),
                annotations,
                expressions,
            }
        })
        .collect()
}

/// The names of the recording rules.
static RECORDING_RULES: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let name = Regex::new(r"- record: (\S+)").expect("it is a pattern");
    RULES
        .iter()
        .flat_map(|file| name.captures_iter(&committed(file)).map(|found| found[1].to_owned()).collect::<Vec<_>>())
        .collect()
});

/// The expressions that a template passes to `query`.
fn queries(template: &str) -> Vec<String> {
    let literal = Regex::new("(?:query|printf) `([^`]*)`").expect("it is a pattern");
    literal.captures_iter(template).map(|found| found[1].replace("%q", "\"x\"")).collect()
}

/// The parts of a text that a pattern finds, or its first group if it has one.
fn found(pattern: &str, text: &str) -> BTreeSet<String> {
    let pattern = Regex::new(pattern).expect("it is a pattern");
    let parts = pattern.captures_iter(text);
    parts.map(|part| part.get(1).or(part.get(0)).expect("it matches").as_str().to_owned()).collect()
}

/// The metrics that an expression or a text names.
fn metrics(text: &str) -> BTreeSet<String> {
    let mut names = found(r"\bimds[_:][a-z0-9_:]+", text);
    names.retain(|name| !is_added(name));
    names
}

/// The labels that an expression compares, each with the values.
fn compared(expression: &str) -> Vec<(String, Vec<String>)> {
    let matcher = Regex::new(r#"(\w+)\s*(=|!=|=~|!~)\s*"([^"]*)""#).expect("it is a pattern");
    let values = |text: &str| text.split('|').filter(|value| !value.is_empty()).map(str::to_owned).collect();
    matcher.captures_iter(expression).map(|found| (found[1].to_owned(), values(&found[3]))).collect()
}

/// The labels that the exporter gives a metric; `None` if the metric does not exist.
fn labels_of(name: &str) -> Option<&'static [&'static str]> {
    if name.starts_with("imds:") {
        return RECORDING_RULES.contains(name).then_some(RECORDED);
    }
    catalog::ALL.iter().find(|spec| is_series_of(name, spec)).map(|spec| spec.labels)
}

fn is_series_of(name: &str, spec: &catalog::Spec) -> bool {
    let of_histogram = ["_bucket", "_sum", "_count"].iter().any(|end| name.strip_suffix(end) == Some(spec.name));
    if spec.metric_type == catalog::Type::Histogram { of_histogram } else { name == spec.name }
}

fn values_of(label: &str) -> BTreeSet<&'static str> {
    match label {
        "kind" => Kind::VARIANTS.iter().map(|kind| kind.label()).collect(),
        "step" => Step::VARIANTS.iter().map(|step| step.label()).collect(),
        "state" => ImdsState::VARIANTS.iter().map(|state| state.label()).collect(),
        "outcome" => BTreeSet::from(["success", "failure"]),
        "sdk" => BTreeSet::from([SDK]),
        "reason" => Reason::VARIANTS.iter().map(|reason| reason.label()).collect(),
        "created" => Created::VARIANTS.iter().map(|created| created.label()).collect(),
        _ => panic!("the values of {label} are not a closed list"),
    }
}

fn is_value_of(label: &str, value: &str) -> bool {
    match label {
        "le" => catalog::BUCKETS_SECONDS.iter().any(|bound| bound.to_string() == value),
        _ => values_of(label).contains(value),
    }
}

/// Whether a metric of the exporter, a recording rule or a scrape has this label.
fn is_label(name: &str) -> bool {
    is_added(name) || catalog::ALL.iter().any(|spec| spec.labels.contains(&name))
}

#[test]
fn rules_name_only_metrics_labels_and_values_that_exist() {
    for rule in rules() {
        let own = rule.expressions.iter().map(|expression| (expression, metrics(expression)));
        for (expression, metrics) in own.chain([(&rule.annotations, metrics(&rule.annotations))]) {
            for metric in metrics {
                assert!(labels_of(&metric).is_some(), "{}: there is no metric {metric}: {expression}", rule.name);
            }
        }
        for (label, values) in rule.expressions.iter().flat_map(|expression| compared(expression)) {
            let foreign = label.starts_with("label_") || label == "__name__";
            assert!(foreign || is_label(&label), "{}: there is no label {label}", rule.name);
            for value in values.iter().filter(|_| !foreign && !is_added(&label)) {
                assert!(is_value_of(&label, value), "{}: {label} is never {value}", rule.name);
            }
        }
        for label in found(r"\$labels\.(\w+)", &rule.annotations) {
            assert!(is_label(&label), "{}: there is no label {label}", rule.name);
        }
    }
}

#[test]
fn every_metric_is_used_or_has_a_reason_not_to_be() {
    let mut used: BTreeSet<String> =
        rules().iter().flat_map(|rule| rule.expressions.iter().flat_map(|text| metrics(text))).collect();
    let word = Regex::new(r"\bimds_[a-z0-9_]+").expect("it is a pattern");
    for entry in fs::read_dir(path("dashboards")).expect("there are dashboards") {
        let path = entry.expect("the folder can be read").path();
        if path.extension().is_some_and(|ending| ending == "json") {
            let dashboard = fs::read_to_string(&path).expect("a dashboard is text");
            used.extend(word.find_iter(&dashboard).map(|found| found.as_str().to_owned()));
        }
    }
    let unused: BTreeMap<_, _> = UNUSED.iter().copied().collect();
    for spec in catalog::ALL {
        let is_used = used.iter().any(|name| is_series_of(name, spec));
        assert_ne!(is_used, unused.contains_key(spec.name), "{}: either used or listed as unused", spec.name);
    }
    let exists = |name: &str| catalog::ALL.iter().any(|spec| spec.name == name);
    assert!(UNUSED.iter().all(|(name, reason)| exists(name) && !reason.is_empty()));
}

#[test]
fn every_alert_has_a_runbook_section_and_thresholds_that_are_those_of_the_rule() {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for rule in rules().into_iter().filter(|rule| !rule.name.is_empty()) {
        let threshold = &runbook::ALERT_THRESHOLDS[&rule.name][&rule.severity];
        assert_eq!(rule.pending, threshold.pending.clone().unwrap_or_default(), "{}", rule.name);
        if let Some(limit) = &threshold.limit {
            let places = rule.expressions[0].match_indices(limit.as_str());
            let goes_on = |next: char| next == '.' || next.is_ascii_digit();
            let whole = places.filter(|(at, _)| !rule.expressions[0][at + limit.len()..].starts_with(goes_on));
            assert_eq!(whole.count(), 1, "{}: {limit}", rule.name);
        }
        let section = runbook::ALERTS.iter().find(|alert| alert.anchor == rule.name).expect("it has a section");
        assert_eq!(section.parts[0].1, runbook::Part::Text(rule.summary), "{}", rule.name);
        found.entry(rule.name).or_default().insert(rule.severity);
    }
    let named: BTreeMap<String, BTreeSet<String>> =
        runbook::ALERT_THRESHOLDS.iter().map(|(name, bands)| (name.clone(), bands.keys().cloned().collect())).collect();
    assert_eq!(found, named);
    assert_eq!(
        found.into_keys().collect::<BTreeSet<_>>(),
        runbook::ALERTS.iter().map(|alert| alert.anchor.to_owned()).collect()
    );
}

#[test]
fn the_committed_runbook_is_current() {
    assert_current("deploy/prometheus/RUNBOOK.md", &runbook::markdown());
}

#[test]
fn the_rules_and_the_exporter_agree_which_reasons_are_refusals() {
    let list = Regex::new(r#"reason[=!]~"([^"]*)""#).expect("it is a pattern");
    let refusals: BTreeSet<_> =
        Reason::VARIANTS.iter().filter(|reason| reason.is_refusal()).map(|r| r.label()).collect();
    let lists: Vec<_> = rules()
        .iter()
        .flat_map(|rule| rule.expressions.clone())
        .flat_map(|expression| list.captures_iter(&expression).map(|found| found[1].to_owned()).collect::<Vec<_>>())
        .collect();
    assert!(lists.len() >= 2, "one alert for refusals, one for the others");
    for list in lists {
        assert_eq!(list.split('|').collect::<BTreeSet<_>>(), refusals);
    }
}
