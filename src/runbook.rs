//! The runbook: a section for each alert and each failure kind, as a page and as Markdown.
//!
//! Owns what a person is told to do. Pure. The rule file's links lead to the sections' anchors, which are the names of
//! the alerts and the labels of the kinds.

mod alerts;

use std::fmt::Write;

use crate::model::Kind;
pub use alerts::Alert;
use alerts::ALERTS;

const TITLE: &str = "Runbook of imds-exporter";

const INTRODUCTION: &[&str] = &[
    "A machine on EC2 has an IAM role. Programs on it get that role's credentials from the instance metadata service, IMDS, at http://169.254.169.254/, in three requests: a session token, the role's name, and the credentials. These live for about 6.5 hours and IMDS renews them about every hour. The AWS SDKs do all this behind the scenes.",
    "imds-exporter does the same on its own clock and reports how it went. An outage that lasts seconds can do harm for weeks: a boto3 client (Python) that is created while IMDS does not answer is bound to no credentials, raises nothing, and then fails every call with `NoCredentialsError`, also when IMDS is back. Only creating it again, as a restart does, cures it. Clients that were created before an outage survive it as long as more than 15 minutes of their credentials are left.",
    "Commands are to be run on the machine concerned, `imds-exporter check` inside the exporter's container where there is one (`kubectl exec POD -c imds-exporter -- imds-exporter check`), and those that begin with `aws` wherever rights allow. Words in capitals stand for yours: ID is the instance id, INSTANCE the address and port of the exporter as the alert names it. What is not a command is a query for Prometheus.",
];

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8886;--soft:#8882}\
body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:0 auto;padding:1rem;overflow-wrap:break-word}\
h1,h2,h3{line-height:1.2}h3{border-top:1px solid var(--line);padding-top:1rem;margin-top:2rem}\
h3:target{background:var(--soft);outline:.5rem solid var(--soft)}\
dt{font-weight:600;margin-top:.6rem}dd{margin:0}\
code,pre{font:.9em ui-monospace,monospace;background:var(--soft);border-radius:3px}\
code{padding:0 .2em}pre{padding:.6rem;margin:.2rem 0;overflow-x:auto}pre code{padding:0;background:none;font:inherit}\
nav ul{columns:15rem;padding-left:1.2rem}h3 a{color:inherit;text-decoration:none}";

