//! The frame of every page: head, style, header and footer.
//!
//! A page has no external asset: it must work where the internet does not, on a phone and on paper.

use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = include_str!("style.css");

/// The parts in which pages differ.
#[derive(Default)]
pub(super) struct Page {
    pub(super) title: String,
    pub(super) class: &'static str,
    pub(super) head: Markup,
    pub(super) header: Markup,
    /// Between header and main content.
    pub(super) notices: Markup,
    pub(super) main: Markup,
    pub(super) footer: Markup,
    pub(super) scripts: Markup,
}

impl Page {
    pub(super) fn render(self) -> String {
        let document = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    meta name="robots" content="noindex";
                    title { (self.title) " · imds-exporter" }
                    (self.head)
                    style { (PreEscaped(STYLE)) }
                }
                body class=(self.class) {
                    header { h1 { "imds-exporter" } (self.header) }
                    (self.notices)
                    main { (self.main) }
                    footer {
                        nav aria-label="More" {
                            // Relative, so that they work behind a path prefix.
                            a href="./" { "Status" } " "
                            a href="runbook" { "Runbook" } " "
                            a href="api/v1/status" { "Status as JSON" } " "
                            a href="metrics" { "Metrics" }
                        }
                        (self.footer)
                    }
                    (self.scripts)
                }
            }
        };
        document.into_string()
    }
}
