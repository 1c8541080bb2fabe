//! The runbook as a page.
//!
//! Owns its layout; the texts are those of `runbook`.

use std::sync::LazyLock;

use axum::body::Bytes;
use maud::{Markup, html};

use super::document::Page;
use super::text::rich;
use crate::runbook::{Part, Section, TITLE, chapters, introduction};

/// The page as bytes that are made once: it never changes.
pub(super) fn bytes() -> Bytes {
    static PAGE: LazyLock<Bytes> = LazyLock::new(|| render().into());
    PAGE.clone()
}

fn render() -> String {
    let chapters = chapters();
    Page {
        title: "Runbook".to_owned(),
        class: "runbook",
        header: html! { p { "what to do about each alert and each kind of failure" } },
        main: html! {
            section aria-labelledby="introduction" {
                h2 id="introduction" { (TITLE) }
                @for paragraph in introduction() { p { (rich(&paragraph)) } }
            }
            @for (heading, sections) in &chapters {
                section.contents aria-label=(heading) {
                    h2 { (heading) }
                    ul { @for section in sections { li { a href={ "#" (section.anchor) } { (section.anchor) } } } }
                }
            }
            @for (_, sections) in &chapters { @for section in sections { (entry(section)) } }
        },
        ..Page::default()
    }
    .render()
}

fn entry(section: &Section) -> Markup {
    html! {
        section aria-labelledby=(section.anchor) {
            h2 id=(section.anchor) { a href={ "#" (section.anchor) } { (section.anchor) } }
            dl.advice {
                @for (label, part) in &section.parts {
                    div {
                        dt { (label) }
                        dd { @match part { Part::Text(text) => { (rich(text)) } Part::Command(command) => { pre { code { (command) } } } } }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_section_has_an_anchor_and_nothing_is_loaded_from_another_host() {
        let page = render();
        for (_, sections) in chapters() {
            for Section { anchor, .. } in sections {
                assert_eq!(page.matches(&format!("id=\"{anchor}\"")).count(), 1, "{anchor}");
            }
        }
        for outside in ["<script", "<img", "<link", "src=", "href=\"http", "url(", "@import"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
