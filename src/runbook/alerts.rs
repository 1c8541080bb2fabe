//! The runbook section of each alert. The texts are in `alerts.md`, the numbers in `thresholds.json`, from which the table at
//! the head of the rule file, the chart and the reference take them too.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use super::explanation::filled_in;
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

/// What is said of one alert.
#[derive(Debug)]
pub struct Alert {
    /// The name in the rule file.
    pub name: &'static str,
    /// The severities, each with its threshold.
    pub severities: String,
    /// The parts of the section: heading and text.
    pub parts: Vec<(&'static str, String)>,
}

/// When the alerts fire, by name and severity.
pub static ALERT_THRESHOLDS: LazyLock<BTreeMap<String, BTreeMap<String, Threshold>>> =
    LazyLock::new(|| serde_json::from_str(THRESHOLDS).expect("a test reads it"));

/// All alerts, the most urgent groups first.
pub static ALERTS: LazyLock<Vec<Alert>> =
    LazyLock::new(|| TEXTS.split("## ").filter(|section| !section.is_empty()).map(alert).collect());

/// One section: its name, then a paragraph for each part, `**Heading.** text` or `` **Heading:** `command` ``.
fn alert(section: &'static str) -> Alert {
    let (name, text) = section.split_once('\n').unwrap_or((section, ""));
    let thresholds = ALERT_THRESHOLDS.get(name);
    let paragraphs = text.split("\n\n").filter_map(|paragraph| paragraph.trim().strip_prefix("**")?.split_once("** "));
    Alert {
        name,
        severities: thresholds.map_or_else(String::new, severities),
        parts: paragraphs.map(|(heading, text)| (heading, filled(text, thresholds))).collect(),
    }
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
            "Alert.",
            "What it means.",
            "What breaks, and when.",
            "How to confirm it:",
            "What to do.",
            "When to escalate.",
        ];
        for alert in ALERTS.iter() {
            assert_eq!(alert.parts.iter().map(|(heading, _)| *heading).collect::<Vec<_>>(), headings, "{}", alert.name);
            assert!(!alert.severities.is_empty(), "{}", alert.name);
            for (_, text) in &alert.parts {
                assert!(
                    !["{limit}", "{warning}", "{critical}", "``", "`{"].iter().any(|open| text.contains(open)),
                    "{text}"
                );
            }
        }
        assert_eq!(ALERTS.len(), ALERT_THRESHOLDS.len());
    }
}
