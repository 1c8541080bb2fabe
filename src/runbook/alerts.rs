//! The runbook section of each alert. The texts are in `alerts.md`, the numbers in `thresholds.json`, from which the table at
//! the head of the rule file, the chart and the reference take them too.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use super::explanation::filled_in;
use super::section::{Part, Section};
use crate::domain::place::Place;

const TEXTS: &str = include_str!("alerts.md");
const THRESHOLDS: &str = include_str!("thresholds.json");

/// When an alert of one severity fires.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Threshold {
    /// Operator and number, as they stand in the expression; `None` if there is no single number.
    pub limit: Option<String>,
    /// For how long the condition must hold.
    #[serde(rename = "for")]
    pub pending: Option<String>,
    /// Why these numbers.
    pub why: String,
}

/// When the alerts fire, by name and severity.
pub static ALERT_THRESHOLDS: LazyLock<BTreeMap<String, BTreeMap<String, Threshold>>> =
    LazyLock::new(|| serde_json::from_str(THRESHOLDS).expect("a test reads it"));

/// All alerts, the most urgent groups first; the anchor is the name in the rule file.
pub static ALERTS: LazyLock<Vec<Section>> =
    LazyLock::new(|| TEXTS.split("## ").filter(|text| !text.is_empty()).map(section).collect());

/// One section: its name, then a paragraph for each part, `**Heading.** text` or `` **Heading:** `command` ``.
fn section(text: &'static str) -> Section {
    let (name, text) = text.split_once('\n').unwrap_or((text, ""));
    let thresholds = ALERT_THRESHOLDS.get(name);
    let paragraphs = text.split("\n\n").filter_map(|paragraph| paragraph.trim().strip_prefix("**")?.split_once("** "));
    let part = |(heading, text): (&'static str, &str)| {
        let text = filled(text, thresholds);
        match heading.strip_suffix(':') {
            Some(heading) => (heading, Part::Command(text.trim_matches('`').to_owned())),
            None => (heading.trim_end_matches('.'), Part::Text(text)),
        }
    };
    let mut parts: Vec<_> = paragraphs.map(part).collect();
    let severities = thresholds.map_or_else(String::new, severities);
    parts.insert(1.min(parts.len()), ("Severity", Part::Text(severities)));
    Section { anchor: name, parts }
}

fn severities(thresholds: &BTreeMap<String, Threshold>) -> String {
    let of_one = |(severity, threshold): (&String, &Threshold)| {
        let limit = threshold.limit.as_ref().map(|limit| format!(", limit `{limit}`")).unwrap_or_default();
        let pending = threshold.pending.as_ref().map(|pending| format!(", for {pending}")).unwrap_or_default();
        format!("{severity}{limit}{pending}")
    };
    thresholds.iter().rev().map(of_one).collect::<Vec<_>>().join("; ")
}

/// A text with the limits in place of `{warning}` and `{critical}`, or of `{limit}` where there is one severity, and with
/// commands in place of their names.
fn filled(text: &str, thresholds: Option<&BTreeMap<String, Threshold>>) -> String {
    let text = thresholds.into_iter().flatten().fold(text.to_owned(), |text, (severity, threshold)| {
        let limit = threshold.limit.as_deref().unwrap_or_default();
        text.replace(&format!("{{{severity}}}"), limit).replace("{limit}", limit)
    });
    filled_in(&text, Place::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_alert_has_all_parts_and_thresholds_and_no_number_is_left_open() {
        let headings = [
            "Alert",
            "Severity",
            "What it means",
            "What breaks, and when",
            "How to confirm it",
            "What to do",
            "When to escalate",
        ];
        for Section { anchor, parts } in ALERTS.iter() {
            assert_eq!(parts.iter().map(|(heading, _)| *heading).collect::<Vec<_>>(), headings, "{anchor}");
            for (heading, part) in parts {
                let (Part::Text(text) | Part::Command(text)) = part;
                assert_eq!(matches!(part, Part::Command(_)), *heading == "How to confirm it", "{anchor}: {heading}");
                let open = ["{limit}", "{warning}", "{critical}", "``", "`{"];
                assert!(!text.is_empty() && !open.iter().any(|open| text.contains(open)), "{anchor}: {text}");
            }
        }
        assert_eq!(ALERTS.len(), ALERT_THRESHOLDS.len());
    }
}
