//! The frame of every page: head, style, header and footer.
//!
//! A page has no external asset: it must work where the internet does not, on a phone and on paper.

use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = include_str!("style.css");

/// The parts in which pages differ.
#[derive(Default)]
pub(super) struct Page {
    /// The title of the browser's tab.
    pub(super) title: String,
    /// The class of the body.
    pub(super) class: &'static str,
    /// More elements of the head.
    pub(super) head: Markup,
    /// The header beside the program's name.
    pub(super) header: Markup,
    /// Between header and main content.
    pub(super) notices: Markup,
    /// The main content.
    pub(super) main: Markup,
    /// The footer beside its links.
    pub(super) footer: Markup,
    /// After everything else.
    pub(super) scripts: Markup,
}

impl Page {
    /// The whole document.
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
