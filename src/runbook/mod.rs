//! The runbook: a section for each alert, each failure kind, and each reason why a signed call failed.
//!
//! Owns what a person is told to do. Pure. An anchor is the name of an alert or stands for a kind or reason: the rule file's
//! links lead there. Must not know HTML; the page is `http::runbook_page`.

mod alerts;
mod clients;
mod explanation;
mod section;
mod situation;

use std::fmt::Write;

use strum::VariantArray;

use crate::domain::Kind;
use crate::domain::place::{Circumstances, Place};
use crate::domain::signed_call::Reason;
pub use alerts::{ALERT_THRESHOLDS, ALERTS, Threshold};
pub use clients::{Sentence, sentence};
pub use explanation::{Explanation, explanation, reason_explanation};
pub use section::{Part, Section};

/// The title of the page and of the file.
pub const TITLE: &str = "Runbook of imds-exporter";

/// What a reader needs to know first, in paragraphs. Back-ticks enclose code.
const INTRODUCTION: &[&str] = &[
    "A machine on EC2 has an IAM role. Programs on it get that role's credentials from the instance metadata service, IMDS, at http://169.254.169.254/, in three requests: a session token, the role's name, and the credentials. They are valid for about 6.5 hours, and IMDS renews them about every hour. The AWS SDKs do all this without being asked.",
    "imds-exporter does the same on its own schedule and reports the result. An outage of seconds can do damage for weeks: a boto3 client (Python) that is created while IMDS does not answer is bound to no credentials, raises nothing, and then fails every call with `NoCredentialsError`, even when IMDS is back. Only re-creating the client helps, as a restart does. Clients that were created before an outage survive it as long as their credentials are valid for more than 15 minutes.",
    "The exporter cannot look into a process. It derives what it says of clients from its own requests, from what the configuration declares (`IMDS_EXPORTER_WORKLOAD`: which workload starts together with it), and from the start times of processes, if it watches them. Where the SDKs find credentials before they would ask IMDS (`imds_chain_shadowed`: static keys, IRSA, Pod Identity, ECS task roles), client metrics are not exported, and no alert about IMDS fires.",
    "Run the commands on the affected machine; `imds-exporter check` inside the exporter's container where there is one (in a pod `{check_in_a_pod}`, in an ECS task `{check_in_a_task}` on its container instance); and those that begin with `aws` wherever you have the permissions. Replace words in capitals: ID is the instance id, INSTANCE the address and port of the exporter as the alert shows it, IMAGE any image that has the command, INTERFACE the network interface (`ip route show default` names it: ens5, enX0 or eth0). Anything that is not a command is a Prometheus query.",
];

/// The introduction, with its commands.
pub fn introduction() -> impl Iterator<Item = String> {
    INTRODUCTION.iter().map(|paragraph| explanation::filled_in(paragraph, Place::default()))
}

fn text(text: impl Into<String>) -> Part {
    Part::Text(text.into())
}

fn command(command: impl Into<String>) -> Part {
    Part::Command(command.into())
}

impl From<Kind> for Section {
    fn from(kind: Kind) -> Self {
        let usual = explanation(kind, Circumstances::default());
        let mut section = Self::explained(kind.into(), kind.observed(), usual.clone());
        for (situation, here) in explanation::situations(kind) {
            section.parts.push((situation.heading(), text(here.cause)));
            if here.confirm != usual.confirm {
                section.parts.push(("How to confirm it there", command(here.confirm)));
            }
            if here.action != usual.action {
                section.parts.push(("What to do there", text(here.action)));
            }
        }
        section
    }
}

impl From<Reason> for Section {
    fn from(reason: Reason) -> Self {
        Self::explained(reason.anchor(), reason.observed(), reason_explanation(reason, Place::default()))
    }
}

impl Section {
    fn explained(anchor: &'static str, when: &'static str, explanation: Explanation) -> Self {
        let Explanation { cause, breaks, confirm, action, escalate } = explanation;
        Self {
            anchor,
            parts: vec![
                ("What it means", text(when)),
                ("Likely cause", text(cause)),
                ("What breaks, and when", text(breaks)),
                ("How to confirm it", command(confirm)),
                ("What to do", text(action)),
                ("When to escalate", text(escalate)),
            ],
        }
    }
}

/// The sections, in chapters with a heading.
pub(crate) fn chapters() -> [(&'static str, Vec<Section>); 3] {
    [
        ("Alerts", ALERTS.clone()),
        ("Kinds of failure", Kind::VARIANTS.iter().copied().map(Section::from).collect()),
        ("Reasons why a signed call fails", Reason::VARIANTS.iter().copied().map(Section::from).collect()),
    ]
}

/// The runbook as a file of the repository.
#[must_use]
pub fn markdown() -> String {
    let mut out = format!(
        "# {TITLE}\n\n<!-- Made from src/runbook: UPDATE=1 cargo test writes it again. \
         A running exporter serves the same at /runbook. -->\n"
    );
    for paragraph in introduction() {
        push(&mut out, format_args!("\n{paragraph}\n"));
    }
    let chapters = chapters();
    for (heading, sections) in &chapters {
        push(&mut out, format_args!("\n{heading}:\n\n"));
        for Section { anchor, .. } in sections {
            push(&mut out, format_args!("- [{anchor}](#{anchor})\n"));
        }
    }
    for (heading, sections) in &chapters {
        push(&mut out, format_args!("\n## {heading}\n"));
        for Section { anchor, parts } in sections {
            push(&mut out, format_args!("\n<a id=\"{anchor}\"></a>\n\n### {anchor}\n"));
            for (label, part) in parts {
                match part {
                    Part::Text(text) => push(&mut out, format_args!("\n**{label}.** {text}\n")),
                    Part::Command(command) => {
                        push(&mut out, format_args!("\n**{label}:**\n\n```sh\n{command}\n```\n"));
                    }
                }
            }
        }
    }
    out
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _infallible = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn sections() -> impl Iterator<Item = Section> {
        chapters().into_iter().flat_map(|(_, sections)| sections)
    }

    #[test]
    fn anchors_are_unique_and_in_the_markdown() {
        let (file, anchors) = (markdown(), sections().map(|section| section.anchor).collect::<BTreeSet<_>>());
        assert_eq!(sections().count(), ALERTS.len() + Kind::VARIANTS.len() + Reason::VARIANTS.len());
        assert_eq!(anchors.len(), sections().count());
        for anchor in anchors {
            assert_eq!(file.matches(&format!("id=\"{anchor}\"")).count(), 1, "{anchor}");
        }
    }

    #[test]
    fn every_part_has_a_text_with_balanced_backticks_and_without_html() {
        for section in sections() {
            for (label, part) in section.parts {
                let (Part::Text(text) | Part::Command(text)) = &part;
                assert!(!text.trim().is_empty(), "{}: {label}", section.anchor);
                if let Part::Text(text) = part {
                    assert_eq!(text.matches('`').count() % 2, 0, "{}: {label}", section.anchor);
                    let prose: String = text.split('`').step_by(2).collect();
                    assert!(!prose.contains(['<', '>']), "{}: {label}: Markdown would take it as HTML", section.anchor);
                }
            }
        }
    }
}