/// What a part of a section holds.
enum Part {
    Text(&'static str),
    Command(&'static str),
}

/// One alert or one kind.
struct Section {
    anchor: &'static str,
    parts: Vec<(&'static str, Part)>,
}

impl Section {
    fn of_alert(alert: &Alert) -> Self {
        Self {
            anchor: alert.name,
            parts: vec![
                ("Alert", Part::Text(alert.summary)),
                ("Severity", Part::Text(alert.severity)),
                ("What it means", Part::Text(alert.meaning)),
                ("What breaks, and when", Part::Text(alert.breaks)),
                ("How to confirm it", Part::Command(alert.confirm)),
                ("What to do", Part::Text(alert.action)),
                ("When to escalate", Part::Text(alert.escalate)),
            ],
        }
    }

    fn of_kind(kind: Kind) -> Self {
        Self {
            anchor: kind.label(),
            parts: vec![
                ("What it means", Part::Text(kind.when())),
                ("Likely cause", Part::Text(kind.cause())),
                ("What breaks, and when", Part::Text(breaks(kind))),
                ("How to confirm it", Part::Command(kind.confirm())),
                ("What to do", Part::Text(kind.action())),
                ("When to escalate", Part::Text(escalate(kind))),
            ],
        }
    }
}

/// What a failure of this kind breaks, and when.
const fn breaks(kind: Kind) -> &'static str {
    match kind {
        Kind::DisabledByEnvironment => {
            "Programs with the same variable in their environment have no credentials from IMDS at all, from their start. Others are not touched; the exporter cannot see them."
        }
        Kind::InvalidTimestamp => {
            "Creating a boto3 client raises an error of the date parser. Clients that exist fail from 15 minutes before their credentials end."
        }
        Kind::NoRole | Kind::ProfileWithoutRole | Kind::ProfileNotFound | Kind::RoleNotFound => {
            "boto3 clients created now are bound to no credentials for ever, also after a role is attached again. Clients that exist hold credentials that stay valid until they end, unless the role itself was deleted: then AWS refuses them at once. From 15 minutes before that end their calls fail."
        }
        Kind::AssumeRoleDenied | Kind::Refused => {
            "boto3 clients created now are bound to no credentials for ever. Clients that exist fail from 15 minutes before their credentials end, up to six hours from now: usually the whole fleet with this role, each machine at its own time."
        }
        Kind::ConnectRefused
        | Kind::ConnectTimeout
        | Kind::NetworkUnreachable
        | Kind::ReadTimeout
        | Kind::HopLimit
        | Kind::ConnectionClosed
        | Kind::InvalidResponse
        | Kind::Intercepted
        | Kind::TokenRejected
        | Kind::TokenUnsupported
        | Kind::ImdsDisabled
        | Kind::Forbidden
        | Kind::Unauthorized
        | Kind::MalformedDocument
        | Kind::IncompleteDocument
        | Kind::Throttled
        | Kind::ServerError
        | Kind::UnexpectedStatus => {
            "boto3 clients created now are bound to no credentials for ever. Clients that exist work until 15 minutes before their credentials end, up to six hours from now, and recover by themselves once this is cured."
        }
    }
}

/// When somebody else has to be called for a failure of this kind.
const fn escalate(kind: Kind) -> &'static str {
    match kind {
        Kind::DisabledByEnvironment => "To who owns the image or the environment file that sets the variable.",
        Kind::ConnectRefused
        | Kind::ConnectTimeout
        | Kind::NetworkUnreachable
        | Kind::HopLimit
        | Kind::ConnectionClosed
        | Kind::Intercepted => {
            "To who owns the network of the machine or the cluster, if the command shows nothing out of order, or if the cure is not yours to apply."
        }
        Kind::InvalidResponse
        | Kind::TokenRejected
        | Kind::TokenUnsupported
        | Kind::Forbidden
        | Kind::Unauthorized
        | Kind::MalformedDocument
        | Kind::IncompleteDocument
        | Kind::InvalidTimestamp
        | Kind::UnexpectedStatus => {
            "To who owns the proxy or the emulator that answers in the place of IMDS. To AWS only if the machine talks to the real IMDS without anything in between."
        }
        Kind::ImdsDisabled
        | Kind::NoRole
        | Kind::ProfileWithoutRole
        | Kind::ProfileNotFound
        | Kind::RoleNotFound
        | Kind::AssumeRoleDenied => {
            "To who owns IAM and the launch templates, if you may not change them, or if nobody knows why they were changed: CloudTrail says by whom."
        }
        Kind::ReadTimeout | Kind::Throttled | Kind::Refused | Kind::ServerError => {
            "To AWS if it lasts longer than 15 minutes and nothing on the machine explains it: give the instance id, the zone, the time and this kind."
        }
    }
}

/// The sections under their headings.
fn chapters() -> [(&'static str, Vec<Section>); 2] {
    [
        ("Alerts", ALERTS.iter().map(Section::of_alert).collect()),
        ("Kinds of failure", Kind::ALL.iter().copied().map(Section::of_kind).collect()),
    ]
}

/// All alerts.
pub fn alerts() -> impl Iterator<Item = &'static Alert> {
    ALERTS.iter()
}

/// The runbook as a file of the repository.
#[must_use]
pub fn markdown() -> String {
    let mut out = format!(
        "# {TITLE}\n\n<!-- Made from src/runbook.rs and src/model/kind.rs: UPDATE=1 on its test rewrites it. \
         A running exporter serves the same at /runbook. -->\n"
    );
    for paragraph in INTRODUCTION {
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

/// The runbook as a page of its own.
#[must_use]
pub fn html() -> String {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{TITLE}</title>\n<style>{STYLE}</style>\n<h1>{TITLE}</h1>\n"
    );
    for paragraph in INTRODUCTION {
        push(&mut out, format_args!("<p>{}</p>\n", inline(paragraph)));
    }
    let chapters = chapters();
    out.push_str("<nav>\n");
    for (heading, sections) in &chapters {
        push(&mut out, format_args!("<p>{heading}</p>\n<ul>\n"));
        for Section { anchor, .. } in sections {
            push(&mut out, format_args!("<li><a href=\"#{anchor}\">{anchor}</a></li>\n"));
        }
        out.push_str("</ul>\n");
    }
    out.push_str("</nav>\n<main>\n");
    for (heading, sections) in &chapters {
        push(&mut out, format_args!("<h2>{heading}</h2>\n"));
        for Section { anchor, parts } in sections {
            push(&mut out, format_args!("<h3 id=\"{anchor}\"><a href=\"#{anchor}\">{anchor}</a></h3>\n<dl>\n"));
            for (label, part) in parts {
                let body = match part {
                    Part::Text(text) => inline(text),
                    Part::Command(command) => format!("<pre><code>{}</code></pre>", escaped(command)),
                };
                push(&mut out, format_args!("<dt>{label}</dt><dd>{body}</dd>\n"));
            }
            out.push_str("</dl>\n");
        }
    }
    out.push_str("</main>\n<p><a href=\"/\">Status of this exporter</a></p>\n</html>\n");
    out
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _infallible = out.write_fmt(text);
}

/// Text with `code` in it.
fn inline(text: &str) -> String {
    let mut out = String::new();
    for (index, piece) in text.split('`').enumerate() {
        let piece = escaped(piece);
        if index % 2 == 1 {
            push(&mut out, format_args!("<code>{piece}</code>"));
        } else {
            out.push_str(&piece);
        }
    }
    out
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sections() -> impl Iterator<Item = Section> {
        chapters().into_iter().flat_map(|(_, sections)| sections)
    }

    #[test]
    fn anchors_are_unique_and_on_the_page_and_in_the_file() {
        let mut anchors: Vec<_> = sections().map(|section| section.anchor).collect();
        assert_eq!(anchors.len(), ALERTS.len() + Kind::ALL.len());
        let (page, file) = (html(), markdown());
        for anchor in &anchors {
            assert_eq!(page.matches(&format!("id=\"{anchor}\"")).count(), 1, "{anchor}");
            assert_eq!(file.matches(&format!("id=\"{anchor}\"")).count(), 1, "{anchor}");
        }
        anchors.sort_unstable();
        anchors.dedup();
        assert_eq!(anchors.len(), ALERTS.len() + Kind::ALL.len());
    }

    #[test]
    fn every_part_says_something_and_its_code_is_closed() {
        for section in sections() {
            for (label, part) in section.parts {
                let (Part::Text(text) | Part::Command(text)) = part;
                assert!(!text.trim().is_empty(), "{}: {label}", section.anchor);
                if let Part::Text(text) = part {
                    assert_eq!(text.matches('`').count() % 2, 0, "{}: {label}", section.anchor);
                    assert!(!text.contains(['<', '>']), "{}: {label}: Markdown would take it as HTML", section.anchor);
                }
            }
        }
    }

    #[test]
    fn the_page_is_escaped_and_brings_everything_with_it() {
        assert_eq!(inline("a < b & `c > \"d\"`"), "a &lt; b &amp; <code>c &gt; &quot;d&quot;</code>");
        let page = html();
        for outside in ["<script", "<img", "<link", "src=", "href=\"http", "url(", "@import"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
