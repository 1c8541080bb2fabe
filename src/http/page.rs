//! The status page, for people: a first plain form.

use std::fmt::Write;

use crate::status::Status;

/// The page as a whole document.
pub(super) fn render(status: &Status) -> String {
    let mut html = String::from(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>imds-exporter</title><h1>imds-exporter</h1><pre>",
    );
    for c in status.to_json().chars() {
        match c {
            '<' => html.push_str("&lt;"),
            '&' => html.push_str("&amp;"),
            c => html.push(c),
        }
    }
    let _infallible = write!(html, "</pre><p><a href=\"/metrics\">Metrics</a>");
    html
}
